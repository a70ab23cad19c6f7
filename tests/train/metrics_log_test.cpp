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
  const TemporaryDirectory run;
  MetricsLog log(run.path(), 0);
  log.write({{"step", 1}, {"loss", 0.5}});
  log.write({{"step", 2}, {"loss", std::nan("")}});
  log.sync();
  EXPECT_EQ(read_text(run / "metrics.jsonl"),
            "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":null}\n");
}

TEST(MetricsLog, StepsThatWillBeDoneAgainMoveAside) {
  const TemporaryDirectory run;
  const std::string three =
      "{\"step\":1,\"loss\":3.5}\n{\"step\":2,\"loss\":3.25}\n{\"step\":2,\"eval\":{}}\n";
  write_text(run / "metrics.jsonl", kFourSteps);
  {
    const MetricsLog log(run.path(), 2);
    EXPECT_EQ(read_text(run / "metrics.jsonl"), three);
    EXPECT_TRUE(log.has_evaluation(2));
    EXPECT_FALSE(log.has_evaluation(3));
  }
  const std::string aside = "{\"resumed_after\":2,\"lines\":1}\n{\"step\":3,\"loss\":3.0}\n";
  EXPECT_EQ(read_text(run / "aside" / "metrics.jsonl"), aside);
  const MetricsLog log(run.path(), 0);
  EXPECT_EQ(read_text(run / "metrics.jsonl"), "");
  EXPECT_FALSE(log.has_evaluation(0));
  EXPECT_EQ(read_text(run / "aside" / "metrics.jsonl"),
            aside + "{\"resumed_after\":0,\"lines\":3}\n" + three);
}

TEST(MetricsLog, WhereNothingIsDoneAgainNothingIsAside) {
  const TemporaryDirectory run;
  write_text(run / "metrics.jsonl", kFourSteps);
  const MetricsLog log(run.path(), 3);
  EXPECT_EQ(read_text(run / "metrics.jsonl"), kFourSteps);
  EXPECT_FALSE(std::filesystem::exists(run / "aside"));
}

// Cut at every byte, as a killed process or a full disk may leave it: what stays is whole lines.
TEST(MetricsLog, SurvivesACutAtEveryByte) {
  const TemporaryDirectory run;
  const std::string whole = kFourSteps;
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    write_text(run / "metrics.jsonl", whole.substr(0, cut));
    MetricsLog(run.path(), 3).write({{"step", 4}});
    std::string text = read_text(run / "metrics.jsonl");
    ASSERT_TRUE(text.ends_with("{\"step\":4}\n"));
    text.resize(text.size() - 11);
    ASSERT_TRUE(text.empty() || text.back() == '\n') << cut;
    ASSERT_TRUE(whole.starts_with(text.substr(0, text.size() - !text.empty()))) << cut << text;
    size_t begin = 0;
    for (size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
      parse_json(std::string_view(text).substr(begin, end - begin), "line");
  }
}

TEST(MetricsLog, LinesThatAreNoRecordsMoveAside) {
  const TemporaryDirectory run;
  const std::string others("\0\0\0\n{}\n[1]\n{\"step\":\"1\"}\n", 24);
  write_text(run / "metrics.jsonl", others + "{\"step\":1}\n");
  const MetricsLog log(run.path(), 5);
  EXPECT_EQ(read_text(run / "metrics.jsonl"), "{\"step\":1}\n");
  EXPECT_EQ(read_text(run / "aside" / "metrics.jsonl"),
            "{\"resumed_after\":5,\"lines\":4}\n" + others);
}

TEST(AppendFile, RefusesAPipeThatNobodyReads) {
  const TemporaryDirectory dir;
  ASSERT_EQ(::mkfifo((dir / "log.txt").c_str(), 0666), 0);
  EXPECT_THROW(AppendFile(dir / "log.txt"), Error);
}

}  // namespace
}  // namespace midfill
