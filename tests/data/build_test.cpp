#include "src/data/build.h"

#include <sys/mount.h>
#include <sys/resource.h>
#include <zstd.h>

#include <csignal>
#include <set>

#include "kernels/common/check.h"
#include "kernels/common/rng.h"
#include "src/data/indexed_dataset.h"
#include "src/io/json.h"
#include "tests/data/data_test_support.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::read_text;
using test::small_tokenizer;
using test::TemporaryDirectory;
using test::write_text;
using Texts = std::vector<std::string>;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

std::string json_lines(const Texts& texts) {
  std::string out;
  for (const auto& text : texts) out += Json({{"text", text}}).dump() + "\n";
  return out;
}

Texts random_texts(uint64_t seed, int count, size_t bytes) {
  Texts texts;
  for (int i = 0; i < count; ++i) {
    Rng rng(seed, Purpose::kTest, 0, static_cast<uint64_t>(i));
    texts.push_back(test::random_text(rng, bytes) + "x");
  }
  return texts;
}

std::vector<TokenId> ids_of(const std::string& text) {
  auto ids = small_tokenizer().encode(text, {.match_special = false});
  ids.push_back(small_tokenizer().sentinels().eod);
  return ids;
}

// The documents of a dataset, as ids.
std::vector<std::vector<TokenId>> documents_of(const std::string& prefix) {
  const auto data = IndexedDataset::open(prefix, small_tokenizer().vocab_size());
  std::vector<std::vector<TokenId>> documents;
  for (int64_t d = 0; d < data.n_documents(); ++d) {
    documents.emplace_back(static_cast<size_t>(data.sequence_size(d)));
    data.read(data.sequence_begin(d), documents.back());
  }
  return documents;
}

class Build : public ::testing::Test {
 protected:
  BuildOptions options(const std::string& out = "d") {
    return {.inputs = {(in_ / "*").string()}, .out = (out_ / out).string(), .valid_fraction = 0.2};
  }
  BuildSummary build(const BuildOptions& how) { return build_dataset(small_tokenizer(), how); }
  std::set<std::string> outputs() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(out_.path()))
      names.insert(entry.path().filename());
    return names;
  }
  // The error of a build that must leave nothing.
  std::string refusal(const BuildOptions& how) {
    const std::string text = error_of([&] { build(how); });
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    EXPECT_EQ(outputs(), std::set<std::string>{});
    return text;
  }
  TemporaryDirectory in_, out_;
};

TEST_F(Build, WritesEveryDocumentOnceInOrder) {
  Texts texts = random_texts(1, 300, 400);
  texts.push_back("ends itself?<|endoftext|>no");
  write_text(in_ / "a.jsonl", json_lines(texts));
  write_text(in_ / "b.py", "def f():\n    return \xff");
  texts.push_back("def f():\n    return \xff");
  const auto summary = build(options());
  std::vector<std::vector<TokenId>> train, valid;
  SplitCounts counted;
  for (const auto& text : texts) {
    (in_validation(text, 0.2) ? valid : train).push_back(ids_of(text));
    counted.bytes += static_cast<int64_t>(text.size());
    counted.tokens += static_cast<int64_t>(ids_of(text).size());
  }
  EXPECT_GT(valid.size(), 30u);
  EXPECT_EQ(documents_of((out_ / "d_train").string()), train);
  EXPECT_EQ(documents_of((out_ / "d_valid").string()), valid);
  EXPECT_EQ(outputs(),
            (std::set<std::string>{"d_train.bin", "d_train.idx", "d_valid.bin", "d_valid.idx"}));
  EXPECT_EQ(summary.train.documents, static_cast<int64_t>(train.size()));
  EXPECT_EQ(summary.valid.documents, static_cast<int64_t>(valid.size()));
  EXPECT_EQ(summary.all().tokens, counted.tokens);
  EXPECT_EQ(summary.all().bytes, counted.bytes);
  // One EOD each: the spelled one is text.
  const auto ids = ids_of(texts[300]);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), small_tokenizer().sentinels().eod), 1);
}

