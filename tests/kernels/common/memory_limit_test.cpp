#include "kernels/common/memory_limit.h"

#include <sys/resource.h>

#include <cerrno>

#include "kernels/common/buffer.h"
#include "kernels/common/check.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

// Until the end of the scope.
class Limited {
 public:
  Limited(__rlimit_resource resource, rlim_t bytes) : resource_(resource) {
    ::getrlimit(resource_, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    EXPECT_EQ(::setrlimit(resource_, &limit), 0);
  }
  ~Limited() { ::setrlimit(resource_, &before_); }

 private:
  __rlimit_resource resource_;
  rlimit before_{};
};

constexpr size_t kGib = size_t{1} << 30;

TEST(MemoryLimit, NamesTheOneOfWhichLeastIsLeft) {
  if (memory_limit().left() < 8 * kGib) GTEST_SKIP() << memory_limit().text;
  for (const auto& [resource, text] : {std::pair{RLIMIT_AS, "ulimit -v is 4194304 KiB"},
                                       {RLIMIT_DATA, "ulimit -d is 4194304 KiB"}}) {
    const Limited limited(resource, 4 * kGib);
    const MemoryLimit limit = memory_limit();
    EXPECT_EQ(limit.text, text);
    EXPECT_EQ(limit.bytes, 4 * kGib);
    EXPECT_GT(limit.used, 0u);
    EXPECT_EQ(limit.left(), limit.bytes - limit.used);
    EXPECT_EQ(system_error_text(ENOMEM), fmt::format("Cannot allocate memory: {}", text));
    EXPECT_EQ(system_error_text(ENOENT), "No such file or directory");
    const std::string error = test::error_of([] { Buffer(5 * kGib); });
    EXPECT_EQ(error.find("out of memory: cannot allocate 5368709120 bytes beside "), 0u) << error;
    EXPECT_TRUE(error.ends_with(text)) << error;
  }
}

TEST(MemoryLimit, OverdrawnNothingIsLeft) {
  EXPECT_EQ((MemoryLimit{.bytes = 5, .used = 7, .text = {}}).left(), 0u);
}

// Linux would promise it.
TEST(MemoryLimit, MoreThanThereIsIsRefused) {
  const std::string error = test::error_of([] { Buffer(size_t{1} << 45); });
  EXPECT_TRUE(error.ends_with(physical_memory().text)) << error;
}

}  // namespace
}  // namespace midfill
