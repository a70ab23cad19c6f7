#include "src/data/documents.h"

#include <bzlib.h>
#include <lzma.h>
#include <sys/stat.h>
#include <zstd.h>

#include "kernels/common/check.h"
#include "kernels/common/rng.h"
#include "tests/data/gzip.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::gzip_member;
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

std::string xz_stream(const std::string& text, uint32_t dictionary = 0) {
  lzma_options_lzma options;
  EXPECT_EQ(lzma_lzma_preset(&options, 1), 0);
  if (dictionary > 0) options.dict_size = dictionary;
  const lzma_filter filters[] = {{LZMA_FILTER_LZMA2, &options}, {LZMA_VLI_UNKNOWN, nullptr}};
  std::string out(lzma_stream_buffer_bound(text.size()), '\0');
  size_t size = 0;
  EXPECT_EQ(lzma_stream_buffer_encode(const_cast<lzma_filter*>(filters), LZMA_CHECK_CRC64, nullptr,
                                      reinterpret_cast<const uint8_t*>(text.data()), text.size(),
                                      reinterpret_cast<uint8_t*>(out.data()), &size, out.size()),
            LZMA_OK);
  out.resize(size);
  return out;
}

std::string bzip2_stream(std::string text) {
  std::string out(text.size() + text.size() / 100 + 600, '\0');
  auto size = static_cast<unsigned>(out.size());
  EXPECT_EQ(BZ2_bzBuffToBuffCompress(out.data(), &size, text.data(),
                                     static_cast<unsigned>(text.size()), 1, 0, 0),
            BZ_OK);
  out.resize(size);
  return out;
}

