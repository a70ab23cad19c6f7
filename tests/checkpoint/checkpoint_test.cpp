#include "src/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bit>
#include <csignal>
#include <cstring>
#include <limits>

#include "src/checkpoint/safetensors.h"
#include "src/io/json.h"
#include "tests/checkpoint/tiny_model.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::TinyModel;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kFiles[] = {"model.safetensors", "optimizer-00000-of-00001.safetensors",
                                  "state.json", "manifest.json"};

class Checkpoint : public testing::Test {
 protected:
  void save(int64_t step, uint64_t seed) {
    tiny_.fill(seed);
    TrainState state;
    state.step = state.updates = step;
    save_checkpoint(run_.path(), tiny_.model, &tiny_.optimizer, state);
  }
  void save(int64_t step) { save(step, static_cast<uint64_t>(step)); }

  std::vector<std::string> prune(int keep_last, int64_t keep_every) const {
    return CheckpointKeeper(keep_last, keep_every).prune(run_.path());
  }

  fs::path step(int64_t n) const { return run_ / fmt::format("step_{:08}", n); }
  // Names in the run directory, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(run_.path()))
      found.push_back(entry.path().filename().string());
    std::ranges::sort(found);
    return found;
  }
  // What was said about step 2 while step 1 is whole.
  std::string reason_for_step_2() {
    const auto found = find_checkpoint(run_.path());
    EXPECT_TRUE(found && found->step == 1);
    if (!found || found->passed_over.size() != 1) {
      ADD_FAILURE() << "step 2 was not passed over";
      return "";
    }
    EXPECT_THAT(found->passed_over[0], HasSubstr("step_00000002"));
    EXPECT_EQ(found->passed_over[0].find('\n'), std::string::npos);
    return found->passed_over[0];
  }

  test::TemporaryDirectory run_;
  TinyModel tiny_;
};

TEST_F(Checkpoint, RestoresEveryBit) {
  tiny_.fill(3);
  // Values that a careless path would lose.
  float* p = tiny_.model.params().as<float>();
  p[0] = -0.0f;
  p[1] = std::numeric_limits<float>::denorm_min();
  p[2] = std::numeric_limits<float>::max();
  TrainState state{.step = 41,
                   .tokens = int64_t{1} << 53,
                   .updates = 39,
                   .skipped = 2,
                   .skipped_in_row = 1,
                   .loss_window = {},
                   .norm_window = {}};
  Rng rng(5, Purpose::kTest);
  for (int i = 0; i < 300; ++i) {
    const auto value = std::bit_cast<double>(rng.bits64());
    if (std::isfinite(value)) state.loss_window.push_back(value);
    state.norm_window.push_back(rng.uniform());
  }
  state.norm_window.insert(state.norm_window.end(), {-0.0, 0.1, 1e-310});
  save_checkpoint(run_.path(), tiny_.model, &tiny_.optimizer, state);
  EXPECT_THAT(names(), ElementsAre("step_00000041"));

  const auto found = find_checkpoint(run_.path());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->step, 41);
  EXPECT_THAT(found->passed_over, IsEmpty());
  TinyModel loaded;
  loaded.fill(99);
  const TrainState back = load_checkpoint(found->path, loaded.model, &loaded.optimizer);
  const auto a = tiny_.contents(), b = loaded.contents();
  ASSERT_EQ(a.size(), b.size());
  EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0);
  EXPECT_EQ(loaded.optimizer.updates(), 39);
  EXPECT_EQ(back.step, state.step);
  EXPECT_EQ(back.tokens, state.tokens);
  EXPECT_EQ(back.updates, state.updates);
  EXPECT_EQ(back.skipped, state.skipped);
  EXPECT_EQ(back.skipped_in_row, state.skipped_in_row);
  const auto same_bits = [](const std::vector<double>& x, const std::vector<double>& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * 8) == 0;
  };
  EXPECT_TRUE(same_bits(back.loss_window, state.loss_window));
  EXPECT_TRUE(same_bits(back.norm_window, state.norm_window));
}

