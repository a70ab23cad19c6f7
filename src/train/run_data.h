// Whether a run that goes on reads the data that it began with.
#pragma once

#include "src/checkpoint/run_facts.h"
#include "src/config/config.h"
#include "src/data/sample_stream.h"

namespace midfill {

// Reads every source to name its contents.
std::vector<SourceFacts> facts_of(const std::vector<SourceInfo>& sources);

// Throws Error, naming source, found, expected and the option that accepts it, for the first of
// `now`, opened as `key` of the configuration ("data.train") says, that is not what the run began
// with. A source that has another path, and nothing else, is the same.
void require_same_data(std::string_view key, const std::vector<SourceFacts>& began,
                       const std::vector<SourceInfo>& sources, const std::vector<SourceFacts>& now);

}  // namespace midfill
