#include "src/apps/generation_arguments.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "src/apps/validators.h"

namespace midfill {

namespace {

GenerationOptions resolved(const GenerationArguments& arguments, const ModelConfig& model) {
  GenerationOptions options = arguments.options;
  options.max_new_tokens =
      arguments.max_new_tokens > 0 ? arguments.max_new_tokens : std::min(128, model.n_ctx / 2);
  return options;
}

}  // namespace

void GenerationArguments::add_to(CLI::App& app) {
  app.add_option("--model", model, "run directory or Hugging Face directory")->required();
  app.add_option("--max-new-tokens", max_new_tokens,
                 "longest completion (default: 128, or half of a shorter context)")
      ->check(whole_number(1, INT32_MAX));
  app.add_option("--temperature", options.sampling.temperature, "0: greedy")
      ->check(number())
      ->capture_default_str();
  app.add_option("--top-p", options.sampling.top_p,
                 "sample among the likeliest tokens that together have this probability")
      ->check(number())
      ->capture_default_str();
  app.add_option("--seed", options.sampling.seed, "of sampling")
      ->check(whole_number(0, UINT64_MAX))
      ->capture_default_str();
  app.add_option("--samples", options.samples, "completions of each prompt (needs JSON output)")
      ->check(whole_number(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--best-of", options.best_of,
                 "candidates for each completion: those that end come first, then the larger mean "
                 "log-probability counts")
      ->check(whole_number(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--batch", options.batch,
                 "sequences decoded at once; each takes a KV cache of its own")
      ->check(whole_number(1, INT32_MAX))
      ->capture_default_str();
  app.add_flag("--json", json,
               "print objects with completion, ended, mean_logprob (nats a token), tokens, ...");
  device.add_to(app);
}

// A model that only decodes needs no rows of logits beside the decoder's.
LoadedModel::LoadedModel(const GenerationArguments& arguments)
    : source_(ModelSource::open(arguments.model)),
      device_(arguments.device.make()),
      gpt_(source_.model,
           {.max_batch = 1,
            .training = false,
            .head_chunk = 1,
            .dtype = arguments.device.dtype_of(source_)},
           device_),
      generator_(gpt_, source_.tokenizer, resolved(arguments, source_.model)) {
  for (const std::string& line : source_.passed_over)
    std::fprintf(stderr, "midfill: passed over: %s\n", line.c_str());
  source_.load_weights(gpt_);
}

Json to_json(const Completion& completion) {
  return {{"completion", completion.text},
          {"ended", completion.ended},
          {"mean_logprob", completion.mean_logprob},
          {"tokens", completion.tokens}};
}

std::string to_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

void print_text(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (isatty(STDOUT_FILENO) && !text.ends_with('\n')) std::fputc('\n', stdout);
}

}  // namespace midfill
