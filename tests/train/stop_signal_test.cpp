// Signals that ask a run to end: real processes, real signals.
#include "src/train/stop_signal.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include "tests/train/midfill_process.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using Process = test::MidfillProcess;
using test::sleep_ms;

struct Stop : test::ProcessTest {
  // A model whose evaluation, and whose step, take seconds.
  static std::vector<std::string> slow(std::vector<std::string> more) {
    for (const char* set : {"model.d_model=512", "model.d_ff=4096", "train.threads=1"}) {
      more.push_back("--set");
      more.push_back(set);
    }
    return more;
  }
};

TEST_F(Stop, EachSavesAndResumeIsBitIdentical) {
  ASSERT_EQ(run(train("whole")), 0) << output();
  const std::pair<int, std::string> signals[] = {{SIGINT, "SIGINT"},
                                                 {SIGTERM, "SIGTERM"},
                                                 {SIGHUP, "SIGHUP"},
                                                 {SIGUSR1, "SIGUSR1"},
                                                 {SIGXCPU, "SIGXCPU"}};
  for (const auto& [signal, name] : signals) {
    Process process(train(name), fixture / "output");
    ASSERT_TRUE(wait_for_metrics(name, 2000));
    process.send(signal);
    EXPECT_EQ(process.wait(), 128 + signal) << output();
    EXPECT_NE(output().find("midfill: " + name + " received: ending after this step"),
              std::string::npos)
        << output();
    EXPECT_NE(last_line().find("stopped by " + name + " after step"), std::string::npos)
        << output();
    EXPECT_EQ(run(resume(name)), 0) << output();
    EXPECT_NE(output().find("resuming after step"), std::string::npos);
    test::expect_same_run(fixture / "whole", fixture / name);
  }
}

// As launchers do: to the process and to its group, or again and again.
TEST_F(Stop, RepeatsCountOnce) {
  Process process(train("run"), fixture / "output");
  ASSERT_TRUE(wait_for_metrics("run", 2000));
  process.send(SIGTERM);
  for (const int signal : {SIGTERM, SIGINT, SIGINT, SIGHUP}) {
    sleep_ms(5);
    process.send(signal);
  }
  const int status = process.wait();
  EXPECT_TRUE(status == 128 + SIGTERM) << status << output();
  EXPECT_NE(last_line().find("stopped by SIGTERM after step"), std::string::npos) << output();
  EXPECT_FALSE(checkpoints("run").empty());
}

// In a child that takes signals and reports by its exit status.
int status_of(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

TEST(StopSignal, ALaterSigintEndsAtOnceAndALaterSigtermDoesNot) {
  for (const int first : {SIGINT, SIGTERM, SIGUSR1}) {
    EXPECT_EQ(status_of([&] {
                const StopSignal stop("ending");
                std::raise(first);
                std::raise(SIGINT);  // within the second: the same request
                if (!stop.requested() || stop.pressing()) ::_exit(1);
                sleep_ms(1050);
                if (!stop.pressing()) ::_exit(2);
                std::raise(SIGTERM);
                std::raise(first == SIGINT ? SIGHUP : first);
                if (stop.exit_status() != 128 + first) ::_exit(3);
                std::raise(SIGINT);
                ::_exit(4);
              }),
              130)
        << first;
  }
}

TEST(StopSignal, SignalsDoAsBeforeOnceItIsGone) {
  EXPECT_EQ(status_of([] {
              { const StopSignal stop("ending"); }
              std::raise(SIGHUP);
            }),
            1000 + SIGHUP);
  // Data are built without a checkpoint to save: there SIGUSR2 is nobody's.
  EXPECT_EQ(status_of([] {
              const StopSignal stop("ending");
              std::raise(SIGUSR2);
            }),
            1000 + SIGUSR2);
}

TEST_F(Stop, WhatIsIgnoredAtTheStartStaysIgnored) {
  const test::ProcessOptions nohup = {.ignored_signals = {SIGHUP, SIGINT}};
  Process process(train("run"), fixture / "output", nohup);
  ASSERT_TRUE(wait_for_metrics("run"));
  process.send(SIGHUP);
  process.send(SIGINT);
  EXPECT_EQ(process.wait(), 0) << output();
  EXPECT_NE(last_line().find("done: 150 steps"), std::string::npos) << output();
}

TEST_F(Stop, Usr2SavesAndGoesOn) {
  Process process(train("run", {"--set", "checkpoint.every=0"}), fixture / "output");
  ASSERT_TRUE(wait_for_metrics("run", 2000));
  process.send(SIGUSR2);
  EXPECT_EQ(process.wait(), 0) << output();
  EXPECT_NE(output().find("midfill: SIGUSR2 received"), std::string::npos) << output();
  EXPECT_EQ(checkpoints("run").size(), 2u) << output();
  EXPECT_EQ(checkpoints("run").back(), "step_00000150");
}

// It would take seconds more; the resumed run makes up for it.
TEST_F(Stop, AnEvaluationGivesWayAndIsMadeUpFor) {
  const auto sets = slow({"--set", "train.steps=2", "--set", "eval.every=1", "--set",
                          "data.valid=" + (fixture / "train").string(), "--set", "eval.samples=40",
                          "--set", "train.batch_tokens=32"});
  ASSERT_EQ(run(train("whole", sets)), 0) << output();
  Process process(train("run", sets), fixture / "output");
  ASSERT_TRUE(wait_for_metrics("run"));  // its first step is done: it evaluates now
  sleep_ms(100);
  process.send(SIGTERM);
  EXPECT_EQ(process.wait(), 128 + SIGTERM) << output();
  EXPECT_EQ(output().find("eval 1"), std::string::npos) << output();
  EXPECT_EQ(run(resume("run")), 0) << output();
  test::expect_same_run(fixture / "whole", fixture / "run");

  // After the last step too: without its evaluation a run is not complete.
  Process last(train("last", sets), fixture / "output");
  ASSERT_TRUE(test::wait_until(
      [&] { return test::read_text(fixture / "output").find("step 2/2") != std::string::npos; }));
  last.send(SIGTERM);
  EXPECT_EQ(last.wait(), 128 + SIGTERM) << output();
  EXPECT_EQ(run(resume("last")), 0) << output();
  test::expect_same_run(fixture / "whole", fixture / "last");
}

// A step of more micro-batches than any grace period allows is given up, and nothing is lost.
TEST_F(Stop, ALongStepIsGivenUpBetweenMicroBatches) {
  const std::vector<std::string> sets = slow({"--set", "train.batch_tokens=1048576", "--set",
                                              "train.micro_batch=1", "--set", "data.valid="});
  Process process(train("run", sets), fixture / "output");
  ASSERT_TRUE(test::wait_until([&] {
    return fs::exists(fixture / "run" / "log.txt") &&
           test::read_text(fixture / "run" / "log.txt").find("new run in") != std::string::npos;
  }));
  process.send(SIGTERM);
  EXPECT_EQ(process.wait(), 128 + SIGTERM) << output();
  EXPECT_NE(last_line().find("stopped by SIGTERM after step 0"), std::string::npos) << output();
  EXPECT_TRUE(checkpoints("run").empty());
}

}  // namespace
}  // namespace midfill
