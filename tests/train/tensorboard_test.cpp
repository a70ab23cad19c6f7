#include "src/train/tensorboard.h"

#include <algorithm>
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

std::vector<std::string> names_in(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

// TensorBoard reads event files in the order of their names: a new one must come last.
void expect_new_files_come_last(const std::filesystem::path& directory, int files) {
  for (int i = 0; i < files; ++i) {
    const auto before = names_in(directory);
    const TensorBoard board(directory, i);
    const auto after = names_in(directory);
    ASSERT_EQ(after.size(), before.size() + 1);
    EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin())) << after.back();
    EXPECT_NE(after.back().find("tfevents"), std::string::npos);
    EXPECT_LT(after.back().size(), 120u) << "names do not grow from start to start";
  }
}

TEST(TensorBoard, FilesOfOneSecondSortInTheirOrder) {
  const test::TemporaryDirectory dir;
  expect_new_files_come_last(dir.path(), 12);
}

TEST(TensorBoard, NewFilesComeAfterThoseOfAClockThatRanAhead) {
  const test::TemporaryDirectory dir;
  test::write_text(dir / "events.out.tfevents.4000000000.000000.midfill", "");
  expect_new_files_come_last(dir.path(), 12);
}

TEST(TensorBoard, NewFilesComeAfterThoseOfOtherPrograms) {
  for (const char* name :
       {"events.out.tfevents.4000000000.host.123.0", "events.out.tfevents.4000000000",
        "events.out.tfevents.9.host", "events.out.tfevents.99999999999999999999999.host",
        "events.out.tfevents.host", "zzz.tfevents", "events.out.tfevents.4000000000.999999.midfill",
        "events.out.tfevents.4000000000.0000000.midfill", "tfevents\n~.1.midfill",
        "events.out.tfevents.4000000000.host.123.0.profile-empty"}) {
    SCOPED_TRACE(name);
    const test::TemporaryDirectory dir;
    test::write_text(dir / name, "");
    expect_new_files_come_last(dir.path(), 3);
  }
}

TEST(TensorBoard, OtherFilesDoNotCount) {
  const test::TemporaryDirectory dir;
  test::write_text(dir / "zzz.txt", "");
  { const TensorBoard board(dir.path(), 0); }
  EXPECT_EQ(names_in(dir.path()).front().substr(0, 20), "events.out.tfevents.");
}

TEST(TensorBoard, DoesNotBringADeletedRunBack) {
  const test::TemporaryDirectory dir;
  EXPECT_NE(
      test::error_of([&] { TensorBoard(dir / "run" / "tensorboard", 0); }).find("cannot create"),
      std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(dir / "run"));
}

}  // namespace
}  // namespace midfill
