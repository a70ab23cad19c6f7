#include "tests/fuzz/small_tokenizer.h"

#include <fmt/format.h>

#include "src/tokenizer/bpe_trainer.h"

namespace midfill::fuzz {

namespace {

constexpr std::string_view kPage = R"(def area(width, height):
    """The area of a rectangle."""
    if width < 0 or height < 0:
        raise ValueError("width and height can't be below 0")
    return width * height


class Shape:
    def __init__(self, name, width=10, height=20):
        self.name = name
        self.width, self.height = width, height

    def area(self):
        return area(self.width, self.height)

int main(int argc, char** argv) {
	for (int i = 0; i < argc; ++i) {
		std::printf("%d: %s\n", i, argv[i]);   // don't say it's wrong
	}
	return 0;
}
It isn't what they've said: we're here, I'm there, she'll come and he'd go. It's 1234567890 o'clock.
Où est l'été? Der Hügel über dem Fluß, größer als gestern. Ещё раз: привет, мир. Καλημέρα κόσμε.
数据加载器把文本变成样本。数据加载器很快。안녕하세요 세계. שלום עולם. नमस्ते दुनिया. 🙂🙂 é e
)";

}  // namespace

std::string small_tokenizer_json(bool space_runs) {
  constexpr int kFixedIds = 2 + 256 + 3, kMerges = 100;
  PieceCounts counts(space_runs);
  counts.add(kPage);
  const int runs = space_runs ? kLongestSpaceRun - 1 : 0;
  return train_bpe(counts, {.vocab_size = kFixedIds + kMerges + runs, .space_runs = space_runs});
}

std::vector<TokenId> merge_by_definition(std::string_view piece, const TokenizerFile& file) {
  std::vector<TokenId> ids;
  for (const char c : piece) ids.push_back(file.byte_ids[static_cast<uint8_t>(c)]);
  for (bool merged = true; merged;) {
    merged = false;
    for (const Merge& merge : file.merges) {
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        if (ids[i] != merge.left || ids[i + 1] != merge.right) continue;
        ids[i] = merge.result;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        merged = true;
        break;
      }
      if (merged) break;
    }
  }
  return ids;
}

std::string ids_text(const std::vector<TokenId>& ids) {
  return fmt::format("{}", fmt::join(ids, " "));
}

}  // namespace midfill::fuzz
