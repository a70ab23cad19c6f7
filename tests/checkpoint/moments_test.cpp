#include "src/checkpoint/moments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/checkpoint/safetensors.h"
#include "tests/checkpoint/tiny_model.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using testing::HasSubstr;

class Moments : public testing::Test {
 protected:
  Moments() { tiny_.fill(1); }

  // Writes one shard with elements [begin, end) of the arena, as one of several writers would.
  void write_shard(const std::string& name, int64_t begin, int64_t end) {
    std::vector<SafetensorsEntry> entries;
    std::map<std::string, std::string> begins;
    for (const Parameter& p : tiny_.model.table().all()) {
      const int64_t first = std::max(begin, p.offset), last = std::min(end, p.offset + p.numel);
      if (first >= last) continue;
      for (const auto& [letter, arena] :
           {std::pair('m', tiny_.optimizer.m()), std::pair('v', tiny_.optimizer.v())}) {
        const std::string tensor = fmt::format("{}.{}", letter, p.name);
        entries.push_back({tensor,
                           "F32",
                           {last - first},
                           std::as_bytes(std::span(arena.as<float>() + first,
                                                   static_cast<size_t>(last - first)))});
        begins[tensor] = std::to_string(first - p.offset);
      }
    }
    write_safetensors(directory_ / name, entries, begins, AtomicFile::Existing::replace);
  }
  void write_three(int64_t a, int64_t b) {
    write_shard("optimizer-00000-of-00003.safetensors", 0, a);
    write_shard("optimizer-00001-of-00003.safetensors", a, b);
    write_shard("optimizer-00002-of-00003.safetensors", b, numel());
  }
  int64_t numel() const { return tiny_.model.table().arena_numel(); }
  bool read() {
    return read_moments(directory_.path(), loaded_.model.table(), loaded_.optimizer.m(),
                        loaded_.optimizer.v());
  }
  bool equal() const {
    for (const Parameter& p : tiny_.model.table().all())
      for (int64_t i = p.offset; i < p.offset + p.numel; ++i)
        if (tiny_.optimizer.m().as<float>()[i] != loaded_.optimizer.m().as<float>()[i] ||
            tiny_.optimizer.v().as<float>()[i] != loaded_.optimizer.v().as<float>()[i])
          return false;
    return true;
  }

  test::TemporaryDirectory directory_;
  test::TinyModel tiny_, loaded_;
};

TEST_F(Moments, AnyNumberOfShardsLoads) {
  EXPECT_FALSE(read());
  write_moments(directory_.path(), tiny_.model.table(), tiny_.optimizer.m(), tiny_.optimizer.v());
  EXPECT_TRUE(read());
  EXPECT_TRUE(equal());
  fs::remove(directory_ / "optimizer-00000-of-00001.safetensors");

  loaded_.fill(9);
  EXPECT_FALSE(equal());
  write_three(numel() / 3, numel() / 2 + 5);  // cuts inside parameters
  EXPECT_TRUE(read());
  EXPECT_TRUE(equal());
}

TEST_F(Moments, MissingShardsAreSeen) {
  write_three(100, 300);
  fs::remove(directory_ / "optimizer-00001-of-00003.safetensors");
  EXPECT_THAT(error_of([&] { read(); }), HasSubstr("no optimizer shard 1 of 3"));
  write_three(100, 300);
  write_shard("optimizer-00000-of-00001.safetensors", 0, numel());
  EXPECT_THAT(error_of([&] { read(); }), HasSubstr("shards of"));
  fs::remove(directory_ / "optimizer-00000-of-00001.safetensors");
  write_shard("optimizer-00003-of-00003.safetensors", 0, 1);
  EXPECT_THAT(error_of([&] { read(); }), HasSubstr("past the 3 expected"));
}

TEST_F(Moments, HolesAndOverlapsAreSeen) {
  write_three(100, 300);
  write_shard("optimizer-00001-of-00003.safetensors", 110, 300);
  EXPECT_THAT(error_of([&] { read(); }), HasSubstr("leave a hole"));
  write_shard("optimizer-00001-of-00003.safetensors", 90, 300);
  EXPECT_THAT(error_of([&] { read(); }), HasSubstr("overlap"));
  write_three(100, 300);
  write_shard("optimizer-00002-of-00003.safetensors", 300, numel() - 70);
  EXPECT_THAT(error_of([&] { read(); }), HasSubstr("end at element"));
}

TEST_F(Moments, WrongSlicesAreSeen) {
  const std::vector<float> data(8);
  const auto refused = [&](const char* name, const char* dtype, const char* begin) {
    std::map<std::string, std::string> begins;
    if (begin) begins[name] = begin;
    write_safetensors(directory_ / "optimizer-00000-of-00001.safetensors",
                      {{name, dtype, {8}, std::as_bytes(std::span(data))}}, begins,
                      AtomicFile::Existing::replace);
    return error_of([&] { read(); });
  };
  const char* bias = "m.gpt_neox.final_layer_norm.bias";  // 8 elements
  EXPECT_THAT(refused("m.nobody", "F32", "0"), HasSubstr("of no parameter of this model"));
  EXPECT_THAT(refused(bias, "I32", "0"), HasSubstr("expected flat F32"));
  EXPECT_THAT(refused(bias, "F32", nullptr), HasSubstr("from nowhere"));
  for (const char* begin :
       {"1", "-1", "x", "0x", "", "9223372036854775807", "18446744073709551616"})
    EXPECT_THAT(refused(bias, "F32", begin), HasSubstr("expected one within 8")) << begin;
}

}  // namespace
}  // namespace midfill
