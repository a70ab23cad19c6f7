#include "src/config/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "kernels/common/check.h"
#include "src/config/messages.h"
#include "src/config/section_fields.h"
#include "src/io/one_line.h"

namespace midfill {

namespace {

constexpr bool kMayChange = true;

Field seed_field() {
  Field field;
  field.key = "seed";
  field.meaning = "Key of every random number of the run: weights, sample order, FIM";
  field.expected = "an integer in 0..18446744073709551615";
  field.set = [](Config& config, const Json& json) {
    if (json.is_number_unsigned()) {
      config.seed = json.get<uint64_t>();
      return true;
    }
    const auto n = as_integer(json);
    if (!n || *n < 0) return false;
    config.seed = static_cast<uint64_t>(*n);
    return true;
  };
  field.get = [](const Config& config) { return Json(config.seed); };
  return field;
}

// The upper bounds keep products of sizes far inside 64 bits.
constexpr int64_t kManySteps = int64_t{1} << 40;

void add_model(std::vector<Field>& out) {
  using M = ModelConfig;
  SectionFields f(out, "model", &Config::model);
  f.integer("n_layers", &M::n_layers, 1, 1024, "Blocks");
  f.integer("d_model", &M::d_model, 1, 1 << 18, "Width of the residual stream");
  f.integer("n_heads", &M::n_heads, 1, 1 << 12, "Attention heads; divides `d_model`");
  f.integer("d_ff", &M::d_ff, 1, 1 << 20, "Width of the MLP");
  f.integer("n_ctx", &M::n_ctx, 1, 1 << 22, "Context: tokens predicted per sample");
  f.integer("vocab_size", &M::vocab_size, 0, 1 << 24, "Token ids; 0: as many as the tokenizer has");
  f.integer("vocab_multiple", &M::vocab_multiple, 1, 1 << 16,
            "The embedding has `vocab_size` rounded up to a multiple of this many rows; the extra "
            "rows are never used");
  f.number(
      "rotary_pct", &M::rotary_pct, 0, 1, true,
      "Share of each head that the rotary embedding turns; it must give an even number of dims");
  f.number("rotary_base", &M::rotary_base, 1, kUnbounded, true, "Base of the rotary angles");
  f.boolean("parallel_residual", &M::parallel_residual,
            "`true`: x += attn(ln1 x) + mlp(ln2 x) (Pythia); `false`: one after the other "
            "(FIM-1.3B)");
  f.choice("activation", &M::activation,
           {{"gelu_tanh", Activation::gelu_tanh}, {"gelu_erf", Activation::gelu_erf}},
           "GELU of the MLP: tanh approximation or exact");
  f.boolean("tied_embeddings", &M::tied_embeddings, "The LM head is the input embedding");
  f.f32("layer_norm_eps", &M::layer_norm_eps, false, 1, "Added to the variance in layer norms");
  f.choice(
      "init", &M::init, {{"normal", Init::normal}, {"neox", Init::neox}},
      "Initial weights: N(0, 0.02) everywhere, or GPT-NeoX's small_init with wang_init for the "
      "two output layers of a block");
}

// The keys of a source.
constexpr std::string_view kSourceName = "name", kSourcePath = "path", kSourceWeight = "weight";

// Names stand in tags of TensorBoard and in tables.
bool is_source_name(const Json& json) {
  if (!json.is_string()) return false;
  const auto& name = json.get_ref<const std::string&>();
  const auto is_part = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), is_part);
}

// `at` is its place: "data.train[1]".
DataSource read_source(const Json& json, const std::string& at) {
  require(json.is_object(), "{} is {}, expected an object with name, path and weight", at,
          short_dump(json));
  DataSource source;
  for (const auto& item : json.items()) {  // no structured binding: clang 14 captures none
    const std::string& key = item.key();
    const Json& value = item.value();
    const auto expect = [&](bool good, std::string_view expected) {
      require(good, "{}.{} is {}, expected {}", at, key, short_dump(value), expected);
    };
    if (key == kSourceName) {
      expect(is_source_name(value), "1 to 64 letters, digits, '.', '_' and '-'");
      source.name = value.get<std::string>();
    } else if (key == kSourcePath) {
      expect(is_plain_text(value) && !value.get_ref<const std::string&>().empty(),
             "the prefix of a dataset, without control characters");
      source.path = value.get<std::string>();
    } else if (key == kSourceWeight) {
      expect(value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() > 0,
             "a number > 0");
      source.weight = value.get<double>();
    } else {
      fail("{}: unknown key {}, expected \"{}\", \"{}\" and \"{}\"", at, in_quotes(key),
           kSourceName, kSourcePath, kSourceWeight);
    }
  }
  require(!source.name.empty(), "{} has no \"{}\", expected one for each source", at, kSourceName);
  require(!source.path.empty(), "{} has no \"{}\", expected the prefix of a dataset", at,
          kSourcePath);
  return source;
}

