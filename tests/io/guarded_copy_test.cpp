#include "src/io/guarded_copy.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>

#include "src/io/file.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

// A map of four pages over a file that has one.
class GuardedCopy : public testing::Test {
 protected:
  GuardedCopy() : page_(static_cast<size_t>(::sysconf(_SC_PAGESIZE))) {
    test::write_text(dir_ / "one", std::string(page_, 'x'));
    const int fd = ::open((dir_ / "one").c_str(), O_RDONLY);
    map_ = static_cast<char*>(::mmap(nullptr, 4 * page_, PROT_READ, MAP_SHARED, fd, 0));
    ::close(fd);
  }
  ~GuardedCopy() override { ::munmap(map_, 4 * page_); }

  test::TemporaryDirectory dir_;
  size_t page_;
  char* map_;
  std::array<char, 64> out_{};
};

TEST_F(GuardedCopy, CopiesWhatIsThereAndReportsWhatIsNot) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(copy_from_map(out_.data(), map_, out_.size()));
    EXPECT_EQ(std::string(out_.data(), out_.size()), std::string(out_.size(), 'x'));
    EXPECT_FALSE(copy_from_map(out_.data(), map_ + page_, out_.size()));
    EXPECT_FALSE(copy_from_map(out_.data(), map_ + page_ - 8, out_.size()));
  }
}

TEST_F(GuardedCopy, LeavesOtherBusErrorsAlone) {
  EXPECT_FALSE(copy_from_map(out_.data(), map_ + page_, out_.size()));
  EXPECT_EXIT(static_cast<void>(*static_cast<volatile char*>(map_ + page_)),
              testing::KilledBySignal(SIGBUS), "");
}

TEST(MappedFile, SaysWhenTheFileIsCut) {
  const test::TemporaryDirectory dir;
  test::write_text(dir / "f", std::string(10000, 'y'));
  const MappedFile file(dir / "f");
  std::array<std::byte, 16> out{};
  file.read(9000, out);
  EXPECT_EQ(out[15], std::byte{'y'});
  std::filesystem::resize_file(dir / "f", 20000);  // a file that grows has still what is mapped
  file.read(9000, out);
  for (const uint64_t size : {9999, 100, 0}) {
    std::filesystem::resize_file(dir / "f", size);
    EXPECT_EQ(test::error_of([&] { file.read(9000, out); }),
              (dir / "f").string() + ": ends at byte " + std::to_string(size) +
                  ", expected 10000 bytes; was it cut while in use?");
  }
}

}  // namespace
}  // namespace midfill
