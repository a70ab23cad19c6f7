// midfill bench tokenizer
#include <memory>

#include "src/apps/apps.h"
#include "src/apps/bench_report.h"
#include "src/apps/validators.h"
#include "src/bench/tokenizer.h"

namespace midfill {

void add_bench_tokenizer(CLI::App& bench, Run& run) {
  struct Options {
    TokenizerBench bench;
    uint64_t max_mb = 0;
    std::string json;
  };
  auto options = std::make_shared<Options>();
  TokenizerBench& tokenizer = options->bench;
  CLI::App* app = bench.add_subcommand(
      "tokenizer",
      "Times encoding and decoding of documents that are in memory, by the number of threads. "
      "Prints MB/s (median; p20 to p80; 10^6 bytes of text), tokens/s, and the CPU time of a byte "
      "over all threads. scripts/bench_hf_loader.py does the same with Hugging Face tokenizers.");
  app->add_option("--tokenizer", tokenizer.tokenizer, "tokenizer.json to encode with")
      ->type_name("FILE")
      ->required();
  app->add_option("--input", tokenizer.inputs,
                  "Files, directories or globs with documents, as data build takes them")
      ->type_name("PATH")
      ->required();
  app->add_option("--include", tokenizer.include, "Of them, only files that match one of these")
      ->type_name("GLOB");
  app->add_option("--exclude", tokenizer.exclude, "Of them, no files that match one of these")
      ->type_name("GLOB");
  app->add_option("--text-key", tokenizer.text_key, "Key of the text in JSONL")
      ->capture_default_str();
  app->add_option("--max-mb", options->max_mb,
                  "Only the first documents, so many MB of text; 0: all")
      ->check(whole_number(0, 1000000))
      ->capture_default_str();
  app->add_option("--threads", tokenizer.threads, "1, 2, 4, ... up to so many threads; 0: all")
      ->check(whole_number(0, kMostThreads))
      ->capture_default_str();
  app->add_option("--runs", tokenizer.runs, "Timed passes over the text, after one of warm-up")
      ->check(whole_number(1, 1000000))
      ->capture_default_str();
  add_json_option(*app, options->json, "table");
  app->footer(
      "Example:\n  midfill bench tokenizer --tokenizer 20B_tokenizer.json --input src --threads 2");
  app->callback([options, &run] {
    options->bench.max_bytes = 1000000 * options->max_mb;
    run = [options] {
      return print_bench_report(
          options->json, 1, [&] { return run_tokenizer_bench(options->bench); },
          tokenizer_bench_text);
    };
  });
}

}  // namespace midfill
