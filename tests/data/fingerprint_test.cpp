#include "src/data/fingerprint.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "tests/support/test_support.h"

namespace midfill {
namespace {

TEST(Fingerprint, NamesContentsAndNotPlaces) {
  const test::TemporaryDirectory dir;
  const std::string text(600'000, 'x');  // more than two blocks
  test::write_text(dir / "a", text);
  test::write_text(dir / "b", text);
  const std::string name = fingerprint_of_file(dir / "a");
  EXPECT_EQ(name.size(), 32u);
  EXPECT_EQ(fingerprint_of_file(dir / "b"), name);
  std::set<std::string> names = {name};
  for (const size_t at : {size_t{0}, size_t{262'143}, size_t{262'144}, text.size() - 1}) {
    std::string other = text;
    other[at] = 'y';
    test::write_text(dir / "b", other);
    EXPECT_TRUE(names.insert(fingerprint_of_file(dir / "b")).second) << at;
  }
  test::write_text(dir / "b", text + "x");
  EXPECT_TRUE(names.insert(fingerprint_of_file(dir / "b")).second);
  test::write_text(dir / "b", "");
  EXPECT_TRUE(names.insert(fingerprint_of_file(dir / "b")).second);
  EXPECT_NE(test::error_of([&] { fingerprint_of_file(dir / "absent"); }).find("absent"),
            std::string::npos);
}

TEST(Fingerprint, OfADatasetIsThatOfBothFiles) {
  const test::TemporaryDirectory dir;
  const auto name = [&](const std::string& bin, const std::string& idx) {
    test::write_text(dir / "d.bin", bin);
    test::write_text(dir / "d.idx", idx);
    return fingerprint_of_dataset(dir / "d");
  };
  const std::set<std::string> names = {name("ab", "c"), name("a", "bc"), name("ab", "d"),
                                       name("", "abc")};
  EXPECT_EQ(names.size(), 4u);
}

// Of a large file only some blocks are read: its first and last bytes are among them, and so is a
// change of everything. Sparse, so that it takes no room.
TEST(Fingerprint, OfALargeFileTakesItsEndsAndWhatLiesBetween) {
  const test::TemporaryDirectory dir;
  constexpr off_t kBytes = off_t{3} << 30;
  const int fd = ::open((dir / "large").c_str(), O_RDWR | O_CREAT, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::ftruncate(fd, kBytes), 0);
  std::set<std::string> names = {fingerprint_of_file(dir / "large")};
  for (const off_t at : {off_t{0}, kBytes - 1}) {
    ASSERT_EQ(::pwrite(fd, "x", 1, at), 1);
    EXPECT_TRUE(names.insert(fingerprint_of_file(dir / "large")).second) << at;
  }
  ASSERT_EQ(::ftruncate(fd, kBytes + 1), 0);
  EXPECT_TRUE(names.insert(fingerprint_of_file(dir / "large")).second);
  // One block of every stride is read.
  const std::string block(size_t{1} << 22, 'y');
  ASSERT_EQ(::pwrite(fd, block.data(), block.size(), kBytes / 2), std::ssize(block));
  EXPECT_TRUE(names.insert(fingerprint_of_file(dir / "large")).second);
  ::close(fd);
}

}  // namespace
}  // namespace midfill