TEST_F(Checkpoint, OfTheSameContentsIsTheSameBytes) {
  save(1, 4);
  std::vector<std::string> before;
  for (const char* file : kFiles) before.push_back(test::read_text(step(1) / file));
  save(1, 5);
  EXPECT_NE(test::read_text(step(1) / kFiles[0]), before[0]);
  save(1, 4);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(test::read_text(step(1) / kFiles[i]), before[i]);
  EXPECT_THAT(names(), ElementsAre("step_00000001"));
}

TEST_F(Checkpoint, NotFiniteStateIsNeverSaved) {
  save(1);
  for (double bad : {std::nan(""), double{INFINITY}}) {
    TrainState state{.step = 2, .loss_window = {}, .norm_window = {1.0, bad}};
    EXPECT_THAT(
        error_of([&] { save_checkpoint(run_.path(), tiny_.model, &tiny_.optimizer, state); }),
        HasSubstr("norm_window holds"));
  }
  EXPECT_THAT(names(), ElementsAre("step_00000001"));
}

TEST_F(Checkpoint, NoneIsNothing) {
  EXPECT_FALSE(find_checkpoint(run_.path()).has_value());
  fs::create_directory(run_ / "step_x");
  fs::create_directory(run_ / "step_1");
  fs::create_directory(run_ / ".tmp-step_00000001-1");
  EXPECT_FALSE(find_checkpoint(run_.path()).has_value());
  EXPECT_THAT(error_of([&] { find_checkpoint(run_ / "absent"); }), HasSubstr("cannot list"));
}

TEST_F(Checkpoint, DamagedIsPassedOver) {
  save(1);
  for (const char* file : kFiles) {
    const std::string name = file;
    const auto damaged = [&](auto damage) {
      save(2);
      damage(step(2) / file);
      return reason_for_step_2();
    };
    EXPECT_THAT(damaged([](const fs::path& path) { fs::remove(path); }), HasSubstr(name));
    EXPECT_THAT(damaged([](const fs::path& path) { fs::resize_file(path, 0); }), HasSubstr(name));
    EXPECT_THAT(
        damaged([](const fs::path& path) { fs::resize_file(path, fs::file_size(path) - 3); }),
        HasSubstr(name));
    EXPECT_THAT(
        damaged([](const fs::path& path) { fs::resize_file(path, fs::file_size(path) + 1); }),
        HasSubstr(name));
    EXPECT_THAT(damaged([](const fs::path& path) {
                  fs::remove(path);
                  fs::create_directory(path);
                }),
                HasSubstr(name));
    EXPECT_THAT(damaged([](const fs::path& path) {
                  fs::remove(path);
                  fs::create_symlink(path, path);
                }),
                HasSubstr(name));
  }
  for (const char* file : {"model.safetensors", "state.json"}) {  // of another step
    save(2);
    fs::copy_file(step(1) / file, step(2) / file, fs::copy_options::overwrite_existing);
    EXPECT_THAT(reason_for_step_2(), HasSubstr(file));
  }
  fs::remove_all(step(2));
  fs::copy(step(1), step(2));
  EXPECT_THAT(reason_for_step_2(), HasSubstr("of step 1, expected 2"));
}

TEST_F(Checkpoint, EveryFlippedBitIsSeen) {
  save(1);
  save(2);
  Rng rng(11, Purpose::kTest);
  for (const char* file : kFiles) {
    const std::string good = test::read_text(step(2) / file);
    const bool manifest = std::string(file) == "manifest.json";
    for (size_t i = 0; i < (manifest ? good.size() : 40); ++i) {
      std::string bad = good;
      const size_t at = manifest ? i : rng.below(good.size());
      bad[at] = static_cast<char>(bad[at] ^ (1 << rng.below(8)));
      test::write_text(step(2) / file, bad);
      const auto found = find_checkpoint(run_.path());
      ASSERT_TRUE(found && found->step == 1) << file << " byte " << at;
    }
    test::write_text(step(2) / file, good);
    ASSERT_EQ(find_checkpoint(run_.path())->step, 2);
  }
}

