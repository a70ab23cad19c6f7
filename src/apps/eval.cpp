// midfill eval
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "kernels/common/check.h"
#include "src/apps/apps.h"
#include "src/apps/device_arguments.h"
#include "src/apps/validators.h"
#include "src/checkpoint/model_source.h"
#include "src/checkpoint/run_directory.h"
#include "src/eval/evaluate.h"
#include "src/io/json.h"

namespace midfill {

namespace {

struct Options {
  std::filesystem::path model;
  std::vector<std::string> overrides;
  std::string data, modes = "psm,spm1,spm2";
  int64_t samples = 0;
  int batch = 8;
  DeviceArguments device;
  bool json = false;
};

std::vector<EvalStream> streams_of(const std::string& modes) {
  bool psm = false, spm1 = false, spm2 = false;
  for (const std::string& mode : CLI::detail::split(modes, ',')) {
    require(mode.empty() || mode == "psm" || mode == "spm1" || mode == "spm2",
            "--modes: found \"{}\", expected a list of psm, spm1, spm2", mode);
    psm |= mode == "psm";
    spm1 |= mode == "spm1";
    spm2 |= mode == "spm2";
  }
  return streams_for(psm, spm1, spm2);
}

// The run's configuration; for a Hugging Face directory the model's and defaults.
Config config_of(const Options& options, const ModelSource& source) {
  Config config;
  if (source.kind == ModelSource::Kind::run) config = read_run_config(source.directory);
  config.model = source.model;
  config = parse_config(to_json(config), source.directory.string(), options.overrides);
  if (!options.data.empty()) config.data.valid = {{.path = options.data}};
  if (options.samples > 0) config.eval.samples = options.samples;
  return config;
}

void print_table(const std::vector<EvalResult>& results, const Config& config, bool is_run) {
  const auto trained = is_run ? streams_for(config.fim) : streams_for(true, true, true);
  std::printf("%-14s%10s%12s%14s%14s\n", "stream", "samples", "tokens", "nats/token", "bits/byte");
  const auto row = [](const std::string& name, const EvalLoss& loss, const char* remark) {
    fmt::print("{:<14}{:>10}{:>12}{:>14}{:>14}{}\n", name, loss.samples, loss.tokens,
               nats_text(loss), bits_text(loss), remark);
  };
  for (const EvalResult& r : results) {
    const bool known = std::find(trained.begin(), trained.end(), r.stream) != trained.end();
    row(std::string(name_of(r.stream)), r, known ? "" : "  (mode not trained)");
    for (const SourceLoss& loss : r.sources) row("  " + loss.source, loss, "");
  }
  std::printf(
      "\nar: plain text. fim_*: every segment an infilling example, loss on all tokens. middle_*: "
      "loss\n"
      "on the middles alone, given prefix and suffix; middle_ar: the same tokens given the prefix "
      "alone.\n");
  if (!results.empty() && !results.front().sources.empty())
    std::printf("A stream's losses are the means of its sources' by their weights.\n");
}

// What FIM is for, in one line a mode: the same middles with and without their suffix.
void print_worth_of_suffix(const std::vector<EvalResult>& results, const Config& config) {
  const auto loss_of = [&](EvalStream stream) {
    const auto found = std::find_if(results.begin(), results.end(),
                                    [&](const EvalResult& r) { return r.stream == stream; });
    return found == results.end() ? std::nan("") : found->nats_per_token;
  };
  const double without = loss_of(EvalStream::middle_ar);
  for (const EvalStream stream : streams_for(config.fim)) {
    const bool middle = stream == EvalStream::middle_psm || stream == EvalStream::middle_spm1 ||
                        stream == EvalStream::middle_spm2;
    const double with = loss_of(stream);
    if (!middle || std::isnan(with) || std::isnan(without)) continue;
    std::printf("%s: middles with their suffix %.4f, without %.4f nats/token: the suffix %s\n",
                std::string(name_of(stream)).c_str(), with, without,
                with < without ? "helps" : "does not help yet");
  }
}

Json json_of(const EvalLoss& loss) {
  return {{"nats_per_token", loss.nats_per_token},
          {"bits_per_byte", loss.bits_per_byte},
          {"tokens", loss.tokens},
          {"bytes", loss.bytes},
          {"samples", loss.samples}};
}

void print_json(const std::vector<EvalResult>& results) {
  Json out = Json::object();
  for (const EvalResult& r : results) {
    Json& stream = out[std::string(name_of(r.stream))] = json_of(r);
    for (const SourceLoss& loss : r.sources) stream["sources"][loss.source] = json_of(loss);
  }
  std::printf("%s\n", out.dump().c_str());
}

int run_eval(const Options& options) {
  require(!options.model.empty(), "eval: no model; expected --run DIR or --model DIR");
  const std::vector<EvalStream> streams = streams_of(options.modes);
  ModelSource source = ModelSource::open(options.model);
  const Config config = config_of(options, source);
  const Evaluator evaluator(config, source.tokenizer, streams);
  Device device = options.device.make();
  Gpt model(config.model,
            {.max_batch = options.batch,
             .training = false,
             .head_chunk = config.train.head_chunk,
             .dtype = options.device.dtype_of(source)},
            device);
  source.load_weights(model);
  if (source.kind == ModelSource::Kind::run) {
    std::string paths;
    for (const DataSource& data : config.data.valid)
      paths += (paths.empty() ? "" : ", ") + data.path;
    std::fprintf(stderr, "%s on %s\n", source.checkpoint.c_str(), paths.c_str());
  }
  const auto results = evaluator.run(model, config.eval.samples, options.batch);
  if (options.json)
    print_json(results);
  else {
    const bool is_run = source.kind == ModelSource::Kind::run;
    print_table(results, config, is_run);
    if (is_run) print_worth_of_suffix(results, config);
  }
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("eval", "Losses on the frozen validation streams: AR, FIM, middle-only");
  auto* directory = command->add_option_group("model");
  directory
      ->add_option("--run", options->model, "Run directory; its newest checkpoint that verifies")
      ->type_name("DIR");
  directory->add_option("--model", options->model, "The same, or a Hugging Face GPTNeoX directory")
      ->type_name("DIR");
  directory->require_option(1);
  command
      ->add_option("--data", options->data,
                   "Prefix of one dataset (default: all of data.valid of the run)")
      ->type_name("PREFIX");
  command
      ->add_option("--samples", options->samples,
                   "Samples of each stream, at most (default: eval.samples of the run)")
      ->check(whole_number(1, uint64_t{1} << 40));
  command->add_option("--modes", options->modes, "FIM modes, separated by commas")
      ->type_name("LIST")
      ->capture_default_str();
  command->add_option("--set", options->overrides, "Override a key of the run's configuration")
      ->type_name("KEY=VALUE")
      ->take_all()
      ->expected(1);
  command->add_option("--batch", options->batch, "Samples at once")
      ->check(whole_number(1, 65536))
      ->capture_default_str();
  options->device.add_to(*command);
  command->add_flag("--json", options->json, "Print one JSON object");
  command->footer(
      "Example:\n"
      "  midfill eval --run runs/quickstart --samples 256\n"
      "  midfill eval --model hf/my-model --data data/quickstart/code_valid --json");
  command->callback([options, &run] { run = [options] { return run_eval(*options); }; });
}

}  // namespace midfill