// A text is one source without a name; an empty text is none.
bool read_sources(const Json& json, const std::string& name, std::vector<DataSource>& out) {
  if (is_plain_text(json)) {
    out.clear();
    if (!json.get_ref<const std::string&>().empty()) out.push_back({.path = json});
    return true;
  }
  if (!json.is_array() || json.empty()) return false;
  std::vector<DataSource> sources;
  double sum = 0.0;
  for (const Json& element : json) {
    const std::string at = fmt::format("{}[{}]", name, sources.size());
    DataSource source = read_source(element, at);
    const auto twin = std::find_if(sources.begin(), sources.end(), [&](const DataSource& other) {
      return other.name == source.name;
    });
    require(twin == sources.end(), "{}.{} is \"{}\", expected another name than {}[{}] has", at,
            kSourceName, source.name, name, twin - sources.begin());
    sum += source.weight;
    sources.push_back(std::move(source));
  }
  require(std::isfinite(sum), "{}: the sum of the weights overflows, expected smaller ones", name);
  out = std::move(sources);
  return true;
}

Json write_sources(const std::vector<DataSource>& sources) {
  if (sources.empty()) return "";
  if (sources.size() == 1 && sources[0].name.empty()) return sources[0].path;
  Json list = Json::array();
  for (const DataSource& source : sources)
    list.push_back(
        {{kSourceName, source.name}, {kSourcePath, source.path}, {kSourceWeight, source.weight}});
  return list;
}

void add_data(std::vector<Field>& out) {
  using D = DataConfig;
  SectionFields f(out, "data", &Config::data);
  const auto sources = [&](std::string_view key, std::vector<DataSource> D::*value,
                           std::string_view meaning, std::string_view only_change) {
    f.text_or_list<DataSource>(
        key, value,
        "a text without control characters, or a list of objects with name, path and weight",
        read_sources, write_sources, meaning, only_change);
  };
  f.text("tokenizer", &D::tokenizer,
         "Path of `tokenizer.json`; a run keeps a copy, which counts from then on", kMayChange);
  f.text("eod", &D::eod,
         "The tokenizer's token that ends documents, as the datasets were built with (`--eod`)");
  sources("train", &D::train,
          "Prefix of the training dataset's `.bin` and `.idx`, or a list of sources and their "
          "weights ([below](#several-sources)); at resume paths may change, because the files "
          "moved, and nothing else",
          kSourcePath);
  sources("valid", &D::valid, "The same for the frozen validation streams; empty: no evaluation",
          "");
  f.integer("threads", &D::threads, 1, 256,
            "Threads that prepare samples, besides those of `train.threads`; it changes no number",
            kMayChange);
  f.integer("ahead", &D::ahead, 1, 1024,
            "Steps that are prepared ahead of the one in use; it changes no number", kMayChange);
}

void add_fim(std::vector<Field>& out) {
  using F = FimConfig;
  SectionFields f(out, "fim", &Config::fim);
  f.number(
      "rate", &F::rate, 0, 1, false,
      "Probability that a segment (`level` document: a document) becomes an infilling example");
  f.choice("level", &F::level, {{"context", FimLevel::context}, {"document", FimLevel::document}},
           "Transform the segments of a packed context, or documents before packing");
  f.choice("unit", &F::unit,
           {{"char", FimUnit::character}, {"token", FimUnit::token}, {"line", FimUnit::line}},
           "Where cuts may fall");
  f.number("psm", &F::psm, 0, kUnbounded, false, "Weight of prefix, suffix, middle");
  f.number("spm1", &F::spm1, 0, kUnbounded, false,
           "Weight of suffix, prefix, middle, variant 1 (each part after its sentinel)");
  f.number("spm2", &F::spm2, 0, kUnbounded, false,
           "Weight of suffix, prefix, middle, variant 2 (the prefix after the middle's sentinel)");
}

void add_optim(std::vector<Field>& out) {
  using O = OptimConfig;
  SectionFields f(out, "optim", &Config::optim);
  f.f32("lr", &O::lr, true, kLargestF32, "Largest learning rate");
  f.number("min_lr_ratio", &O::min_lr_ratio, 0, 1, false, "The schedule ends at `lr` times this");
  f.choice("schedule", &O::schedule,
           {{"cosine", Schedule::cosine},
            {"linear", Schedule::linear},
            {"constant", Schedule::constant},
            {"wsd", Schedule::wsd}},
           "What follows the warm-up; wsd: constant, then a linear decay");
  f.number("warmup", &O::warmup, 0, 1, false, "Share of all steps with a linear warm-up from 0");
  f.integer(
      "warmup_steps", &O::warmup_steps, 0, kManySteps,
      "Steps of the warm-up, instead of a share; 0: `warmup` times `train.steps`, worked out as "
      "a run starts and kept by it, so that a later end does not stretch the warm-up");
  f.number("decay", &O::decay, 0, 1, false, "wsd: share of all steps with the decay, at the end");
  constexpr double kLargestBeta = 1 - 0x1p-24;  // as f32 still less than 1
  f.f32("beta1", &O::beta1, true, kLargestBeta, "AdamW: decay of the first moment");
  f.f32("beta2", &O::beta2, true, kLargestBeta, "AdamW: decay of the second moment");
  f.f32("eps", &O::eps, false, 1, "AdamW: added to the root of the second moment");
  f.f32("weight_decay", &O::weight_decay, true, 10,
        "Of matrices and embeddings; biases and norms are not decayed");
  f.f32("clip", &O::clip, true, kLargestF32, "Largest global gradient norm; 0: no clipping");
}

