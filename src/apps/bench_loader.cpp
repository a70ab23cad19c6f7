// midfill bench loader
#include <memory>

#include "src/apps/apps.h"
#include "src/apps/bench_report.h"
#include "src/apps/validators.h"
#include "src/bench/loader.h"

namespace midfill {

namespace {

struct Options {
  std::string config, data, json;
  std::vector<std::string> overrides;
  uint64_t run_ms = 200;
  LoaderBench bench;
};

LoaderBench loader_bench(const Options& options) {
  LoaderBench bench = options.bench;
  std::vector<std::string> overrides = options.overrides;
  if (!options.data.empty()) overrides.push_back("data.train=" + Json(options.data).dump());
  bench.config = load_config(options.config, overrides);
  bench.run_ms = static_cast<double>(options.run_ms);
  return bench;
}

}  // namespace

void add_bench_loader(CLI::App& bench, Run& run) {
  auto options = std::make_shared<Options>();
  LoaderBench& loader = options->bench;
  CLI::App* app = bench.add_subcommand(
      "loader",
      "Times how a run's dataset becomes batches: the training stream of a configuration through "
      "its loader, by what FIM does to the samples and by the number of threads. Prints tokens/s "
      "(median; p20 to p80), MB/s of text, nanoseconds of a token by the clock and of CPU time "
      "(1000 over it is million tokens/s per core), how many times that is what this machine needs "
      "to copy the bytes that a token must touch, tokens dropped and padded and segments reverted "
      "of a sample, and the share of segments that are transformed. scripts/bench_hf_loader.py "
      "compares with a loader in Python.");
  app->add_option("CASE", loader.cases,
                  "Of these: plain, or level/unit/mode or its beginning; levels context, document, "
                  "units char, line, token, modes joint, psm, spm1, spm2. Without any: plain, all "
                  "levels and units in joint, all modes of context/char");
  app->add_option("--config", options->config, "Configuration of a run")
      ->type_name("FILE")
      ->required()
      ->check(not_empty());
  app->add_option("--set", options->overrides,
                  "Override a key of the configuration: section.key=value; any number of times")
      ->type_name("KEY=VALUE")
      ->take_all()
      ->expected(1);
  app->add_option("--data", options->data,
                  "This dataset in place of the configuration's data.train")
      ->type_name("PREFIX")
      ->check(not_empty());
  app->add_option("--threads", loader.threads, "1, 2, 4, ... up to so many threads; 0: all")
      ->check(whole_number(0, kMostThreads))
      ->capture_default_str();
  app->add_option("--runs", loader.runs, "Timed runs of each case, after one of warm-up")
      ->check(whole_number(1, 1000000))
      ->capture_default_str();
  app->add_option("--run-ms", options->run_ms, "Milliseconds of a run, in whole steps")
      ->check(whole_number(1, 1000000))
      ->capture_default_str();
  add_json_option(*app, options->json, "table");
  app->footer(
      "Example:\n  midfill bench loader --config configs/quickstart.json --threads 2\n"
      "  midfill bench loader plain context/char --config my.json --data data/code_train");
  app->callback([options, &run] {
    run = [options] {
      return print_bench_report(
          options->json, 1, [&] { return run_loader_bench(loader_bench(*options)); },
          loader_bench_text);
    };
  });
}

}  // namespace midfill
