#include "src/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/common/check.h"
#include "kernels/common/rng.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using testing::HasSubstr;

// The bytes of a file with this header and this much data.
std::string file_of(const std::string& header, size_t data_bytes) {
  const uint64_t n = header.size();
  std::string bytes(reinterpret_cast<const char*>(&n), 8);
  return bytes + header + std::string(data_bytes, '\x01');
}

std::string bytes_of(const auto& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0])};
}

class Safetensors : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& bytes) {
    const auto path = directory_ / "x.safetensors";
    test::write_text(path, bytes);
    return path;
  }
  std::string refused(const std::string& bytes) {
    const auto path = write(bytes);
    const std::string error = error_of([&] { SafetensorsFile file(path); });
    EXPECT_THAT(error, HasSubstr("x.safetensors"));
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    return error;
  }
  // One tensor "a" described by `fields`, with `data_bytes` of data.
  std::string refused_tensor(const std::string& fields, size_t data_bytes) {
    return refused(file_of("{\"a\":{" + fields + "}}", data_bytes));
  }
  test::TemporaryDirectory directory_;
};

TEST_F(Safetensors, ReadsWhatItWrites) {
  const std::vector<float> a = {1, 2, 3};
  const std::vector<float> b = {-0.0f, 1e-45f, std::numeric_limits<float>::max(), 5, 6, 7};
  const auto path = directory_ / "out.safetensors";
  write_safetensors(path,
                    {{"first", "F32", {3}, std::as_bytes(std::span(a))},
                     {"second \"quoted\" é", "F32", {2, 3}, std::as_bytes(std::span(b))},
                     {"scalar", "F32", {}, std::as_bytes(std::span(a).subspan(1, 1))},
                     {"empty", "F32", {0, 4}, {}}},
                    {{"format", "pt"}});
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, test::read_text(path).data(), 8);
  EXPECT_EQ(header_bytes % 8, 0u);

  const SafetensorsFile file(path);
  ASSERT_EQ(file.entries().size(), 4u);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.entries()[0].name, "first");
  const SafetensorsEntry* second = file.find("second \"quoted\" é");
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(second->bytes.data(), b.data(), second->bytes.size()), 0);
  EXPECT_EQ(file.find("third"), nullptr);
  std::vector<float> scalar(1);
  copy_as_f32(*file.find("scalar"), path, scalar);
  EXPECT_EQ(scalar[0], 2.0f);
}

TEST_F(Safetensors, RefusesToOverwriteAndWrongSizes) {
  const std::vector<float> a = {1, 2, 3};
  const auto data = std::as_bytes(std::span(a));
  const auto path = write("precious");
  EXPECT_THAT(error_of([&] {
                write_safetensors(path, {{"a", "F32", {3}, data}}, {});
              }),
              HasSubstr("refusing to overwrite"));
  EXPECT_EQ(test::read_text(path), "precious");
  const auto other = directory_ / "other";
  EXPECT_THAT(error_of([&] {
                write_safetensors(other, {{"a", "F32", {4}, data}}, {});
              }),
              HasSubstr("12 bytes for shape (4) of F32"));
  EXPECT_THAT(error_of([&] {
                write_safetensors(other, {{"a", "F32", {3}, data}, {"a", "F32", {3}, data}}, {});
              }),
              HasSubstr("given twice"));
  EXPECT_FALSE(std::filesystem::exists(other));
}

TEST_F(Safetensors, ConvertsToF32) {
  const std::vector<uint16_t> halves = {0x3c00, 0xc000, 0x0001, 0x8001, 0x03ff, 0x0400,
                                        0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x8000, 0x3555};
  const std::vector<uint16_t> brains = {0x3f80, 0xc000, 0x0001, 0x7f80};
  const std::vector<double> doubles = {1.0, -0.1, 1e300};
  const std::string header =
      R"({"h":{"dtype":"F16","shape":[12],"data_offsets":[0,24]},)"
      R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},)"
      R"("d":{"dtype":"F64","shape":[3],"data_offsets":[32,56]},)"
      R"("i":{"dtype":"I64","shape":[1],"data_offsets":[56,64]}} )";  // odd header: unaligned data
  const auto path = write(file_of(header, 0) + bytes_of(halves) + bytes_of(brains) +
                          bytes_of(doubles) + std::string(8, '\0'));
  const SafetensorsFile file(path);

  std::vector<float> h(12);
  copy_as_f32(*file.find("h"), path, h);
  const float expected[] = {1.0f,
                            -2.0f,
                            std::ldexp(1.0f, -24),
                            -std::ldexp(1.0f, -24),
                            std::ldexp(1023.0f, -24),
                            std::ldexp(1.0f, -14),
                            65504.0f};
  for (int i = 0; i < 7; ++i) EXPECT_EQ(h[static_cast<size_t>(i)], expected[i]) << i;
  EXPECT_EQ(h[7], std::numeric_limits<float>::infinity());
  EXPECT_EQ(h[8], -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(h[9]));
  EXPECT_TRUE(h[10] == 0.0f && std::signbit(h[10]));
  EXPECT_EQ(h[11], 0.333251953125f);

  std::vector<float> b(4);
  copy_as_f32(*file.find("b"), path, b);
  EXPECT_EQ(b[0], 1.0f);
  EXPECT_EQ(b[1], -2.0f);
  EXPECT_EQ(b[2], std::ldexp(1.0f, -133));
  EXPECT_EQ(b[3], std::numeric_limits<float>::infinity());
  std::vector<float> d(3);
  copy_as_f32(*file.find("d"), path, d);
  EXPECT_EQ(d[1], -0.1f);
  EXPECT_EQ(d[2], std::numeric_limits<float>::infinity());

  std::vector<float> one(1);
  EXPECT_THAT(error_of([&] { copy_as_f32(*file.find("i"), path, one); }),
              HasSubstr("dtype I64, expected F32, F64, F16 or BF16"));
  EXPECT_THAT(error_of([&] { copy_as_f32(*file.find("d"), path, one); }),
              HasSubstr("expected 1 elements"));
}

