#include "src/model/activations.h"

#include <algorithm>
#include <array>

namespace midfill {

namespace {

// How long a tensor of a step lives. The three phases never overlap in time, so their scratch
// shares memory.
enum class Life { step, head_phase, mlp_phase, attention_phase };
constexpr std::array kPhases = {Life::head_phase, Life::mlp_phase, Life::attention_phase};

template <typename Owner>
struct Row {
  std::string_view name;
  Tensor Owner::*view;
  std::vector<int64_t> dims;
  Life life = Life::step;

  int64_t bytes() const {
    int64_t n = size_of(DType::f32);
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
  Table table;
  table.block = {
      {"x", &Block::x, {N, C}},
      {"ln1", &Block::ln1, {N, C}},
      {"ln1_mean", &Block::ln1_mean, {N}},
      {"ln1_rstd", &Block::ln1_rstd, {N}},
      {"qkv", &Block::qkv, {B, T, NH, 3, HS}},
      {"attention", &Block::attention, {B, T, NH, HS}},
      {"attention_lse", &Block::attention_lse, {B, NH, T}},
      {"ln2", &Block::ln2, {N, C}},
      {"ln2_mean", &Block::ln2_mean, {N}},
      {"ln2_rstd", &Block::ln2_rstd, {N}},
      {"up", &Block::up, {N, F}},
      {"gelu", &Block::gelu, {N, F}},
  };
  if (!config.parallel_residual) table.block.push_back({"mid", &Block::mid, {N, C}});

  table.step = {
      {"x", &Step::x, {N, C}},
      {"lnf", &Step::lnf, {N, C}},
      {"lnf_mean", &Step::lnf_mean, {N}},
      {"lnf_rstd", &Step::lnf_rstd, {N}},
      {"logits", &Step::logits, {std::min<int64_t>(options.head_chunk, N), Vp}, Life::head_phase},
  };
  if (options.training) {
    table.step.push_back({"dx", &Step::dx, {N, C}});
    table.step.push_back({"d_norm", &Step::d_norm, {N, C}});
    table.step.push_back({"d_attention", &Step::d_attention, {B, T, NH, HS}});
    table.step.push_back({"d_qkv", &Step::d_qkv, {B, T, NH, 3, HS}, Life::attention_phase});
    table.step.push_back({"d_up", &Step::d_up, {N, F}, Life::mlp_phase});
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
    int64_t end = 0;
    for (const auto& row : table.block) {
      block.push_back(end);
      end += row.bytes();
    }
    if (options.training) {
      next_layer = end;
      end *= config.n_layers;
    }
    step.resize(table.step.size());
    end = place(table, Life::step, end);
    bytes.kept = end;
    int64_t last = end;
    for (const Life phase : kPhases) last = std::max(last, place(table, phase, end));
    bytes.scratch = last - end;
  }

 private:
  int64_t place(const Table& table, Life life, int64_t begin) {
    for (size_t i = 0; i < table.step.size(); ++i) {
      if (table.step[i].life != life) continue;
      step[i] = begin;
      begin += table.step[i].bytes();
    }
    return begin;
  }
};

}  // namespace

Gpt::Activations::Bytes Gpt::Activations::bytes(const ModelConfig& config,
                                                const GptOptions& options) {
  return Layout(config, options).bytes;
}

Gpt::Activations::Activations(const ModelConfig& config, const GptOptions& options)
    : blocks(config.n_layers), config_(config), options_(options) {
  const Bytes all = bytes(config, options);
  memory_ = Buffer(all.kept + all.scratch);
}

void Gpt::Activations::set_shape(int64_t B, int64_t T) {
  if (B == B_ && T == T_) return;
  const Layout layout(config_, options_);
  const Table table = table_of(config_, options_, B, T);
  char* arena = static_cast<char*>(memory_.data());

  for (size_t layer = 0; layer < blocks.size(); ++layer) {
    char* begin = arena + static_cast<int64_t>(layer) * layout.next_layer;
    for (size_t i = 0; i < table.block.size(); ++i) {
      const auto& row = table.block[i];
      blocks[layer].*row.view = Tensor(begin + layout.block[i], DType::f32, row.dims);
    }
    if (config_.parallel_residual) blocks[layer].mid = blocks[layer].x;
  }
  for (size_t i = 0; i < table.step.size(); ++i) {
    const auto& row = table.step[i];
    this->*row.view = Tensor(arena + layout.step[i], DType::f32, row.dims);
  }
  B_ = B;
  T_ = T;
}

}  // namespace midfill