TEST_F(Checkpoint, FutureVersionIsRefused) {
  save(1);
  save(2);
  const fs::path manifest = step(2) / "manifest.json";
  Json json = parse_json(test::read_text(manifest), "manifest");
  json["version"] = 2;
  json["new_key"] = true;
  test::write_text(manifest, json.dump());
  EXPECT_THAT(reason_for_step_2(), HasSubstr("format version 2, this midfill reads 1"));

  const fs::path state = step(1) / "state.json";
  json = parse_json(test::read_text(state), "state");
  json["version"] = 2;
  test::write_text(state, json.dump());
  EXPECT_THAT(error_of([&] { load_checkpoint(step(1), tiny_.model, nullptr); }),
              HasSubstr("format version 2, this midfill reads 1"));
}

TEST_F(Checkpoint, AllDamagedIsAnError) {
  save(1);
  save(2);
  fs::remove(step(1) / "state.json");
  fs::remove(step(2) / "state.json");
  const std::string error = error_of([&] { find_checkpoint(run_.path()); });
  EXPECT_THAT(error, HasSubstr("none of 2 checkpoints is whole"));
  EXPECT_THAT(error, HasSubstr("state.json"));
}

TEST_F(Checkpoint, ADamagedOneIsReplacedByTheNew) {
  save(1);
  save(2);
  fs::resize_file(step(2) / "model.safetensors", 10);
  save(2, 77);
  const auto found = find_checkpoint(run_.path());
  EXPECT_TRUE(found && found->step == 2);
  EXPECT_THAT(names(), ElementsAre("step_00000001", "step_00000002"));
}

TEST_F(Checkpoint, BadStateFiles) {
  save(1);
  const std::string good = test::read_text(step(1) / "state.json");
  const auto with = [&](const char* key, const Json& value) {
    Json json = parse_json(good, "state");
    json[key] = value;
    if (value.is_null()) json.erase(key);
    test::write_text(step(1) / "state.json", json.dump());
    return error_of([&] { load_checkpoint(step(1), tiny_.model, nullptr); });
  };
  EXPECT_THAT(with("step", -1), HasSubstr("\"step\" is -1, expected a whole number"));
  EXPECT_THAT(with("step", 1.5), HasSubstr("\"step\" is 1.5"));
  EXPECT_THAT(with("tokens", nullptr), HasSubstr("no key \"tokens\""));
  EXPECT_THAT(with("tokens", "9"), HasSubstr("\"tokens\" is \"9\""));
  EXPECT_THAT(with("loss_window", 3), HasSubstr("not an array of numbers"));
  EXPECT_THAT(with("loss_window", Json::array({"1"})), HasSubstr("not an array of numbers"));
  EXPECT_THAT(with("more", 1), HasSubstr("9 keys, expected 8"));
  test::write_text(step(1) / "state.json", "[]");
  EXPECT_THAT(error_of([&] { load_checkpoint(step(1), tiny_.model, nullptr); }),
              HasSubstr("expected an object"));
}

TEST_F(Checkpoint, OfAnotherModelIsRefused) {
  save(1);
  const auto refused = [&](auto change) {
    ModelConfig config = test::tiny_config();
    change(config);
    TinyModel other(config);
    return error_of([&] { load_checkpoint(step(1), other.model, &other.optimizer); });
  };
  EXPECT_THAT(refused([](ModelConfig& c) { c.n_layers = 3; }),
              HasSubstr("no tensor \"gpt_neox.layers.2."));
  EXPECT_THAT(refused([](ModelConfig& c) { c.n_layers = 1; }),
              HasSubstr("\"gpt_neox.layers.1.input_layernorm.weight\" is none of this model's"));
  EXPECT_THAT(refused([](ModelConfig& c) { c.d_ff = 24; }),
              HasSubstr("is F32 (20, 8), expected F32 (24, 8)"));
  EXPECT_THAT(refused([](ModelConfig& c) { c.vocab_multiple = 1; }),
              HasSubstr("(16, 8), expected"));
}

