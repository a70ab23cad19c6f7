#include "src/data/build.h"

#include <sys/mount.h>
#include <sys/resource.h>
#include <zstd.h>

#include <csignal>
#include <set>

#include "kernels/common/check.h"
#include "kernels/common/rng.h"
#include "src/data/indexed_dataset.h"
#include "src/io/file.h"
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

TEST_F(Build, StrictlyTheFirstBadLineIsAnError) {
  const std::string good = json_lines(random_texts(4, 50, 100));
  BuildOptions how = options();
  how.reports.strict = true;
  for (const int threads : {1, 3}) {
    how.threads = threads;
    write_text(in_ / "a.jsonl", good + "{\"text\":\"\\ud800\"}\n{\n" + good);
    EXPECT_SAYS(refusal(how), "a.jsonl: line 51: not valid");
    write_text(in_ / "a.jsonl", "{\"text\":3}");
    EXPECT_SAYS(refusal(how), "line 1: \"text\": expected a string");
  }
}

TEST_F(Build, BadLinesAreCountedAndListed) {
  write_text(in_ / "a.jsonl", "{\n{\"text\":\"a\"}\n{\"text\":\"\"}\n\n[\n");
  write_text(in_ / "b.o", std::string("\0", 1));
  write_text(in_ / "c\xff.jsonl", "{\"text\":\"c\"}\n{}");
  write_text(in_ / "d.txt", std::string(2000, 'x'));
  Texts said;
  BuildOptions how = options();
  how.documents.max_bytes = 1999;
  how.reports.on_bad = [&](const std::string& message) { said.push_back(message); };
  const auto summary = build(how);
  ASSERT_EQ(said.size(), 4u);
  EXPECT_SAYS(said[0], "a.jsonl: line 1: not valid JSON");
  EXPECT_SAYS(said[1], "a.jsonl: line 5: ");
  EXPECT_SAYS(said[2], ".jsonl: line 2: no key \"text\"");
  EXPECT_SAYS(said[3], "d.txt: more than 1999 bytes in one document");
  EXPECT_EQ(summary.read.bad_lines, 4);
  EXPECT_EQ(summary.read.empty, 1);
  EXPECT_EQ(summary.read.binary_files, 1);
  EXPECT_EQ(summary.all().documents, 2);
  EXPECT_EQ(summary.bad_lines_file, out_ / "d_bad_lines.jsonl");
  std::istringstream report(read_text(out_ / "d_bad_lines.jsonl"));
  std::vector<Json> listed;
  for (std::string line; std::getline(report, line);) listed.push_back(parse_json(line, "report"));
  ASSERT_EQ(listed.size(), 4u);
  EXPECT_EQ(listed[1]["file"], (in_ / "a.jsonl").string());
  EXPECT_EQ(listed[1]["line"], 5);
  EXPECT_SAYS(listed[2]["file"].get<std::string>(), "c\uFFFD.jsonl");
  EXPECT_FALSE(listed[3].contains("line"));
  // It is an output like the others.
  for (const char* name : {"d_train.bin", "d_train.idx", "d_valid.bin", "d_valid.idx"})
    std::filesystem::remove(out_ / name);
  EXPECT_SAYS(error_of([&] { build(how); }), "d_bad_lines.jsonl: already exists");
}

TEST_F(Build, ANamedBinaryFileIsNamed) {
  write_text(in_ / "a.jsonl", json_lines({"a"}));
  write_text(in_ / "b.parquet", std::string("PAR1\x15\0", 6));
  Texts said;
  BuildOptions how = options();  // by a glob
  how.reports.on_note = [&](const std::string& text) { said.push_back(text); };
  EXPECT_EQ(build(how).read.binary_files, 1);
  EXPECT_EQ(said, Texts{"passed over: " + (in_ / "b.parquet").string() +
                        ": a Parquet file; write its rows as lines of JSON"});
  how = options("strict");
  how.reports.strict = true;
  EXPECT_SAYS(error_of([&] { build(how); }), "b.parquet: a Parquet file");
  // Below a directory it is only counted.
  said.clear();
  how.inputs = {in_.path().string()};
  EXPECT_EQ(build(how).read.binary_files, 1);
  EXPECT_EQ(said, Texts{});
}

