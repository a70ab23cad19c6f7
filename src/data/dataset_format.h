// What the reader and the writer of Megatron / GPT-NeoX datasets share: docs/data-format.md has the
// layout of PREFIX.bin (token ids back to back) and PREFIX.idx (sizes, pointers, document index).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace midfill {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

// How token ids are stored, by the code in the index. Its floating-point types hold no ids.
enum class TokenType : uint8_t { u8 = 1, i8 = 2, i16 = 3, i32 = 4, i64 = 5, u16 = 8 };

inline constexpr std::string_view kIndexMagic("MMIDIDX\0\0", 9);
inline constexpr uint64_t kIndexVersion = 1;
inline constexpr uint64_t kIndexHeaderBytes = 34;  // magic, version u64, type u8, N u64, D u64
inline constexpr int kSmallVocab = 65500;          // below it GPT-NeoX stores u16

// use(T()) with the C++ type T of stored ids. `type` is one of the six.
template <typename Use>
auto with_type(TokenType type, Use use) {
  switch (type) {
    case TokenType::u8:
      return use(uint8_t());
    case TokenType::i8:
      return use(int8_t());
    case TokenType::i16:
      return use(int16_t());
    case TokenType::i32:
      return use(int32_t());
    case TokenType::i64:
      return use(int64_t());
    case TokenType::u16:
      break;
  }
  return use(uint16_t());
}

inline int bytes_of(TokenType type) {
  return with_type(type, [](auto id) { return static_cast<int>(sizeof id); });
}
inline const char* name_of(TokenType type) {
  constexpr const char* kNames[] = {"", "u8", "i8", "i16", "i32", "i64", "", "", "u16"};
  return kNames[static_cast<size_t>(type)];
}
inline int64_t largest_id(TokenType type) {
  return with_type(
      type, []<typename T>(T) { return static_cast<int64_t>(std::numeric_limits<T>::max()); });
}

// The two files of a dataset.
inline std::string bin_path(const std::string& prefix) {
  return prefix + ".bin";
}
inline std::string idx_path(const std::string& prefix) {
  return prefix + ".idx";
}

}  // namespace midfill
