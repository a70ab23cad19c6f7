#include "src/config/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace midfill {

namespace {

constexpr bool kMayChange = true;
constexpr double kUnbounded = std::numeric_limits<double>::infinity();

// Numbers like 1e6 are integers too, as long as a double holds them exactly.
std::optional<int64_t> as_integer(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto n = value.get<uint64_t>();
    if (n > uint64_t{std::numeric_limits<int64_t>::max()}) return std::nullopt;
    return static_cast<int64_t>(n);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double x = value.get<double>();
  if (!(std::abs(x) <= 0x1p53) || x != std::floor(x)) return std::nullopt;
  return static_cast<int64_t>(x);
}

// Collects the fields of one section; `Section` is the struct, `member` its place in Config.
template <typename Section>
class SectionFields {
 public:
  SectionFields(std::vector<Field>& out, std::string_view section, Section Config::*member)
      : out_(out), section_(section), member_(member) {}

  template <typename T>
  void integer(std::string_view key, T Section::*value, int64_t low, int64_t high,
               std::string_view meaning, bool may_change = false) {
    add(key, fmt::format("an integer in {}..{}", low, high), meaning, value, may_change,
        [low, high](const Json& json, T& out) {
          const auto n = as_integer(json);
          if (!n || *n < low || *n > high) return false;
          out = static_cast<T>(*n);
          return true;
        });
  }

  // Values in [low, high], or (low, high] where `open`; high may be unbounded.
  void number(std::string_view key, double Section::*value, double low, double high, bool open,
              std::string_view meaning, bool may_change = false) {
    const std::string expected =
        high == kUnbounded ? fmt::format("a number {} {}", open ? ">" : ">=", low)
                           : fmt::format("a number in {}{}, {}]", open ? "(" : "[", low, high);
    add(key, expected, meaning, value, may_change,
        [low, high, open](const Json& json, double& out) {
          if (!json.is_number()) return false;
          const double x = json.get<double>();
          if (!std::isfinite(x) || x > high || (open ? !(x > low) : !(x >= low))) return false;
          out = x;
          return true;
        });
  }

  void boolean(std::string_view key, bool Section::*value, std::string_view meaning,
               bool may_change = false) {
    add(key, "true or false", meaning, value, may_change, [](const Json& json, bool& out) {
      if (!json.is_boolean()) return false;
      out = json.get<bool>();
      return true;
    });
  }

  void text(std::string_view key, std::string Section::*value, std::string_view meaning,
            bool may_change = false) {
    add(key, "a text without control characters", meaning, value, may_change,
        [](const Json& json, std::string& out) {
          if (!json.is_string()) return false;
          const auto& s = json.get_ref<const std::string&>();
          if (std::any_of(s.begin(), s.end(), [](unsigned char c) { return c < 32 || c == 127; }))
            return false;
          out = s;
          return true;
        });
    out_.back().is_text = true;
  }

  template <typename E>
  void choice(std::string_view key, E Section::*value,
              std::vector<std::pair<std::string_view, E>> names, std::string_view meaning,
              bool may_change = false) {
    std::string expected = "one of";
    for (const auto& [name, unused] : names)
      expected += fmt::format("{} \"{}\"", name == names.front().first ? "" : ",", name);
    Field field = common(key, std::move(expected), meaning, may_change);
    field.is_text = true;
    field.set = [member = member_, value, names](Config& config, const Json& json) {
      for (const auto& [name, e] : names)
        if (json.is_string() && json.get_ref<const std::string&>() == name) {
          config.*member.*value = e;
          return true;
        }
      return false;
    };
    field.get = [member = member_, value, names](const Config& config) {
      const auto same = [&](const auto& name) { return name.second == config.*member.*value; };
      return Json(std::find_if(names.begin(), names.end(), same)->first);
    };
    out_.push_back(std::move(field));
  }

 private:
  Field common(std::string_view key, std::string expected, std::string_view meaning,
               bool may_change) {
    Field field;
    field.section = section_;
    field.key = key;
    field.meaning = meaning;
    field.expected = std::move(expected);
    field.may_change = may_change;
    return field;
  }

  template <typename T, typename Store>
  void add(std::string_view key, std::string expected, std::string_view meaning, T Section::*value,
           bool may_change, Store store) {
    Field field = common(key, std::move(expected), meaning, may_change);
    field.set = [member = member_, value, store](Config& config, const Json& json) {
      return store(json, config.*member.*value);
    };
    field.get = [member = member_, value](const Config& config) {
      return Json(config.*member.*value);
    };
    out_.push_back(std::move(field));
  }

  std::vector<Field>& out_;
  std::string_view section_;
  Section Config::*member_;
};

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
  f.number("layer_norm_eps", &M::layer_norm_eps, 0, 1, true,
           "Added to the variance in layer norms");
  f.choice(
      "init", &M::init, {{"normal", Init::normal}, {"neox", Init::neox}},
      "Initial weights: N(0, 0.02) everywhere, or GPT-NeoX's small_init with wang_init for the "
      "two output layers of a block");
}

void add_data(std::vector<Field>& out) {
  using D = DataConfig;
  SectionFields f(out, "data", &Config::data);
  f.text("tokenizer", &D::tokenizer,
         "Path of `tokenizer.json`; a run keeps a copy, which counts from then on", kMayChange);
  f.text(
      "train", &D::train,
      "Prefix of the training dataset's `.bin` and `.idx`; may change at resume only because the "
      "files moved",
      kMayChange);
  f.text("valid", &D::valid, "The same for the frozen validation streams; empty: no evaluation",
         kMayChange);
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
  f.number("lr", &O::lr, 0, kUnbounded, false, "Largest learning rate");
  f.number("min_lr_ratio", &O::min_lr_ratio, 0, 1, false, "The schedule ends at `lr` times this");
  f.choice("schedule", &O::schedule,
           {{"cosine", Schedule::cosine},
            {"linear", Schedule::linear},
            {"constant", Schedule::constant},
            {"wsd", Schedule::wsd}},
           "What follows the warm-up; wsd: constant, then a linear decay");
  f.number("warmup", &O::warmup, 0, 1, false, "Share of all steps with a linear warm-up from 0");
  f.number("decay", &O::decay, 0, 1, false, "wsd: share of all steps with the decay, at the end");
  f.number("beta1", &O::beta1, 0, 1 - 0x1p-30, false, "AdamW: decay of the first moment");
  f.number("beta2", &O::beta2, 0, 1 - 0x1p-30, false, "AdamW: decay of the second moment");
  f.number("eps", &O::eps, 0, 1, true, "AdamW: added to the root of the second moment");
  f.number("weight_decay", &O::weight_decay, 0, 10, false,
           "Of matrices and embeddings; biases and norms are not decayed");
  f.number("clip", &O::clip, 0, kUnbounded, false, "Largest global gradient norm; 0: no clipping");
}

void add_train(std::vector<Field>& out) {
  using T = TrainConfig;
  SectionFields f(out, "train", &Config::train);
  f.integer("steps", &T::steps, 1, kManySteps,
            "Steps of the whole run; a change at resume moves the end of the schedule", kMayChange);
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
