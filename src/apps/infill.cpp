// midfill infill: what stands between a prefix and a suffix.
#include "src/infer/infill.h"

#include <cstdio>
#include <memory>
#include <optional>

#include "src/apps/apps.h"
#include "src/apps/generation_arguments.h"
#include "src/apps/progress_line.h"
#include "src/apps/validators.h"
#include "src/checkpoint/run_directory.h"
#include "src/infer/examples.h"
#include "src/io/file.h"
#include "src/io/new_folders.h"

namespace midfill {

namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{256} << 20;
constexpr int kLinesShown = 3;  // of an example, before and after its hole

struct InfillArguments : GenerationArguments {
  std::string file, prefix_file, suffix_file, jsonl, out, mode;
  int examples = 0;
  bool document_start = false;
};

// Prompts and completions of holes, one after the other.
class Filler {
 public:
  explicit Filler(const InfillArguments& arguments) : model_(arguments) {
    model_.source().require_rows_for_tokenizer();
    options_.document_start = arguments.document_start;
    if (model_.source().kind != WeightsSource::Kind::run) {
      options_.mode = infill_mode(arguments.mode.empty() ? "psm" : arguments.mode);
      return;
    }
    const FimConfig fim = read_run_config(model_.source().directory).fim;
    options_.mode = arguments.mode.empty() ? usual_mode(fim) : infill_mode(arguments.mode);
    const double weight = options_.mode == SegmentKind::psm    ? fim.psm
                          : options_.mode == SegmentKind::spm1 ? fim.spm1
                                                               : fim.spm2;
    if (fim.rate == 0.0 || weight == 0.0)
      std::fprintf(stderr, "midfill: this run was trained without %s\n",
                   std::string(name_of(options_.mode)).c_str());
  }

  LoadedModel& model() { return model_; }

  std::vector<Json> fill(const std::string& prefix, const std::string& suffix, uint64_t task = 0) {
    prompt_ = infill_prompt(model_.tokenizer(), prefix, suffix, model_.generator().max_prompt(),
                            options_);
    std::vector<Json> filled;
    for (const Completion& completion : model_.generator().complete(prompt_.tokens, task)) {
      filled.push_back(to_json(completion));
      filled.back()["prompt_tokens"] = prompt_.tokens.size();
      filled.back()["dropped_prefix_tokens"] = prompt_.dropped_prefix;
      filled.back()["dropped_suffix_tokens"] = prompt_.dropped_suffix;
      tokens_ += static_cast<int64_t>(completion.tokens.size());
    }
    return filled;
  }

  // Of the last prompt.
  bool shortened() const { return prompt_.dropped_prefix + prompt_.dropped_suffix > 0; }
  std::string shortening() const {
    return fmt::format(
        "the context is too short: {} tokens at the left of the prefix and {} at the right of the "
        "suffix are dropped",
        prompt_.dropped_prefix, prompt_.dropped_suffix);
  }
  int64_t tokens() const { return tokens_; }

