// midfill data check: what is wrong with datasets.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/apps/apps.h"
#include "src/apps/progress_line.h"
#include "src/apps/tokenizer_argument.h"
#include "src/data/check.h"
#include "src/io/json.h"
#include "src/io/units.h"

namespace midfill {

namespace {

struct CheckArguments {
  std::vector<std::string> prefixes;
  TokenizerArgument tokenizer;
  bool json = false;
};

Json to_json(const DatasetReport& report) {
  Json problems = Json::array();
  for (const auto& problem : report.problems)
    problems.push_back({{"kind", problem.kind},
                        {"what", problem.what},
                        {"count", problem.count},
                        {"first", problem.first}});
  return {{"prefix", report.prefix},
          {"ok", report.ok()},
          {"token_type", report.type ? Json(name_of(*report.type)) : Json()},
          {"documents", report.documents},
          {"sequences", report.sequences},
          {"tokens", report.tokens},
          {"bin_bytes", report.bin_bytes},
          {"idx_bytes", report.idx_bytes},
          {"problems", std::move(problems)},
          {"notes", report.notes}};
}

void print_table(const std::vector<DatasetReport>& reports) {
  size_t width = 7;
  for (const auto& report : reports) width = std::max(width, report.prefix.size());
  fmt::print("{:<{}}  {:<5}{:>14}{:>14}{:>18}{:>12}  {}\n", "dataset", width, "type", "documents",
             "sequences", "tokens", "bytes", "verdict");
  for (const auto& report : reports) {
    fmt::print("{:<{}}  {:<5}{:>14}{:>14}{:>18}{:>12}  {}\n", report.prefix, width,
               report.type ? name_of(*report.type) : "?", with_commas(report.documents),
               with_commas(report.sequences), with_commas(report.tokens),
               bytes_text(static_cast<int64_t>(report.bin_bytes + report.idx_bytes)),
               report.ok() ? "ok" : "WRONG");
  }
  for (const auto& report : reports) {
    for (const auto& problem : report.problems) {
      fmt::print("{}: {}: {}\n", report.prefix, with_commas(problem.count), problem.what);
      for (const auto& place : problem.first) fmt::print("    {}\n", place);
      if (problem.count > static_cast<int64_t>(problem.first.size())) fmt::print("    ...\n");
    }
    for (const auto& note : report.notes) fmt::print("{}: note: {}\n", report.prefix, note);
  }
}

int check(const CheckArguments& arguments) {
  std::optional<Tokenizer> tokenizer;
  if (!arguments.tokenizer.path.empty()) tokenizer = arguments.tokenizer.load();
  std::vector<DatasetReport> reports;
  {
    ProgressLine line;
    for (const std::string& prefix : arguments.prefixes)
      reports.push_back(
          check_dataset(prefix, {.tokenizer = tokenizer ? &*tokenizer : nullptr,
                                 .progress = [&](double share) { line.update(share, prefix); }}));
  }
  const bool ok = std::all_of(reports.begin(), reports.end(), [](const auto& r) { return r.ok(); });
  if (arguments.json) {
    Json json = {{"ok", ok}, {"datasets", Json::array()}};
    for (const auto& report : reports) json["datasets"].push_back(to_json(report));
    fmt::print("{}\n", json.dump(-1, ' ', false, Json::error_handler_t::replace));
  } else {
    print_table(reports);
  }
  return ok ? 0 : 1;
}

}  // namespace

void add_data_check(CLI::App& data, Run& run) {
  CLI::App* command = data.add_subcommand("check", "Say what is wrong with datasets");
  const auto arguments = std::make_shared<CheckArguments>();
  command->add_option("prefixes", arguments->prefixes, "PREFIX of PREFIX.bin and PREFIX.idx")
      ->required()
      ->type_name("PREFIX");
  add_tokenizer_argument(*command, arguments->tokenizer,
                         "tokenizer.json they were made with: also checks that ids are in its "
                         "vocabulary and that each document has one token --eod, at its end");
  command->add_flag("--json", arguments->json, "print the report as JSON");
  command->footer(
      "Reads every byte and repairs nothing. Exit status 1 where something is wrong.\n\n"
      "Example:\n  midfill data check data/code_train data/code_valid --tokenizer tokenizer.json");
  command->callback([arguments, &run] { run = [arguments] { return check(*arguments); }; });
}

}  // namespace midfill
