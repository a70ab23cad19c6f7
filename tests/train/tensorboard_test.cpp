#include "src/train/tensorboard.h"

#include <cstring>

#include "tests/support/test_support.h"

namespace midfill {
namespace {

// RFC 3720, B.4, and the check value of the CRC catalogue.
TEST(Crc32c, GivesThePublishedValues) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  EXPECT_EQ(crc32c(""), 0u);
}

uint32_t masked(uint32_t crc) {
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

// The payloads of a file, each with both checksums verified.
std::vector<std::string> records(const std::filesystem::path& path) {
  const std::string text = test::read_text(path);
  std::vector<std::string> out;
  const auto u32_at = [&](size_t at) {
    uint32_t value = 0;
    std::memcpy(&value, text.data() + at, 4);
    return value;
  };
  for (size_t at = 0; at < text.size();) {
    uint64_t size = 0;
    std::memcpy(&size, text.data() + at, 8);
    EXPECT_EQ(u32_at(at + 8), masked(crc32c(std::string_view(text).substr(at, 8))));
    out.push_back(text.substr(at + 12, size));
    EXPECT_EQ(u32_at(at + 12 + size), masked(crc32c(out.back())));
    at += 16 + size;
  }
  return out;
}

TEST(TensorBoard, FramesItsRecords) {
  const test::TemporaryDirectory dir;
  {
    TensorBoard board(dir / "tensorboard", 7);
    board.scalars(8, {{"train/loss", 1.5}, {"train/lr", 0.25}});
  }
  const auto file = *std::filesystem::directory_iterator(dir / "tensorboard");
  EXPECT_NE(file.path().string().find("tfevents"), std::string::npos);
  const auto found = records(file.path());
  ASSERT_EQ(found.size(), 3u);
  EXPECT_NE(found[0].find("brain.Event:2"), std::string::npos);
  EXPECT_NE(found[1].find(std::string("\x10\x08\x3a\x02\x08\x01", 6)), std::string::npos)
      << "step 8, session_log START";
  EXPECT_NE(found[2].find("train/loss"), std::string::npos);
  EXPECT_NE(found[2].find(std::string("\x15\x00\x00\xc0\x3f", 5)), std::string::npos) << "1.5f";
}

TEST(TensorBoard, FilesOfOneSecondSortInTheirOrder) {
  const test::TemporaryDirectory dir;
  std::vector<std::string> names;
  for (int i = 0; i < 12; ++i) {
    const TensorBoard board(dir.path(), i);
    std::string newest;
    for (const auto& entry : std::filesystem::directory_iterator(dir.path()))
      newest = std::max(newest, entry.path().string());
    names.push_back(newest);
  }
  for (size_t i = 1; i < names.size(); ++i) EXPECT_LT(names[i - 1], names[i]);
}

}  // namespace
}  // namespace midfill
