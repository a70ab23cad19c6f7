#include "src/apps/tokenizer_argument.h"

#include <cstdio>

namespace midfill {

void say_notes(const Tokenizer& tokenizer) {
  for (const std::string& note : tokenizer.notes()) fmt::print(stderr, "midfill: {}\n", note);
}

Tokenizer TokenizerArgument::load() const {
  Tokenizer tokenizer = Tokenizer::load(path, eod);
  say_notes(tokenizer);
  return tokenizer;
}

CLI::Option* add_tokenizer_argument(CLI::App& command, TokenizerArgument& argument,
                                    const std::string& meaning) {
  command
      .add_option("--eod", argument.eod,
                  "the tokenizer's token that ends documents, where it is another")
      ->type_name("TOKEN")
      ->capture_default_str();
  return command.add_option("--tokenizer", argument.path, meaning)->type_name("FILE");
}

}  // namespace midfill
