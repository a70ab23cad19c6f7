#include "src/io/file.h"

#include <sys/stat.h>

#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::TemporaryDirectory;

int entries_in(const std::filesystem::path& directory) {
  int n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory)) ++n;
  return n;
}

TEST(AtomicFile, AppearsOnlyAtCommit) {
  const TemporaryDirectory dir;
  {
    AtomicFile file(dir / "a");
    file.write("hello world");
    EXPECT_FALSE(std::filesystem::exists(dir / "a"));
    file.commit();
  }
  EXPECT_EQ(read_file(dir / "a"), "hello world");
  EXPECT_EQ(entries_in(dir.path()), 1);
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  const TemporaryDirectory dir;
  { AtomicFile(dir / "a").write("half"); }
  EXPECT_EQ(entries_in(dir.path()), 0);
}

TEST(AtomicFile, RefusesAnExistingFile) {
  const TemporaryDirectory dir;
  test::write_text(dir / "a", "old");
  EXPECT_NE(error_of([&] { AtomicFile(dir / "a"); }).find("already exists"), std::string::npos);
  // Also when the file comes into being while ours is written.
  AtomicFile late(dir / "b");
  test::write_text(dir / "b", "other");
  late.write("mine");
  EXPECT_NE(error_of([&] { late.commit(); }).find("File exists"), std::string::npos);
  EXPECT_EQ(read_file(dir / "b"), "other");
  write_file(dir / "a", "new");
  EXPECT_EQ(read_file(dir / "a"), "new");
}

TEST(AtomicFile, WritesMoreThanItsBuffer) {
  const TemporaryDirectory dir;
  const std::string big((3u << 20) + 17, 'x');
  AtomicFile file(dir / "a");
  for (size_t at = 0; at < big.size();) {
    const size_t n = std::min<size_t>(big.size() - at, 700001);
    file.write(std::string_view(big).substr(at, n));
    at += n;
  }
  file.write(big);
  file.commit();
  EXPECT_EQ(read_file(dir / "a"), big + big);
}

TEST(ReadFile, NamesWhatIsWrong) {
  const TemporaryDirectory dir;
  EXPECT_NE(error_of([&] { read_file(dir / "absent"); }).find("No such file"), std::string::npos);
  EXPECT_NE(error_of([&] { read_file(dir.path()); }).find("found a directory"), std::string::npos);
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_NE(error_of([&] { read_file(dir / "pipe"); }).find("a pipe"), std::string::npos);
  test::write_text(dir / "big", "12345");
  EXPECT_NE(error_of([&] { read_file(dir / "big", 4); }).find("expected at most 4"),
            std::string::npos);
}

TEST(MappedFile, MapsAndMoves) {
  const TemporaryDirectory dir;
  test::write_text(dir / "a", "abc");
  test::write_text(dir / "empty", "");
  MappedFile a(dir / "a");
  const MappedFile b = std::move(a);
  EXPECT_EQ(b.bytes().size(), 3u);
  EXPECT_EQ(b.bytes()[2], std::byte{'c'});
  EXPECT_EQ(MappedFile(dir / "empty").bytes().size(), 0u);
}

}  // namespace
}  // namespace midfill
