// midfill export: a run as a Hugging Face directory, or as a GGUF file.
#include <cstdio>
#include <memory>

#include "src/apps/apps.h"
#include "src/checkpoint/gguf_model.h"
#include "src/checkpoint/hugging_face.h"
#include "src/checkpoint/model_source.h"
#include "src/checkpoint/run_directory.h"
#include "src/io/new_folders.h"

namespace midfill {

namespace {

struct ExportArguments {
  std::string run, out, format = "hf", dtype = "f32";
};

GgufDtype gguf_dtype(const std::string& name) {
  if (name == "f16") return GgufDtype::f16;
  return name == "bf16" ? GgufDtype::bf16 : GgufDtype::f32;
}

int export_run(const ExportArguments& arguments) {
  const bool gguf = arguments.format == "gguf";
  require(gguf || arguments.dtype == "f32",
          "export: --dtype {} goes with --format gguf; a Hugging Face directory is written in f32",
          arguments.dtype);
  ModelSource source = ModelSource::open(arguments.run);
  for (const std::string& line : source.passed_over) fmt::print(stderr, "passed over {}\n", line);
  require(source.kind == WeightsSource::Kind::run,
          "{}: a Hugging Face directory, expected a run of midfill", arguments.run);
  if (gguf) source.require_rows_for_tokenizer();
  Device device("cpu");
  Gpt model(source.model, {.max_batch = 1, .training = false}, device);
  source.load_weights(model);
  const NewFolders folders(arguments.out);
  std::vector<std::string> notes;
  if (gguf)
    notes = export_gguf(arguments.out, model, source.tokenizer,
                        {.dtype = gguf_dtype(arguments.dtype),
                         .run = source.directory,
                         .fim = read_run_config(source.directory).fim});
  else
    export_hf(arguments.out, model, source.tokenizer);
  fmt::print(stderr, "{}: {} written as {}\n", arguments.out, source.checkpoint.string(),
             gguf ? "GGUF, " + arguments.dtype : "GPTNeoXForCausalLM");
  for (const std::string& line : notes) fmt::print(stderr, "{}: {}\n", arguments.out, line);
  return 0;
}

}  // namespace

void add_export(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<ExportArguments>();
  CLI::App* command = app.add_subcommand(
      "export",
      "Write a run's newest checkpoint as a Hugging Face GPTNeoXForCausalLM directory "
      "(config.json, model.safetensors, generation_config.json and the tokenizer's files), or as "
      "a GGUF file for llama.cpp with a Modelfile for ollama beside it");
  command->add_option("--run", arguments->run, "Run directory")->required();
  command
      ->add_option("--out", arguments->out,
                   "hf: new directory; must not exist, or be empty. gguf: new file")
      ->required();
  command->add_option("--format", arguments->format, "hf or gguf")
      ->check(CLI::IsMember({"hf", "gguf"}))
      ->capture_default_str();
  command
      ->add_option("--dtype", arguments->dtype,
                   "How matrices are stored: f32; with --format gguf also f16 or bf16")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  midfill export --run runs/small --out hf/small\n"
      "  midfill export --run runs/small --format gguf --dtype f16 --out small.gguf");
  command->callback([arguments, &run] { run = [arguments] { return export_run(*arguments); }; });
}

}  // namespace midfill