TEST_F(Build, AFloodOfBadLinesIsListedInPart) {
  std::string lines = json_lines({"good"});
  for (int i = 0; i < 100'500; ++i) lines += "{\n";
  write_text(in_ / "a.jsonl", lines);
  EXPECT_EQ(build(options()).read.bad_lines, 100'500);
  const std::string report = read_text(out_ / "d_bad_lines.jsonl");
  EXPECT_EQ(std::count(report.begin(), report.end(), '\n'), 100'001);
  EXPECT_TRUE(report.ends_with("{\"further_bad_lines\":500}\n"));
}

// The four files of a build of that name, as one text.
std::string whole(const std::filesystem::path& prefix) {
  std::string text;
  for (const char* name : {"_train.bin", "_train.idx", "_valid.bin", "_valid.idx"})
    text += read_text(prefix.string() + name);
  return text;
}

class Resume : public Build {
 protected:
  // Three files of a few blocks each.
  void SetUp() override {
    for (const char* name : {"a.jsonl", "b.jsonl", "d.jsonl"}) {
      std::string lines;
      for (const auto& text : random_texts(static_cast<uint64_t>(*name), 450, 6'000))
        lines += json_lines({text}) + (text.size() % 5 == 0 ? "bad\n" : "");
      ASSERT_GT(lines.size(), size_t{5} << 18);
      write_text(in_ / name, lines);
    }
  }
  // Ends after so many blocks, in this run; each has its state on the disk.
  std::string interrupt(BuildOptions how, int blocks) {
    how.save_seconds = 0;
    how.progress = [&](const BuildProgress&) { --blocks; };
    how.stop = [&] { return blocks <= 0; };
    return error_of([&] { build(how); });
  }
  BuildOptions with_notes(BuildOptions how) {
    how.reports.on_note = [this](const std::string& text) { notes_ += text + "\n"; };
    return how;
  }
  std::string reference() {
    if (!std::filesystem::exists(out_ / "whole_train.bin")) build(options("whole"));
    return whole(out_ / "whole") + read_text(out_ / "whole_bad_lines.jsonl");
  }
  std::string resumed(const std::string& name) {
    EXPECT_FALSE(std::filesystem::exists(out_ / (name + ".building")));
    return whole(out_ / name) + read_text(out_ / (name + "_bad_lines.jsonl"));
  }
  std::string notes_;
};

TEST_F(Resume, InterruptedAtEveryBlockItEndsWithTheSameBytes) {
  const std::string expected = reference();
  int runs = 0;
  for (; runs < 100; ++runs) {
    BuildOptions how = options();
    how.threads = 1 + runs % 3;
    int blocks = 1;
    how.save_seconds = runs % 2 ? 0 : 1000;
    how.progress = [&](const BuildProgress&) { --blocks; };
    how.stop = [&] { return blocks <= 0; };
    std::string said;
    try {
      EXPECT_TRUE(build(how).resumed);
      break;
    } catch (const Error& error) {
      said = error.what();
    }
    EXPECT_SAYS(said, "d: interrupted; what is done is kept in");
    EXPECT_FALSE(std::filesystem::exists(out_ / "d_train.bin"));
  }
  EXPECT_GT(runs, 3);
  EXPECT_LT(runs, 100);
  EXPECT_TRUE(resumed("d") == expected);
}

TEST_F(Resume, SaysWhereItGoesOn) {
  EXPECT_SAYS(interrupt(options(), 2), "the same command goes on from there");
  build(with_notes(options()));
  EXPECT_SAYS(notes_, "goes on where an earlier run ended: ");
  EXPECT_SAYS(notes_, " of 3 files and ");
}

TEST_F(Resume, RefusesAnotherCommand) {
  interrupt(options(), 3);
  const auto refused = [&](const BuildOptions& how) {
    const std::string text = error_of([&] { build(how); });
    EXPECT_SAYS(text, "d.building: holds an unfinished build of another command");
    EXPECT_SAYS(text, "delete the directory");
    return text;
  };
  BuildOptions how = options();
  how.valid_fraction = 0.1;
  EXPECT_SAYS(refused(how), "valid_fraction was 0.2, is 0.1");
  how = options();
  how.documents.text_key = "body";
  EXPECT_SAYS(refused(how), "text_key was \"text\", is \"body\"");
  how = options();
  how.inputs = {(in_ / "b.jsonl").string()};
  EXPECT_SAYS(refused(how), "it has read " + (in_ / "a.jsonl").string());
  how.inputs = {"-"};
  EXPECT_SAYS(refused(how), "input was \"files\", is \"standard input\"");
  std::string json = small_tokenizer().to_json();
  const std::string padding = "<|padding|>";
  for (size_t at; (at = json.find(padding)) != std::string::npos;)
    json.replace(at, padding.size(), "<|other|>");
  const auto other = Tokenizer::from_json(json, "other.json");
  EXPECT_SAYS(error_of([&] { build_dataset(other, options()); }), "tokenizer was ");
  write_text(in_ / "e.jsonl", json_lines({"new"}));
  EXPECT_SAYS(refused(options()), "e.jsonl was no input of it");
  std::filesystem::remove(in_ / "e.jsonl");
  // Neither has harmed it.
  const std::string expected = reference();
  build(options());
  EXPECT_TRUE(resumed("d") == expected);
}

TEST_F(Resume, AFileThatWasReadMustNotChange) {
  interrupt(options(), 5);
  write_text(in_ / "a.jsonl", "{}");
  EXPECT_SAYS(error_of([&] { build(options()); }), "a.jsonl, which has changed since");
}

TEST_F(Resume, AFileAheadMayBeRepairedOrGone) {
  // The last file is cut in its middle; what lies before it is kept.
  const std::string lines = json_lines(random_texts(8, 800, 6'000));
  std::string frame(ZSTD_compressBound(lines.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), lines.data(), lines.size(), 3));
  write_text(in_ / "e.jsonl.zst", frame.substr(0, frame.size() - 1000));
  const std::string said = error_of([&] { build(options()); });
  EXPECT_SAYS(said, "e.jsonl.zst: ends inside a zstd frame");
  EXPECT_SAYS(said, "the same command goes on from there");
  EXPECT_SAYS(error_of([&] { build(with_notes(options())); }), "e.jsonl.zst: ends inside");
  EXPECT_SAYS(notes_, "3 of 4 files");
  std::filesystem::copy(out_ / "d.building", out_ / "f.building");

  write_text(in_ / "e.jsonl.zst", frame);
  build(with_notes(options()));
  EXPECT_SAYS(notes_, "1 changed and 0 are gone");
  EXPECT_TRUE(resumed("d") == reference());

  std::filesystem::remove(in_ / "e.jsonl.zst");
  build(options("g"));
  build(with_notes(options("f")));
  EXPECT_SAYS(notes_, "0 changed and 1 are gone");
  EXPECT_TRUE(resumed("f") == resumed("g"));
}

TEST_F(Resume, StrictStopsAndTheRestGoesOnWithout) {
  BuildOptions how = options();
  for (const char* name : {"a.jsonl", "d.jsonl"}) {
    std::string text = read_text(in_ / name);
    for (size_t at; (at = text.find("\nbad\n")) != std::string::npos;) text.erase(at, 4);
    write_text(in_ / name, text);
  }
  how.reports.strict = true;
  EXPECT_SAYS(error_of([&] { build(how); }), "b.jsonl: line ");
  how.reports.strict = false;
  EXPECT_TRUE(build(how).resumed);
  EXPECT_TRUE(resumed("d") == reference());
}

TEST_F(Resume, ADamagedStagingDirectoryIsRefused) {
  interrupt(options(), 3);
  const auto state = out_ / "d.building/state.json";
  const std::string good = read_text(state);
  for (const std::string& bad :
       {std::string("{"), std::string("{}"), good.substr(0, good.size() / 2),
        std::string(R"({"complete":false,"now":{"file":-1},"file_begin":{}})")}) {
    write_text(state, bad);
    EXPECT_SAYS(error_of([&] { build(options()); }), "to begin anew");
  }
  write_text(state, good);
  std::filesystem::resize_file(out_ / "d.building/train.bin", 10);
  EXPECT_SAYS(error_of([&] { build(options()); }), "train.bin: 10 bytes, expected at least");
  std::filesystem::remove_all(out_ / "d.building");
  std::filesystem::create_directory(out_ / "d.building");
  write_text(out_ / "d.building/precious.txt", "precious");
  EXPECT_SAYS(error_of([&] { build(options()); }), "holds precious.txt, which no build has made");
  EXPECT_EQ(read_text(out_ / "d.building/precious.txt"), "precious");
}

// Ended between any two steps of giving the files their names, the next run does the rest.
TEST_F(Resume, HalfGivenNamesAreCompleted) {
  for (const char* name : {"a.jsonl", "b.jsonl"}) std::filesystem::remove(in_ / name);
  std::filesystem::resize_file(in_ / "d.jsonl", 50'000);
  const std::string expected = reference();
  const std::vector<std::string> names = {"bad_lines.jsonl", "train.bin", "valid.bin", "train.idx",
                                          "valid.idx"};
  const auto final_name = [&](const std::string& name) { return out_ / ("d_" + name); };
  for (size_t done = 0; done <= names.size(); ++done) {
    for (const bool both_names : {false, true}) {
      // Another's file appears under the first name while the build works: it ends without names.
      BuildOptions how = options();
      how.progress = [&](const BuildProgress&) { write_text(final_name(names[0]), "other"); };
      EXPECT_SAYS(error_of([&] { build(how); }), "d_bad_lines.jsonl: already exists");
      EXPECT_EQ(read_text(final_name(names[0])), "other");
      EXPECT_SAYS(error_of([&] { build(options()); }), "d_bad_lines.jsonl: already exists");
      std::filesystem::remove(final_name(names[0]));
      const auto staged = [&](const std::string& name) { return out_ / ("d.building/" + name); };
      for (size_t i = 0; i < done; ++i)
        std::filesystem::rename(staged(names[i]), final_name(names[i]));
      if (both_names && done < names.size())
        std::filesystem::create_hard_link(staged(names[done]), final_name(names[done]));
      build(with_notes(options()));
      EXPECT_SAYS(notes_, "its files get their names");
      EXPECT_TRUE(resumed("d") == expected) << done << both_names;
      for (const auto& name : names) std::filesystem::remove(final_name(name));
    }
  }
}

TEST_F(Resume, OneBuildAtATime) {
  std::string said;
  BuildOptions how = options();
  how.progress = [&](const BuildProgress&) {
    if (said.empty()) said = error_of([&] { build(options()); });
  };
  build(how);
  EXPECT_SAYS(said, "d.building: another build works on this output now");
  EXPECT_TRUE(resumed("d") == reference());
}

TEST_F(Resume, OutputsAmongTheInputs) {
  // Into the directory that is read: neither the staging directory nor the outputs are inputs.
  BuildOptions how = options();
  how.inputs = {in_.path().string()};
  how.out = (in_ / "d").string();
  const std::string expected = reference();
  interrupt(how, 2);
  EXPECT_TRUE(build(how).resumed);
  EXPECT_TRUE(whole(in_ / "d") + read_text(in_ / "d_bad_lines.jsonl") == expected);
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
  how = options();
  how.out = (in_ / "a.jsonl" / "d").string();
  EXPECT_SAYS(refusal(how), "a.jsonl is no directory");
}

TEST_F(Build, RefusesATokenizerWithoutEod) {
  write_text(in_ / "a.jsonl", json_lines({"a"}));
  std::string json = small_tokenizer().to_json();
  const std::string eod = "<|endoftext|>";
  for (size_t at; (at = json.find(eod)) != std::string::npos;)
    json.replace(at, eod.size(), "<|x|>");
  const auto without = Tokenizer::from_json(json, "without.json");
  EXPECT_SAYS(error_of([&] { build_dataset(without, options()); }),
              "no token \"<|endoftext|>\", which must end every document");
  EXPECT_EQ(outputs(), std::set<std::string>{});
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

// The disk refuses in the middle: once it does not, the same command goes on.
TEST_F(Resume, AFileSizeLimit) {
  BuildOptions how = options();
  how.save_seconds = 0;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);  // so that write() fails with EFBIG
  const rlimit small{.rlim_cur = 1'500'000, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string text = error_of([&] { build(how); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_SAYS(text, "d.building/train.bin: cannot write: File too large; what is done is kept in");
  EXPECT_EQ(outputs(), std::set<std::string>{"d.building"});
  EXPECT_TRUE(build(how).resumed);
  EXPECT_TRUE(resumed("d") == reference());
}

TEST_F(Resume, AFullDisk) {
  const std::filesystem::path disk = out_ / "disk";
  std::filesystem::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=2m") != 0)
    GTEST_SKIP() << "cannot mount a small file system: not root";
  BuildOptions how = options();
  how.out = (disk / "d").string();
  how.save_seconds = 0;
  const std::string text = error_of([&] { build(how); });
  EXPECT_FALSE(std::filesystem::exists(disk / "d_train.bin"));
  const bool larger = ::mount("tmpfs", disk.c_str(), "tmpfs", MS_REMOUNT, "size=300m") == 0;
  bool went_on = false;
  std::string bytes;
  if (larger) {
    went_on = build(how).resumed;
    bytes = whole(disk / "d") + read_text(disk / "d_bad_lines.jsonl");
  }
  ASSERT_EQ(::umount(disk.c_str()), 0);
  EXPECT_SAYS(text, "No space left on device");
  EXPECT_TRUE(went_on);
  EXPECT_TRUE(bytes == reference());
}

}  // namespace
}  // namespace midfill