TEST_F(Safetensors, RefusesBrokenHeaders) {
  EXPECT_THAT(refused(""), HasSubstr("0 bytes, expected at least 8"));
  EXPECT_THAT(refused("1234567"), HasSubstr("7 bytes"));
  EXPECT_THAT(refused(std::string(8, '\xff') + "{}"), HasSubstr("18446744073709551615"));
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  { const SafetensorsFile file(write(file_of(good + "   ", 8))); }  // the good twin
  std::string bytes = file_of(good, 8);
  bytes[0] = static_cast<char>(bytes[0] + 50);
  EXPECT_THAT(refused(bytes), HasSubstr("in a file of"));
  bytes = file_of(good, 8);
  const uint64_t huge = 100'000'001;
  std::memcpy(bytes.data(), &huge, 8);
  EXPECT_THAT(refused(bytes), HasSubstr("at most 100000000"));
  EXPECT_THAT(refused(file_of("", 0)), HasSubstr("does not start with '{'"));
  EXPECT_THAT(refused(file_of(" " + good, 8)), HasSubstr("does not start with '{'"));
  EXPECT_THAT(refused(file_of("[1]", 8)), HasSubstr("does not start with '{'"));
  EXPECT_THAT(refused(file_of(good + "\n", 8)), HasSubstr("does not end with '}' and spaces"));
  EXPECT_THAT(refused(file_of(good + std::string(1, '\0'), 8)), HasSubstr("does not end with"));
  EXPECT_THAT(refused(file_of(good + std::string("\0x}", 3), 8)), HasSubstr("NUL"));
  EXPECT_THAT(refused(file_of("{\"a\":}", 8)), HasSubstr("not valid JSON"));
  EXPECT_THAT(refused(file_of("{\"\xff\":1}", 8)), HasSubstr("not valid JSON"));
  EXPECT_THAT(refused(file_of(good.substr(0, good.size() - 1) + "," + good.substr(1), 8)),
              HasSubstr("stands twice"));
  EXPECT_THAT(refused(file_of("{\"a\":" + std::string(100000, '[') + "}", 8)), HasSubstr("nested"));
}

TEST_F(Safetensors, RefusesBrokenEntries) {
  EXPECT_THAT(refused(file_of(R"({"a":3})", 0)), HasSubstr("expected an object"));
  EXPECT_THAT(refused_tensor(R"("shape":[2],"data_offsets":[0,8])", 8), HasSubstr("no dtype"));
  EXPECT_THAT(refused_tensor(R"("dtype":"F32","data_offsets":[0,8])", 8), HasSubstr("no shape"));
  EXPECT_THAT(refused_tensor(R"("dtype":"F32","shape":[2])", 8), HasSubstr("no data_offsets"));
  EXPECT_THAT(refused_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1)", 8),
              HasSubstr("unknown key \"x\""));
  EXPECT_THAT(refused_tensor(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])", 8),
              HasSubstr("unknown dtype \"F33\""));
  EXPECT_THAT(refused_tensor(R"("dtype":4,"shape":[2],"data_offsets":[0,8])", 8),
              HasSubstr("dtype is a number"));
  for (const char* shape : {"2", "[-2]", "[2.0]", "[\"2\"]", "[[2]]", "[18446744073709551615]"})
    EXPECT_THAT(
        refused_tensor(fmt::format(R"("dtype":"F32","shape":{},"data_offsets":[0,8])", shape), 8),
        HasSubstr("shape"))
        << shape;
  for (const char* offsets : {"8", "[0]", "[0,4,8]", "[-1,7]", "[0,8.0]", "[0,1e99]"})
    EXPECT_THAT(
        refused_tensor(fmt::format(R"("dtype":"F32","shape":[2],"data_offsets":{})", offsets), 8),
        HasSubstr("data_offsets"))
        << offsets;
  EXPECT_THAT(refused_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])", 8),
              HasSubstr("backwards"));
  EXPECT_THAT(refused_tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])", 8),
              HasSubstr("span 8 bytes, expected 12 for shape (3) of F32"));
  // Sizes that wrap around 64 bits, to 0 and to 8.
  EXPECT_THAT(
      refused_tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])", 0),
      HasSubstr("overflows"));
  EXPECT_THAT(
      refused_tensor(R"("dtype":"F64","shape":[2305843009213693953],"data_offsets":[0,8])", 8),
      HasSubstr("overflows"));
}

