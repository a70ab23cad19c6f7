// Checkpoints survive SIGKILL at any moment: the newest visible one is always whole and loadable.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "src/checkpoint/manifest.h"
#include "src/checkpoint/run_directory.h"
#include "tests/checkpoint/tiny_model.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;

pid_t start_writer(const fs::path& run, const char* count) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl(MIDFILL_CHECKPOINT_WRITER, "checkpoint_writer", run.c_str(), count, nullptr);
    ::_exit(127);
  }
  return child;
}

int wait_for(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

std::vector<fs::path> entries(const fs::path& run, const std::string& prefix) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(run))
    if (entry.path().filename().string().starts_with(prefix)) found.push_back(entry.path());
  return found;
}

TEST(CheckpointKill, NewestIsAlwaysWhole) {
  const test::TemporaryDirectory run;
  ASSERT_EQ(wait_for(start_writer(run.path(), "4")), 0);
  // The kills fall within the time that a start and some checkpoints take. That depends on the
  // machine and on what else it does: the span grows where a writer got nothing done.
  uint64_t longest_us = 5'000;
  Rng rng(7, Purpose::kTest);
  int64_t last = 4, advanced = 0, interrupted = 0;
  int round = 0;
  for (; round < 60 || advanced < 10 || interrupted < 10; ++round) {
    ASSERT_LT(round, 1000) << advanced << " advanced, " << interrupted << " interrupted";
    const pid_t writer = start_writer(run.path(), "1000000");
    ASSERT_GT(writer, 0);
    std::this_thread::sleep_for(std::chrono::microseconds(rng.below(longest_us)));
    ASSERT_EQ(::kill(writer, SIGKILL), 0);
    const int status = wait_for(writer);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself in round " << round;

    const auto found = find_checkpoint(run.path());
    ASSERT_TRUE(found.has_value());
    EXPECT_TRUE(found->passed_over.empty()) << found->passed_over.front();
    for (const fs::path& visible : entries(run.path(), "step_"))
      EXPECT_EQ(verify_manifest(visible, std::stoll(visible.filename().string().substr(5))),
                std::nullopt);
    ASSERT_GE(found->step, last) << "a checkpoint was lost";
    advanced += found->step > last;
    if (found->step == last) longest_us += longest_us / 8;
    last = found->step;
    interrupted += !entries(run.path(), ".tmp-").empty();

    test::TinyModel loaded, expected;
    const TrainState state = load_checkpoint(found->path, loaded.model, &loaded.optimizer);
    expected.fill(static_cast<uint64_t>(found->step));
    ASSERT_EQ(state.step, found->step);
    ASSERT_EQ(loaded.contents(), expected.contents());
  }

  // A writer that lives removes what the dead left.
  ASSERT_EQ(wait_for(start_writer(run.path(), "3")), 0);
  EXPECT_TRUE(entries(run.path(), ".tmp-").empty());
  EXPECT_EQ(entries(run.path(), "step_").size(), 2u);
}

TEST(CheckpointKill, TheLockDiesWithItsProcess) {
  const test::TemporaryDirectory run;
  const pid_t writer = start_writer(run.path(), "1000000");
  // Once it has saved, it holds the lock.
  for (int i = 0; i < 2000 && entries(run.path(), "step_").empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_FALSE(entries(run.path(), "step_").empty());
  EXPECT_EQ(test::error_of([&] { RunHold hold(run.path()); }),
            fmt::format("{}: process {} is writing to this run; it takes one writer at a time",
                        run.path().string(), writer));
  EXPECT_NE(wait_for(start_writer(run.path(), "1")), 0) << "a second writer was let in";
  ::kill(writer, SIGKILL);
  wait_for(writer);
  const RunHold hold(run.path());
}

}  // namespace
}  // namespace midfill
