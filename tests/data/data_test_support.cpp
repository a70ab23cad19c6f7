#include "tests/data/data_test_support.h"

#include <array>
#include <map>

#include "src/data/dataset_writer.h"
#include "src/io/json.h"
#include "tests/support/tokenizer_json.h"

namespace midfill::test {

namespace {

std::string utf8(uint32_t c) {
  std::string s;
  if (c < 0x80) {
    s += static_cast<char>(c);
  } else if (c < 0x800) {
    s += static_cast<char>(0xC0 | c >> 6);
    s += static_cast<char>(0x80 | (c & 63));
  } else if (c < 0x10000) {
    s += static_cast<char>(0xE0 | c >> 12);
    s += static_cast<char>(0x80 | (c >> 6 & 63));
    s += static_cast<char>(0x80 | (c & 63));
  } else {
    s += static_cast<char>(0xF0 | c >> 18);
    s += static_cast<char>(0x80 | (c >> 12 & 63));
    s += static_cast<char>(0x80 | (c >> 6 & 63));
    s += static_cast<char>(0x80 | (c & 63));
  }
  return s;
}

// The printable stand-ins of bytes in tokenizer.json.
std::string stand_ins(std::string_view bytes) {
  static const std::array<std::string, 256> table = [] {
    std::array<std::string, 256> t;
    uint32_t next = 256;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      t[b] = utf8(printable ? b : next++);
    }
    return t;
  }();
  std::string out;
  for (const char c : bytes) out += table[static_cast<unsigned char>(c)];
  return out;
}

std::string small_tokenizer_json() {
  Json vocab = Json::object();
  int next = 2;  // 0 and 1 are EOD and padding
  const auto add = [&](const std::string& bytes) {
    const std::string key = stand_ins(bytes);
    if (!vocab.contains(key)) vocab[key] = next++;
  };
  for (int b = 0; b < 256; ++b) add(std::string(1, static_cast<char>(b)));
  Json merges = Json::array();
  std::map<std::string, bool> made;
  // Every prefix of each word becomes a token by adding one byte at a time.
  for (const std::string word :
       {" the",         " return",      "return",       "def",          " in",      "int",
        " self",        "self.",        "tion",         "ing",          "\n\n",     "\t\t",
        " =",           "==",           "();",          "0x",           "00",       " a",
        "\xE4\xB8",     "\xE4\xB8\xAD", "\xB8\xAD\xE6", "\xAD\xE6\x96", "\xF0\x9F", "\xF0\x9F\x98",
        "\x9F\x98\x80", "\xCC\x81",     "e\xCC",        "\xC3\xA9",     " \xC3",    "\xA9t",
        "\xEF\xBF",     "\xEF\xBF\xBD"}) {
    for (size_t n = 2; n <= word.size(); ++n) {
      const std::string whole = word.substr(0, n);
      if (made[whole]) continue;
      made[whole] = true;
      add(whole);
      merges.push_back(stand_ins(word.substr(0, n - 1)) + " " + stand_ins(word.substr(n - 1, 1)));
    }
  }
  Json added = Json::array();
  added.push_back(added_token(0, "<|endoftext|>", true));
  added.push_back(added_token(1, "<|padding|>", true));
  vocab["<|endoftext|>"] = 0;
  vocab["<|padding|>"] = 1;
  for (int n = 6; n >= 2; --n) added.push_back(added_token(next++, std::string(n, ' '), false));
  return byte_level_tokenizer(vocab, merges, added).dump();
}

}  // namespace

const Tokenizer& small_tokenizer() {
  static const Tokenizer tokenizer =
      Tokenizer::from_json(small_tokenizer_json(), "small tokenizer");
  return tokenizer;
}

TokenId byte_token(char byte) {
  return 2 + static_cast<unsigned char>(byte);
}

std::string random_text(Rng& rng, size_t bytes) {
  static const std::vector<std::string> pieces = {"def",
                                                  " self",
                                                  "self.",
                                                  "return",
                                                  " return",
                                                  "int",
                                                  "tion",
                                                  "ing",
                                                  " the",
                                                  " in",
                                                  "x",
                                                  "foo",
                                                  "bar_baz",
                                                  "0x1F",
                                                  "1234567",
                                                  "==",
                                                  " = ",
                                                  "();",
                                                  "{",
                                                  "}\n",
                                                  ":\n",
                                                  "\n",
                                                  "\n\n",
                                                  "\r\n",
                                                  "\t",
                                                  "\t\t",
                                                  " ",
                                                  "  ",
                                                  "    ",
                                                  "       ",
                                                  "\"",
                                                  "don't",
                                                  "\u4e2d",
                                                  "\u4e2d\u6587",
                                                  "\u65e5",
                                                  "\U0001F600",
                                                  "\U0001F468\u200d\U0001F469",
                                                  "\u00e9",
                                                  "e\u0301",
                                                  "\u0301",
                                                  "\u1100\u1161",
                                                  "\uFFFD",
                                                  "<|endoftext|>",
                                                  "<|PRE|>",
                                                  "\u00a0",
                                                  "\u2028",
                                                  "\x01",
                                                  ".",
                                                  ",",
                                                  "A",
                                                  "z"};
  const size_t target = rng.below(bytes + 1);
  std::string text;
  while (text.size() < target) {
    if (rng.below(8) == 0) {
      const uint32_t ranges[4][2] = {
          {0x20, 0x7e}, {0xa1, 0x24f}, {0x3041, 0x9fff}, {0x1F300, 0x1F64F}};
      const auto& range = ranges[rng.below(4)];
      text += utf8(range[0] + static_cast<uint32_t>(rng.below(range[1] - range[0])));
    } else {
      text += pieces[rng.below(pieces.size())];
    }
  }
  return text;
}

std::vector<std::vector<TokenId>> random_documents(const Tokenizer& tokenizer, uint64_t seed,
                                                   int count, size_t bytes) {
  std::vector<std::vector<TokenId>> documents;
  for (int d = 0; d < count; ++d) {
    Rng rng(seed, Purpose::kTest, 0, static_cast<uint64_t>(d));
    documents.push_back(tokenizer.encode(random_text(rng, bytes), {.match_special = false}));
    documents.back().push_back(tokenizer.sentinels().eod);
  }
  return documents;
}

std::shared_ptr<const IndexedDataset> dataset_of(
    const std::string& prefix, const Tokenizer& tokenizer,
    const std::vector<std::vector<TokenId>>& documents) {
  IndexedDatasetWriter writer(prefix, tokenizer.vocab_size());
  for (const auto& document : documents) writer.add_document(document);
  writer.commit();
  return std::make_shared<IndexedDataset>(IndexedDataset::open(prefix, tokenizer.vocab_size()));
}

}  // namespace midfill::test
