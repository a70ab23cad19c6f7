// midfill data merge: several datasets into one.
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "src/apps/apps.h"
#include "src/apps/progress_line.h"
#include "src/apps/until_stopped.h"
#include "src/apps/validators.h"
#include "src/data/merge.h"
#include "src/io/json.h"
#include "src/io/units.h"
#include "src/train/stop_signal.h"

namespace midfill {

namespace {

struct MergeArguments {
  std::vector<std::string> inputs;
  std::string out;
  bool json = false;
};

int merge(const MergeArguments& arguments) {
  const StopSignal signal("ending, with nothing written");
  MergeSummary sum;
  {
    ProgressLine line;
    const auto ended = until_stopped(signal, line, [&] {
      sum = merge_datasets({.inputs = arguments.inputs,
                            .out = arguments.out,
                            .progress = [&line](double share) { line.update(share, "copied"); },
                            .stop = [&signal] { return signal.requested(); }});
    });
    if (ended) return *ended;
  }
  if (arguments.json) {
    fmt::print("{}\n", Json({{"token_type", name_of(sum.type)},
                             {"documents", sum.documents},
                             {"sequences", sum.sequences},
                             {"tokens", sum.tokens}})
                           .dump());
  } else {
    fmt::print("{}: {} documents, {} tokens in {}\n", arguments.out, with_commas(sum.documents),
               with_commas(sum.tokens), name_of(sum.type));
  }
  return 0;
}

}  // namespace

void add_data_merge(CLI::App& data, Run& run) {
  CLI::App* command = data.add_subcommand("merge", "Lay datasets end to end in one");
  const auto arguments = std::make_shared<MergeArguments>();
  command
      ->add_option("--input", arguments->inputs,
                   "prefixes of the datasets, in the order of the result; one may come twice")
      ->required()
      ->type_name("PREFIX");
  command->add_option("--out", arguments->out, "writes PREFIX.bin and PREFIX.idx")
      ->required()
      ->check(not_empty())
      ->type_name("PREFIX");
  command->add_flag("--json", arguments->json, "print the summary as JSON");
  command->footer(
      "All must be made with one tokenizer: datasets do not say which. Documents stay as they are. "
      "To mix sources by weight, name them in the configuration instead.\n\nExample:\n"
      "  midfill data merge --input data/a_train data/b_train --out data/all_train");
  command->callback([arguments, &run] { run = [arguments] { return merge(*arguments); }; });
}

}  // namespace midfill
