#include "src/checkpoint/atomic_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "kernels/common/check.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using testing::HasSubstr;

size_t count(const fs::path& directory) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(directory), {}));
}

// The pid of a process that has ended.
pid_t dead_pid() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

TEST(AtomicDirectory, AppearsOnlyWithCommit) {
  const test::TemporaryDirectory root;
  const fs::path target = root / "a";
  {
    AtomicDirectory directory(target);
    test::write_text(directory.path() / "file", "x");
    EXPECT_FALSE(fs::exists(target));
  }
  EXPECT_EQ(count(root.path()), 0u);
  AtomicDirectory directory(target);
  test::write_text(directory.path() / "file", "x");
  directory.commit();
  EXPECT_EQ(test::read_text(target / "file"), "x");
  EXPECT_EQ(count(root.path()), 1u);
}

TEST(AtomicDirectory, RefusesWhatExistsUnlessEmpty) {
  const test::TemporaryDirectory root;
  fs::create_directory(root / "full");
  test::write_text(root / "full" / "file", "precious");
  EXPECT_THAT(error_of([&] { AtomicDirectory directory(root / "full"); }),
              HasSubstr("refusing to overwrite"));
  EXPECT_THAT(error_of([&] { AtomicDirectory directory(root / "full" / "file"); }),
              HasSubstr("refusing to overwrite"));
  EXPECT_THAT(error_of([&] { AtomicDirectory directory(root / "full" / "file" / "below"); }),
              HasSubstr("cannot create"));
  fs::create_directory(root / "empty");
  AtomicDirectory directory(root.path() / "empty/");
  // Filled after the check: the rename must not replace it either.
  test::write_text(root / "empty" / "late", "precious");
  EXPECT_THAT(error_of([&] { directory.commit(); }), HasSubstr("cannot rename"));
  fs::remove(root / "empty" / "late");
  directory.commit();
  EXPECT_TRUE(fs::exists(root / "empty"));
}

TEST(AtomicDirectory, ReplacesWhereAsked) {
  const test::TemporaryDirectory root;
  fs::create_directory(root / "a");
  test::write_text(root / "a" / "old", "old");
  AtomicDirectory directory(root / "a", AtomicDirectory::Existing::replace);
  test::write_text(directory.path() / "new", "new");
  directory.commit();
  EXPECT_TRUE(fs::exists(root / "a" / "new"));
  EXPECT_FALSE(fs::exists(root / "a" / "old"));
  EXPECT_EQ(count(root.path()), 1u);
}

TEST(AtomicDirectory, LeftoversOfTheDeadAreRemoved) {
  const test::TemporaryDirectory root;
  const auto leave = [&](const std::string& name) {
    fs::create_directory(root / name);
    test::write_text(root / name / "file", "x");
  };
  const std::string dead = std::to_string(dead_pid()), living = std::to_string(::getppid());
  leave(".tmp-step_1-" + dead);
  leave(".tmp-step_2-" + living);
  leave(".tmp-other-" + dead);
  leave(".tmp-step_without_pid");
  leave("step_3");
  EXPECT_TRUE(remove_leftovers(root.path(), "step_", OtherWriters::possible).empty());
  EXPECT_FALSE(fs::exists(root / (".tmp-step_1-" + dead)));
  EXPECT_TRUE(fs::exists(root / (".tmp-step_2-" + living)));
  EXPECT_TRUE(fs::exists(root / (".tmp-other-" + dead)));
  EXPECT_TRUE(fs::exists(root / "step_3"));
  EXPECT_EQ(count(root.path()), 4u);

  EXPECT_TRUE(remove_leftovers(root.path(), "step_", OtherWriters::locked_out).empty());
  EXPECT_FALSE(fs::exists(root / (".tmp-step_2-" + living)));
  EXPECT_EQ(count(root.path()), 3u);

  leave(".tmp-a-" + dead);
  AtomicDirectory directory(root / "a");
  EXPECT_FALSE(fs::exists(root / (".tmp-a-" + dead)));
}

TEST(AtomicDirectory, RemoveDirectoryLeavesNothing) {
  const test::TemporaryDirectory root;
  fs::create_directories(root / "a" / "b");
  remove_directory(root / "a");
  EXPECT_EQ(count(root.path()), 0u);
  EXPECT_THAT(error_of([&] { remove_directory(root / "a"); }), HasSubstr("cannot rename"));
}

}  // namespace
}  // namespace midfill
