// midfill train
#include <cstdio>
#include <memory>

#include "kernels/common/check.h"
#include "src/apps/apps.h"
#include "src/apps/validators.h"
#include "src/train/train.h"

namespace midfill {

namespace {

struct Options {
  TrainRequest request;
  int threads = -1;
  bool dry_run = false, keys = false;
};

int run_train(Options options) {
  if (options.keys) {
    std::fputs(config_reference().c_str(), stdout);
    return 0;
  }
  TrainRequest& request = options.request;
  require(!request.config.empty() || (request.resume && !request.run.empty()),
          "train: no configuration; expected a CONFIG file (or --resume --run DIR)");
  require(request.resume || (!request.from && !request.accept_data),
          "train: --from and --accept-data go with --resume");
  if (options.threads >= 0)
    request.overrides.push_back(fmt::format("train.threads={}", options.threads));
  if (request.run.empty()) request.run = std::filesystem::path("runs") / request.config.stem();
  if (!options.dry_run) return train(request);
  require(!request.config.empty(), "train --dry-run: expected a CONFIG file");
  dry_run(request);
  return 0;
}

}  // namespace

void add_train(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  TrainRequest& request = options->request;
  CLI::App* command = app.add_subcommand("train", "Train a model, or continue a run");
  command->add_option("CONFIG", request.config,
                      "Configuration (JSON; docs/config.md lists the keys)");
  command
      ->add_option("--set", request.overrides,
                   "Override a key of the configuration: section.key=value; any number of times")
      ->type_name("KEY=VALUE")
      ->take_all()
      ->expected(1);
  command->add_option("--run", request.run, "Directory of the run (default: runs/<name of CONFIG>)")
      ->type_name("DIR")
      ->check(not_empty());
  command->add_flag(
      "--resume", request.resume,
      "Continue the run in DIR from its newest checkpoint that verifies; CONFIG may then "
      "be left out where --run is given");
  command
      ->add_option_function<int64_t>(
          "--from", [&request](int64_t step) { request.from = step; },
          "With --resume: continue from the checkpoint of this step. Later ones and their metrics "
          "move to DIR/aside; keys of optim may change")
      ->type_name("STEP")
      ->check(whole_number(0, uint64_t{1} << 40));
  command->add_flag("--accept-data", request.accept_data,
                    "With --resume: continue although the data are not those that the run began "
                    "with");
  command->add_option("--device", request.device, "cpu or cuda")
      ->type_name("NAME")
      ->capture_default_str();
  command
      ->add_option("--threads", options->threads,
                   "CPU threads, 0 for all; as --set train.threads=N")
      ->check(whole_number(0, kMostThreads));
  command->add_flag(
      "--dry-run", options->dry_run,
      "Print parameters, memory, FLOPs per token, steps and tokens, and stop; needs no "
      "data, and no tokenizer where vocab_size is given");
  command->add_flag("--keys", options->keys,
                    "Print every key of the configuration with its default");
  command->footer(
      "The run directory gets config.json, tokenizer.json, run.json, step_*/ (checkpoints),\n"
      "metrics.jsonl, tensorboard/ and log.txt. Ctrl-C (SIGINT), SIGTERM, SIGHUP, SIGUSR1 and "
      "SIGXCPU\n"
      "end the run after its step, with a checkpoint, and with exit status 128 + signal; a Ctrl-C "
      "a\n"
      "second later or more ends it at once. SIGUSR2 saves a checkpoint and goes on.\n\n"
      "Example:\n"
      "  midfill train configs/quickstart.json --set train.steps=100 --run runs/first\n"
      "  midfill train configs/quickstart.json --run runs/first --resume");
  command->callback([options, &run] { run = [options] { return run_train(*options); }; });
}

}  // namespace midfill
