#include "src/io/file_lock.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>

#include "tests/support/test_support.h"

namespace midfill {
namespace {

TEST(FileLock, IsHeldByOne) {
  const test::TemporaryDirectory dir;
  std::optional<FileLock> first(dir / "lock");
  EXPECT_EQ(first->state(), FileLock::State::held);
  EXPECT_EQ(first->warning(), "");
  {
    const FileLock second(dir / "lock");
    EXPECT_EQ(second.state(), FileLock::State::taken);
    EXPECT_EQ(second.holder(), fmt::format("process {}", ::getpid()));
  }
  first.reset();
  EXPECT_EQ(FileLock(dir / "lock").state(), FileLock::State::held);
}

TEST(FileLock, WhereItCannotBeThereIsAnError) {
  const test::TemporaryDirectory dir;
  EXPECT_NE(test::error_of([&] { FileLock lock(dir / "absent" / "lock"); }).find("cannot open"),
            std::string::npos);
  std::filesystem::create_symlink(dir / "elsewhere", dir / "link");
  EXPECT_NE(test::error_of([&] { FileLock lock(dir / "link"); }).find("cannot open"),
            std::string::npos);
}

}  // namespace
}  // namespace midfill
