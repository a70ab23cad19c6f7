// What infill and generate have in common: their options, the model in memory, the output.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "src/apps/device_arguments.h"
#include "src/checkpoint/model_source.h"
#include "src/infer/generator.h"
#include "src/io/json.h"

namespace midfill {

struct GenerationArguments {
  std::string model;
  DeviceArguments device;
  int max_new_tokens = 0;  // 0: 128, or half of a shorter context
  GenerationOptions options;
  bool json = false;

  void add_to(CLI::App& app);
};

// A model ready to generate.
class LoadedModel {
 public:
  explicit LoadedModel(const GenerationArguments& arguments);
  const ModelSource& source() const { return source_; }
  const Tokenizer& tokenizer() const { return source_.tokenizer; }
  Generator& generator() { return generator_; }

 private:
  ModelSource source_;
  Device device_;
  Gpt gpt_;
  Generator generator_;
};

// {"completion", "ended", "mean_logprob", "tokens"}; bytes that are not UTF-8 become U+FFFD.
Json to_json(const Completion& completion);
std::string to_line(const Json& json);
// The bytes as they are; on a terminal the line is ended.
void print_text(const std::string& text);

}  // namespace midfill
