#include "src/data/indexed_dataset.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "kernels/common/check.h"

namespace midfill {

namespace {

constexpr int kLaterTokens = 16;       // sentinels may join a vocabulary after the data are made
constexpr size_t kChunkBytes = 16384;  // of one read; a multiple of every token size

template <typename T>
int64_t load_as(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);  // the arrays of the format are not aligned
  return static_cast<int64_t>(value);
}

// Calls use(i, value) for each of the n values of type T at `offset` of the file.
template <typename T, typename Use>
void for_each(const InputFile& file, uint64_t offset, int64_t n, Use use) {
  std::vector<std::byte> chunk(size_t{1} << 20);
  const int64_t per_chunk = static_cast<int64_t>(chunk.size() / sizeof(T));
  for (int64_t begin = 0; begin < n; begin += per_chunk) {
    const int64_t count = std::min(per_chunk, n - begin);
    file.read(offset + static_cast<uint64_t>(begin) * sizeof(T),
              std::span(chunk).first(static_cast<size_t>(count) * sizeof(T)));
    for (int64_t i = 0; i < count; ++i)
      use(begin + i, load_as<T>(chunk.data() + i * static_cast<int64_t>(sizeof(T))));
  }
}

// Stored ids to ids; false where one is out of range. Without a branch in the loop, so that it
// becomes vector code.
template <typename T>
bool widen(const std::byte* from, int64_t max_id, std::span<TokenId> out) {
  using Wide = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  Wide largest = 0;  // one below 0 counts as large
  for (size_t i = 0; i < out.size(); ++i) {
    T id;
    std::memcpy(&id, from + i * sizeof id, sizeof id);
    largest = std::max(largest, static_cast<Wide>(id));
    out[i] = static_cast<TokenId>(id);
  }
  return largest <= static_cast<Wide>(max_id);
}

}  // namespace

IndexedDataset IndexedDataset::open(const std::string& prefix, int vocab_size) {
  const InputFile index(idx_path(prefix));
  IndexedDataset dataset(prefix, MappedFile(bin_path(prefix)));
  dataset.max_id_ = vocab_size > 0 ? vocab_size - 1 : std::numeric_limits<TokenId>::max();
  dataset.read_index(index, vocab_size);
  return dataset;
}

