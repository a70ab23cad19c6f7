#include "src/data/documents.h"

#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include "kernels/common/check.h"
#include "kernels/common/rng.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::TemporaryDirectory;
using test::write_text;
using namespace std::string_literals;
using Texts = std::vector<std::string>;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

std::string zstd_frame(const std::string& text, int window_log = 0, bool checksum = false) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, checksum);
  if (window_log > 0) {
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
  }
  std::string out(ZSTD_compressBound(text.size()), '\0');
  // In two calls, so that the size is not known at the start and the window is what was asked for.
  ZSTD_inBuffer in{text.data(), text.size(), 0};
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  ZSTD_compressStream2(context, &to, &in, ZSTD_e_continue);
  EXPECT_EQ(ZSTD_compressStream2(context, &to, &in, ZSTD_e_end), 0u);
  ZSTD_freeCCtx(context);
  out.resize(to.pos);
  return out;
}

std::string skippable_frame(const std::string& text) {
  return "\x50\x2a\x4d\x18"s + static_cast<char>(text.size()) + "\0\0\0"s + text;
}

std::string gzip_member(const std::string& text) {
  z_stream state{};
  EXPECT_EQ(deflateInit2(&state, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&state, text.size()), '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  state.avail_in = static_cast<uInt>(text.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&state, Z_FINISH), Z_STREAM_END);
  out.resize(state.total_out);
  deflateEnd(&state);
  return out;
}

class Documents : public ::testing::Test {
 protected:
  // The documents of one file of that name and content.
  Texts read(const std::string& name, const std::string& content, DocumentOptions options = {}) {
    write_text(dir_ / name, content);
    return read_files({dir_ / name}, options);
  }
  Texts read_files(const std::vector<std::filesystem::path>& paths, DocumentOptions options = {},
                   InputPosition from = {}) {
    std::vector<InputFileInfo> files;
    uint64_t bytes_total = 0, bytes_done = 0;
    for (const auto& path : paths) {
      std::error_code none;
      const auto bytes = std::filesystem::file_size(path, none);
      files.push_back({path.string(), none ? 0 : bytes});
      bytes_total += files.back().bytes;
    }
    BlockReader reader(files, options.max_bytes, from);
    BlockParser parser(files, options);
    InputBlock block;
    Texts texts;
    counts_ = {};
    bad_.clear();
    ends_.clear();
    int64_t lines = 0;
    while (reader.next(block)) {
      EXPECT_EQ(block.begin, ends_.empty() ? from : ends_.back().at);
      const auto found = parser.parse(block, [&](auto text) { texts.emplace_back(text); });
      for (const auto& bad : found.bad) {
        const std::string place =
            bad.line < 0 ? "" : fmt::format("line {}: ", lines + bad.line + 1);
        bad_.push_back(fmt::format("{}: {}{}", files[bad.file].name(), place, bad.what));
      }
      lines = block.end.offset == 0 ? 0 : lines + found.lines;
      counts_.empty += found.empty;
      counts_.binary_files += found.binary_files;
      ends_.push_back({block.end, texts.size()});
      EXPECT_LE(bytes_done, block.bytes_done);
      bytes_done = block.bytes_done;
    }
    EXPECT_EQ(bytes_done, ends_.empty() ? 0 : bytes_total);
    return texts;
  }
  // What is said of a file that cannot be read, or has one bad line.
  std::string refusal(const std::string& name, const std::string& content,
                      DocumentOptions options = {}) {
    write_text(dir_ / name, content);
    std::string text;
    try {
      read_files({dir_ / name}, options);
      EXPECT_EQ(bad_.size(), 1u);
      if (!bad_.empty()) text = bad_[0];
    } catch (const Error& error) {
      text = error.what();
    }
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    EXPECT_SAYS(text, name + ": ");
    return text;
  }
  std::string refused_line(const std::string& line) {
    return refusal("d.jsonl", "{\"text\":\"good\"}\n\n" + line + "\n{\"text\":\"good\"}\n");
  }
  struct End {
    InputPosition at;
    size_t texts;  // before it
  };
  TemporaryDirectory dir_;
  BlockCounts counts_;
  Texts bad_;
  std::vector<End> ends_;  // of the blocks
};

const std::string kTwo = "{\"text\":\"one\"}\n{\"meta\":{\"text\":1},\"text\":\"two\"}\n";

TEST_F(Documents, JsonLines) {
  EXPECT_EQ(read("d.jsonl", kTwo), (Texts{"one", "two"}));
  EXPECT_EQ(read("d.jsonl", "{\"text\":\"no final newline\"}"), Texts{"no final newline"});
  EXPECT_EQ(read("d.jsonl", "\n \t\r\n{\"text\":\"crlf\"}\r\n\r\n"), Texts{"crlf"});
  EXPECT_EQ(read("d.jsonl", ""), Texts{});
  EXPECT_EQ(read("d.jsonl", "{\"body\":\"b\",\"text\":3}\n", {.text_key = "body"}), Texts{"b"});
  EXPECT_EQ(read("d.jsonl", R"({"text":"\ud83d\ude00 \u0000 \u00e9 é \n"})"),
            Texts{"\xF0\x9F\x98\x80 \0 \xC3\xA9 \xC3\xA9 \n"s});
  EXPECT_EQ(read("d.jsonl", R"({"text":"a","id":123456789012345678901234567890})"), Texts{"a"});
}

TEST_F(Documents, EmptyDocumentsAreCounted) {
  write_text(dir_ / "empty.txt", "");
  EXPECT_EQ(read("d.jsonl", "{\"text\":\"\"}\n" + kTwo + "{\"text\":\"\"}"), (Texts{"one", "two"}));
  EXPECT_EQ(counts_.empty, 2);
  EXPECT_EQ(read_files({dir_ / "empty.txt", dir_ / "d.jsonl"}), (Texts{"one", "two"}));
  EXPECT_EQ(counts_.empty, 3);
}

TEST_F(Documents, RefusesABadLine) {
  EXPECT_SAYS(refused_line("{\"text\":\"abc\""), "d.jsonl: line 3: not valid JSON");
  EXPECT_SAYS(refused_line("{\"text\":\"abc"), "line 3: not valid JSON");
  EXPECT_SAYS(refused_line("{\"text\":\"a\"} {}"), "line 3: not valid JSON");
  EXPECT_SAYS(refused_line("{\"text\":\"a\",}"), "line 3: not valid JSON");
  EXPECT_SAYS(refused_line("{\"text\":\"a\",\"b\":NaN}"), "line 3: not valid JSON");
  EXPECT_SAYS(refused_line("{\"text\":\"a\",\"b\":1e999}"), "line 3: not valid JSON");
  EXPECT_SAYS(refused_line("{\"text\":\"a\x01\"}"), "line 3: not valid JSON");
  EXPECT_SAYS(refused_line("{\"text\":\"\xff\"}"),
              "line 3: not valid JSON: The input is not valid UTF-8");
  EXPECT_SAYS(refused_line("{\"text\":\"\xed\xa0\x80\"}"), "not valid UTF-8");
  EXPECT_SAYS(refused_line("{\"text\":\"\xc0\x80\"}"), "not valid UTF-8");
  EXPECT_SAYS(refused_line("{\"text\":\"\\ud800\"}"), "line 3: not valid JSON");
  EXPECT_SAYS(refused_line("{\"text\":\"\\udc00x\"}"), "line 3: not valid JSON");
  EXPECT_SAYS(refused_line("{\"text\":\"\\ud800\\u0041\"}"), "line 3: not valid JSON");
  EXPECT_SAYS(refused_line("\xEF\xBB\xBF{\"text\":\"a\"}"),
              "line 3: starts with a byte order mark");
  EXPECT_SAYS(refused_line("[\"text\"]"), "line 3: expected an object, found an array");
  EXPECT_SAYS(refused_line("\"text\""), "expected an object, found a string");
  EXPECT_SAYS(refused_line("{\"txt\":\"a\"}"), "line 3: no key \"text\"");
  EXPECT_SAYS(refused_line("{}"), "no key \"text\"");
  EXPECT_SAYS(refused_line("{\"text\":null}"), "\"text\": expected a string, found null");
  EXPECT_SAYS(refused_line("{\"text\":3}"), "\"text\": expected a string, found a number");
  EXPECT_SAYS(refused_line("{\"text\":[\"a\"]}"), "found an array");
  EXPECT_SAYS(refused_line("{\"text\":\"a\",\"text\":\"b\"}"), "\"text\" stands twice");
  EXPECT_SAYS(refused_line(std::string(100000, '[')), "line 3: not valid JSON");
}

TEST_F(Documents, PassesOverBadLines) {
  EXPECT_EQ(read("d.jsonl", "{\"text\":\n{\"text\":\"a\"}\n{\"text\":1}\n{\"text\":\"b\"}\n{"),
            (Texts{"a", "b"}));
  ASSERT_EQ(bad_.size(), 3u);
  EXPECT_SAYS(bad_[0], "d.jsonl: line 1: ");
  EXPECT_SAYS(bad_[1], "d.jsonl: line 3: \"text\": expected a string, found a number");
  EXPECT_SAYS(bad_[2], "d.jsonl: line 5: ");
}

TEST_F(Documents, PassesOverALineThatIsTooLong) {
  const auto line = [](size_t bytes) {
    return "{\"text\":\"" + std::string(bytes - 11, 'a') + "\"}";
  };
  const size_t size = 3'000'000;
  EXPECT_EQ(read("d.jsonl", line(size) + "\n" + line(size), {.max_bytes = size}).size(), 2u);
  EXPECT_EQ(bad_, Texts{});
  const std::vector<std::pair<std::string, size_t>> ends = {
      {"", 0}, {"\n", 0}, {"\n" + kTwo, 2}, {"\n\n" + kTwo + line(100), 3}};
  for (const auto& [end, more] : ends) {
    const auto texts = read("d.jsonl", kTwo + line(size) + end, {.max_bytes = size - 1});
    EXPECT_EQ(texts.size(), 2 + more);
    ASSERT_EQ(bad_.size(), 1u);
    EXPECT_SAYS(bad_[0], "d.jsonl: line 3: longer than 2999999 bytes");
  }
  // Shorter than a block.
  EXPECT_SAYS(refusal("d.jsonl", kTwo + line(500), {.max_bytes = 499}),
              "line 3: longer than 499 bytes");
  EXPECT_SAYS(refusal("d.txt", line(size), {.max_bytes = size - 1}),
              "3000000 bytes in one document, expected at most 2999999");
}

// Blocks cut the input at lines, and a reader that begins at any of them gives the rest.
TEST_F(Documents, GoesOnFromTheEndOfAnyBlock) {
  std::string lines[2];
  for (uint64_t i = 0; i < 300; ++i) {
    Rng rng(1, Purpose::kTest, 0, i);
    // Some lines are larger than a block, some files have several blocks.
    const size_t bytes = rng.below(60) == 0 ? rng.below(3'000'000) : rng.below(40'000);
    lines[i % 2] += fmt::format("{{\"text\":\"{}{}\"}}\n", i,
                                std::string(bytes, static_cast<char>('a' + i % 26)));
    if (i % 7 == 0) lines[i % 2] += i % 2 ? "\n" : "bad\n";
  }
  std::vector<std::filesystem::path> paths;
  const auto add = [&](const std::string& name, const std::string& content) {
    write_text(dir_ / name, content);
    paths.push_back(dir_ / name);
  };
  add("a.py", "first");
  add("b.jsonl", lines[0]);
  add("c.jsonl", "");
  add("d.jsonl.gz",
      gzip_member(lines[1].substr(0, 700'000)) + gzip_member(lines[1].substr(700'000)));
  add("e.jsonl.zst",
      zstd_frame(lines[0].substr(0, 700'001)) + zstd_frame(lines[0].substr(700'001)));
  for (int i = 0; i < 300; ++i) add(fmt::format("f{:03}.txt", i), fmt::format("text {}", i));
  const Texts whole = read_files(paths);
  const auto ends = ends_;
  EXPECT_EQ(whole.size(), 751u);
  EXPECT_EQ(bad_.size(), 2 * 22u);
  ASSERT_GT(ends.size(), 10u);
  size_t inside = 0;
  for (const End& end : ends) {
    inside += end.at.offset > 0;
    EXPECT_TRUE(read_files(paths, {}, end.at) ==
                Texts(whole.begin() + static_cast<std::ptrdiff_t>(end.texts), whole.end()))
        << end.at.file << " " << end.at.offset;
  }
  EXPECT_GT(inside, 5u);
}

TEST_F(Documents, AFileThatWasCutSinceIsAnError) {
  write_text(dir_ / "d.jsonl", kTwo);
  EXPECT_SAYS(error_of([&] {
                read_files({dir_ / "d.jsonl"}, {}, {0, kTwo.size() + 1});
              }),
              "d.jsonl: ends at byte");
}

TEST_F(Documents, Zstd) {
  EXPECT_EQ(read("d.jsonl.zst", zstd_frame(kTwo)), (Texts{"one", "two"}));
  // Frames that cut a line, skippable ones before, between and at the end (seekable files have
  // one).
  const std::string frames = skippable_frame("x") + zstd_frame(kTwo.substr(0, 20)) +
                             skippable_frame("") + zstd_frame(kTwo.substr(20), 0, true) +
                             zstd_frame("") + skippable_frame(std::string(200, 'y'));
  EXPECT_EQ(read("d.jsonl.zst", frames), (Texts{"one", "two"}));
  std::string many;
  for (int i = 0; i < 100000; ++i) many += "{\"text\":\"" + std::to_string(i) + "\"}\n";
  const auto texts = read("d.jsonl.zst", zstd_frame(many));
  ASSERT_EQ(texts.size(), 100000u);
  EXPECT_EQ(texts[99999], "99999");
}

TEST_F(Documents, RefusesBrokenZstd) {
  std::string text;  // does not compress to nothing
  for (int i = 0; i < 30000; ++i) text += "{\"text\":\"" + std::to_string(i * 7919) + "\"}\n";
  const std::string frame = zstd_frame(text, 0, true);
  EXPECT_SAYS(refusal("d.jsonl.zst", ""), "empty, expected a zstd frame");
  EXPECT_SAYS(refusal("d.jsonl.zst", kTwo), "near byte 0: not a valid zstd frame");
  for (const size_t size : {size_t{1}, size_t{4}, size_t{9}, frame.size() / 2, frame.size() - 1})
    EXPECT_SAYS(refusal("d.jsonl.zst", frame.substr(0, size)),
                fmt::format("ends inside a zstd frame at byte {}: the file is truncated", size));
  EXPECT_SAYS(refusal("d.jsonl.zst", frame + frame.substr(0, 30)), "truncated");
  EXPECT_SAYS(refusal("d.jsonl.zst", frame + "trailing"), "not a valid zstd frame");
  std::string checksum = frame;
  checksum.back() = static_cast<char>(checksum.back() ^ 1);
  EXPECT_SAYS(refusal("d.jsonl.zst", checksum), "not a valid zstd frame");
  // Wherever a bit flips: an error of one line, or texts, but nothing worse.
  for (size_t at = 0; at < frame.size(); at += 977) {
    std::string flipped = frame;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    EXPECT_SAYS(refusal("d.jsonl.zst", flipped), "d.jsonl.zst: ");
  }
}

TEST_F(Documents, RefusesAZstdWindowThatEatsTheMemory) {
  EXPECT_EQ(read("d.jsonl.zst", zstd_frame(kTwo, 27)), (Texts{"one", "two"}));
  EXPECT_SAYS(refusal("d.jsonl.zst", zstd_frame(kTwo, 28)), "its window is over 128 MiB");
}

TEST_F(Documents, RefusesABomb) {
  const std::string bomb = zstd_frame(std::string(64 << 20, ' '));
  EXPECT_LT(bomb.size(), 100'000u);
  EXPECT_SAYS(refusal("d.jsonl.zst", bomb, {.max_bytes = 1 << 20}),
              "line 1: longer than 1048576 bytes");
}

TEST_F(Documents, Gzip) {
  EXPECT_EQ(read("d.jsonl.gz", gzip_member(kTwo)), (Texts{"one", "two"}));
  EXPECT_EQ(read("d.jsonl.gz",
                 gzip_member(kTwo.substr(0, 20)) + gzip_member(kTwo.substr(20)) + gzip_member("")),
            (Texts{"one", "two"}));
  EXPECT_SAYS(refusal("d.jsonl.gz", ""), "empty, expected a gzip member");
  EXPECT_SAYS(refusal("d.jsonl.gz", kTwo), "not a valid gzip member");
  const std::string member = gzip_member(kTwo);
  for (size_t size = 1; size < member.size(); ++size)
    EXPECT_SAYS(refusal("d.jsonl.gz", member.substr(0, size)),
                fmt::format("ends inside a gzip member at byte {}", size));
  EXPECT_SAYS(refusal("d.jsonl.gz", member + "x"), "d.jsonl.gz: ");
  std::string flipped = member;
  flipped[member.size() - 6] = static_cast<char>(flipped[member.size() - 6] ^ 1);
  EXPECT_SAYS(refusal("d.jsonl.gz", flipped), "not a valid gzip member");
}

TEST_F(Documents, TextFiles) {
  const std::string cut = "not \xff UTF-8, \xe2\x82";  // as it is: the tokenizer replaces
  EXPECT_EQ(read("a.py", cut), Texts{cut});
  EXPECT_EQ(read("b.txt", kTwo), Texts{kTwo});
  EXPECT_EQ(read("c.o", "\x7f"s + "ELF\0"s), Texts{});
  EXPECT_EQ(counts_.binary_files, 1);
  const std::string late = std::string(8192, 'a') + "\0"s;
  EXPECT_EQ(read("d.txt", late), Texts{late});
  EXPECT_EQ(counts_.binary_files, 0);
  EXPECT_EQ(read_files({dir_ / "a.py", dir_ / "c.o", dir_ / "b.txt"}), (Texts{cut, kTwo}));
}

TEST_F(Documents, RefusesWhatIsNoFile) {
  EXPECT_SAYS(error_of([&] { read_files({dir_ / "absent.jsonl"}); }), "absent.jsonl: cannot open");
  EXPECT_SAYS(error_of([&] { read_files({dir_.path()}); }), "found a directory");
  ASSERT_EQ(::mkfifo((dir_ / "pipe.jsonl").c_str(), 0600), 0);
  EXPECT_SAYS(error_of([&] { read_files({dir_ / "pipe.jsonl"}); }), "pipe.jsonl: ");
}

}  // namespace
}  // namespace midfill
