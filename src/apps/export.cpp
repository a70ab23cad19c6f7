// midfill export: a run as a Hugging Face directory.
#include <cstdio>
#include <memory>

#include "src/apps/apps.h"
#include "src/checkpoint/hugging_face.h"
#include "src/checkpoint/model_source.h"
#include "src/io/new_folders.h"

namespace midfill {

namespace {

struct ExportArguments {
  std::string run, out;
};

int export_run(const ExportArguments& arguments) {
  ModelSource source = ModelSource::open(arguments.run);
  for (const std::string& line : source.passed_over) fmt::print(stderr, "passed over {}\n", line);
  require(source.kind == WeightsSource::Kind::run,
          "{}: a Hugging Face directory, expected a run of midfill", arguments.run);
  Device device("cpu");
  Gpt model(source.model, {.max_batch = 1, .training = false}, device);
  source.load_weights(model);
  const NewFolders folders(arguments.out);
  export_hf(arguments.out, model, source.tokenizer);
  fmt::print(stderr, "{}: {} written as {}\n", arguments.out, source.checkpoint.string(),
             "GPTNeoXForCausalLM");
  return 0;
}

}  // namespace

void add_export(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<ExportArguments>();
  CLI::App* command =
      app.add_subcommand("export",
                         "Write a run's newest checkpoint as a Hugging Face GPTNeoXForCausalLM "
                         "directory: config.json, "
                         "model.safetensors, generation_config.json and the tokenizer's files");
  command->add_option("--run", arguments->run, "Run directory")->required();
  command->add_option("--out", arguments->out, "New directory; must not exist, or be empty")
      ->required();
  command->footer("Example:\n  midfill export --run runs/small --out hf/small");
  command->callback([arguments, &run] { run = [arguments] { return export_run(*arguments); }; });
}

}  // namespace midfill
