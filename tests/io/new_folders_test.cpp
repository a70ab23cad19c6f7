#include "src/io/new_folders.h"

#include <sys/stat.h>
#include <unistd.h>

#include "kernels/common/check.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using test::error_of;

size_t count(const fs::path& directory) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(directory), {}));
}

TEST(NewFolders, MakesWhatIsMissingAndKeepsIt) {
  const test::TemporaryDirectory root;
  for (const char* output : {"a/b/c/file", "a/x/file", "d//e/./file", "g/../h/file", "i/j/"}) {
    const fs::path path = root / output;
    { const NewFolders folders(path); }
    EXPECT_TRUE(fs::is_directory(path.parent_path())) << output;
    { const NewFolders again(path); }
    EXPECT_TRUE(fs::is_directory(path.parent_path())) << output;
  }
  EXPECT_FALSE(fs::exists(root / "a/b/c/file"));
}

TEST(NewFolders, AnExceptionTakesBackWhatIsStillEmpty) {
  const test::TemporaryDirectory root;
  const auto fail_in = [&](const std::string& output, const std::string& left = "") {
    EXPECT_EQ(error_of([&] {
                const NewFolders folders(root / output);
                EXPECT_TRUE(fs::is_directory((root / output).parent_path()));
                if (!left.empty()) test::write_text(root / left, "x");
                fail("what came after");
              }),
              "what came after");
  };
  fail_in("a/b/file");
  EXPECT_EQ(count(root.path()), 0u);
  fs::create_directories(root / "there");
  fail_in("there/b/c/file");
  EXPECT_TRUE(fs::is_directory(root / "there")) << "it was there before";
  EXPECT_EQ(count(root / "there"), 0u);
  fail_in("there/b/c/file", "there/b/other");
  EXPECT_EQ(test::read_text(root / "there/b/other"), "x");
  EXPECT_FALSE(fs::exists(root / "there/b/c"));
}

// Within the handling of another exception, too, only one that ends the scope counts.
TEST(NewFolders, AnExceptionThatIsHandledTakesNothingBack) {
  const test::TemporaryDirectory root;
  struct Cleanup {
    const test::TemporaryDirectory& root;
    ~Cleanup() { const NewFolders folders(root / "a/file"); }
  };
  EXPECT_EQ(error_of([&] {
              const Cleanup cleanup{root};
              fail("outside");
            }),
            "outside");
  EXPECT_TRUE(fs::is_directory(root / "a"));
}

TEST(NewFolders, SaysWhatIsInTheWay) {
  const test::TemporaryDirectory root;
  test::write_text(root / "file", "x");
  fs::create_symlink(root / "nowhere", root / "link");
  for (const char* output : {"file/out", "file/a/b/out", "a/../file/out"}) {
    const std::string expected =
        fmt::format("{}: cannot create: {} is no directory", (root / output).string(),
                    (output[0] == 'a' ? root / "a/../file" : root / "file").string());
    fs::create_directory(root / "a");
    EXPECT_EQ(error_of([&] { NewFolders folders(root / output); }), expected);
    EXPECT_EQ(error_of([&] { check_folders(root / output); }), expected);
  }
  EXPECT_NE(error_of([&] { NewFolders folders(root / "link/out"); }).find("link is no directory"),
            std::string::npos);
  EXPECT_NE(error_of([&] { NewFolders folders("/proc/nowhere/a/out"); }).find("/proc/nowhere: "),
            std::string::npos);
  EXPECT_EQ(count(root.path()), 3u);
  if (::geteuid() == 0) return;
  fs::create_directory(root / "closed");
  ::chmod((root / "closed").c_str(), 0500);
  for (const auto& action :
       {std::function<void()>([&] { NewFolders folders(root / "closed/a/out"); }),
        std::function<void()>([&] { check_folders(root / "closed/a/out"); })})
    EXPECT_NE(error_of(action).find("Permission denied"), std::string::npos);
}

TEST(NewFolders, CheckingMakesNothing) {
  const test::TemporaryDirectory root;
  check_folders(root / "a/b/out");
  check_folders(root / "out");
  check_folders("out");
  EXPECT_EQ(count(root.path()), 0u);
}

}  // namespace
}  // namespace midfill