TEST_F(Checkpoint, WithoutMomentsTheyAreZero) {
  tiny_.fill(1);
  save_checkpoint(run_.path(), tiny_.model, nullptr, {});
  TinyModel loaded;
  loaded.fill(2);
  loaded.optimizer.set_updates(5);
  load_checkpoint(step(0), loaded.model, &loaded.optimizer);
  const auto values = loaded.contents();
  const auto third = static_cast<std::ptrdiff_t>(values.size() / 3);
  EXPECT_TRUE(std::all_of(values.begin() + third, values.end(), [](float v) { return v == 0; }));
  EXPECT_NE(values[0], 0.0f);
  EXPECT_EQ(loaded.optimizer.updates(), 0);

  TrainState state{.step = 3, .updates = 3, .loss_window = {}, .norm_window = {}};
  save_checkpoint(run_.path(), tiny_.model, nullptr, state);
  EXPECT_THAT(error_of([&] { load_checkpoint(step(3), loaded.model, &loaded.optimizer); }),
              HasSubstr("no moments after 3 updates"));
}

TEST_F(Checkpoint, KeepsWhatTheRulesSay) {
  for (int64_t n = 1; n <= 10; ++n) save(n);
  EXPECT_THAT(prune(2, 4), IsEmpty());
  EXPECT_THAT(names(),
              ElementsAre("step_00000004", "step_00000008", "step_00000009", "step_00000010"));
  prune(0, 0);
  EXPECT_THAT(names(), ElementsAre("step_00000010"));
}

// A damaged one takes no place among those that are kept; it goes once a newer one is whole.
TEST_F(Checkpoint, DamagedOnesTakeNoPlace) {
  for (int64_t n = 1; n <= 5; ++n) save(n);
  fs::remove(step(5) / "manifest.json");
  fs::resize_file(step(3) / "model.safetensors", 100);
  prune(2, 0);
  EXPECT_THAT(names(), ElementsAre("step_00000002", "step_00000004", "step_00000005"));
  EXPECT_EQ(find_checkpoint(run_.path())->step, 4);
  save(6);
  prune(2, 0);
  EXPECT_THAT(names(), ElementsAre("step_00000004", "step_00000006"));
}

// While updates are skipped in a row, the newest checkpoint from before them is worth more than
// those that came after.
TEST_F(Checkpoint, TheNewestWithoutSkipsIsKept) {
  CheckpointKeeper keeper(2, 0);
  const auto save_skipped = [&](int64_t n, int64_t skipped_in_row) {
    const TrainState state{.step = n,
                           .updates = n,
                           .skipped_in_row = skipped_in_row,
                           .loss_window = {},
                           .norm_window = {}};
    save_checkpoint(run_.path(), tiny_.model, &tiny_.optimizer, state);
    keeper.saved(state);
    EXPECT_THAT(keeper.prune(run_.path()), IsEmpty());
  };
  for (int64_t n : {5, 10, 15}) save_skipped(n, 0);
  for (int64_t n : {20, 25, 30, 35}) save_skipped(n, n - 19);
  EXPECT_THAT(names(), ElementsAre("step_00000015", "step_00000030", "step_00000035"));
  EXPECT_EQ(find_applied_checkpoint(run_.path())->step, 15);
  EXPECT_EQ(find_checkpoint(run_.path())->step, 35);
  // The same found on disk, by a process that saved none of them.
  prune(1, 0);
  EXPECT_THAT(names(), ElementsAre("step_00000015", "step_00000035"));
  save_skipped(40, 0);
  save_skipped(45, 0);
  EXPECT_THAT(names(), ElementsAre("step_00000040", "step_00000045"));
}

TEST_F(Checkpoint, OfAStepIsFoundOrSaidToBeMissing) {
  for (int64_t n : {1, 2, 7}) save(n);
  EXPECT_EQ(find_checkpoint(run_.path(), 2).path, step(2));
  EXPECT_EQ(newest_step(run_.path()), 7);
  EXPECT_EQ(error_of([&] { find_checkpoint(run_.path(), 3); }),
            run_.path().string() + ": no checkpoint of step 3; there are: 7 2 1");
  fs::resize_file(step(2) / "state.json", 10);
  EXPECT_THAT(error_of([&] { find_checkpoint(run_.path(), 2); }), HasSubstr("10 bytes, expected"));
}