void add_train(std::vector<Field>& out) {
  using T = TrainConfig;
  SectionFields f(out, "train", &Config::train);
  f.integer(
      "steps", &T::steps, 1, kManySteps,
      "Steps of the whole run; a change at resume moves the end of the schedule and nothing else",
      kMayChange);
  f.integer("batch_tokens", &T::batch_tokens, 1, kManySteps,
            "Tokens of a step; a multiple of `model.n_ctx`");
  f.integer("micro_batch", &T::micro_batch, 1, 1 << 16,
            "Samples at once on the device; the last micro-batch of a step may be smaller",
            kMayChange);
  f.integer("threads", &T::threads, 0, 4096, "CPU threads; 0: all", kMayChange);
  f.integer("head_chunk", &T::head_chunk, 1, 1 << 24, "Rows of logits that exist at once",
            kMayChange);
  f.choice(
      "dtype", &T::dtype, {{"f32", DType::f32}, {"bf16", DType::bf16}},
      "Of activations and of the weights that kernels read; bf16 needs the device `cuda`. Master "
      "weights, moments, gradients and losses are f32 always",
      kMayChange);
  f.choice(
      "recompute", &T::recompute,
      {{"none", Recompute::none}, {"gelu+norm", Recompute::gelu_norm}, {"block", Recompute::block}},
      "What the backward pass computes again to save memory: nothing, the outputs of GELU and "
      "layer norms, or all but each block's input. It changes no number",
      kMayChange);
  f.boolean("cuda_graph", &T::cuda_graph,
            "Launch each micro-batch as one CUDA graph (device `cuda`); it changes no number",
            kMayChange);
  f.choice(
      "on_nonfinite", &T::on_nonfinite, {{"skip", OnNonFinite::skip}, {"stop", OnNonFinite::stop}},
      "A loss or gradient norm that is not finite: skip the update, or stop the run", kMayChange);
  f.number(
      "spike_zscore", &T::spike_zscore, 0, kUnbounded, false,
      "Skip an update whose loss or gradient norm lies more than this many standard deviations "
      "above the window's mean; 0: off",
      kMayChange);
  f.integer("spike_window", &T::spike_window, 2, 1 << 20,
            "Updates in that window; nothing is judged before it is full", kMayChange);
  f.integer("max_skips", &T::max_skips, 1, 1 << 30, "So many skips in a row stop the run",
            kMayChange);
}

void add_rest(std::vector<Field>& out) {
  SectionFields eval(out, "eval", &Config::eval);
  eval.integer("every", &EvalConfig::every, 0, kManySteps,
               "Steps between evaluations; 0: only at the end", kMayChange);
  eval.integer("samples", &EvalConfig::samples, 1, kManySteps,
               "Samples of each validation stream, at most", kMayChange);

  SectionFields checkpoint(out, "checkpoint", &Config::checkpoint);
  checkpoint.integer("every", &CheckpointConfig::every, 0, kManySteps,
                     "Steps between checkpoints; 0: only at the end", kMayChange);
  checkpoint.integer("keep_last", &CheckpointConfig::keep_last, 1, 1 << 30,
                     "The newest checkpoints that are kept", kMayChange);
  checkpoint.integer("keep_every", &CheckpointConfig::keep_every, 0, kManySteps,
                     "Checkpoints of steps divisible by this are never removed; 0: none",
                     kMayChange);

  SectionFields log(out, "log", &Config::log);
  log.integer("every", &LogConfig::every, 1, kManySteps,
              "Steps between lines on the terminal; `metrics.jsonl` has every step", kMayChange);
  log.boolean("tensorboard", &LogConfig::tensorboard, "Write TensorBoard event files", kMayChange);
  log.number(
      "peak_tflops", &LogConfig::peak_tflops, 0, kUnbounded, false,
      "Denominator of MFU, TFLOP/s; 0: a product measured at start-up, on a GPU its data sheet",
      kMayChange);
}

}  // namespace

const std::vector<Field>& fields() {
  static const std::vector<Field> all = [] {
    std::vector<Field> out{seed_field()};
    add_model(out);
    add_data(out);
    add_fim(out);
    add_optim(out);
    add_train(out);
    add_rest(out);
    return out;
  }();
  return all;
}

}  // namespace midfill
