#include "src/model/activations.h"

#include <algorithm>
#include <array>

namespace midfill {

namespace {

// How long a tensor lives: each layer's until backward has come to it, or all layers share one, for
// the whole step or within one phase. A phase is the LM head, or that part of a block, forward or
// backward. Phases never overlap in time, so their scratch shares memory.
enum class Life { layer, step, head_phase, mlp_phase, attention_phase };
constexpr std::array kPhases = {Life::head_phase, Life::mlp_phase, Life::attention_phase};

template <typename Owner>
struct Row {
  std::string_view name;
  Tensor Owner::*view;
  DType dtype;
  std::vector<int64_t> dims;
  Life life = Life::step;

  int64_t bytes() const {
    int64_t n = size_of(dtype);
    for (const int64_t dim : dims) n *= dim;
    return (n + 255) / 256 * 256;
  }
};

struct Table {
  std::vector<Row<BlockActivations>> block;
  std::vector<Row<Gpt::Activations>> step;
};

Table table_of(const ModelConfig& config, const GptOptions& options, int64_t B, int64_t T) {
  using Block = BlockActivations;
  using Step = Gpt::Activations;
  const int64_t N = B * T, C = config.d_model, NH = config.n_heads, HS = config.head_size(),
                F = config.d_ff, Vp = config.padded_vocab();
  const DType f32 = DType::f32, i32 = DType::i32, own = options.dtype;

  // What each layer keeps for backward, given what backward computes again.
  const bool gelu_norm = options.recompute == Recompute::gelu_norm,
             block = options.recompute == Recompute::block;
  const Life input = options.training ? Life::layer : Life::step,
             inside = options.training && !block ? Life::layer : Life::step,
             attention_input = gelu_norm ? Life::attention_phase : inside,
             mlp_inside = gelu_norm ? Life::mlp_phase : inside;

  Table table;
  table.block = {
      {"x", &Block::x, own, {N, C}, input},
      {"ln1", &Block::ln1, own, {N, C}, attention_input},
      {"ln1_mean", &Block::ln1_mean, f32, {N}, inside},
      {"ln1_rstd", &Block::ln1_rstd, f32, {N}, inside},
      {"qkv", &Block::qkv, own, {B, T, NH, 3, HS}, inside},
      {"attention", &Block::attention, own, {B, T, NH, HS}, inside},
      {"attention_lse", &Block::attention_lse, f32, {B, NH, T}, inside},
      {"ln2", &Block::ln2, own, {N, C}, mlp_inside},
      {"ln2_mean", &Block::ln2_mean, f32, {N}, inside},
      {"ln2_rstd", &Block::ln2_rstd, f32, {N}, inside},
      {"up", &Block::up, own, {N, F}, inside},
      {"gelu", &Block::gelu, own, {N, F}, mlp_inside},
  };
  if (!config.parallel_residual) table.block.push_back({"mid", &Block::mid, own, {N, C}, inside});

  const int64_t chunk = std::min<int64_t>(options.head_chunk, N);
  table.step = {
      {"x", &Step::x, own, {N, C}},
      {"lnf", &Step::lnf, own, {N, C}},
      {"lnf_mean", &Step::lnf_mean, f32, {N}},
      {"lnf_rstd", &Step::lnf_rstd, f32, {N}},
      {"logits", &Step::logits, own, {chunk, Vp}, Life::head_phase},
      {"ids", &Step::ids, i32, {N}},
      {"targets", &Step::targets, i32, {N}},
      {"weights", &Step::weights, f32, {N}},
      {"losses", &Step::losses, f32, {N}},
  };
  if (options.training) {
    table.step.push_back({"nonfinite", &Step::nonfinite, i32, {1}});
    table.step.push_back({"dx", &Step::dx, own, {N, C}});
    table.step.push_back({"d_norm", &Step::d_norm, own, {N, C}});
    table.step.push_back({"d_attention", &Step::d_attention, own, {B, T, NH, HS}});
    table.step.push_back({"d_qkv", &Step::d_qkv, own, {B, T, NH, 3, HS}, Life::attention_phase});
    table.step.push_back({"d_up", &Step::d_up, own, {N, F}, Life::mlp_phase});
  }
  return table;
}

// Where the rows of a table begin, in bytes from the start of the arena, for the largest batch.
struct Layout {
  std::vector<int64_t> block, step;
  int64_t next_layer = 0;  // from one layer's tensors to the next layer's
  Gpt::Activations::Bytes bytes;

  Layout(const ModelConfig& config, const GptOptions& options) {
    const Table table = table_of(config, options, options.max_batch, config.n_ctx);
    block.resize(table.block.size());
    step.resize(table.step.size());
    next_layer = place(table, Life::layer, 0);
    bytes.kept = place(table, Life::step, next_layer * config.n_layers);
    int64_t end = bytes.kept;
    for (const Life phase : kPhases) end = std::max(end, place(table, phase, bytes.kept));
    bytes.scratch = end - bytes.kept;
  }

 private:
  int64_t place(const Table& table, Life life, int64_t begin) {
    const auto place_rows = [&](const auto& rows, std::vector<int64_t>& places) {
      for (size_t i = 0; i < rows.size(); ++i) {
        if (rows[i].life != life) continue;
        places[i] = begin;
        begin += rows[i].bytes();
      }
    };
    place_rows(table.block, block);
    place_rows(table.step, step);
    return begin;
  }
};

}  // namespace

Gpt::Activations::Bytes Gpt::Activations::bytes(const ModelConfig& config,
                                                const GptOptions& options) {
  return Layout(config, options).bytes;
}

Gpt::Activations::Activations(const ModelConfig& config, const GptOptions& options, Device& device)
    : blocks(config.n_layers), config_(config), options_(options) {
  const Bytes all = bytes(config, options);
  memory_ = device.allocate(static_cast<size_t>(all.kept + all.scratch));
  set_shape(options.max_batch, config.n_ctx);
}

void Gpt::Activations::set_shape(int64_t B, int64_t T) {
  if (B == B_ && T == T_) return;
  const Layout layout(config_, options_);
  const Table table = table_of(config_, options_, B, T);
  char* arena = static_cast<char*>(memory_.data());

  for (size_t layer = 0; layer < blocks.size(); ++layer) {
    const int64_t of_layer = static_cast<int64_t>(layer) * layout.next_layer;
    for (size_t i = 0; i < table.block.size(); ++i) {
      const auto& row = table.block[i];
      char* begin = arena + layout.block[i] + (row.life == Life::layer ? of_layer : 0);
      blocks[layer].*row.view = Tensor(begin, row.dtype, row.dims);
    }
    if (config_.parallel_residual) blocks[layer].mid = blocks[layer].x;
  }
  for (size_t i = 0; i < table.step.size(); ++i) {
    const auto& row = table.step[i];
    this->*row.view = Tensor(arena + layout.step[i], row.dtype, row.dims);
  }
  B_ = B;
  T_ = T;
}

}  // namespace midfill
