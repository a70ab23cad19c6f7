// midfill generate: the continuation of a plain prompt.
#include <cstdio>
#include <memory>

#include "src/apps/apps.h"
#include "src/apps/generation_arguments.h"
#include "src/io/file.h"

namespace midfill {

namespace {

struct GenerateArguments : GenerationArguments {
  std::string prompt, prompt_file;
  bool has_prompt = false, special = false;
};

int generate(const GenerateArguments& arguments) {
  require(arguments.has_prompt != !arguments.prompt_file.empty(),
          "generate: expected one of --prompt and --prompt-file");
  require(arguments.json || arguments.options.samples == 1,
          "generate: --samples {} needs --json, which keeps completions apart",
          arguments.options.samples);
  const std::string text =
      arguments.has_prompt ? arguments.prompt : read_file(arguments.prompt_file);

  LoadedModel model(arguments);
  std::vector<TokenId> prompt =
      model.tokenizer().encode(text, {.match_special = arguments.special});
  if (prompt.empty()) {
    // A document begins after the end of another.
    prompt = {model.tokenizer().required_eod()};
  }
  const int64_t dropped = static_cast<int64_t>(prompt.size()) - model.generator().max_prompt();
  if (dropped > 0) {
    std::fprintf(stderr,
                 "midfill: the first %lld tokens of the prompt do not fit and are dropped\n",
                 static_cast<long long>(dropped));
    prompt.erase(prompt.begin(), prompt.begin() + dropped);
  }

  for (const Completion& completion : model.generator().complete(prompt)) {
    if (!arguments.json) {
      print_text(completion.text);
      continue;
    }
    Json json = to_json(completion);
    json["prompt_tokens"] = prompt.size();
    json["dropped_tokens"] = std::max<int64_t>(0, dropped);
    std::fputs(to_line(json).c_str(), stdout);
  }
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* command = app.add_subcommand("generate", "Continue a prompt");
  CLI::Option* prompt = command->add_option("--prompt", arguments->prompt,
                                            "text; empty: the beginning of a document");
  command->add_option("--prompt-file", arguments->prompt_file, "the same from a file");
  command->add_flag("--special", arguments->special,
                    "text that spells a special token becomes that token");
  arguments->add_to(*command);
  command->footer(
      "Prints the continuation alone, up to <|endoftext|>.\n\nExample:\n  midfill generate --model "
      "runs/quickstart --prompt 'def main(' --temperature 0.8 --top-p 0.95");
  command->callback([arguments, prompt, &run] {
    arguments->has_prompt = prompt->count() > 0;
    run = [arguments] { return generate(*arguments); };
  });
}

}  // namespace midfill