TEST_F(Checkpoint, LaterOnesAreSetAside) {
  for (int64_t n : {1, 2, 7}) save(n);
  EXPECT_THAT(set_aside_after(run_.path(), 7), IsEmpty());
  EXPECT_THAT(names(), ElementsAre("step_00000001", "step_00000002", "step_00000007"));
  EXPECT_THAT(set_aside_after(run_.path(), 1),
              ElementsAre(run_ / "aside" / "step_00000002", run_ / "aside" / "step_00000007"));
  save(7);
  EXPECT_THAT(set_aside_after(run_.path(), 1), ElementsAre(run_ / "aside" / "step_00000007.2"));
  EXPECT_THAT(names(), ElementsAre("aside", "step_00000001"));
}

TEST_F(Checkpoint, NothingThatIsNotFiniteIsWritten) {
  save(1);
  const float bad[] = {NAN, INFINITY, -INFINITY};
  for (const float value : bad) {
    const std::pair<Tensor, std::string> arenas[] = {{tiny_.model.params(), "weight "},
                                                     {tiny_.optimizer.m(), "first moment of "},
                                                     {tiny_.optimizer.v(), "second moment of "}};
    for (const auto& [arena, what] : arenas) {
      tiny_.fill(2);
      const Parameter& p = tiny_.model.table().all()[3];
      arena.as<float>()[p.offset + 1] = value;
      TrainState state{.step = 2, .loss_window = {}, .norm_window = {}};
      EXPECT_EQ(
          error_of([&] { save_checkpoint(run_.path(), tiny_.model, &tiny_.optimizer, state); }),
          fmt::format("step 2: {}{} holds {} at element 1, expected finite numbers; nothing is "
                      "saved",
                      what, p.name, value));
      EXPECT_THAT(names(), ElementsAre("step_00000001"));
    }
  }
  // The largest numbers are finite.
  tiny_.fill(2);
  tiny_.model.params().as<float>()[0] = std::numeric_limits<float>::max();
  save_checkpoint(run_.path(), tiny_.model, &tiny_.optimizer,
                  {.step = 2, .loss_window = {}, .norm_window = {}});
}

// What cannot be written is an Error, and what was there before stays.
TEST_F(Checkpoint, AFullDiskLosesNothing) {
  save(1);
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 1000, before.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error = error_of([&] { save(2); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, previous);
  EXPECT_THAT(error, HasSubstr("model.safetensors: cannot write"));
  EXPECT_THAT(names(), ElementsAre("step_00000001"));
  EXPECT_EQ(find_checkpoint(run_.path())->step, 1);
}

TEST_F(Checkpoint, NoSpaceLosesNothing) {
  const fs::path disk = run_ / "disk";
  fs::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=64k") != 0)
    GTEST_SKIP() << "mounting a small file system needs root";
  TrainState state;
  int saved = 0;
  const std::string error = error_of([&] {
    for (;; ++saved) {
      state.step = saved;
      save_checkpoint(disk, tiny_.model, &tiny_.optimizer, state);
    }
  });
  EXPECT_THAT(error, HasSubstr("No space left on device"));
  EXPECT_GT(saved, 0);
  EXPECT_EQ(find_checkpoint(disk)->step, saved - 1);
  EXPECT_EQ(std::distance(fs::directory_iterator(disk), {}), saved);
  ASSERT_EQ(::umount(disk.c_str()), 0);
}

TEST_F(Checkpoint, AReadOnlyDirectoryIsAnError) {
  if (::getuid() == 0) {  // root writes where the mode forbids it, but not everywhere
    EXPECT_THAT(error_of([&] { save_checkpoint("/proc", tiny_.model, nullptr, {}); }),
                HasSubstr("cannot create"));
    return;
  }
  fs::permissions(run_.path(), fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THAT(error_of([&] { save(1); }), HasSubstr("Permission denied"));
  fs::permissions(run_.path(), fs::perms::owner_all);
}

}  // namespace
}  // namespace midfill
