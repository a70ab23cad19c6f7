// The 256 characters that stand for bytes in the vocabulary of a byte-level BPE: printable Latin-1
// for itself, the other bytes as U+0100, U+0101, ... in order ("Ġ" is the space, "Ċ" the newline).
// Source: GPT-2's encoder (Radford et al. 2019).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace midfill::byte_alphabet {

// The character of each byte, as UTF-8.
const std::array<std::string, 256>& symbols();
// All bytes in the order of their characters, which is the order of ids in a trained vocabulary.
std::array<uint8_t, 256> bytes_in_order();
// "Ġreturn" -> " return"; nothing where a character is not of the alphabet.
std::optional<std::string> to_bytes(std::string_view token);
// " return" -> "Ġreturn".
std::string from_bytes(std::string_view bytes);

}  // namespace midfill::byte_alphabet
