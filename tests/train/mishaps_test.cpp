// What happens to a run's directory while the run goes on: real processes, and file systems that
// refuse (tests/support/failing_calls.cpp).
#include <fcntl.h>
#include <signal.h>

#include <cerrno>

#include "tests/train/midfill_process.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using Process = test::MidfillProcess;
using test::failing;
using test::sleep_ms;

struct Mishap : test::ProcessTest {
  std::string log(const std::string& name) const {
    return test::read_text(fixture / name / "log.txt");
  }
  void make_whole() const { ASSERT_EQ(run(train("whole")), 0) << output(); }
};

TEST_F(Mishap, ADirectoryThatIsMovedGetsTheLastCheckpointWhereItIsNow) {
  make_whole();
  Process process(train("run"), fixture / "output");
  ASSERT_TRUE(wait_for_checkpoint("run"));
  fs::rename(fixture / "run", fixture / "moved");
  EXPECT_EQ(process.wait(), 1) << output();
  EXPECT_EQ(last_line(),
            fmt::format("midfill: {}: the run's directory was moved to {} while the run was going "
                        "on; continue it with --resume --run {}",
                        (fixture / "run").string(), (fixture / "moved").string(),
                        (fixture / "moved").string()));
  EXPECT_FALSE(fs::exists(fixture / "run"));
  EXPECT_EQ(run(resume("moved")), 0) << output();
  test::expect_same_run(fixture / "whole", fixture / "moved");
}

// The folder above it, as where somebody tidies up; and the run's own path taken by another.
TEST_F(Mishap, AnotherDirectoryThatComesByTheNameStaysUntouched) {
  make_whole();
  Process process(train("a/run"), fixture / "output");
  ASSERT_TRUE(wait_for_checkpoint("a/run"));
  fs::rename(fixture / "a", fixture / "b");
  fs::create_directories(fixture / "a" / "run");
  EXPECT_EQ(process.wait(), 1) << output();
  EXPECT_NE(last_line().find("was moved to " + (fixture / "b" / "run").string()), std::string::npos)
      << output();
  EXPECT_TRUE(fs::is_empty(fixture / "a" / "run"));
  EXPECT_EQ(run(resume("b/run")), 0) << output();
  test::expect_same_run(fixture / "whole", fixture / "b" / "run");
}

TEST_F(Mishap, ADeletedDirectoryEndsTheRunAndDoesNotComeBack) {
  Process process(train("run"), fixture / "output");
  ASSERT_TRUE(wait_for_checkpoint("run"));
  // The run may create a file while it is deleted.
  std::error_code busy;
  for (int i = 0; i < 1000 && (fs::remove_all(fixture / "run", busy), fs::exists(fixture / "run"));
       ++i) {
  }
  EXPECT_EQ(process.wait(), 1) << output();
  EXPECT_FALSE(fs::exists(fixture / "run"));
  EXPECT_EQ(last_line().find("midfill: " + (fixture / "run").string()), 0u) << output();
}

TEST_F(Mishap, AnOldCheckpointThatCannotBeRemovedStaysForNow) {
  make_whole();
  const auto refused = failing(fmt::format("rename:{}:step_00000004.removed", EBUSY));
  EXPECT_EQ(run(train("run"), refused), 0) << output();
  test::expect_same_run(fixture / "whole", fixture / "run");
  EXPECT_EQ(checkpoints("run").front(), "step_00000004");
  EXPECT_EQ(checkpoints("run").size(), checkpoints("whole").size() + 1);
  const std::string text = log("run");
  const size_t line = text.find("cannot rename to");
  ASSERT_NE(line, std::string::npos) << text;
  EXPECT_NE(text.find("Device or resource busy; tried again at the next checkpoint", line),
            std::string::npos)
      << text;
  EXPECT_EQ(text.find("cannot rename to", line + 1), std::string::npos) << "said again";
  EXPECT_EQ(run(resume("run", {"--set", "train.steps=151"})), 0) << output();
  EXPECT_NE(checkpoints("run").front(), "step_00000004");
}

// As on NFS, where a file that somebody has open cannot be removed.
TEST_F(Mishap, WhatIsLeftOfOneThatCouldNotBeRemovedIsInNobodysWay) {
  make_whole();
  const auto refused = failing(fmt::format("unlinkat:{}:model.safetensors", EBUSY));
  Process process(train("run"), fixture / "output", refused);
  ASSERT_TRUE(wait_for_metrics("run", 10000));
  process.send(SIGTERM);
  EXPECT_EQ(process.wait(), 128 + SIGTERM) << output();
  EXPECT_NE(log("run").find("cannot remove: Device or resource busy"), std::string::npos);
  EXPECT_EQ(run(resume("run"), refused), 0) << output();
  test::expect_same_run(fixture / "whole", fixture / "run");
  EXPECT_EQ(run(resume("run")), 0) << output();
  for (const auto& entry : fs::directory_iterator(fixture / "run"))
    EXPECT_EQ(entry.path().filename().string().find(".tmp"), std::string::npos) << entry.path();
}

TEST_F(Mishap, AFileSystemWithoutLocksIsAWarning) {
  make_whole();
  for (const int error : {ENOSYS, ENOLCK, EOPNOTSUPP}) {
    const std::string name = fmt::format("run{}", error);
    const auto refused = failing(fmt::format("flock:{}", error));
    EXPECT_EQ(run(train(name), refused), 0) << output();
    EXPECT_NE(log(name).find(".lock: cannot lock ("), std::string::npos) << log(name);
    test::expect_same_run(fixture / "whole", fixture / name);
  }
  // Data are built there too.
  test::write_text(fixture / "text.txt", "some text\n");
  EXPECT_EQ(run({"data", "build", "--tokenizer", fixture / "tokenizer.json", "--input",
                 fixture / "text.txt", "--out", fixture / "built", "--valid-fraction", "0"},
                failing(fmt::format("flock:{}", ENOLCK))),
            0)
      << output();
  EXPECT_NE(output().find("lock: cannot lock (No locks available)"), std::string::npos) << output();
}

// While it saves every step and keeps one checkpoint, whoever reads the run finds one.
TEST_F(Mishap, ALiveRunCanBeReadAtAnyMoment) {
  Process process(train("run", {"--set", "train.steps=1000000", "--set", "checkpoint.every=1",
                                "--set", "checkpoint.keep_last=1", "--set", "eval.every=0"}),
                  fixture / "training");
  ASSERT_TRUE(wait_for_checkpoint("run"));
  for (int i = 0; i < 15; ++i) {
    EXPECT_EQ(run({"eval", "--run", fixture / "run", "--threads", "1"}), 0) << output();
    EXPECT_EQ(run({"export", "--run", fixture / "run", "--out", fixture / fmt::format("hf{}", i)}),
              0)
        << output();
  }
  process.send(SIGTERM);
  EXPECT_EQ(process.wait(), 128 + SIGTERM) << test::read_text(fixture / "training");
}

}  // namespace
}  // namespace midfill