void IndexedDataset::read_index(const InputFile& index, int vocab_size) {
  const std::string& path = index.path();
  std::array<std::byte, kIndexHeaderBytes> header{};
  const size_t got = index.read_some(0, header);
  const std::string_view magic(reinterpret_cast<const char*>(header.data()),
                               std::min(got, kIndexMagic.size()));
  require(!magic.starts_with("TNTIDX"),
          "{}: the older TNTIDX format, expected MMIDIDX; convert it with the tool that wrote it",
          path);
  require(magic == kIndexMagic, "{}: does not start with MMIDIDX: not a dataset index", path);
  require(got == kIndexHeaderBytes, "{}: {} bytes, expected a header of {}", path, got,
          kIndexHeaderBytes);

  const auto u64_at = [&](size_t offset) {
    return static_cast<uint64_t>(load_as<uint64_t>(header.data() + offset));
  };
  require(u64_at(9) == kIndexVersion, "{}: byte 9: version {}, expected {}", path, u64_at(9),
          kIndexVersion);
  const int code = static_cast<int>(header[17]);
  require((code >= 1 && code <= 5) || code == 8,
          "{}: byte 17: type code {}, expected that of an integer: 1-5 or 8 (6 and 7 are floats)",
          path, code);
  type_ = static_cast<TokenType>(code);
  const int token_bytes = bytes_of(type_);
  const int64_t largest = largest_id(type_);
  require(vocab_size <= 0 || vocab_size - 1 - kLaterTokens <= largest,
          "{}: byte 17: type code {} holds ids up to {}, but the vocabulary has {}: made with "
          "another tokenizer",
          path, code, largest, vocab_size);

  // 4 + 8 bytes a sequence and 8 a document entry must fill the file exactly. The counts are
  // bounded before they are multiplied.
  const uint64_t sequences = u64_at(18), entries = u64_at(26);
  require(entries >= 1, "{}: byte 26: an empty document index, expected at least its first 0",
          path);
  const uint64_t rest = index.size() - kIndexHeaderBytes;
  require(sequences <= rest / 12 && entries <= rest / 8 && sequences * 12 + entries * 8 == rest,
          "{}: {} bytes, but {} sequences and {} document entries take {}", path, index.size(),
          sequences, entries,
          sequences <= rest && entries <= rest
              ? std::to_string(kIndexHeaderBytes + sequences * 12 + entries * 8)
              : "more");

  const int64_t n = static_cast<int64_t>(sequences);
  const uint64_t pointers_at = kIndexHeaderBytes + 4 * sequences;
  starts_.resize(sequences + 1);
  for_each<int32_t>(index, kIndexHeaderBytes, n, [&](int64_t i, int64_t size) {
    require(size >= 0, "{}: sequence {} has size {}, expected none below 0", path, i, size);
    starts_[i + 1] = starts_[i] + size;
  });
  for_each<int64_t>(index, pointers_at, n, [&](int64_t i, int64_t pointer) {
    require(pointer == starts_[i] * token_bytes,
            "{}: sequence {} starts at byte {} of the .bin file, expected {}: the sizes before it",
            path, i, pointer, starts_[i] * token_bytes);
  });
  const uint64_t bin_size = bin_.bytes().size();
  require(bin_size == static_cast<uint64_t>(starts_[n]) * static_cast<uint64_t>(token_bytes),
          "{}: {} bytes, expected {}: {} tokens of {} as {} says", bin_.path().native(), bin_size,
          starts_[n] * token_bytes, starts_[n], token_bytes, path);

  bool one_each = true;  // each document a sequence: the usual case, which needs no table
  std::vector<int64_t> documents;
  for_each<int64_t>(index, pointers_at + 8 * sequences, static_cast<int64_t>(entries),
                    [&](int64_t d, int64_t first) {
                      const int64_t before = documents.empty() ? 0 : documents.back();
                      require(d > 0 || first == 0,
                              "{}: document 0 starts at sequence {}, expected 0", path, first);
                      require(first >= before && first <= n,
                              "{}: document {} starts at sequence {}, expected {} to {}", path, d,
                              first, before, n);
                      one_each = one_each && first == d;
                      documents.push_back(first);
                    });
  // GPT-NeoX merges datasets without extending the document index: the sequences it leaves out are
  // taken as documents.
  if (one_each) return;
  for (int64_t i = documents.back(); i < n; ++i) documents.push_back(i + 1);
  documents_ = std::move(documents);
}

int64_t IndexedDataset::n_documents() const {
  return documents_.empty() ? n_sequences() : static_cast<int64_t>(documents_.size()) - 1;
}

int64_t IndexedDataset::document(int64_t d) const {
  return documents_.empty() ? d : documents_[d];
}

void IndexedDataset::read(int64_t begin, std::span<TokenId> out) const {
  const int64_t n = static_cast<int64_t>(out.size());
  require(begin >= 0 && begin <= n_tokens() && n <= n_tokens() - begin,
          "{}: tokens {} to {} wanted, has {}", bin_.path().native(), begin, begin + n, n_tokens());
  std::array<std::byte, kChunkBytes> chunk;
  const int64_t token_bytes = bytes_of(type_);
  const int64_t per_chunk = static_cast<int64_t>(kChunkBytes) / token_bytes;
  for (int64_t at = 0; at < n; at += per_chunk) {
    const auto part = out.subspan(at, std::min(per_chunk, n - at));
    bin_.read(static_cast<uint64_t>((begin + at) * token_bytes),
              std::span(chunk).first(part.size() * static_cast<size_t>(token_bytes)));
    with_type(type_, [&]<typename T>(T) {
      if (!widen<T>(chunk.data(), max_id_, part)) report<T>(chunk.data(), begin + at, part.size());
    });
  }
}

// Throws for the first id out of range.
template <typename T>
void IndexedDataset::report(const std::byte* from, int64_t first, size_t n) const {
  for (size_t i = 0; i < n; ++i) {
    const int64_t id = load_as<T>(from + i * sizeof(T));
    require(id >= 0 && id <= max_id_, "{}: token {} is {}, expected an id from 0 to {}",
            bin_.path().native(), first + static_cast<int64_t>(i), id, max_id_);
  }
}

}  // namespace midfill