struct Compression {
  std::string ending, unit;
  std::function<std::string(const std::string&)> compress;
};
const std::vector<Compression> kCompressions = {
    {".gz", "gzip member", [](const auto& text) { return gzip_member(text); }},
    {".zst", "zstd frame", [](const auto& text) { return zstd_frame(text, 0, true); }},
    {".xz", "xz stream", [](const auto& text) { return xz_stream(text); }},
    {".bz2", "bzip2 stream", [](const auto& text) { return bzip2_stream(text); }}};

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
      files.push_back(
          {.path = path.string(), .bytes = none ? 0 : bytes, .modified_ns = 0, .named = named_});
      bytes_total += files.back().bytes;
    }
    BlockReader reader(files, options, from);
    BlockParser parser(files, options);
    InputBlock block;
    Texts texts;
    counts_ = {};
    bad_.clear();
    passed_over_.clear();
    doubts_.clear();
    ends_.clear();
    int64_t lines = 0;
    while (reader.next(block)) {
      EXPECT_EQ(block.begin, ends_.empty() ? from : ends_.back().at);
      const auto found = parser.parse(block, [&](auto text) { texts.emplace_back(text); });
      for (const auto& bad : found.bad) bad_.push_back(message_of(files, bad, lines));
      for (const auto& file : found.passed_over)
        passed_over_.push_back(message_of(files, file, lines));
      for (const auto& file : found.doubts) doubts_.push_back(message_of(files, file, lines));
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
  bool named_ = true;  // by the user
  Texts bad_, passed_over_, doubts_;
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

TEST_F(Documents, RefusesABadLineAndSaysWhy) {
  EXPECT_SAYS(refused_line("{\"text\":\"abc\""),
              "d.jsonl: line 3: not valid JSON: byte 14: syntax error while parsing object");
  EXPECT_SAYS(refused_line("{\"text\":\"abc"), "line 3: not valid JSON: byte 13: ");
  EXPECT_SAYS(refused_line("{\"text\":\"abc"), "missing closing quote");
  EXPECT_SAYS(refused_line("{\"text\":\"a\"} {}"), "line 3: not valid JSON: byte 14: ");
  EXPECT_SAYS(refused_line("{\"text\":\"a\",}"), "line 3: not valid JSON: byte 13: ");
  EXPECT_SAYS(refused_line("{\"text\":\"a\",\"b\":nan}"), "invalid literal");
  EXPECT_SAYS(refused_line("{\"text\":\"a\x01\"}"), "control character U+0001");
  EXPECT_SAYS(refused_line("{\"text\":\"a\0\"}"s), "line 3: not valid JSON: byte 11: a NUL byte");
  EXPECT_SAYS(refused_line("{\"text\":\"\xff\"}"),
              "line 3: not valid JSON: The input is not valid UTF-8");
  EXPECT_SAYS(refused_line("{\"text\":\"\xed\xa0\x80\"}"), "not valid UTF-8");
  EXPECT_SAYS(refused_line("{\"text\":\"\xc0\x80\"}"), "not valid UTF-8");
  // json.dumps of Python writes halves of surrogate pairs; no UTF-8 can hold them.
  for (const char* half : {"\\ud800", "\\ud800\\u0041"})
    EXPECT_SAYS(refused_line("{\"text\":\""s + half + "\"}"),
                "surrogate U+D800..U+DBFF must be followed by U+DC00..U+DFFF");
  EXPECT_SAYS(refused_line("{\"text\":\"\\udc00x\"}"),
              "surrogate U+DC00..U+DFFF must follow U+D800..U+DBFF");
  EXPECT_SAYS(refused_line("\xEF\xBB\xBF{\"text\":\"a\"}"),
              "line 3: starts with a byte order mark, which only the first line of a file may");
  EXPECT_SAYS(refused_line("[\"text\"]"), "line 3: expected an object, found an array");
  EXPECT_SAYS(refused_line("\"text\""), "expected an object, found a string");
  EXPECT_SAYS(refused_line("{\"txt\":\"a\"}"), "line 3: no key \"text\"");
  EXPECT_SAYS(refused_line("{}"), "no key \"text\"");
  EXPECT_SAYS(refused_line("{\"text\":null}"), "\"text\": expected a string, found null");
  EXPECT_SAYS(refused_line("{\"text\":3}"), "\"text\": expected a string, found a number");
  EXPECT_SAYS(refused_line("{\"text\":NaN}"), "\"text\": expected a string, found a number");
  EXPECT_SAYS(refused_line("{\"text\":[\"a\"]}"), "found an array");
  EXPECT_SAYS(refused_line("{\"text\":\"a\",\"text\":\"b\"}"), "\"text\" stands twice");
  EXPECT_SAYS(refused_line(std::string(100000, '[')), "line 3: not valid JSON");
  for (const std::string& line : {"{\"text\":\"abc"s, "{\"text\":\"\\ud800\"}"s}) {
    const std::string said = refused_line(line);
    EXPECT_EQ(said.find("not valid"), said.rfind("not valid")) << said;
  }
}

TEST_F(Documents, AByteOrderMarkBeginsAFile) {
  const std::string mark = "\xEF\xBB\xBF";
  EXPECT_EQ(read("d.jsonl", mark + kTwo), (Texts{"one", "two"}));
  EXPECT_EQ(read("d.jsonl.gz", gzip_member(mark + kTwo)), (Texts{"one", "two"}));
  EXPECT_EQ(read("d.json", mark + kTwo), (Texts{"one", "two"}));
  EXPECT_EQ(read("d.jsonl", mark), Texts{});
  EXPECT_EQ(bad_, Texts{});
  // Concatenated files.
  EXPECT_EQ(read("d.jsonl", mark + kTwo + mark + kTwo), (Texts{"one", "two", "two"}));
  ASSERT_EQ(bad_.size(), 1u);
  EXPECT_SAYS(bad_[0], "line 3: starts with a byte order mark");
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
              "more than 2999999 bytes in one document");
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
  EXPECT_SAYS(refusal("d.jsonl.zst", frame + "trailing"),
              "behind a whole zstd frame stands something else");
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

// As `zstd --long=31` and `xz --lzma2=dict=...` write them.
TEST_F(Documents, LargeWindows) {
  EXPECT_EQ(read("d.jsonl.zst", zstd_frame(kTwo, 27)), (Texts{"one", "two"}));
  std::string frame = zstd_frame(kTwo, 27);
  constexpr size_t kWindow = 5;  // the byte of the header that says how large it is
  ASSERT_EQ(frame[kWindow], static_cast<char>((27 - 10) << 3));
  frame[kWindow] = static_cast<char>((31 - 10) << 3);
  EXPECT_EQ(read("d.jsonl.zst", frame), (Texts{"one", "two"}));
  const auto read_limited = [&](const std::string& content) {
    write_text(dir_ / "d", content);
    return error_of([&] {
      const auto stream = open_stream((dir_ / "d").string(), uint64_t{128} << 20);
      std::string out(100, '\0');
      stream->read(out);
    });
  };
  EXPECT_SAYS(read_limited(frame), "this zstd frame needs 2.0 GiB of memory to be decompressed");
  EXPECT_SAYS(read_limited(frame), "zstd -dc --long=31 FILE | midfill ... --input -");
  const std::string wide = xz_stream(kTwo, 1u << 30);
  EXPECT_EQ(read("d.jsonl.xz", wide), (Texts{"one", "two"}));
  EXPECT_SAYS(read_limited(wide), "this xz stream needs 1.0 GiB of memory");
  frame[kWindow] = static_cast<char>((32 - 10) << 3);
  EXPECT_SAYS(refusal("d.jsonl.zst", frame), "this zstd frame needs 4.0 GiB of memory");
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
  EXPECT_SAYS(refusal("d.jsonl.gz", member + "x"), "behind a whole gzip member stands something");
  std::string flipped = member;
  flipped[member.size() - 6] = static_cast<char>(flipped[member.size() - 6] ^ 1);
  EXPECT_SAYS(refusal("d.jsonl.gz", flipped), "not a valid gzip member");
}

TEST_F(Documents, EveryCompression) {
  std::string many;  // more than the reader takes at once
  for (int i = 0; i < 60'000; ++i) many += fmt::format("{{\"text\":\"{} {}\"}}\n", i, i * 7919);
  for (const auto& [ending, unit, compress] : kCompressions) {
    const std::string name = "d.jsonl" + ending, zeros(700, '\0');
    const std::string article = unit[0] == 'x' ? "an " : "a ";
    const std::string two = compress(kTwo);
    EXPECT_EQ(read(name, two), (Texts{"one", "two"})) << name;
    EXPECT_EQ(read(name, compress(many)).size(), 60'000u) << name;
    // Units that cut a line, empty ones, and zero bytes between and behind, as tar pads them.
    EXPECT_EQ(read(name, compress(kTwo.substr(0, 20)) + zeros + compress(kTwo.substr(20)) +
                             compress("") + zeros + zeros),
              (Texts{"one", "two"}))
        << name;
    // Known by the first bytes, whatever the name says.
    EXPECT_EQ(read("d.jsonl", two), (Texts{"one", "two"})) << name;
    EXPECT_EQ(read("d.jsonl.gz", two), (Texts{"one", "two"})) << name;
    EXPECT_EQ(read("d.JSONL" + ending, two), (Texts{"one", "two"})) << name;
    EXPECT_EQ(read("d.txt" + ending, compress("a text")), Texts{"a text"}) << name;
    // Broken ones stop a file of lines; a document that cannot be read is bad input.
    EXPECT_SAYS(refusal(name, ""), "empty, expected " + article + unit);
    EXPECT_SAYS(refusal(name, kTwo), "near byte 0: not a valid " + unit);
    EXPECT_SAYS(refusal(name, two + "x"), "behind a whole " + unit + " stands something else");
    EXPECT_SAYS(refusal(name, two + zeros + "x"), "behind a whole " + unit);
    for (size_t size = 1; size < two.size(); ++size)
      EXPECT_SAYS(
          refusal(name, two.substr(0, size)),
          fmt::format("ends inside {}{} at byte {}: the file is truncated", article, unit, size));
    EXPECT_THROW(read(name, two.substr(0, two.size() / 2)), BadCompression);
    const std::string text = compress("a text");
    EXPECT_EQ(read("d.py" + ending, text.substr(0, text.size() - 1)), Texts{});
    ASSERT_EQ(bad_.size(), 1u);
    EXPECT_SAYS(bad_[0], "d.py" + ending + ": ends inside " + article + unit);
    // Wherever a bit flips: an error of one line, or the two texts where nobody looks.
    int refusals = 0;
    for (size_t at = 0; at < two.size(); ++at) {
      std::string flipped = two;
      flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
      try {
        read(name, flipped);
        refusals += !bad_.empty();
      } catch (const Error& error) {
        EXPECT_SAYS(std::string(error.what()), name + ": ");
        ++refusals;
      }
    }
    EXPECT_GT(refusals, static_cast<int>(two.size() / 3)) << name;
  }
  EXPECT_EQ(read("d.jsonl.xz", xz_stream(kTwo) + xz_stream(kTwo)).size(), 4u);
}

// What a name and the first line say.
TEST_F(Documents, WhatHoldsLines) {
  const Texts lines = {"one", "two"};
  for (const char* name : {"d.jsonl", "d.ndjson", "d.jsonlines", "d.json-lines", "d.ldjson",
                           "D.JSONL", "d.tar.NDJSON"})
    EXPECT_EQ(read(name, kTwo), lines) << name;
  // There the first line decides.
  for (const char* name :
       {"d.json", "D.JSON", "d", "part-00000", "c4.json-00000-of-01024", "d.01"}) {
    EXPECT_EQ(read(name, kTwo), lines) << name;
    EXPECT_EQ(read(name, "\n \r\n" + kTwo + "bad\n"), lines) << name;
    EXPECT_EQ(bad_.size(), 1u);
    EXPECT_EQ(read(name, "{\n\"text\":\"a\"}\n"), Texts{"{\n\"text\":\"a\"}\n"}) << name;
    EXPECT_EQ(read(name, "{\"body\":\"a\"}"), Texts{"{\"body\":\"a\"}"}) << name;
    EXPECT_EQ(read(name, "{\"body\":\"a\"}", {.text_key = "body"}), Texts{"a"}) << name;
    EXPECT_EQ(read(name, "{\"text\":1}"), Texts{"{\"text\":1}"}) << name;
    EXPECT_EQ(read(name, "# text"), Texts{"# text"}) << name;
    EXPECT_EQ(read(name, ""), Texts{}) << name;
    EXPECT_EQ(bad_, Texts{});
  }
  for (const auto& [ending, unit, compress] : kCompressions)
    for (const char* name : {"d.json", "d.ndjson", "d"})
      EXPECT_EQ(read(name + ending, compress(kTwo)), lines) << name << ending;
  EXPECT_EQ(read("d.jsonl.zstd", zstd_frame(kTwo)), lines);
  // Longer than what is read at once.
  const std::string first(3'000'000, 'x');
  EXPECT_EQ(read("d.json", "{\"text\":\"" + first + "\"}\n" + kTwo), (Texts{first, "one", "two"}));
  EXPECT_SAYS(refusal("d.json", "{\"text\":\"" + first + "\"}", {.max_bytes = 100'000}),
              "more than 100000 bytes");
}

// Names that say text: one document, whatever is in it, and a word where it looks otherwise.
TEST_F(Documents, WhatIsOneText) {
  for (const char* name : {"d.txt", "d.py", "d.js", "d.TXT"}) {
    EXPECT_EQ(read(name, kTwo), Texts{kTwo}) << name;
    ASSERT_EQ(doubts_.size(), 1u);
    EXPECT_SAYS(doubts_[0], name + ": read as one text: its name says so, though"s);
  }
  const std::string object = "{\"body\":\"a\"}\n{\"body\":\"b\"}\n";
  EXPECT_EQ(read("d.json", object), Texts{object});
  ASSERT_EQ(doubts_.size(), 1u);
  EXPECT_SAYS(doubts_[0], "it looks like lines of JSON, but in its first line: no key \"text\"");
  for (const char* quiet :
       {"{\"name\":\"package\"}\n", "{\n\"text\":\"a\"\n}\n", "[1]", "{", "["}) {
    EXPECT_EQ(read("d.json", quiet), Texts{quiet});
    EXPECT_EQ(doubts_, Texts{});
  }
  // Nobody asked for the files of a directory one by one.
  named_ = false;
  EXPECT_EQ(read("d.txt", kTwo), Texts{kTwo});
  EXPECT_EQ(read("d.json", object), Texts{object});
  EXPECT_EQ(doubts_, Texts{});
}

TEST_F(Documents, AnArrayOfDocumentsIsNoDocument) {
  const std::string array =
      "[\n  {\"n\": [1], \"text\": \"a ]} \\\" \"},\n  {\"text\": \"b\"}\n]\n";
  for (const bool named : {true, false}) {
    named_ = named;
    EXPECT_SAYS(refusal("d.json", array),
                "an array of objects with \"text\", expected an object a "
                "line: jq -c '.[]' writes them so");
    EXPECT_EQ(counts_.binary_files, 0);
    EXPECT_SAYS(refusal("d.json.gz", gzip_member(array)), "an array of objects");
    const std::string other = "[{\"name\": \"text\"}, {\"text\": \"b\"}]";
    EXPECT_EQ(read("d.json", other), Texts{other});
    EXPECT_EQ(read("d.py", array), Texts{array});
    EXPECT_EQ(doubts_.size(), named ? 1u : 0u);
  }
}

TEST_F(Documents, SaysWhatABinaryFileIs) {
  const std::string tar = "a.txt" + std::string(252, '\0') + "ustar\0"s + std::string(300, '\0');
  const std::vector<std::array<std::string, 3>> files = {
      {"d.parquet", "PAR1\x15\0\0"s, "a Parquet file; write its rows as lines of JSON"},
      {"d.arrow", "ARROW1\0\0"s, "an Arrow file"},
      {"d.zip", "PK\x03\x04more", "a zip archive; unpack it"},
      {"d.tar", tar, "a tar archive; unpack it"},
      {"d.tar.gz", gzip_member(tar), "a tar archive; unpack it"},
      {"d.tgz", gzip_member(tar), "a tar archive; unpack it"},
      {"d.txt", "\xff\xfe"s + "a\0b\0"s, "UTF-16 text; iconv -f UTF-16 -t UTF-8"},
      {"d.txt", "\xfe\xff\x4e\x2d\0\n"s, "UTF-16 text"},
      {"d.txt", "\xff\xfe\0\0a\0\0\0"s, "UTF-32 text; iconv -f UTF-32 -t UTF-8"},
      {"d.o", "\x7f"s + "ELF\0"s, "binary: a NUL byte in its first 8 KiB"}};
  for (const auto& [name, content, what] : files) {
    named_ = true;
    EXPECT_EQ(read(name, content), Texts{}) << name;
    EXPECT_EQ(counts_.binary_files, 1) << name;
    EXPECT_EQ(bad_, Texts{}) << name;
    ASSERT_EQ(passed_over_.size(), 1u) << name;
    EXPECT_SAYS(passed_over_[0], name + ": " + what);
    named_ = false;
    EXPECT_EQ(read(name, content), Texts{}) << name;
    EXPECT_EQ(counts_.binary_files, 1) << name;
    EXPECT_EQ(passed_over_, Texts{}) << name;
    // Lines that are not there are missed, whoever named the file.
    if (what.starts_with("binary")) continue;
    EXPECT_SAYS(refusal("d.jsonl", content), what.substr(0, 8));
    EXPECT_EQ(counts_.binary_files, 0) << name;
  }
  for (const char* text :
       {"PAR1 is a text", "ustar", "ORCHESTRA", "BZh9 too", "%PDF-", "PK", "\xff\xfe broken"})
    EXPECT_EQ(read("d.txt", text), Texts{text});
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
  const std::string large(5'000'000, 'y');
  EXPECT_EQ(read("e.txt.gz", gzip_member(large)), Texts{large});
  EXPECT_EQ(read("e.txt", large), Texts{large});
  EXPECT_EQ(read("e.txt", large, {.max_bytes = large.size()}), Texts{large});
}

// A document that cannot be used is bad input, with its place, and the others are not.
TEST_F(Documents, ADocumentMayBeRefusedByItsUser) {
  write_text(dir_ / "a.jsonl", kTwo);
  write_text(dir_ / "b.txt", "one");
  const std::vector<InputFileInfo> files =
      file_infos({{.path = dir_ / "a.jsonl"}, {.path = dir_ / "b.txt"}});
  BlockReader reader(files, {});
  BlockParser parser(files, {});
  Texts texts, bad;
  for (InputBlock block; reader.next(block);) {
    const auto found = parser.parse(block, [&](auto text) {
      if (text == "one") throw TextError("it is the one");
      texts.emplace_back(text);
    });
    for (const auto& note : found.bad) bad.push_back(message_of(files, note, 0));
  }
  EXPECT_EQ(texts, Texts{"two"});
  EXPECT_EQ(bad,
            (Texts{(dir_ / "a.jsonl").string() + ": line 1: cannot be tokenised: it is the one",
                   (dir_ / "b.txt").string() + ": cannot be tokenised: it is the one"}));
}

TEST_F(Documents, RefusesWhatIsNoFile) {
  EXPECT_SAYS(error_of([&] { read_files({dir_ / "absent.jsonl"}); }), "absent.jsonl: cannot open");
  EXPECT_SAYS(error_of([&] { read_files({dir_.path()}); }), "found a directory");
  ASSERT_EQ(::mkfifo((dir_ / "pipe.jsonl").c_str(), 0600), 0);
  EXPECT_SAYS(error_of([&] { read_files({dir_ / "pipe.jsonl"}); }), "pipe.jsonl: ");
}

}  // namespace
}  // namespace midfill
