// FIM at document level: documents are transformed whole, before samples are cut from the packed
// stream, so that a context can begin or end inside any part. Documents that start within the same
// stretch of the stream form a group, which keeps the length it has in the dataset: what the
// transform adds, the group's last documents give up. So the position of every token is known
// without transforming anything before it, and any sample is made from its own groups alone.
#pragma once

#include <cstdint>
#include <memory>

#include "src/data/fim.h"
#include "src/data/packed_tokens.h"

namespace midfill {

class DocumentFim {
 public:
  DocumentFim(const FimConfig& config, const Tokenizer& tokenizer,
              std::shared_ptr<const PackedTokens> packed);

  // Sample k of the transformed stream of one epoch. Segments are clipped to the sample; dropped
  // and reverted are reported by the sample in which the group ends.
  void get(uint64_t seed, uint64_t epoch, int64_t k, Sample& sample) const;

  // The group that holds a token: [begin, end) in the stream.
  struct Group {
    int64_t begin, end;
  };
  Group group_at(int64_t position) const;

 private:
  FimTransform transform_;
  std::shared_ptr<const PackedTokens> packed_;
};

}  // namespace midfill
