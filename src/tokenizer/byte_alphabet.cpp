#include "src/tokenizer/byte_alphabet.h"

#include <algorithm>
#include <numeric>

#include "src/tokenizer/unicode.h"

namespace midfill::byte_alphabet {

namespace {

constexpr int kCharacters = 256 + 68;  // the highest is U+0143

bool stands_for_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
}

std::array<char32_t, 256> make_characters() {
  std::array<char32_t, 256> characters;
  char32_t next = 256;
  for (int byte = 0; byte < 256; ++byte)
    characters[byte] = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
  return characters;
}

const std::array<char32_t, 256> kCharacterOf = make_characters();

std::array<int, kCharacters> make_bytes() {
  std::array<int, kCharacters> bytes;
  bytes.fill(-1);
  for (int byte = 0; byte < 256; ++byte) bytes[kCharacterOf[byte]] = byte;
  return bytes;
}

const std::array<int, kCharacters> kByteOf = make_bytes();

}  // namespace

const std::array<std::string, 256>& symbols() {
  static const auto kSymbols = [] {
    std::array<std::string, 256> symbols;
    for (int byte = 0; byte < 256; ++byte) unicode::append_utf8(symbols[byte], kCharacterOf[byte]);
    return symbols;
  }();
  return kSymbols;
}

std::array<uint8_t, 256> bytes_in_order() {
  std::array<uint8_t, 256> bytes;
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  std::sort(bytes.begin(), bytes.end(),
            [](uint8_t a, uint8_t b) { return kCharacterOf[a] < kCharacterOf[b]; });
  return bytes;
}

std::optional<std::string> to_bytes(std::string_view token) {
  std::string bytes;
  for (size_t at = 0; at < token.size();) {
    const char32_t c = unicode::next(token, at);
    if (c >= kCharacters || kByteOf[c] < 0) return std::nullopt;
    bytes += static_cast<char>(kByteOf[c]);
  }
  return bytes;
}

std::string from_bytes(std::string_view bytes) {
  std::string token;
  for (const char byte : bytes) token += symbols()[static_cast<unsigned char>(byte)];
  return token;
}

}  // namespace midfill::byte_alphabet
