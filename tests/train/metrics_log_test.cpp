#include "src/train/metrics_log.h"

#include <sys/stat.h>

#include <cmath>

#include "kernels/common/check.h"
#include "src/train/append_file.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::read_text;
using test::TemporaryDirectory;
using test::write_text;

constexpr const char* kFourSteps =
    "{\"step\":1,\"loss\":3.5}\n{\"step\":2,\"loss\":3.25}\n{\"step\":2,\"eval\":{}}\n{\"step\":3,"
    "\"loss\":3.0}\n";

TEST(MetricsLog, WritesALinePerRecord) {
  const TemporaryDirectory dir;
  MetricsLog log(dir / "metrics.jsonl", 0);
  log.write({{"step", 1}, {"loss", 0.5}});
  log.write({{"step", 2}, {"loss", std::nan("")}});
  log.sync();
  EXPECT_EQ(read_text(dir / "metrics.jsonl"),
            "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":null}\n");
}

TEST(MetricsLog, ForgetsStepsThatWillBeDoneAgain) {
  const TemporaryDirectory dir;
  write_text(dir / "m", kFourSteps);
  const MetricsLog log(dir / "m", 2);
  EXPECT_EQ(read_text(dir / "m"),
            "{\"step\":1,\"loss\":3.5}\n{\"step\":2,\"loss\":3.25}\n{\"step\":2,\"eval\":{}}\n");
  EXPECT_TRUE(log.has_evaluation(2));
  EXPECT_FALSE(log.has_evaluation(3));
}

TEST(MetricsLog, ForgetsEverythingAtStepZero) {
  const TemporaryDirectory dir;
  write_text(dir / "m", kFourSteps);
  const MetricsLog log(dir / "m", 0);
  EXPECT_EQ(read_text(dir / "m"), "");
  EXPECT_FALSE(log.has_evaluation(0));
}

// Cut at every byte, as a killed process or a full disk may leave it: what stays is whole lines.
TEST(MetricsLog, SurvivesACutAtEveryByte) {
  const TemporaryDirectory dir;
  const std::string whole = kFourSteps;
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    write_text(dir / "m", whole.substr(0, cut));
    MetricsLog(dir / "m", 3).write({{"step", 4}});
    std::string text = read_text(dir / "m");
    ASSERT_TRUE(text.ends_with("{\"step\":4}\n"));
    text.resize(text.size() - 11);
    ASSERT_TRUE(text.empty() || text.back() == '\n') << cut;
    ASSERT_TRUE(whole.starts_with(text.substr(0, text.size() - !text.empty()))) << cut << text;
    size_t begin = 0;
    for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
      parse_json(std::string_view(text).substr(begin, end - begin), "line");
  }
}

TEST(MetricsLog, DropsLinesThatAreNoRecords) {
  const TemporaryDirectory dir;
  write_text(dir / "m", std::string("\0\0\0\n{}\n[1]\n{\"step\":\"1\"}\n{\"step\":1}\n", 34));
  const MetricsLog log(dir / "m", 5);
  EXPECT_EQ(read_text(dir / "m"), "{\"step\":1}\n");
}

TEST(AppendFile, RefusesAPipeThatNobodyReads) {
  const TemporaryDirectory dir;
  ASSERT_EQ(::mkfifo((dir / "log.txt").c_str(), 0666), 0);
  EXPECT_THROW(AppendFile(dir / "log.txt"), Error);
}

}  // namespace
}  // namespace midfill
