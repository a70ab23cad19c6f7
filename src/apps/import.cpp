// midfill import: a Hugging Face directory as a run that can be trained on.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "src/apps/apps.h"
#include "src/checkpoint/atomic_directory.h"
#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/hugging_face.h"
#include "src/checkpoint/run_directory.h"
#include "src/io/new_folders.h"

namespace midfill {

namespace {

struct ImportArguments {
  std::string from, out, tokenizer, config;
  std::vector<std::string> set;
  bool add_sentinels = false;
};

// The run's configuration: all but the model from --config (or the defaults) and --set.
Config config_of(const ImportArguments& arguments, const ModelConfig& model) {
  Config config = arguments.config.empty() ? parse_config("{}", "defaults", arguments.set)
                                           : load_config(arguments.config, arguments.set);
  config.model = model;
  if (arguments.config.empty() && config.train.batch_tokens % model.n_ctx != 0) {
    config.train.batch_tokens =
        std::max<int64_t>(1, config.train.batch_tokens / model.n_ctx) * model.n_ctx;
  }
  validate(config, arguments.config.empty() ? arguments.from : arguments.config);
  return config;
}

// The model's vocabulary, with rows for the tokenizer's sentinels where they are asked for.
int vocabulary(const ImportArguments& arguments, int rows, const Tokenizer& tokenizer) {
  const int ids = tokenizer.vocab_size();
  if (ids <= rows) return rows;
  if (arguments.add_sentinels) {
    fmt::print(stderr,
               "vocabulary grows from {} to {} rows; new rows: mean of the others + N(0, 0.02)\n",
               rows, ids);
    return ids;
  }
  fmt::print(
      stderr,
      "the model has {} vocabulary rows and the tokenizer {} ids, FIM sentinels included: the "
      "model can be scored and evaluated, but to train or infill with FIM import it with "
      "--add-sentinels\n",
      rows, ids);
  return rows;
}

int import_model(const ImportArguments& arguments) {
  const std::filesystem::path from = arguments.from;
  require(is_hf_directory(from),
          "{}: no Hugging Face directory (config.json and model.safetensors)", arguments.from);
  ModelConfig shape = read_hf_config(from);
  const Tokenizer tokenizer =
      Tokenizer::load(arguments.tokenizer.empty() ? from / "tokenizer.json"
                                                  : std::filesystem::path(arguments.tokenizer));
  shape.vocab_size = vocabulary(arguments, shape.vocab_size, tokenizer);
  const Config config = config_of(arguments, shape);

  const NewFolders folders(arguments.out);
  AtomicDirectory run(arguments.out);
  Device device("cpu");
  Gpt model(config.model, {.max_batch = 1, .training = false}, device);
  load_hf_weights(from, model);
  create_run(run.path(), config, tokenizer);
  save_checkpoint(run.path(), model, nullptr, {});
  run.commit();
  fmt::print(stderr, "{}: {} parameters imported as step 0\n", arguments.out,
             model.table().count());
  return 0;
}

}  // namespace

void add_import(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<ImportArguments>();
  CLI::App* command = app.add_subcommand(
      "import",
      "Make a run from a Hugging Face GPTNeoXForCausalLM directory (safetensors), to continue its "
      "training, evaluate it or infill with it");
  command->add_option("--from", arguments->from, "Hugging Face directory")->required();
  command->add_option("--out", arguments->out, "New run directory; must not exist, or be empty")
      ->required();
  command->add_option("--tokenizer", arguments->tokenizer,
                      "tokenizer.json to use instead of the directory's");
  command->add_flag("--add-sentinels", arguments->add_sentinels,
                    "Add vocabulary rows for FIM sentinels that the model has no rows for. Without "
                    "it the imported model is exactly the original");
  command->add_option("--config", arguments->config,
                      "Configuration of the run's training; its model section is replaced by the "
                      "imported model's shape");
  command->add_option("--set", arguments->set, "section.key=value over the configuration")
      ->allow_extra_args(false);
  command->footer(
      "Example:\n"
      "  midfill import --from hf/pythia-160m --out runs/pythia --config configs/quickstart.json\n"
      "  midfill train runs/pythia/config.json --run runs/pythia --resume");
  command->callback([arguments, &run] { run = [arguments] { return import_model(*arguments); }; });
}

}  // namespace midfill