TEST_F(Safetensors, RefusesHolesOverlapsAndMissingData) {
  const auto two = [&](const char* first, const char* second, size_t data) {
    return refused(file_of(fmt::format(R"({{"a":{{"dtype":"F32","shape":[2],"data_offsets":{}}},)"
                                       R"("b":{{"dtype":"F32","shape":[2],"data_offsets":{}}}}})",
                                       first, second),
                           data));
  };
  EXPECT_THAT(two("[0,8]", "[4,12]", 12), HasSubstr("overlap"));
  EXPECT_THAT(two("[0,8]", "[0,8]", 8), HasSubstr("overlap"));
  EXPECT_THAT(two("[0,8]", "[12,20]", 20), HasSubstr("hole"));
  EXPECT_THAT(two("[4,12]", "[12,20]", 20), HasSubstr("hole"));
  EXPECT_THAT(two("[0,8]", "[8,16]", 15), HasSubstr("the file has only 15"));
  EXPECT_THAT(two("[0,8]", "[8,16]", 17), HasSubstr("17 bytes of data, expected 16"));
  EXPECT_THAT(two("[0,8]", "[18446744073709551608,18446744073709551615]", 16),
              HasSubstr("expected 8 for shape"));
  EXPECT_THAT(refused(file_of("{}", 1)), HasSubstr("expected 0"));
}

TEST_F(Safetensors, RefusesBrokenMetadata) {
  EXPECT_TRUE(SafetensorsFile(write(file_of(R"({"__metadata__":null})", 0))).metadata().empty());
  EXPECT_THAT(refused(file_of(R"({"__metadata__":[1]})", 0)), HasSubstr("expected an object"));
  EXPECT_THAT(refused(file_of(R"({"__metadata__":{"k":1}})", 0)), HasSubstr("expected a string"));
  EXPECT_THAT(refused(file_of(R"({"__metadata__":{"k":{"a":"b"}}})", 0)),
              HasSubstr("expected a string"));
  const SafetensorsFile file(write(file_of(R"({"__metadata__":{"k":"v"}})", 0)));
  EXPECT_TRUE(file.entries().empty());
}

// Whatever byte is changed, the reader either refuses with an Error or gives entries inside the
// file.
TEST_F(Safetensors, SurvivesChangedBytes) {
  const std::string good = file_of(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]}})",
      12);
  Rng rng(1, Purpose::kTest);
  int accepted = 0;
  for (int round = 0; round < 800; ++round) {
    std::string bytes = good;
    for (uint64_t n = 1 + rng.below(2); n > 0; --n)
      bytes[rng.below(bytes.size())] = static_cast<char>(rng.below(256));
    const auto path = write(bytes);
    try {
      const SafetensorsFile file(path);
      for (const SafetensorsEntry& entry : file.entries()) ASSERT_LE(entry.bytes.size(), 12u);
      ++accepted;
    } catch (const Error& error) {
      ASSERT_THAT(error.what(), HasSubstr("x.safetensors"));
    }
  }
  EXPECT_GT(accepted, 0);    // changed data or names
  EXPECT_LT(accepted, 400);  // most changes hit the header
}

TEST_F(Safetensors, NamesInMessagesStayOnOneLine) {
  EXPECT_EQ(in_quotes("a\nb"), "\"a\\nb\"");
  EXPECT_LT(in_quotes(std::string(1000, 'x')).size(), 120u);
  EXPECT_EQ(in_quotes("\xff"), "\"\\ufffd\"");
}

// Found by fuzzing: a message held all of a shape.
TEST_F(Safetensors, ShapesInMessagesAreShort) {
  std::string dims = "9223372036854775807";
  for (int i = 0; i < 1000; ++i) dims += ",9223372036854775807";
  const std::string message =
      refused_tensor("\"dtype\":\"F32\",\"shape\":[" + dims + "],\"data_offsets\":[0,8]", 8);
  EXPECT_THAT(message, HasSubstr("overflows 64 bits"));
  EXPECT_LT(message.size() - directory_.path().string().size(), 400u);
}

}  // namespace
}  // namespace midfill