TEST_F(Build, TheResultDoesNotDependOnThreads) {
  // More than a batch of documents, and of bytes.
  const Texts small = random_texts(2, 40, 30), large = random_texts(3, 40, 25'000);
  std::string lines;
  for (int i = 0; i < 18'000; ++i)
    lines += json_lines({i % 16 ? small[i % 40] : large[i * 7 % 40]});
  ASSERT_GT(lines.size(), size_t{9} << 20);
  write_text(in_ / "a.jsonl", lines);
  for (const int threads : {1, 2, 5}) {
    BuildOptions how = options(std::to_string(threads));
    how.threads = threads;
    EXPECT_EQ(build(how).all().documents, 18'000);
    for (const char* name : {"_train.bin", "_train.idx", "_valid.bin", "_valid.idx"})
      EXPECT_TRUE(read_text(out_ / fmt::format("{}{}", threads, name)) ==
                  read_text(out_ / fmt::format("1{}", name)))
          << threads << name;
  }
}

TEST_F(Build, WithoutValidation) {
  write_text(in_ / "a.jsonl", json_lines(random_texts(3, 20, 50)));
  BuildOptions how = options();
  how.valid_fraction = 0;
  EXPECT_EQ(build(how).train.documents, 20);
  EXPECT_EQ(outputs(), (std::set<std::string>{"d_train.bin", "d_train.idx"}));
}

TEST(Split, DependsOnTheTextAlone) {
  // XXH3_64bits("") = 0x2d06800538d394c2 by the hash's specification: 0.17588... of its range.
  EXPECT_FALSE(in_validation("", 0.17));
  EXPECT_TRUE(in_validation("", 0.18));
  EXPECT_FALSE(in_validation("anything", 0));
  int chosen = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::string text = fmt::format("document {}", i);
    chosen += in_validation(text, 0.01);
    EXPECT_LE(in_validation(text, 0.01), in_validation(text, 0.02));
  }
  EXPECT_NEAR(chosen, 100, 40);
}

TEST_F(Build, RefusesToOverwrite) {
  write_text(in_ / "a.jsonl", "not read: the refusal comes first");
  for (const char* name : {"d_train.bin", "d_train.idx", "d_valid.bin", "d_valid.idx"}) {
    write_text(out_ / name, "precious");
    EXPECT_SAYS(error_of([&] { build(options()); }), fmt::format("{}: already exists", name));
    EXPECT_EQ(read_text(out_ / name), "precious");
    EXPECT_EQ(outputs(), std::set<std::string>{name});
    std::filesystem::remove(out_ / name);
  }
}

TEST_F(Build, BrokenInputLeavesNothing) {
  const std::string good = json_lines(random_texts(4, 50, 100));
  const auto refused = [&](const std::string& name, const std::string& content) {
    write_text(in_ / "a.jsonl", good);
    write_text(in_ / name, content);
    const std::string text = refusal(options());
    std::filesystem::remove(in_ / name);
    return text;
  };
  EXPECT_SAYS(refused("b.jsonl", good + "{\"text\":\"\\ud800\"}\n"), "b.jsonl: line 51: not valid");
  EXPECT_SAYS(refused("b.jsonl", good + "{\"text\":3}"), "line 51: \"text\": expected a string");
  std::string frame(ZSTD_compressBound(good.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), good.data(), good.size(), 3));
  EXPECT_SAYS(refused("b.jsonl.zst", frame + frame.substr(0, frame.size() / 2)), "truncated");
  EXPECT_SAYS(refused("b.jsonl.zst", good), "not a valid zstd frame");
}

TEST_F(Build, BadLinesAreCountedWhereAsked) {
  write_text(in_ / "a.jsonl", "{\n{\"text\":\"a\"}\n{\"text\":\"\"}\n");
  write_text(in_ / "b.o", std::string("\0", 1));
  int said = 0;
  BuildOptions how = options();
  how.documents.on_bad_line = [&](const std::string&) { ++said; };
  const auto summary = build(how);
  EXPECT_EQ(said, 1);
  EXPECT_EQ(summary.read.bad_lines, 1);
  EXPECT_EQ(summary.read.empty, 1);
  EXPECT_EQ(summary.read.binary_files, 1);
  EXPECT_EQ(summary.all().documents, 1);
}

TEST_F(Build, RefusesWhatCannotWork) {
  write_text(in_ / "a.jsonl", "\n{\"text\":\"\"}\n");
  EXPECT_SAYS(refusal(options()), "no document in 1 input files (1 empty");
  BuildOptions how = options();
  how.inputs = {(in_ / "absent").string()};
  EXPECT_SAYS(refusal(how), "absent");
  how = options();
  how.valid_fraction = 1;
  EXPECT_SAYS(refusal(how), "valid fraction 1");
  how.valid_fraction = std::numeric_limits<double>::quiet_NaN();
  EXPECT_SAYS(refusal(how), "valid fraction nan");
  write_text(in_ / "a.jsonl", json_lines({"a"}));
  how = options("no/such/directory");
  EXPECT_SAYS(refusal(how), "No such file or directory");
}

TEST_F(Build, RefusesATokenizerWithoutEod) {
  write_text(in_ / "a.jsonl", json_lines({"a"}));
  std::string json = small_tokenizer().to_json();
  const std::string eod = "<|endoftext|>";
  for (size_t at; (at = json.find(eod)) != std::string::npos;)
    json.replace(at, eod.size(), "<|x|>");
  const auto without = Tokenizer::from_json(json, "without.json");
  EXPECT_SAYS(error_of([&] { build_dataset(without, options()); }), "has no <|endoftext|>");
  EXPECT_EQ(outputs(), std::set<std::string>{});
}

TEST_F(Build, StopsWhenAsked) {
  write_text(in_ / "a.jsonl", json_lines({"a"}));
  BuildOptions how = options();
  how.stop = [] { return true; };
  EXPECT_SAYS(refusal(how), "interrupted; nothing was written");
}

TEST_F(Build, ProgressReachesTheEnd) {
  write_text(in_ / "a.jsonl", json_lines(random_texts(5, 100, 100)));
  BuildProgress last;
  BuildOptions how = options();
  how.progress = [&](const BuildProgress& at) { last = at; };
  const auto summary = build(how);
  EXPECT_EQ(last.bytes_done, std::filesystem::file_size(in_ / "a.jsonl"));
  EXPECT_EQ(last.bytes_total, last.bytes_done);
  EXPECT_EQ(last.all.tokens, summary.all().tokens);
}

TEST_F(Build, AFileSizeLimitLeavesNothing) {
  write_text(in_ / "a.jsonl", json_lines(random_texts(6, 4000, 500)));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);  // so that write() fails with EFBIG
  const rlimit small{.rlim_cur = 100'000, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string text = error_of([&] { build(options()); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_SAYS(text, "d_train.bin: cannot write: File too large");
  EXPECT_EQ(outputs(), std::set<std::string>{});
}

TEST_F(Build, AFullDiskLeavesNothing) {
  const std::filesystem::path disk = out_ / "disk";
  std::filesystem::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=256k") != 0)
    GTEST_SKIP() << "cannot mount a small file system: not root";
  write_text(in_ / "a.jsonl", json_lines(random_texts(7, 4000, 500)));
  BuildOptions how = options();
  how.out = (disk / "d").string();
  const std::string text = error_of([&] { build(how); });
  const bool empty = std::filesystem::is_empty(disk);
  ASSERT_EQ(::umount(disk.c_str()), 0);
  EXPECT_SAYS(text, "No space left on device");
  EXPECT_TRUE(empty);
}

}  // namespace
}  // namespace midfill
