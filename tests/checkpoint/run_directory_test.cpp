#include "src/checkpoint/run_directory.h"

#include <gtest/gtest.h>

#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/model_source.h"
#include "src/checkpoint/run_facts.h"
#include "tests/checkpoint/tiny_model.h"
#include "tests/checkpoint/tiny_tokenizer.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using test::error_of;

TEST(RunHold, IsOnePerRun) {
  const test::TemporaryDirectory run;
  const RunHold hold(run.path());
  EXPECT_TRUE(hold.in_place());
  EXPECT_EQ(hold.place(), run.path());
  EXPECT_EQ(hold.warning(), "");
  EXPECT_NE(error_of([&] { RunHold again(run.path()); }).find("is writing to this run"),
            std::string::npos);
  EXPECT_NE(error_of([&] { RunHold absent(run / "absent"); }).find("absent: cannot open"),
            std::string::npos);
}

TEST(RunHold, FollowsTheDirectoryWhereverItGoes) {
  const test::TemporaryDirectory root;
  fs::create_directories(root / "a" / "run");
  const RunHold hold(root / "a" / "run");
  fs::rename(root / "a", root / "b");
  EXPECT_FALSE(hold.in_place());
  EXPECT_EQ(hold.place(), root / "b" / "run");
  fs::create_directories(root / "a" / "run");  // another one
  EXPECT_FALSE(hold.in_place());
  EXPECT_EQ(hold.place(), root / "b" / "run");
  EXPECT_NE(error_of([&] { hold.require_in_place(); }).find("was moved to"), std::string::npos);
  fs::remove_all(root / "a");
  fs::rename(root / "b", root / "a");
  EXPECT_TRUE(hold.in_place());
  hold.require_in_place();
}

TEST(RunHold, KnowsThatTheDirectoryIsGone) {
  const test::TemporaryDirectory root;
  for (const char* name : {"run", "run (deleted)"}) {
    fs::create_directory(root / name);
    const RunHold hold(root / name);
    fs::remove_all(root / name);
    EXPECT_FALSE(hold.in_place());
    const std::string expected = (root / name).string() +
                                 ": the run's directory was deleted while the run was going on; "
                                 "nothing can be saved";
    EXPECT_EQ(error_of([&] { hold.place(); }), expected);
    fs::create_directory(root / name);
    EXPECT_EQ(error_of([&] { hold.require_in_place(); }), expected);
    fs::remove_all(root / name);
  }
}

TEST(RunFacts, AreReadAsWritten) {
  const test::TemporaryDirectory run;
  const RunFacts none = read_run_facts(run.path());
  EXPECT_EQ(none.saved, -1);
  EXPECT_TRUE(none.tokenizer.empty() && none.train.empty() && none.valid.empty());
  const RunFacts facts = {
      .tokenizer = "t", .train = {{"code", 10, 2, "f"}, {"", 1, 1, "g"}}, .valid = {}, .saved = 40};
  write_run_facts(run.path(), facts);
  const RunFacts back = read_run_facts(run.path());
  EXPECT_EQ(back.tokenizer, facts.tokenizer);
  EXPECT_EQ(back.train, facts.train);
  EXPECT_EQ(back.valid, facts.valid);
  EXPECT_EQ(back.saved, 40);
  for (const char* damaged :
       {"{}", "[1]", "{\"version\": 2}", "{\"version\": 1}",
        "{\"version\":1,\"tokenizer\":1,\"train\":[],\"valid\":[],\"saved\":1}",
        "{\"version\":1,\"tokenizer\":\"\",\"train\":[1],\"valid\":[],"
        "\"saved\":1}"}) {
    test::write_text(run / "run.json", damaged);
    EXPECT_EQ(error_of([&] {
                read_run_facts(run.path());
              }).find((run / "run.json").string() + ": damaged: "),
              0u)
        << damaged;
  }
}

// The run is trained on while it is read: what was found is pruned before it is loaded.
TEST(ModelSource, TakesTheNewestAgainWhereTheFirstIsGone) {
  const test::TemporaryDirectory run;
  test::TinyModel tiny;
  Config config;
  config.model = test::tiny_config();
  config.train.batch_tokens = config.model.n_ctx;
  test::write_text(run / "config.json", to_json(config));
  tiny.fill(1);
  save_checkpoint(run.path(), tiny.model, nullptr,
                  {.step = 1, .loss_window = {}, .norm_window = {}});
  WeightsSource source = WeightsSource::open(run.path());
  EXPECT_EQ(source.checkpoint, run / "step_00000001");
  tiny.fill(2);
  save_checkpoint(run.path(), tiny.model, nullptr,
                  {.step = 2, .loss_window = {}, .norm_window = {}});
  fs::remove_all(run / "step_00000001");
  test::TinyModel loaded;
  source.load_weights(loaded.model);
  EXPECT_EQ(source.checkpoint, run / "step_00000002");
  EXPECT_EQ(loaded.contents()[0], tiny.contents()[0]);
  // Damage is an error still.
  fs::remove(run / "step_00000002" / "state.json");
  EXPECT_NE(error_of([&] { source.load_weights(loaded.model); }).find("state.json"),
            std::string::npos);
}

}  // namespace
}  // namespace midfill
