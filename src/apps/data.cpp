// midfill data: datasets.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "src/apps/apps.h"
#include "src/apps/input_reports.h"
#include "src/apps/progress_line.h"
#include "src/apps/tokenizer_argument.h"
#include "src/apps/until_stopped.h"
#include "src/apps/validators.h"
#include "src/data/build.h"
#include "src/io/json.h"
#include "src/io/units.h"
#include "src/train/stop_signal.h"

namespace midfill {

namespace {

struct BuildArguments {
  TokenizerArgument tokenizer;
  std::string out;
  std::vector<std::string> inputs, include, exclude;
  std::string text_key = "text";
  double valid_fraction = 0.01;
  int threads = 0;
  double save_every = 20;
  bool strict = false, json = false;
};

// Null where there is no token.
Json bytes_per_token(const SplitCounts& split) {
  if (split.tokens == 0) return nullptr;
  return static_cast<double>(split.bytes) / static_cast<double>(split.tokens);
}

Json to_json(const SplitCounts& split) {
  return {{"documents", split.documents},
          {"tokens", split.tokens},
          {"bytes", split.bytes},
          {"bytes_per_token", bytes_per_token(split)}};
}

void print_json(const BuildSummary& summary, const BuildArguments& arguments, double seconds) {
  Json json = to_json(summary.all());
  json["skipped"] = {{"empty_documents", summary.read.empty},
                     {"bad_lines", summary.read.bad_lines},
                     {"binary_files", summary.read.binary_files}};
  json["splits"]["train"] = to_json(summary.train);
  if (arguments.valid_fraction > 0) json["splits"]["valid"] = to_json(summary.valid);
  if (!summary.bad_lines_file.empty()) json["bad_lines_file"] = summary.bad_lines_file;
  json["resumed"] = summary.resumed;
  json["seconds"] = seconds;
  fmt::print("{}\n", json.dump());
}

void print_table(const BuildSummary& summary, const BuildArguments& arguments) {
  fmt::print("{:<7}{:>14}{:>18}{:>18}{:>13}\n", "", "documents", "tokens", "bytes", "bytes/token");
  const auto row = [](const char* name, const SplitCounts& split) {
    const Json ratio = bytes_per_token(split);
    fmt::print("{:<7}{:>14}{:>18}{:>18}{:>13}\n", name, with_commas(split.documents),
               with_commas(split.tokens), with_commas(split.bytes),
               ratio.is_null() ? "none" : fmt::format("{:.2f}", ratio.get<double>()));
  };
  row("train", summary.train);
  if (arguments.valid_fraction > 0) {
    row("valid", summary.valid);
    row("all", summary.all());
  }
  fmt::print("skipped: {} empty documents, {} bad lines, {} binary files\n", summary.read.empty,
             summary.read.bad_lines, summary.read.binary_files);
  if (!summary.bad_lines_file.empty())
    fmt::print("the bad lines are listed in {}\n", summary.bad_lines_file);
}

int build(const BuildArguments& arguments) {
  const StopSignal signal("ending");
  const Tokenizer tokenizer = arguments.tokenizer.load();
  BuildOptions options{.inputs = arguments.inputs,
                       .include = arguments.include,
                       .exclude = arguments.exclude,
                       .out = arguments.out,
                       .valid_fraction = arguments.valid_fraction,
                       .threads = arguments.threads,
                       .save_seconds = arguments.save_every,
                       .documents = {.text_key = arguments.text_key}};
  BuildSummary summary;
  double seconds = 0;
  {
    ProgressLine line;
    options.reports =
        shown_reports(arguments.strict, [&line](const std::string& text) { line.say(text); });
    options.progress = [&line](const BuildProgress& at) {
      const double done = static_cast<double>(at.bytes_done);
      const double total = static_cast<double>(at.bytes_total);
      const std::string total_text =
          at.bytes_total == 0 ? "" : fmt::format(" of {:.0f}", total / 1e6);
      line.update(at.bytes_total == 0 ? -1 : done / total,
                  fmt::format("{:.0f}{} MB  {} docs  {} tokens  {:.1f} MB/s", done / 1e6,
                              total_text, short_count(at.all.documents), short_count(at.all.tokens),
                              static_cast<double>(at.bytes_now) / 1e6 / line.seconds()));
    };
    options.stop = [&signal] { return signal.requested(); };
    const auto ended =
        until_stopped(signal, line, [&] { summary = build_dataset(tokenizer, options); });
    if (ended) return *ended;
    seconds = line.seconds();
  }

  if (summary.train.documents == 0)
    fmt::print(stderr, "midfill: all documents fell into {}_valid\n", arguments.out);
  if (summary.valid.documents == 0 && arguments.valid_fraction > 0)
    fmt::print(stderr, "midfill: no document fell into {}_valid: it is empty\n", arguments.out);
  if (arguments.json) {
    print_json(summary, arguments, seconds);
  } else {
    print_table(summary, arguments);
  }
  return 0;
}

void add_build(CLI::App& data, Run& run) {
  auto arguments = std::make_shared<BuildArguments>();
  CLI::App* app = data.add_subcommand("build", "Tokenise documents into a dataset for training");
  add_tokenizer_argument(*app, arguments->tokenizer, "tokenizer.json to encode with")->required();
  app->add_option("--input", arguments->inputs, kInputHelp)->required();
  app->add_option("--out", arguments->out,
                  "PREFIX: writes PREFIX_train.bin and .idx, and PREFIX_valid.bin and .idx")
      ->required()
      ->check(not_empty());
  app->add_option("--valid-fraction", arguments->valid_fraction,
                  "share of the documents, by hash of their text, that goes to PREFIX_valid; 0: "
                  "all go to PREFIX_train")
      ->check(number())
      ->capture_default_str();
  app->add_option("--include", arguments->include, "only files that match one of these patterns");
  app->add_option("--exclude", arguments->exclude, "no files that match one of these patterns");
  app->add_option("--text-key", arguments->text_key, kTextKeyHelp)->capture_default_str();
  app->add_option("--threads", arguments->threads, "threads that tokenise; 0: all")
      ->check(whole_number(0, kMostThreads))
      ->capture_default_str();
  app->add_option("--save-every", arguments->save_every,
                  "seconds between two states that a killed build can go on from")
      ->check(number())
      ->check(CLI::NonNegativeNumber)
      ->type_name("SECONDS")
      ->capture_default_str();
  app->add_flag("--strict", arguments->strict,
                "stop at the first line that is no JSON object with a text, instead of skipping "
                "and counting it and listing it in PREFIX_bad_lines.jsonl; and at a binary file "
                "that was named itself or by a glob");
  app->add_flag("--json", arguments->json, "print the summary as JSON");
  app->footer(
      "Every document ends with the token --eod. The result does not depend on the number of "
      "threads. A build that was killed or interrupted goes on from PREFIX.building when the same "
      "command is run again, and ends with the same bytes.\n\nExample:\n  midfill data build "
      "--tokenizer tokenizer.json --input src/ 'pile/*.jsonl.zst' --exclude '*/test/*' --out "
      "data/code");
  app->callback([arguments, &run] { run = [arguments] { return build(*arguments); }; });
}

}  // namespace

void add_data(CLI::App& app, Run& run) {
  CLI::App* data = app.add_subcommand("data", "Build, merge and check datasets, show samples");
  data->require_subcommand(1);
  add_build(*data, run);
  add_data_check(*data, run);
  add_data_merge(*data, run);
  add_data_show(*data, run);
}

}  // namespace midfill
