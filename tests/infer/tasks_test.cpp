#include <zlib.h>

#include "src/infer/infill.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::TemporaryDirectory;
using test::write_text;

TEST(Tasks, AreReadInOrderAndAsTheyAre) {
  TemporaryDirectory dir;
  write_text(
      dir / "t.jsonl",
      "{\"task_id\": \"a/0\", \"entry_point\": \"f\", \"prompt\": \"x\\n\", \"suffix\": \"\"}\n"
      "\n"
      "{\"task_id\": \"a/1\", \"prompt\": \"\\u00e9\", \"suffix\": \" y\", \"n\": [1]}");
  const auto tasks = read_tasks(dir / "t.jsonl");
  ASSERT_EQ(tasks.size(), 2u);
  EXPECT_EQ(tasks[0].task_id, "a/0");
  EXPECT_EQ(tasks[0].prefix, "x\n");
  EXPECT_EQ(tasks[0].suffix, "");
  EXPECT_EQ(tasks[1].prefix, "\xC3\xA9");
  EXPECT_EQ(tasks[1].suffix, " y");
  // As editors of Windows write it.
  write_text(dir / "marked.jsonl", "\xEF\xBB\xBF" + test::read_text(dir / "t.jsonl"));
  EXPECT_EQ(read_tasks(dir / "marked.jsonl").size(), 2u);
}

TEST(Tasks, AMalformedLineIsNamed) {
  TemporaryDirectory dir;
  const std::string good = "{\"task_id\": \"a\", \"prompt\": \"p\", \"suffix\": \"s\"}\n";
  const std::string path = (dir / "t.jsonl").string();
  const auto error = [&](const std::string& text) {
    write_text(path, text);
    return error_of([&] { read_tasks(path); });
  };
  EXPECT_EQ(error(good + "\n{\"task_id\": \"b\", \"prompt\": \"p\"}\n"),
            path + ": line 3: no key \"suffix\"");
  EXPECT_EQ(error(good + "{\"task_id\": 7, \"prompt\": \"p\", \"suffix\": \"s\"}\n"),
            path + ": line 2: \"task_id\" is number, expected a string");
  EXPECT_EQ(error("[1]\n"), path + ": line 1: expected a JSON object, found array");
  EXPECT_TRUE(error(good + good.substr(0, 20)).starts_with(path + ": line 2: not valid JSON: "));
  EXPECT_TRUE(error(std::string("{\"task_id\": \"\xFF\"}")).starts_with(path + ": line 1: "));
  EXPECT_EQ(error("\n\n"), path + ": no tasks, expected lines with task_id, prompt and suffix");
  EXPECT_NE(error_of([&] { read_tasks(dir / "absent.jsonl"); }), "");
}

TEST(Tasks, TheBenchmarkIsReadCompressed) {
  const auto path = test::test_data("HumanEval-RandomSpanInfillingLight.jsonl.gz");
  if (!path) GTEST_SKIP() << "MIDFILL_TEST_DATA has no HumanEval-infilling";
  const auto tasks = read_tasks(*path);
  ASSERT_EQ(tasks.size(), 164u);
  EXPECT_EQ(tasks[0].task_id, "RandomSpanInfillingLight/HumanEval/0/1");
  EXPECT_TRUE(tasks[0].suffix.starts_with("\n                if distance < threshold:"));
}

TEST(Tasks, CompressedFilesAreReadWholeOrRefused) {
  TemporaryDirectory dir;
  const std::string line = "{\"task_id\": \"a\", \"prompt\": \"p\", \"suffix\": \"s\"}\n";
  const std::string path = (dir / "t.jsonl.gz").string();
  gzFile file = gzopen(path.c_str(), "wb");
  for (int i = 0; i < 1000; ++i) gzwrite(file, line.data(), static_cast<unsigned>(line.size()));
  gzclose(file);
  EXPECT_EQ(read_tasks(path).size(), 1000u);
  const std::string packed = test::read_text(path);
  write_text(path, packed.substr(0, packed.size() / 2));
  EXPECT_TRUE(error_of([&] { read_tasks(path); }).starts_with(path));
}

}  // namespace
}  // namespace midfill
