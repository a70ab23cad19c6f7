// midfill data show: samples as the model will see them.
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "kernels/common/check.h"
#include "src/apps/apps.h"
#include "src/config/config.h"
#include "src/data/sample_stream.h"
#include "src/data/show.h"

namespace midfill {

namespace {

struct ShowArguments {
  std::string config, samples = "0:4", stream = "train", source;
  std::vector<std::string> overrides;
  bool json = false, color = false;
};

constexpr EvalStream kEvalStreams[] = {EvalStream::ar,          EvalStream::fim_psm,
                                       EvalStream::fim_spm1,    EvalStream::fim_spm2,
                                       EvalStream::middle_psm,  EvalStream::middle_spm1,
                                       EvalStream::middle_spm2, EvalStream::middle_ar};

std::vector<std::string> stream_names() {
  std::vector<std::string> names = {"train"};
  for (const EvalStream kind : kEvalStreams) names.emplace_back(name_of(kind));
  return names;
}

// "A:B", A included, B not.
std::pair<int64_t, int64_t> range_of(const std::string& text) {
  int64_t begin = 0, end = 0;
  const char* last = text.data() + text.size();
  const auto first = std::from_chars(text.data(), last, begin);
  bool good = first.ec == std::errc() && first.ptr != last && *first.ptr == ':';
  if (good) {
    const auto second = std::from_chars(first.ptr + 1, last, end);
    good = second.ec == std::errc() && second.ptr == last && 0 <= begin && begin < end;
  }
  require(good, "--samples {}: expected A:B with 0 <= A < B, such as 0:4", text);
  return {begin, end};
}

// A stream, and the names of the sources of its samples.
struct NamedStream {
  std::unique_ptr<SampleStream> stream;
  std::vector<std::string> sources;
};

const DataSource& validation_source(const ShowArguments& arguments, const Config& config) {
  const std::vector<DataSource>& sources = config.data.valid;
  require(!sources.empty(), "{}: data.valid is empty, stream {} needs it", arguments.config,
          arguments.stream);
  if (arguments.source.empty()) return sources.front();
  for (const DataSource& source : sources)
    if (source.name == arguments.source) return source;
  fail("--source {}: data.valid of {} has no source of this name", arguments.source,
       arguments.config);
}

NamedStream open_stream(const ShowArguments& arguments, const Config& config,
                        const Tokenizer& tokenizer) {
  for (const EvalStream kind : kEvalStreams) {
    if (name_of(kind) != arguments.stream) continue;
    const DataSource& source = validation_source(arguments, config);
    return {eval_stream(kind, config, tokenizer,
                        std::make_shared<const IndexedDataset>(
                            IndexedDataset::open(source.path, tokenizer.vocab_size()))),
            {source.name}};
  }
  require(arguments.source.empty(), "--source {}: goes with a validation stream, found --stream {}",
          arguments.source, arguments.stream);
  auto stream = open_training_stream(config, tokenizer);
  std::vector<std::string> names;
  for (const SourceInfo& source : stream->sources()) names.push_back(source.name);
  return {std::move(stream), std::move(names)};
}

int show(const ShowArguments& arguments) {
  const auto [begin, end] = range_of(arguments.samples);
  const Config config = load_config(arguments.config, arguments.overrides);
  const Tokenizer tokenizer = Tokenizer::load(config.data.tokenizer, config.data.eod);
  const auto [stream, sources] = open_stream(arguments, config, tokenizer);
  require(end <= stream->size(), "--samples {}: stream {} has {} samples", arguments.samples,
          arguments.stream, stream->size());

  const bool color = arguments.color || ::isatty(STDOUT_FILENO) == 1;
  Sample sample;
  for (int64_t index = begin; index < end; ++index) {
    stream->get(index, sample);
    const std::string& source = sources[sample.source];
    const std::string text = arguments.json ? sample_json(sample, tokenizer, source) + "\n"
                                            : sample_text(sample, tokenizer, color, source);
    require(std::fwrite(text.data(), 1, text.size(), stdout) == text.size(),
            "cannot write to standard output");
  }
  require(std::fflush(stdout) == 0, "cannot write to standard output");
  return 0;
}

}  // namespace

void add_data_show(CLI::App& data, Run& run) {
  CLI::App* command = data.add_subcommand("show", "Show samples as the model will see them");
  const auto arguments = std::make_shared<ShowArguments>();
  command->add_option("--config", arguments->config, "configuration of the run")->required();
  command->add_option("--samples", arguments->samples, "samples A to B - 1 of the stream")
      ->type_name("A:B")
      ->capture_default_str();
  command
      ->add_option("--stream", arguments->stream,
                   "train: the training stream, in the order of training; the others: frozen "
                   "validation streams of data.valid")
      ->check(CLI::IsMember(stream_names()))
      ->capture_default_str();
  command
      ->add_option(
          "--source", arguments->source,
          "of several sources in data.valid, the one whose frozen stream is shown (default: "
          "the first)")
      ->type_name("NAME");
  command->add_option("--set", arguments->overrides, "override a key of the configuration")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all();
  command->add_flag("--json", arguments->json,
                    "one line of JSON a sample: "
                    "{\"index\",\"source\",\"tokens\",\"segments\":[{\"kind\",\"begin\","
                    "\"end\",\"prefix\",\"middle\",\"suffix\"}]}, the parts as text");
  command->add_flag("--color", arguments->color, "color also where the output is no terminal");
  command->footer(
      "Example:\n  midfill data show --config configs/quickstart.json --samples 0:2 "
      "--set fim.rate=1.0");
  command->callback([arguments, &run] { run = [arguments] { return show(*arguments); }; });
}

}  // namespace midfill
