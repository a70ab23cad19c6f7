#include "kernels/simt/banks.h"

#include <algorithm>

namespace midfill::simt {
namespace {

constexpr uint32_t kBanks = 32, kWordBytes = 4;

// Passes for accesses of `bytes` each that are served together.
int64_t passes(std::span<const uint32_t> offsets, uint32_t bytes) {
  std::array<std::vector<uint32_t>, kBanks> words;
  for (const uint32_t offset : offsets)
    for (uint32_t w = offset / kWordBytes; w <= (offset + bytes - 1) / kWordBytes; ++w) {
      auto& bank = words[w % kBanks];
      if (std::find(bank.begin(), bank.end(), w) == bank.end()) bank.push_back(w);
    }
  size_t most = 0;
  for (const auto& bank : words) most = std::max(most, bank.size());
  return static_cast<int64_t>(most);
}

}  // namespace

void BankCounter::rows(std::span<const uint32_t, 8> offsets, Place place) {
  Count& count = counts_[place];
  ++count.accesses;
  ++count.needed;
  count.passes += passes(offsets, 16);
}

void BankCounter::access(int thread, uint32_t offset, uint32_t bytes, Place place) {
  Stream& stream = open_[{place, thread / kWarp}];
  const int lane = thread % kWarp;
  const auto index = static_cast<size_t>(stream.done[lane]++ - stream.first);
  if (index >= stream.requests.size()) stream.requests.resize(index + 1);
  Request& request = stream.requests[index];
  request.bytes = std::max(request.bytes, bytes);
  request.lanes |= 1u << lane;
  request.offsets[lane] = offset;
  size_t full = 0;
  while (full < stream.requests.size() && stream.requests[full].lanes == kFullMask)
    count(stream.requests[full++], place);
  stream.requests.erase(stream.requests.begin(),
                        stream.requests.begin() + static_cast<ptrdiff_t>(full));
  stream.first += static_cast<int64_t>(full);
}

void BankCounter::end_block() {
  for (const auto& [key, stream] : open_)
    for (const Request& request : stream.requests) count(request, key.first);
}

// Wide accesses are served by half-warps (8 bytes) or quarter-warps (16 bytes).
void BankCounter::count(const Request& request, Place place) {
  const int together = request.bytes > 8 ? 8 : request.bytes > 4 ? 16 : kWarp;
  Count& count = counts_[place];
  ++count.accesses;
  for (int first = 0; first < kWarp; first += together) {
    std::vector<uint32_t> offsets;
    for (int lane = first; lane < first + together; ++lane)
      if (request.lanes >> lane & 1) offsets.push_back(request.offsets[lane]);
    if (offsets.empty()) continue;
    ++count.needed;
    count.passes += passes(offsets, request.bytes);
  }
}

std::vector<BankUse> BankCounter::report() const {
  std::vector<BankUse> uses;
  for (const auto& [place, count] : counts_)
    uses.push_back({describe(place), count.accesses, count.passes, count.needed});
  return uses;
}

}  // namespace midfill::simt
