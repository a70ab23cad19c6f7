// midfill import: a Hugging Face directory as a run that can be trained on.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "src/apps/apps.h"
#include "src/apps/tokenizer_argument.h"
#include "src/checkpoint/atomic_directory.h"
#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/hugging_face.h"
#include "src/checkpoint/run_directory.h"
#include "src/io/new_folders.h"
#include "src/io/one_line.h"

namespace midfill {

namespace {

struct ImportArguments {
  std::string from, out, tokenizer, eod, config;
  std::vector<std::string> set;
  bool add_sentinels = false;
};

Tokenizer tokenizer_of(const ImportArguments& arguments) {
  const std::filesystem::path from = arguments.from;
  if (arguments.tokenizer.empty() && arguments.eod.empty()) return load_hf_tokenizer(from);
  return Tokenizer::load(arguments.tokenizer.empty() ? from / "tokenizer.json"
                                                     : std::filesystem::path(arguments.tokenizer),
                         arguments.eod.empty() ? kEndOfText : std::string_view(arguments.eod));
}

// The run's configuration: all but model and EOD from --config (or the defaults) and --set.
Config config_of(const ImportArguments& arguments, const ModelConfig& model,
                 const Tokenizer& tokenizer) {
  Config config = arguments.config.empty() ? parse_config("{}", "defaults", arguments.set)
                                           : load_config(arguments.config, arguments.set);
  config.model = model;
  const TokenId eod = tokenizer.sentinels().eod;
  if (eod >= 0) {
    const std::string named = std::string(tokenizer.bytes_of(eod));
    require(config.data.eod == kEndOfText || config.data.eod == named,
            "data.eod is {}, and the tokenizer's documents end with {}; name it with --eod",
            in_quotes(config.data.eod), in_quotes(named));
    config.data.eod = named;
  }
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
  const Tokenizer tokenizer = tokenizer_of(arguments);
  say_notes(tokenizer);
  shape.vocab_size = vocabulary(arguments, shape.vocab_size, tokenizer);
  const Config config = config_of(arguments, shape, tokenizer);

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
  command->add_option("--eod", arguments->eod,
                      "The tokenizer's token that ends documents; default: <|endoftext|>, or where "
                      "it is missing eos_token of the directory's tokenizer_config.json");
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
