#include "src/io/growing_file.h"

#include <array>

#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::read_text;
using test::TemporaryDirectory;
using test::write_text;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(GrowingFile, AppendsSmallAndLarge) {
  const TemporaryDirectory dir;
  std::string expected;
  GrowingFile file(dir / "f");
  for (const size_t bytes : {1, 0, 1000, 300'000, 7, 262'143, 262'144, 262'145, 3}) {
    const std::string more(bytes, static_cast<char>('a' + expected.size() % 26));
    file.append(more);
    expected += more;
    EXPECT_EQ(file.length(), expected.size());
  }
  std::array<std::byte, 5> middle{};
  file.read_at(expected.size() - 5, middle);  // of what is still in the buffer
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(middle.data()), 5),
            expected.substr(expected.size() - 5));
  file.write_at(0, std::as_bytes(std::span("XYZ", 3)));
  expected.replace(0, 3, "XYZ");
  file.append("end");
  file.sync();
  EXPECT_TRUE(read_text(dir / "f") == expected + "end");
}

TEST(GrowingFile, GoesOnAtALength) {
  const TemporaryDirectory dir;
  {
    GrowingFile file(dir / "f");
    file.append("kept, ");
    file.sync();
    file.append("lost");
  }
  write_text(dir / "f", "kept, written but not synced");
  GrowingFile file(dir / "f", 6);
  file.append("new");
  file.sync();
  EXPECT_EQ(read_text(dir / "f"), "kept, new");
}

TEST(GrowingFile, RefusesAFileThatIsShorter) {
  const TemporaryDirectory dir;
  write_text(dir / "f", "short");
  EXPECT_SAYS(error_of([&] { GrowingFile(dir / "f", 6); }), "5 bytes, expected at least 6");
  EXPECT_SAYS(error_of([&] { GrowingFile(dir / "absent", 1); }), "0 bytes, expected at least 1");
  EXPECT_SAYS(error_of([&] { GrowingFile(dir.path()); }), "cannot create");
  GrowingFile file(dir / "f", 5);
  std::array<std::byte, 6> more{};
  EXPECT_SAYS(error_of([&] { file.read_at(0, more); }), "ends at byte 5");
}

TEST(PublishFile, NeverReplaces) {
  const TemporaryDirectory dir;
  write_text(dir / "staged", "new");
  write_text(dir / "final", "precious");
  EXPECT_SAYS(error_of([&] { publish_file(dir / "staged", dir / "final"); }), "already exists");
  EXPECT_EQ(read_text(dir / "final"), "precious");
  EXPECT_EQ(read_text(dir / "staged"), "new");
  std::filesystem::remove(dir / "final");
  publish_file(dir / "staged", dir / "final");
  EXPECT_EQ(read_text(dir / "final"), "new");
  EXPECT_FALSE(std::filesystem::exists(dir / "staged"));
}

}  // namespace
}  // namespace midfill
