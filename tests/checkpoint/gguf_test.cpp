#include "src/checkpoint/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/common/check.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using testing::HasSubstr;

// A file as the format says, piece by piece.
struct Bytes {
  std::string text;
  template <typename Number>
  Bytes& operator<<(Number number) {
    text.append(reinterpret_cast<const char*>(&number), sizeof number);
    return *this;
  }
  Bytes& string(const std::string& s) {
    *this << uint64_t{s.size()};
    text += s;
    return *this;
  }
  Bytes& pad() {
    text.resize((text.size() + 31) / 32 * 32, '\0');
    return *this;
  }
};

class Gguf : public testing::Test {
 protected:
  void write(const GgufKeys& keys, const std::vector<GgufTensor>& tensors) {
    AtomicFile file(path_);
    write_gguf(file, path_, keys, tensors);
    file.commit();
  }
  test::TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "x.gguf";
};

TEST_F(Gguf, IsWhatTheFormatSays) {
  GgufKeys keys;
  keys.add("text", "é");
  keys.add("number", uint32_t{7});
  keys.add("real", 0.5f);
  keys.add("yes", true);
  const std::vector<int32_t> numbers = {-1, 2};
  const std::vector<std::string> strings = {"", "ab"};
  keys.add("numbers", std::span<const int32_t>(numbers));
  keys.add("strings", std::span<const std::string>(strings));
  const std::vector<float> a = {1, 2, 3, 4, 5, 6}, b = {1, -0.5f, 65504};
  write(keys,
        {{.name = "a",
          .dtype = GgufDtype::f32,
          .shape = {2, 3},
          .parts = {std::span(a).last(3), std::span(a).first(3)}},
         {.name = "b", .dtype = GgufDtype::f16, .shape = {3}, .parts = {std::span(b)}},
         {.name = "c", .dtype = GgufDtype::bf16, .shape = {1}, .parts = {std::span(b).first(1)}}});

  Bytes e;
  e.text = "GGUF";
  e << uint32_t{3} << uint64_t{3} << uint64_t{6};
  e.string("text") << uint32_t{8};
  e.string("é").string("number") << uint32_t{4} << uint32_t{7};
  e.string("real") << uint32_t{6} << 0.5f;
  e.string("yes") << uint32_t{7} << uint8_t{1};
  e.string("numbers") << uint32_t{9} << uint32_t{5} << uint64_t{2} << int32_t{-1} << int32_t{2};
  e.string("strings") << uint32_t{9} << uint32_t{8} << uint64_t{2};
  e.string("").string("ab");
  e.string("a") << uint32_t{2} << uint64_t{3} << uint64_t{2} << uint32_t{0} << uint64_t{0};
  e.string("b") << uint32_t{1} << uint64_t{3} << uint32_t{1} << uint64_t{32};
  e.string("c") << uint32_t{1} << uint64_t{1} << uint32_t{30} << uint64_t{64};
  e.pad() << 4.0f << 5.0f << 6.0f << 1.0f << 2.0f << 3.0f;
  e.pad() << uint16_t{0x3c00} << uint16_t{0xb800} << uint16_t{0x7bff};
  e.pad() << uint16_t{0x3f80};
  e.pad();
  EXPECT_EQ(test::read_text(path_), e.text);
}

TEST_F(Gguf, RefusesWhatIsNotFinite) {
  std::vector<float> values(100'000, 1.0f);  // more than is converted at once
  const auto refused = [&](GgufDtype dtype, float value) {
    values[90'001] = value;
    const std::string error = error_of([&] {
      write({}, {{.name = "w", .dtype = dtype, .shape = {100'000}, .parts = {std::span(values)}}});
    });
    EXPECT_THAT(error, HasSubstr("x.gguf: tensor \"w\" holds ")) << value;
    EXPECT_THAT(error, HasSubstr(" at element 90001, which is no finite number in "));
    EXPECT_TRUE(std::filesystem::is_empty(directory_.path())) << "something was left";
  };
  for (const GgufDtype dtype : {GgufDtype::f32, GgufDtype::f16, GgufDtype::bf16})
    for (const float value : {NAN, INFINITY, -INFINITY}) refused(dtype, value);
  refused(GgufDtype::f16, 65520);
  refused(GgufDtype::f16, -1e9f);
  refused(GgufDtype::bf16, std::numeric_limits<float>::max());
}

TEST_F(Gguf, RefusesPartsThatAreNotTheShape) {
  const std::vector<float> values(5);
  EXPECT_THAT(error_of([&] {
                write({}, {{.name = "w",
                            .dtype = GgufDtype::f32,
                            .shape = {2, 3},
                            .parts = {std::span(values)}}});
              }),
              HasSubstr("tensor \"w\": 5 elements for a shape of 6"));
}

}  // namespace
}  // namespace midfill
