#include "src/data/count_pieces.h"

#include "src/io/json.h"
#include "tests/data/gzip.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::gzip_member;
using Counts = std::unordered_map<std::string, int64_t>;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

class CountPieces : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& text) {
    test::write_text(dir_ / name, text);
    return (dir_ / name).string();
  }
  CountOptions options(const std::vector<std::string>& inputs, int threads = 2) {
    CountOptions how{.inputs = inputs};
    how.threads = threads;
    how.reports.on_bad = [this](const std::string& text) { said_.push_back(text); };
    how.reports.on_note = [this](const std::string& text) { said_.push_back(text); };
    return how;
  }
  Counts count(const CountOptions& how) {
    said_.clear();
    PieceCounts counts(true);
    counted_ = count_pieces(how, counts);
    return counts.counts();
  }
  const test::TemporaryDirectory dir_;
  CountedDocuments counted_;
  std::vector<std::string> said_;
};

TEST_F(CountPieces, DoesNotDependOnThreads) {
  // Larger than several ranges, with lines that end in every way.
  std::string text;
  for (uint64_t i = 0; text.size() < (9u << 20); ++i)
    text.append("line ")
        .append(std::to_string(i % 997))
        .append(i % 3   ? ";\n"
                : i % 2 ? " \n\n"
                        : "\u00E9\n   e\u0301");
  PieceCounts whole(true);
  whole.add(text);
  whole.add("one two");
  const std::string big = file("big.txt", text), small = file("small.txt", "one two");
  for (const int threads : {1, 2}) {
    EXPECT_TRUE(count(options({big, small}, threads)) == whole.counts()) << threads;
    EXPECT_EQ(counted_.files, 2);
    EXPECT_EQ(counted_.documents, 2);
    EXPECT_EQ(counted_.bytes, static_cast<int64_t>(text.size()) + 7);
  }
}

TEST_F(CountPieces, ReadsWhatBuildReads) {
  const std::string lines = "{\"text\": \"one\\nt\\u0065n\", \"x\": NaN}\n\n{\"text\": \"two\"}";
  const Counts expected = {{"one", 2}, {"\n", 1}, {"ten", 1}, {"two", 1}};
  const std::vector<std::string> others = {file("b.o", std::string("\x7F"
                                                                   "ELF\0",
                                                                   5)),
                                           file("c.txt", ""), file("d.txt.gz", gzip_member("one"))};
  for (const auto& input :
       {file("a.jsonl", lines), file("a.jsonl.gz", gzip_member(lines)), file("a.json", lines)}) {
    auto inputs = others;
    inputs.push_back(input);
    EXPECT_EQ(count(options(inputs)), expected) << input;
    EXPECT_EQ(counted_.binary_files, 1);
    EXPECT_EQ(counted_.files, 3);
    EXPECT_EQ(counted_.documents, 3);
    ASSERT_EQ(said_.size(), 1u);
    EXPECT_SAYS(said_[0], "b.o: binary");
  }
  CountOptions how = options({file("e.jsonl", "{\"a\":{\"b\":\"nested\"}}")});
  how.documents.text_key = "a.b";
  EXPECT_EQ(count(how), (Counts{{"nested", 1}}));
}

TEST_F(CountPieces, PassesOverBadLines) {
  const std::string good = "{\"text\": \"a\"}\n";
  const std::string bad = file("bad.jsonl", good + good + "{\"text\": 1}\n{\n" + good);
  for (const int threads : {1, 2}) {
    CountOptions how = options({bad, file("c.jsonl", "[1]\n" + good)}, threads);
    EXPECT_EQ(count(how), (Counts{{"a", 4}}));
    EXPECT_EQ(counted_.bad_lines, 3);
    ASSERT_EQ(said_.size(), 3u);
    EXPECT_SAYS(said_[0], "bad.jsonl: line 3: \"text\": expected a string, found a number");
    EXPECT_SAYS(said_[1], "bad.jsonl: line 4: not valid JSON");
    EXPECT_SAYS(said_[2], "c.jsonl: line 1: expected an object");
    how.reports.strict = true;
    EXPECT_SAYS(error_of([&] { count(how); }), "bad.jsonl: line 3: ");
  }
  CountOptions how = options({file("b.o", std::string("\0", 1)), file("a.txt", "text")});
  how.reports.strict = true;
  EXPECT_SAYS(error_of([&] { count(how); }), "b.o: binary: a NUL byte");
  EXPECT_SAYS(error_of([&] { count(options({(dir_ / "gone").string()})); }), "gone");
  EXPECT_SAYS(error_of([&] { count(options({"-", bad})); }), "must be the only input");
}

}  // namespace
}  // namespace midfill
