#include "src/train/run_data.h"

#include "kernels/common/check.h"
#include "src/data/fingerprint.h"
#include "src/io/units.h"

namespace midfill {

namespace {

std::string text_of(const SourceFacts& facts) {
  return fmt::format("{} tokens, {} samples, fingerprint {}", with_commas(facts.tokens),
                     with_commas(facts.samples), facts.fingerprint);
}

}  // namespace

std::vector<SourceFacts> facts_of(const std::vector<SourceInfo>& sources) {
  std::vector<SourceFacts> facts;
  for (const SourceInfo& source : sources)
    facts.push_back({.name = source.name,
                     .tokens = source.tokens,
                     .samples = source.samples,
                     .fingerprint = fingerprint_of_dataset(source.path)});
  return facts;
}

void require_same_data(std::string_view key, const std::vector<SourceFacts>& began,
                       const std::vector<SourceInfo>& sources,
                       const std::vector<SourceFacts>& now) {
  constexpr const char* kRemedy = "put the data back, or go on with these with --accept-data";
  require(began.size() == now.size(), "{}: {} sources, the run began with {}; {}", key, now.size(),
          began.size(), kRemedy);
  for (size_t i = 0; i < now.size(); ++i)
    require(began[i] == now[i], "{}{}: {}: found {}; the run began with {}; {}", key,
            now[i].name.empty() ? "" : " " + now[i].name, sources[i].path, text_of(now[i]),
            text_of(began[i]), kRemedy);
}

}  // namespace midfill