 private:
  LoadedModel model_;
  InfillOptions options_;
  InfillPrompt prompt_;
  int64_t tokens_ = 0;
};

int fill_one(const InfillArguments& arguments, const Hole& hole) {
  Filler filler(arguments);
  const auto filled = filler.fill(hole.prefix, hole.suffix);
  if (filler.shortened()) std::fprintf(stderr, "midfill: %s\n", filler.shortening().c_str());
  for (const Json& json : filled)
    arguments.json ? (void)std::fputs(to_line(json).c_str(), stdout)
                   : print_text(json["completion"].get<std::string>());
  return 0;
}

int fill_tasks(const InfillArguments& arguments) {
  const std::vector<InfillTask> tasks = read_tasks(arguments.jsonl);
  std::optional<NewFolders> folders;
  std::optional<AtomicFile> out;
  if (!arguments.out.empty()) {
    folders.emplace(arguments.out);
    out.emplace(arguments.out);
  }
  Filler filler(arguments);
  size_t shortened = 0, ended = 0, completions = 0;
  {
    ProgressLine line;
    for (size_t i = 0; i < tasks.size(); ++i) {
      for (const Json& filled : filler.fill(tasks[i].prefix, tasks[i].suffix, i)) {
        Json json = {{"task_id", tasks[i].task_id}, {"completion", filled["completion"]}};
        if (arguments.json) json.update(filled);
        if (out)
          out->write(to_line(json));
        else
          std::fputs(to_line(json).c_str(), stdout);
        ended += filled["ended"].get<bool>();
        ++completions;
      }
      shortened += filler.shortened();
      line.update(static_cast<double>(i + 1) / static_cast<double>(tasks.size()),
                  fmt::format("{} of {} tasks  {:.0f} tokens/s", i + 1, tasks.size(),
                              static_cast<double>(filler.tokens()) / line.seconds()));
    }
  }
  if (out) out->commit();
  std::fprintf(stderr, "midfill: %zu completions, %zu ended, %zu of %zu contexts shortened\n",
               completions, ended, shortened, tasks.size());
  return 0;
}

// Held-out lines of the run's validation data beside what the model puts there.
int show_examples(const InfillArguments& arguments) {
  Filler filler(arguments);
  const ModelSource& source = filler.model().source();
  require(source.kind == WeightsSource::Kind::run,
          "{}: --examples needs a run, which knows its data", arguments.model);
  const auto valid = read_run_config(source.directory).data.valid;
  require(!valid.empty(), "{}: the run has no validation data (data.valid)", arguments.model);
  // As many from each source as from any other, to within one.
  std::vector<std::pair<std::string, Example>> examples;
  for (size_t d = 0; d < valid.size(); ++d) {
    const int count = (arguments.examples + static_cast<int>(valid.size() - d) - 1) /
                      static_cast<int>(valid.size());
    if (count == 0) continue;
    const std::string of = valid[d].name.empty() ? "" : valid[d].name + ", ";
    for (Example& example :
         held_out_examples(IndexedDataset::open(valid[d].path, source.model.vocab_size),
                           source.tokenizer, arguments.options.sampling.seed, count))
      examples.emplace_back(of, std::move(example));
  }
  const auto last_lines = [](const std::string& text, int lines) {
    size_t at = text.size();
    while (at > 0 && (text[at - 1] != '\n' || --lines >= 0)) --at;
    return text.substr(at);
  };
  const auto first_lines = [](const std::string& text, int lines) {
    size_t at = 0;
    while (at < text.size() && (text[at] != '\n' || --lines >= 0)) ++at;
    return text.substr(0, at);
  };
  for (size_t i = 0; i < examples.size(); ++i) {
    const auto& [of, e] = examples[i];
    const Json filled = filler.fill(e.prefix, e.suffix, i).front();
    const auto completion = filled["completion"].get<std::string>();
    const std::string shown = first_lines(completion, kLinesShown);
    fmt::print("--- {}document {}, line {}\n{}[ ... ]{}\nheld out: {}\n   model: {}{}\n\n", of,
               e.document, e.line, last_lines(e.prefix, kLinesShown),
               first_lines(e.suffix, kLinesShown), e.middle, shown,
               shown.size() < completion.size() ? " ..." : "");
  }
  return 0;
}

int infill(const InfillArguments& arguments) {
  const bool parts = !arguments.prefix_file.empty() || !arguments.suffix_file.empty();
  require(
      !arguments.file.empty() + parts + !arguments.jsonl.empty() + (arguments.examples > 0) == 1,
      "infill: expected one of --file, --prefix-file with --suffix-file, --jsonl and --examples");
  require(arguments.out.empty() || !arguments.jsonl.empty(), "infill: --out goes with --jsonl");
  if (!arguments.jsonl.empty()) return fill_tasks(arguments);
  require(arguments.options.samples == 1 || (arguments.json && arguments.examples == 0),
          "infill: --samples {} needs --json or --jsonl, which keep completions apart",
          arguments.options.samples);
  if (arguments.examples > 0) return show_examples(arguments);

  const auto text_of = [](const std::string& path) {
    return path.empty() ? std::string() : read_file(path, kMaxFileBytes);
  };
  return fill_one(arguments,
                  parts ? Hole{text_of(arguments.prefix_file), text_of(arguments.suffix_file)}
                        : split_at_mark(text_of(arguments.file), arguments.file));
}

}  // namespace

void add_infill(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<InfillArguments>();
  CLI::App* command = app.add_subcommand("infill", "Fill in the middle");
  command->add_option("--file", arguments->file,
                      "a text with one <FILL> where the middle is missing");
  command->add_option("--prefix-file", arguments->prefix_file, "what stands before the middle");
  command->add_option("--suffix-file", arguments->suffix_file, "what stands after it");
  command->add_option("--jsonl", arguments->jsonl,
                      "tasks with task_id, prompt, suffix (human-eval-infilling; also .gz, .zst)");
  command->add_option("--out", arguments->out, "a new file for the completions of --jsonl");
  command
      ->add_option("--examples", arguments->examples,
                   "so many lines of the run's held-out data, beside what really stood there")
      ->check(whole_number(1, INT32_MAX));
  command->add_option("--mode", arguments->mode,
                      "psm, spm1 or spm2 (default: what the run saw most; else psm)");
  command->add_flag("--document-start", arguments->document_start,
                    "the prefix begins a document: an <|endoftext|> before the prompt says so");
  arguments->add_to(*command);
  command->footer(
      "Prints the middle alone. A context that is too long loses the beginning of the prefix and "
      "the "
      "end of the suffix.\n\nExample:\n  midfill infill --model runs/quickstart --file hole.py "
      "--temperature 0.2 --top-p 0.95 --best-of 8\n  midfill infill --model runs/quickstart "
      "--jsonl "
      "HumanEval-SingleLineInfilling.jsonl.gz --out samples.jsonl");
  command->callback([arguments, &run] { run = [arguments] { return infill(*arguments); }; });
}

}  // namespace midfill
