// The configuration of a run as plain structs. fields.cpp is the only place that names JSON keys:
// the key of a member is its name, the key of a section the name of its struct's member in Config.
// docs/config.md lists every key with its default.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/common/dtype.h"

namespace midfill {

enum class Activation { gelu_tanh, gelu_erf };
// N(0, 0.02) everywhere | small_init inside, wang_init for the two output layers of a block
enum class Init { normal, neox };
enum class FimLevel { context, document };
enum class FimUnit { character, token, line };  // keys: "char", "token", "line"
enum class Schedule { cosine, linear, constant, wsd };
enum class OnNonFinite { skip, stop };
// What backward computes again instead of keeping it: nothing | the outputs of GELU and norms |
// everything but the input of each block. Keys: "none", "gelu+norm", "block".
enum class Recompute { none, gelu_norm, block };

struct ModelConfig {
  int n_layers = 6;
  int d_model = 384;
  int n_heads = 6;
  int d_ff = 1536;
  int n_ctx = 512;
  int vocab_size = 0;      // 0: as many as the tokenizer has
  int vocab_multiple = 1;  // the embedding has vocab_size rounded up to a multiple of this many
                           // rows; the extra ones are never used
  double rotary_pct = 1.0;
  double rotary_base = 10000.0;
  bool parallel_residual = false;
  Activation activation = Activation::gelu_tanh;
  bool tied_embeddings = false;
  double layer_norm_eps = 1e-5;
  Init init = Init::normal;

  int head_size() const { return d_model / n_heads; }
  int rotary_dims() const { return static_cast<int>(head_size() * rotary_pct) / 2 * 2; }
  int padded_vocab() const {
    return (vocab_size + vocab_multiple - 1) / vocab_multiple * vocab_multiple;
  }
};

// One of the datasets that a run reads.
struct DataSource {
  std::string name = "";  // empty where it is the only one and was given by its path alone
  std::string path;       // prefix of .bin/.idx
  double weight = 1.0;    // its share, relative to the others
  bool operator==(const DataSource&) const = default;
};

struct DataConfig {
  std::string tokenizer;              // path of tokenizer.json
  std::string eod = "<|endoftext|>";  // its token that ends documents
  std::vector<DataSource> train;      // samples are drawn by weight
  std::vector<DataSource> valid;      // for the frozen validation streams; empty: no evaluation
  int threads = 1;                    // that prepare samples, besides those that train
  int ahead = 2;                      // steps prepared ahead of the one in use
};

struct FimConfig {
  double rate = 0.9;  // probability that a segment (or document) is transformed
  FimLevel level = FimLevel::context;
  FimUnit unit = FimUnit::character;
  double psm = 0.5, spm1 = 0.0, spm2 = 0.5;  // weights of the modes, not necessarily summing to 1
};

struct OptimConfig {
  double lr = 1e-3;
  double min_lr_ratio = 0.1;  // the schedule ends at lr * min_lr_ratio
  Schedule schedule = Schedule::cosine;
  double warmup = 0.01;      // share of all steps with a linear warm-up
  int64_t warmup_steps = 0;  // its steps; 0: by `warmup`, as the run starts
  double decay = 0.2;        // wsd: share of all steps with a linear decay, at the end
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.1;  // on matrices; biases, norms (and nothing else) are not decayed
  double clip = 1.0;          // largest global gradient norm; 0: no clipping
};

struct TrainConfig {
  int64_t steps = 1000;
  int64_t batch_tokens = 16384;  // tokens a step; a multiple of n_ctx
  int micro_batch = 8;           // samples at once on the device; the last of a step may be smaller
  int threads = 0;               // CPU threads; 0: all
  int head_chunk = 4096;         // tokens of logits at once
  DType dtype = DType::f32;  // of activations and of the weights that ops read; bf16: cuda alone
  Recompute recompute = Recompute::none;
  bool cuda_graph = false;  // launch a micro-step as one CUDA graph
  OnNonFinite on_nonfinite = OnNonFinite::skip;
  double spike_zscore = 0.0;  // skip an update whose loss or gradient norm is further above the
                              // window's mean than this many standard deviations; 0: off
  int spike_window = 128;     // updates in the window; no z-score before it is full
  int max_skips = 50;         // this many skips in a row stop the run
};

struct EvalConfig {
  int64_t every = 0;     // steps; 0: only at the end
  int64_t samples = 64;  // samples of each stream, at most
};

struct CheckpointConfig {
  int64_t every = 0;  // steps; 0: only at the end
  int keep_last = 2;
  int64_t keep_every = 0;  // steps whose checkpoints are never removed; 0: none
};

struct LogConfig {
  int64_t every = 1;  // steps between terminal lines; metrics.jsonl has every step
  bool tensorboard = true;
  double peak_tflops = 0.0;  // denominator of MFU; 0: measured (CPU), data sheet (GPU)
};

struct Config {
  uint64_t seed = 1234;
  ModelConfig model;
  DataConfig data;
  FimConfig fim;
  OptimConfig optim;
  TrainConfig train;
  EvalConfig eval;
  CheckpointConfig checkpoint;
  LogConfig log;
};

// Reads and validates a file. `overrides` are "section.key=value" (value as JSON, or a bare
// string), applied over the file. Relative paths in `data` are kept as written: they are relative
// to the working directory. Throws Error naming the file, the key, what was found, what was
// expected and, for an unknown key, the one that was meant: what another trainer's name stands for,
// or the nearest.
Config load_config(const std::filesystem::path& path,
                   const std::vector<std::string>& overrides = {});
Config parse_config(std::string_view json, std::string_view origin,
                    const std::vector<std::string>& overrides = {});

// Every key with its value, defaults included: what `config.json` of a run directory holds.
std::string to_json(const Config& config);

// Checks that need more than one key ("n_heads 6 does not divide d_model 100"). parse_config calls
// it.
void validate(const Config& config, std::string_view origin);

// A key whose value differs between two configurations.
struct ConfigDifference {
  std::string key, before, after;  // "optim.lr", "data.train[1].path"; values as JSON
  bool may_change = false;         // a resumed run may have the new value
};
std::vector<ConfigDifference> differences(const Config& before, const Config& after);

// Markdown tables of every key with default, range and meaning: the reference in docs/config.md.
std::string config_reference();

}  // namespace midfill
