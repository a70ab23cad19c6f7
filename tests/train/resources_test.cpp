// Runs that get fewer threads or less memory than they ask for.
#include <cerrno>

#include "tests/train/midfill_process.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;

struct Resources : test::ProcessTest {
  // A short run that is given `threads` threads.
  void train_short(const std::string& name, const std::string& threads,
                   const test::ProcessOptions& options = {}) const {
    ASSERT_EQ(run({"train", fixture.config_path(), "--run", fixture / name, "--threads", threads},
                  options),
              0)
        << output();
  }
  // That the device line says this about the threads.
  void expect_threads(const std::string& text) const {
    EXPECT_NE(output().find(text), std::string::npos) << output();
  }
};

TEST_F(Resources, TrainsWithTheThreadsThatTheEnvironmentGrants) {
  train_short("one", "1");
  train_short("two", "2");
  const struct {
    const char *name, *variable, *same_as, *said;
  } cases[] = {
      {"limit", "OMP_THREAD_LIMIT=1", "one", "1 thread (2 asked for; OMP_THREAD_LIMIT is 1)"},
      {"levels", "OMP_MAX_ACTIVE_LEVELS=0", "one",
       "1 thread (2 asked for; OMP_MAX_ACTIVE_LEVELS is 0)"},
      {"dynamic", "OMP_DYNAMIC=true", "two", "2 threads"},
      {"policy", "OMP_WAIT_POLICY=passive", "two", "2 threads"},
  };
  for (const auto& c : cases) {
    train_short(c.name, "2", {.environment = {c.variable}});
    expect_threads(c.said);
    test::expect_same_run(fixture / c.same_as, fixture / c.name);
    // eval on as few.
    EXPECT_EQ(run({"eval", "--model", fixture / c.name, "--data", fixture / "valid", "--samples",
                   "4", "--threads", "2"},
                  {.environment = {c.variable}}),
              0)
        << output();
  }
}

TEST_F(Resources, TrainsWithTheThreadsThatTheSystemGrants) {
  train_short("two", "2");
  // The second of three threads beside the main one.
  train_short("granted", "4", test::failing(fmt::format("pthread_create:{}:2", EAGAIN)));
  expect_threads("2 threads (4 asked for; the system granted no more: Resource temporarily");
  test::expect_same_run(fixture / "two", fixture / "granted");
  // The loader's only one.
  EXPECT_EQ(run({"train", fixture.config_path(), "--run", fixture / "none", "--threads", "1"},
                test::failing(fmt::format("pthread_create:{}", EAGAIN))),
            1);
  EXPECT_EQ(last_line(), "midfill: cannot start a thread: Resource temporarily unavailable");
  EXPECT_FALSE(fs::exists(fixture / "none"));
}

// Whatever there is: the run goes through, or one line names the limit and nothing is on disk.
TEST_F(Resources, ShortOfMemoryItSaysSoBeforeThereIsARun) {
  int done = 0, refused = 0;
  for (const std::string width : {"32", "512"}) {
    for (uint64_t kib = 100000; kib <= 600000; kib += 50000) {
      const int status = run({"train", fixture.config_path(), "--run", fixture / "run", "--threads",
                              "2", "--set", "train.steps=2", "--set", "model.d_model=" + width},
                             {.address_space = kib * 1024});
      if (status == 0) {
        ++done;
      } else {
        ++refused;
        EXPECT_EQ(status, 1) << kib << " KiB: " << output();
        EXPECT_NE(output().find(fmt::format("ulimit -v is {} KiB", kib)), std::string::npos)
            << output();
        EXPECT_EQ(output().find("midfill: "), 0u) << output();
        EXPECT_EQ(output().find('\n'), output().size() - 1) << output();
        EXPECT_FALSE(fs::exists(fixture / "run")) << kib;
      }
      fs::remove_all(fixture / "run");
    }
  }
  EXPECT_GT(done, 0);
  EXPECT_GT(refused, 0);
}

TEST_F(Resources, BatchesLargerThanTheMachineAreRefusedBeforeThereIsARun) {
  EXPECT_EQ(run({"train", fixture.config_path(), "--run", fixture / "run", "--set",
                 "train.batch_tokens=1099511627776"}),
            1);
  EXPECT_NE(last_line().find("for batches (train.batch_tokens, data.ahead)"), std::string::npos)
      << output();
  EXPECT_FALSE(fs::exists(fixture / "run"));
}

}  // namespace
}  // namespace midfill
