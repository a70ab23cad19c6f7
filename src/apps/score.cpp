// midfill score: log-probabilities of given token ids.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <numeric>

#include "src/apps/apps.h"
#include "src/apps/device_arguments.h"
#include "src/apps/standard_streams.h"
#include "src/apps/validators.h"
#include "src/checkpoint/model_source.h"
#include "src/io/json.h"

namespace midfill {

namespace {

constexpr size_t kLinesAtOnce = 256;  // sorted by length, so that a batch has little padding

struct ScoreArguments {
  std::string model;
  int batch = 8;
  DeviceArguments device;
};

struct Line {
  int64_t number;  // from 1
  std::vector<int32_t> ids;
  std::vector<float> logprobs;  // of ids[1..]

  int64_t predicted() const { return std::ssize(ids) - 1; }
};

Line parse_line(const std::string& text, int64_t number, const ModelConfig& config) {
  const std::string origin = fmt::format("standard input, line {}", number);
  const Json json = parse_json(text, origin);
  require(json.is_object() && json.contains("ids") && json["ids"].is_array(),
          "{}: expected an object with an array \"ids\"", origin);
  Line line{.number = number, .ids = {}, .logprobs = {}};
  for (const Json& id : json["ids"]) {
    require(
        id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(config.vocab_size),
        "{}: \"ids\" holds {}, expected whole numbers below {}", origin,
        id.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 40), config.vocab_size);
    line.ids.push_back(id.get<int32_t>());
  }
  require(!line.ids.empty(), "{}: \"ids\" is empty", origin);
  require(line.predicted() <= config.n_ctx, "{}: {} ids, expected at most n_ctx + 1 = {}", origin,
          line.ids.size(), config.n_ctx + 1);
  return line;
}

// Scores lines together, padded to the longest; padding comes after, where causal attention does
// not see it, and has weight 0.
void score_batch(Gpt& model, std::span<Line* const> lines) {
  int64_t T = 1;
  for (const Line* line : lines) T = std::max(T, line->predicted());
  const int64_t B = std::ssize(lines);
  std::vector<int32_t> ids(static_cast<size_t>(B * T), 0), targets = ids;
  std::vector<float> weights(ids.size(), 0.0f), losses(ids.size());
  for (int64_t b = 0; b < B; ++b) {
    const Line& line = *lines[static_cast<size_t>(b)];
    const int64_t n = line.predicted();
    std::copy_n(line.ids.begin(), n, ids.begin() + b * T);
    std::copy_n(line.ids.begin() + 1, n, targets.begin() + b * T);
    std::fill_n(weights.begin() + b * T, n, 1.0f);
  }
  model.forward({.ids = Tensor::of(ids.data(), {B, T}),
                 .targets = Tensor::of(targets.data(), {B, T}),
                 .weights = Tensor::of(weights.data(), {B, T})},
                losses);
  for (int64_t b = 0; b < B; ++b) {
    Line& line = *lines[static_cast<size_t>(b)];
    for (int64_t t = 0; t < line.predicted(); ++t) {
      const float logprob = 0.0f - losses[static_cast<size_t>(b * T + t)];
      require(std::isfinite(logprob), "standard input, line {}: log-probability of id {} is {}",
              line.number, t + 1, logprob);
      line.logprobs.push_back(logprob);
    }
  }
}

void score_lines(Gpt& model, std::vector<Line>& lines, size_t batch) {
  std::vector<Line*> by_length;
  for (Line& line : lines) by_length.push_back(&line);
  std::ranges::stable_sort(by_length, {}, &Line::predicted);
  for (size_t begin = 0; begin < by_length.size(); begin += batch)
    score_batch(model,
                std::span(by_length).subspan(begin, std::min(batch, by_length.size() - begin)));
  for (const Line& line : lines)
    fmt::print("{{\"logprobs\":[{}]}}\n", fmt::join(line.logprobs, ","));
  require(std::fflush(stdout) == 0, "standard output: cannot write");
}

int score(const ScoreArguments& arguments) {
  WeightsSource source = WeightsSource::open(arguments.model);
  for (const std::string& line : source.passed_over) fmt::print(stderr, "passed over {}\n", line);
  Device device = arguments.device.make();
  Gpt model(
      source.model,
      {.max_batch = arguments.batch, .training = false, .dtype = arguments.device.dtype_of(source)},
      device);
  source.load_weights(model);

  std::vector<Line> lines;
  std::string text;
  for (int64_t number = 1; std::getline(std::cin, text); ++number) {
    if (number == 1) text = std::string(without_byte_order_mark(text));
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    lines.push_back(parse_line(text, number, source.model));
    if (lines.size() < kLinesAtOnce) continue;
    score_lines(model, lines, static_cast<size_t>(arguments.batch));
    lines.clear();
  }
  check_standard_input();
  score_lines(model, lines, static_cast<size_t>(arguments.batch));
  return 0;
}

}  // namespace

void add_score(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<ScoreArguments>();
  CLI::App* command = app.add_subcommand(
      "score",
      "Log-probabilities of token ids: reads lines {\"ids\": [...]} from standard input and writes "
      "a line {\"logprobs\": [...]} for each, in nats, one number for each id but the first");
  command->add_option("--model", arguments->model, "A run directory or a Hugging Face directory")
      ->required();
  command->add_option("--batch", arguments->batch, "Lines scored together")
      ->check(whole_number(1, 1024))
      ->capture_default_str();
  arguments->device.add_to(*command);
  command->footer(
      "Example:\n  echo '{\"ids\": [0, 1545, 269]}' | midfill score --model runs/small");
  command->callback([arguments, &run] { run = [arguments] { return score(*arguments); }; });
}

}  // namespace midfill
