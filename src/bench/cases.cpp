#include "src/bench/cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>

#include "kernels/adamw.h"
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/embedding.h"
#include "kernels/gelu.h"
#include "kernels/grad_norm.h"
#include "kernels/layernorm.h"
#include "kernels/linear.h"
#include "kernels/memory.h"
#include "src/bench/plain_gemm.h"

namespace midfill {

namespace {

// Gradients that reach an activation are small beside it.
constexpr double kGradient = 1e-3;

using Dims = std::vector<std::pair<std::string, int64_t>>;

// One op of the list: appends its cases for a shape and a dtype of activations and weights.
struct Family {
  std::string_view name;
  void (*add)(const Shape& s, DType t, std::vector<Case>& to);
};

// Bytes of `elements` elements; products of sizes are made in double, which does not overflow.
double bytes_of(DType t, double elements) {
  return static_cast<double>(size_of(t)) * elements;
}
double product(std::initializer_list<int64_t> sizes) {
  double value = 1;
  for (int64_t size : sizes) value *= static_cast<double>(size);
  return value;
}

// Work that runs one op on operands that live as long as `o`.
template <typename Op>
Work work(Operands& o, const Op& op) {
  return {.run = [&device = o.device(), op] { device.run(op); }, .prepare = {}};
}

void embedding(const Shape& s, DType t, std::vector<Case>& to) {
  const Dims dims = {{"N", s.N()}, {"C", s.C}, {"V", s.Vp()}};
  const double rows = product({s.N(), s.C});
  const auto V = static_cast<double>(s.V);
  // Rows of the table that a batch of uniform ids meets.
  const double met = V * -std::expm1(static_cast<double>(s.N()) * std::log1p(-1.0 / V));
  to.push_back({.op = "embedding forward",
                .variant = "",
                .dims = dims,
                .dtype = t,
                .bytes = bytes_of(t, 2 * rows) + bytes_of(DType::i32, product({s.N()})),
                .make =
                    [=](Operands& o) {
                      return work(o, EmbeddingForward{.y = o.empty(t, {s.N(), s.C}),
                                                      .ids = o.ids(s.N(), s.V),
                                                      .table = o.normal(t, {s.Vp(), s.C})});
                    },
                .make_plain = {}});
  to.push_back({.op = "embedding backward",
                .variant = "",
                .dims = dims,
                .dtype = t,
                .bytes = bytes_of(t, rows) +
                         bytes_of(DType::f32, 2 * met * static_cast<double>(s.C)) +
                         bytes_of(DType::i32, product({s.N()})),
                .make =
                    [=](Operands& o) {
                      return work(o, EmbeddingBackward{.dtable = o.zeros({s.Vp(), s.C}),
                                                       .dy = o.normal(t, {s.N(), s.C}, kGradient),
                                                       .ids = o.ids(s.N(), s.V)});
                    },
                .make_plain = {}});
}

void layernorm(const Shape& s, DType t, std::vector<Case>& to) {
  const int64_t N = s.N(), C = s.C;
  const double rows = product({N, C});
  const auto forward = [=](Operands& o) {
    return LayerNormForward{.y = o.empty(t, {N, C}),
                            .mean = o.empty(DType::f32, {N}),
                            .rstd = o.empty(DType::f32, {N}),
                            .x = o.normal(t, {N, C}),
                            .gamma = o.normal(t, {C}),
                            .beta = o.normal(t, {C})};
  };
  to.push_back({.op = "layernorm forward",
                .variant = "",
                .dims = {{"N", N}, {"C", C}},
                .dtype = t,
                .bytes = bytes_of(t, 2 * rows),
                .make = [=](Operands& o) { return work(o, forward(o)); },
                .make_plain = {}});
  to.push_back({.op = "layernorm backward",
                .variant = "residual",
                .dims = {{"N", N}, {"C", C}},
                .dtype = t,
                .bytes = bytes_of(t, 5 * rows),
                .make =
                    [=](Operands& o) {
                      const LayerNormForward f = forward(o);
                      o.device().run(f);
                      return work(o, LayerNormBackward{.dx = o.empty(t, {N, C}),
                                                       .dgamma = o.zeros({C}),
                                                       .dbeta = o.zeros({C}),
                                                       .dy = o.normal(t, {N, C}, kGradient),
                                                       .x = f.x,
                                                       .mean = f.mean,
                                                       .rstd = f.rstd,
                                                       .gamma = f.gamma,
                                                       .residual = o.normal(t, {N, C}, kGradient)});
                    },
                .make_plain = {}});
}

void gelu(const Shape& s, DType t, std::vector<Case>& to) {
  const int64_t N = s.N(), F = s.F;
  const double elements = product({N, F});
  for (const Gelu kind : {Gelu::tanh, Gelu::erf}) {
    const std::string form = kind == Gelu::tanh ? "tanh bias" : "erf bias";
    to.push_back({.op = "gelu forward",
                  .variant = form,
                  .dims = {{"N", N}, {"F", F}},
                  .dtype = t,
                  .bytes = bytes_of(t, 2 * elements),
                  .make =
                      [=](Operands& o) {
                        return work(o, GeluForward{.y = o.empty(t, {N, F}),
                                                   .x = o.normal(t, {N, F}),
                                                   .bias = o.normal(t, {F}),
                                                   .kind = kind});
                      },
                  .make_plain = {}});
    to.push_back({.op = "gelu backward",
                  .variant = form,
                  .dims = {{"N", N}, {"F", F}},
                  .dtype = t,
                  .bytes = bytes_of(t, 3 * elements),
                  .make =
                      [=](Operands& o) {
                        return work(o, GeluBackward{.dx = o.empty(t, {N, F}),
                                                    .dbias = o.zeros({F}),
                                                    .dy = o.normal(t, {N, F}, kGradient),
                                                    .x = o.normal(t, {N, F}),
                                                    .bias = o.normal(t, {F}),
                                                    .kind = kind});
                      },
                  .make_plain = {}});
  }
}

Rotary rotary(Operands& o, const Shape& s) {
  if (s.R == 0) return {};
  const RotaryTables tables{.cos = o.empty(DType::f32, {s.T, s.R / 2}),
                            .sin = o.empty(DType::f32, {s.T, s.R / 2})};
  o.device().run(tables);
  return {.cos = tables.cos, .sin = tables.sin};
}

void attention(const Shape& s, DType t, std::vector<Case>& to) {
  const int64_t B = s.B, T = s.T, NH = s.NH, HS = s.HS();
  const Dims dims = {{"B", B}, {"T", T}, {"NH", NH}, {"HS", HS}, {"R", s.R}};
  const double rows = product({B, T, NH, HS}), flop = product({B, NH, T, T, HS});
  const auto forward = [=](Operands& o) {
    return AttentionForward{.out = o.empty(t, {B, T, NH, HS}),
                            .lse = o.empty(DType::f32, {B, NH, T}),
                            .qkv = o.normal(t, {B, T, NH, 3, HS}),
                            .position = rotary(o, s)};
  };
  to.push_back({.op = "attention forward",
                .variant = "causal",
                .dims = dims,
                .dtype = t,
                .flop = 2 * flop,
                .bytes = bytes_of(t, 4 * rows),
                .compute_bound = true,
                .make = [=](Operands& o) { return work(o, forward(o)); },
                .make_plain = {}});
  to.push_back({.op = "attention backward",
                .variant = "causal",
                .dims = dims,
                .dtype = t,
                .flop = 5 * flop,
                .bytes = bytes_of(t, 8 * rows),
                .compute_bound = true,
                .make =
                    [=](Operands& o) {
                      const AttentionForward f = forward(o);
                      o.device().run(f);
                      return work(o,
                                  AttentionBackward{.dqkv = o.empty(t, {B, T, NH, 3, HS}),
                                                    .dbias = {},
                                                    .dout = o.normal(t, {B, T, NH, HS}, kGradient),
                                                    .out = f.out,
                                                    .lse = f.lse,
                                                    .qkv = f.qkv,
                                                    .position = f.position});
                    },
                .make_plain = {}});
}

void decode(const Shape& s, DType t, std::vector<Case>& to) {
  const int64_t B = s.B, T = s.T, NH = s.NH, HS = s.HS();
  to.push_back({.op = "decode forward",
                .variant = "",
                .dims = {{"B", B}, {"T", T}, {"NH", NH}, {"HS", HS}, {"R", s.R}},
                .dtype = t,
                .flop = 4 * product({B, NH, T, HS}),
                .bytes = bytes_of(t, 2 * product({B, NH, T, HS})),
                .make =
                    [=](Operands& o) {
                      return work(o, AttentionDecode{.out = o.empty(t, {B, 1, NH, HS}),
                                                     .k_cache = o.normal(t, {B, NH, T, HS}),
                                                     .v_cache = o.normal(t, {B, NH, T, HS}),
                                                     .qkv = o.normal(t, {B, 1, NH, 3, HS}),
                                                     .position = rotary(o, s),
                                                     .start = T - 1});
                    },
                .make_plain = {}});
}

void cross_entropy(const Shape& s, DType t, std::vector<Case>& to) {
  const int64_t N = s.chunk, Vp = s.Vp();
  to.push_back({.op = "cross-entropy forward+backward",
                .variant = "in place",
                .dims = {{"N", N}, {"V", s.V}, {"Vp", Vp}},
                .dtype = t,
                .bytes = bytes_of(t, 3 * product({N, Vp})),
                .make =
                    [=](Operands& o) {
                      const Tensor logits = o.empty(t, {N, Vp}), fresh = o.normal(t, {N, Vp});
                      Work measured = work(o, CrossEntropy{.loss = o.empty(DType::f32, {N}),
                                                           .dlogits = logits,
                                                           .logits = logits,
                                                           .targets = o.ids(N, s.V),
                                                           .weights = o.constant({N}, 1.0f),
                                                           .vocab = s.V});
                      measured.prepare = [&device = o.device(), logits, fresh] {
                        device.run(Copy{.y = logits, .x = fresh});
                      };
                      return measured;
                    },
                .make_plain = {}});
}

// The linear layers of a block and the LM head.
struct Layer {
  std::string name;
  int64_t N, I, O;
  bool bias, residual;
};

void add_linear(const Layer& l, DType t, std::vector<Case>& to) {
  const int64_t N = l.N, I = l.I, O = l.O;
  const Dims dims = {{"N", N}, {"I", I}, {"O", O}};
  const double flop = 2 * product({N, I, O});
  const double x = product({N, I}), w = product({O, I}), y = product({N, O});
  // Weights as a model begins with, so that products stay of the size of their operands.
  const double scale = 1.0 / std::sqrt(static_cast<double>(I));
  std::string extras = l.name;
  if (l.bias) extras += " bias";
  if (l.residual) extras += " residual";
  to.push_back(
      {.op = "linear forward",
       .variant = extras,
       .dims = dims,
       .dtype = t,
       .flop = flop,
       .bytes = bytes_of(t, x + w + y + (l.residual ? y : 0)),
       .compute_bound = true,
       .make =
           [=](Operands& o) {
             return work(o, LinearForward{.y = o.empty(t, {N, O}),
                                          .x = o.normal(t, {N, I}),
                                          .w = o.normal(t, {O, I}, scale),
                                          .bias = l.bias ? o.normal(t, {O}) : Tensor(),
                                          .residual = l.residual ? o.normal(t, {N, O}) : Tensor()});
           },
       .make_plain =
           [=](Operands& o) {
             return Work{.run = plain_gemm(o.device(), {.c = o.empty(t, {N, O}),
                                                        .a = o.normal(t, {N, I}),
                                                        .b = o.normal(t, {O, I}, scale),
                                                        .transpose_b = true}),
                         .prepare = {}};
           }});
  to.push_back({.op = "linear backward",
                .variant = l.name,
                .dims = dims,
                .dtype = t,
                .flop = 2 * flop,
                .bytes = bytes_of(t, 2 * y + 2 * x + w) + bytes_of(DType::f32, 2 * w),
                .compute_bound = true,
                .make =
                    [=](Operands& o) {
                      return work(o, LinearBackward{.dx = o.empty(t, {N, I}),
                                                    .dw = o.zeros({O, I}),
                                                    .dbias = {},
                                                    .dy = o.normal(t, {N, O}, kGradient),
                                                    .x = o.normal(t, {N, I}),
                                                    .w = o.normal(t, {O, I}, scale)});
                    },
                .make_plain =
                    [=](Operands& o) {
                      const Tensor dy = o.normal(t, {N, O}, kGradient);
                      const auto dx = plain_gemm(
                          o.device(),
                          {.c = o.empty(t, {N, I}), .a = dy, .b = o.normal(t, {O, I}, scale)});
                      const auto dw = plain_gemm(o.device(), {.c = o.zeros({O, I}),
                                                              .a = dy,
                                                              .b = o.normal(t, {N, I}),
                                                              .transpose_a = true,
                                                              .beta = 1.0f});
                      if (!dx || !dw) return Work{};
                      return Work{.run = [=] { dx(), dw(); }, .prepare = {}};
                    }});
}

void linear(const Shape& s, DType t, std::vector<Case>& to) {
  const int64_t N = s.N(), C = s.C, F = s.F;
  for (const Layer& layer :
       {Layer{"qkv", N, C, 3 * C, true, false}, Layer{"out", N, C, C, true, true},
        Layer{"up", N, C, F, false, false}, Layer{"down", N, F, C, true, true},
        Layer{"head", s.chunk, C, s.Vp(), false, false}})
    add_linear(layer, t, to);
}

void adamw(const Shape& s, DType t, std::vector<Case>& to) {
  const int64_t n = s.n;
  const bool copy = t == DType::bf16;
  to.push_back({.op = "adamw update",
                .variant = copy ? "bf16 weights" : "",
                .dims = {{"n", n}},
                .dtype = DType::f32,
                .bytes = bytes_of(DType::f32, 7 * product({n})) +
                         (copy ? bytes_of(DType::bf16, product({n})) : 0),
                .make =
                    [=](Operands& o) {
                      const auto span = std::make_shared<DecaySpan>(DecaySpan{0, n, 0.1f});
                      const SquaredNorm norm{.out = o.empty(DType::f64, {1}),
                                             .x = o.normal(DType::f32, {n}, kGradient)};
                      o.device().run(norm);
                      const AdamW op{.params = o.normal(DType::f32, {n}, 0.02),
                                     .weights = copy ? o.empty(DType::bf16, {n}) : Tensor(),
                                     .m = o.zeros({n}),
                                     .v = o.zeros({n}),
                                     .updates = o.ids(1, 1),
                                     .grads = norm.x,
                                     .sum_squares = norm.out,
                                     .nonfinite = {},
                                     .decay = {span.get(), 1},
                                     .lr = 1e-5f,
                                     .clip = 1.0};
                      return Work{.run = [&device = o.device(), op, span] { device.run(op); },
                                  .prepare = {}};
                    },
                .make_plain = {}});
}

void grad_norm(const Shape& s, DType, std::vector<Case>& to) {
  const int64_t n = s.n;
  to.push_back({.op = "grad-norm",
                .variant = "",
                .dims = {{"n", n}},
                .dtype = DType::f32,
                .bytes = bytes_of(DType::f32, product({n})),
                .make =
                    [=](Operands& o) {
                      return work(o, SquaredNorm{.out = o.empty(DType::f64, {1}),
                                                 .x = o.normal(DType::f32, {n}, kGradient)});
                    },
                .make_plain = {}});
}

void cast(const Shape& s, DType, std::vector<Case>& to) {
  const int64_t n = s.n;
  to.push_back({.op = "cast",
                .variant = "to bf16",
                .dims = {{"n", n}},
                .dtype = DType::f32,
                .bytes = bytes_of(DType::f32, product({n})) + bytes_of(DType::bf16, product({n})),
                .make =
                    [=](Operands& o) {
                      return work(
                          o, Cast{.y = o.empty(DType::bf16, {n}), .x = o.normal(DType::f32, {n})});
                    },
                .make_plain = {}});
}

constexpr Family kFamilies[] = {{"embedding", embedding},
                                {"layernorm", layernorm},
                                {"gelu", gelu},
                                {"attention", attention},
                                {"decode", decode},
                                {"linear", linear},
                                {"cross-entropy", cross_entropy},
                                {"adamw", adamw},
                                {"grad-norm", grad_norm},
                                {"cast", cast}};

}  // namespace

Shape Shape::small() {
  return {.B = 8,
          .T = 256,
          .C = 384,
          .NH = 6,
          .R = 16,
          .F = 1536,
          .V = 4096,
          .chunk = 2048,
          .n = 13800000};
}

Shape Shape::tiny() {
  return {.B = 1, .T = 32, .C = 64, .NH = 2, .R = 32, .F = 128, .V = 120, .chunk = 16, .n = 4096};
}

void Shape::set(const std::vector<std::string>& assignments) {
  struct Key {
    std::string_view name;
    int64_t Shape::*size;
    int64_t least = 1, most = int64_t{1} << 20;  // so that no product of three overflows
  };
  constexpr Key kKeys[] = {
      {"B", &Shape::B},   {"T", &Shape::T},         {"C", &Shape::C},
      {"NH", &Shape::NH}, {"R", &Shape::R, 0},      {"F", &Shape::F},
      {"V", &Shape::V},   {"chunk", &Shape::chunk}, {"n", &Shape::n, 1, int64_t{1} << 40}};
  for (const std::string& assignment : assignments) {
    const size_t equals = std::min(assignment.find('='), assignment.size());
    const std::string name = assignment.substr(0, equals);
    const auto key = std::ranges::find(kKeys, name, &Key::name);
    require(key != std::end(kKeys) && equals < assignment.size(),
            "--shape {}: expected KEY=SIZE, KEY one of B, T, C, NH, R, F, V, chunk, n", assignment);
    const std::string digits = assignment.substr(equals + 1);
    int64_t value = -1;
    const char* end = digits.data() + digits.size();
    const auto read = std::from_chars(digits.data(), end, value);
    require(read.ec == std::errc() && read.ptr == end && key->least <= value && value <= key->most,
            "--shape {}: found \"{}\", expected a whole number from {} to {}", assignment, digits,
            key->least, key->most);
    this->*key->size = value;
  }
  require(C % NH == 0, "--shape: NH is {}, expected a divisor of C, {}", NH, C);
  require(R % 2 == 0 && R <= HS(),
          "--shape: R is {}, expected an even number of at most C / NH, {}", R, HS());
}

std::string Case::shape_text() const {
  std::string text;
  for (const auto& [name, size] : dims) text += fmt::format("{}={} ", name, size);
  text += variant;
  if (text.ends_with(' ')) text.pop_back();
  return text;
}

std::vector<std::string_view> kernel_ops() {
  std::vector<std::string_view> names;
  for (const Family& family : kFamilies) names.push_back(family.name);
  return names;
}

std::vector<Case> kernel_cases(const std::vector<std::string>& ops, const Shape& shape,
                               DType dtype) {
  for (const std::string& op : ops)
    require(std::ranges::count(kernel_ops(), op) > 0, "bench kernels: unknown op {}, expected {}",
            op, fmt::join(kernel_ops(), ", "));
  std::vector<Case> cases;
  for (const Family& family : kFamilies)
    if (ops.empty() || std::ranges::count(ops, family.name) > 0) family.add(shape, dtype, cases);
  return cases;
}

}  // namespace midfill
