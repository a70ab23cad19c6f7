// --tokenizer and --eod of the commands that take a tokenizer.json.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "src/tokenizer/tokenizer.h"

namespace midfill {

struct TokenizerArgument {
  std::string path;
  std::string eod{kEndOfText};

  // Says on standard error what the file holds that is passed over.
  Tokenizer load() const;
};

// Returns the option --tokenizer, for the command to say whether it is required.
CLI::Option* add_tokenizer_argument(CLI::App& command, TokenizerArgument& argument,
                                    const std::string& meaning);

void say_notes(const Tokenizer& tokenizer);

}  // namespace midfill
