// 64 bytes of text and questions that are answered for all of them at once, one bit a byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace midfill {

// One byte after the other: the definition, and the fallback for machines without AVX2.
class PortableByteBlock {
 public:
  // Reads 64 bytes.
  explicit PortableByteBlock(const char* text) { std::memcpy(bytes_, text, sizeof(bytes_)); }

  // Bit i: byte i is `byte`.
  uint64_t equal(unsigned char byte) const {
    return where([byte](unsigned char b) { return b == byte; });
  }
  // Bit i: byte i, with `set` bits set, is in first ... last.
  uint64_t in_range(unsigned char first, unsigned char last, unsigned char set = 0) const {
    return where([=](unsigned char b) { return (b | set) >= first && (b | set) <= last; });
  }
  // Bit i: byte i is not ASCII.
  uint64_t not_ascii() const {
    return where([](unsigned char b) { return b >= 0x80; });
  }

 private:
  template <typename Test>
  uint64_t where(Test&& test) const {
    uint64_t bits = 0;
    for (size_t i = 0; i < sizeof(bytes_); ++i) bits |= uint64_t{test(bytes_[i])} << i;
    return bits;
  }

  unsigned char bytes_[64];
};

#if defined(__AVX512BW__)

class ByteBlock {
 public:
  explicit ByteBlock(const char* text) : bytes_(_mm512_loadu_si512(text)) {}

  uint64_t equal(unsigned char byte) const {
    return _mm512_cmpeq_epi8_mask(bytes_, _mm512_set1_epi8(static_cast<char>(byte)));
  }
  uint64_t in_range(unsigned char first, unsigned char last, unsigned char set = 0) const {
    const __m512i from_first =
        _mm512_sub_epi8(_mm512_or_si512(bytes_, _mm512_set1_epi8(static_cast<char>(set))),
                        _mm512_set1_epi8(static_cast<char>(first)));
    return _mm512_cmple_epu8_mask(from_first, _mm512_set1_epi8(static_cast<char>(last - first)));
  }
  uint64_t not_ascii() const { return _mm512_movepi8_mask(bytes_); }

 private:
  __m512i bytes_;
};

#elif defined(__AVX2__)

class ByteBlock {
 public:
  explicit ByteBlock(const char* text)
      : low_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(text))),
        high_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(text + 32))) {}

  uint64_t equal(unsigned char byte) const {
    const __m256i wanted = _mm256_set1_epi8(static_cast<char>(byte));
    return bits(_mm256_cmpeq_epi8(low_, wanted), _mm256_cmpeq_epi8(high_, wanted));
  }
  uint64_t in_range(unsigned char first, unsigned char last, unsigned char set = 0) const {
    const __m256i begin = _mm256_set1_epi8(static_cast<char>(first));
    const __m256i size = _mm256_set1_epi8(static_cast<char>(last - first));
    const __m256i ones = _mm256_set1_epi8(static_cast<char>(set));
    const auto inside = [&](__m256i bytes) {
      const __m256i from_first = _mm256_sub_epi8(_mm256_or_si256(bytes, ones), begin);
      return _mm256_cmpeq_epi8(_mm256_min_epu8(from_first, size), from_first);
    };
    return bits(inside(low_), inside(high_));
  }
  uint64_t not_ascii() const { return bits(low_, high_); }

 private:
  static uint64_t bits(__m256i low, __m256i high) {
    return static_cast<uint32_t>(_mm256_movemask_epi8(low)) |
           uint64_t{static_cast<uint32_t>(_mm256_movemask_epi8(high))} << 32;
  }
  __m256i low_, high_;
};

#else

using ByteBlock = PortableByteBlock;

#endif

}  // namespace midfill
