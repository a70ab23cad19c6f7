// A run directory: config.json (resolved, every default), tokenizer.json, metrics.jsonl,
// tensorboard/, log.txt and checkpoints.
#pragma once

#include <filesystem>

#include "src/config/config.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// Creates the directory with config.json and tokenizer.json. Throws Error where it already holds a
// run.
void create_run(const std::filesystem::path& run, const Config& config, const Tokenizer& tokenizer);
Config read_run_config(const std::filesystem::path& run);
std::filesystem::path run_tokenizer(const std::filesystem::path& run);

}  // namespace midfill
