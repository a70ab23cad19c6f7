#include "tests/model/reference_model.h"

#include <cmath>
#include <numbers>

#include "kernels/common/rng.h"
#include "src/model/host_arena.h"

namespace midfill::test {

OwnedBatch::OwnedBatch(uint64_t seed, int64_t samples, int64_t length, int vocab)
    : B(samples), T(length), ids(B * T), targets(B * T), weights(B * T, 1.0f) {
  for (int64_t b = 0; b < B; ++b) {
    Rng rng(seed, Purpose::kTest, 0, b);
    auto next = static_cast<int32_t>(rng.below(vocab));
    for (int64_t t = 0; t < T; ++t) {
      ids[b * T + t] = next;
      targets[b * T + t] = next = static_cast<int32_t>(rng.below(vocab));
    }
  }
}

Batch OwnedBatch::rows(int64_t begin, int64_t end) {
  return {.ids = Tensor::of(ids.data(), {B, T}).rows(begin, end),
          .targets = Tensor::of(targets.data(), {B, T}).rows(begin, end),
          .weights = Tensor::of(weights.data(), {B, T}).rows(begin, end)};
}

ReferenceModel::ReferenceModel(const Gpt& model) : config_(model.config()) {
  for (const Parameter& parameter : model.table().all()) {
    const float* data = model.param(parameter.name).as<float>();
    params_[parameter.name] = Rows(data, data + parameter.numel);
  }
}

ReferenceModel::Rows ReferenceModel::linear(const Rows& x, const std::string& name, int64_t in,
                                            int64_t out) const {
  const Rows &w = p(name + ".weight"), &b = p(name + ".bias");
  const int64_t T = static_cast<int64_t>(x.size()) / in;
  Rows y(T * out);
  for (int64_t t = 0; t < T; ++t)
    for (int64_t o = 0; o < out; ++o) {
      double sum = b[o];
      for (int64_t i = 0; i < in; ++i) sum += x[t * in + i] * w[o * in + i];
      y[t * out + o] = sum;
    }
  return y;
}

ReferenceModel::Rows ReferenceModel::norm(const Rows& x, const std::string& name) const {
  const Rows &w = p(name + ".weight"), &b = p(name + ".bias");
  const int64_t C = config_.d_model;
  Rows y(x.size());
  for (size_t row = 0; row < x.size(); row += C) {
    double mean = 0.0, variance = 0.0;
    for (int64_t c = 0; c < C; ++c) mean += x[row + c] / static_cast<double>(C);
    for (int64_t c = 0; c < C; ++c)
      variance += (x[row + c] - mean) * (x[row + c] - mean) / static_cast<double>(C);
    for (int64_t c = 0; c < C; ++c)
      y[row + c] = (x[row + c] - mean) / std::sqrt(variance + config_.layer_norm_eps) * w[c] + b[c];
  }
  return y;
}

ReferenceModel::Rows ReferenceModel::attention(const Rows& qkv) const {
  const int64_t C = config_.d_model, NH = config_.n_heads, HS = config_.head_size(),
                R = config_.rotary_dims(), T = static_cast<int64_t>(qkv.size()) / (3 * C);
  // Element i of q (which = 0), k (1) or v (2) of head h at position t, after the rotation.
  const auto element = [&](int64_t t, int64_t h, int which, int64_t i) {
    const double* x = &qkv[t * 3 * C + (h * 3 + which) * HS];
    if (which == 2 || i >= R) return x[i];
    const int64_t pair = i % (R / 2);
    const double angle =
        static_cast<double>(t) *
        std::pow(config_.rotary_base, -2.0 * static_cast<double>(pair) / static_cast<double>(R));
    const double turned = i < R / 2 ? -x[i + R / 2] : x[i - R / 2];
    return x[i] * std::cos(angle) + turned * std::sin(angle);
  };
  Rows out(T * C);
  for (int64_t h = 0; h < NH; ++h)
    for (int64_t t = 0; t < T; ++t) {
      Rows probability(t + 1);
      double total = 0.0;
      for (int64_t s = 0; s <= t; ++s) {
        double score = 0.0;
        for (int64_t i = 0; i < HS; ++i) score += element(t, h, 0, i) * element(s, h, 1, i);
        total += probability[s] = std::exp(score / std::sqrt(static_cast<double>(HS)));
      }
      for (int64_t s = 0; s <= t; ++s)
        for (int64_t i = 0; i < HS; ++i)
          out[t * C + h * HS + i] += probability[s] / total * element(s, h, 2, i);
    }
  return out;
}

double ReferenceModel::gelu(double x) const {
  if (config_.activation == Activation::gelu_erf)
    return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
  return 0.5 * x *
         (1.0 + std::tanh(std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

std::vector<double> ReferenceModel::losses(const OwnedBatch& batch) const {
  const int64_t C = config_.d_model, F = config_.d_ff, T = batch.T, V = config_.vocab_size;
  const Rows& embed = p("gpt_neox.embed_in.weight");
  const Rows& head = config_.tied_embeddings ? embed : p("embed_out.weight");
  std::vector<double> losses;
  for (int64_t b = 0; b < batch.B; ++b) {
    Rows x;
    for (int64_t t = 0; t < T; ++t) {
      const auto row = embed.begin() + batch.ids[b * T + t] * C;
      x.insert(x.end(), row, row + C);
    }
    for (int layer = 0; layer < config_.n_layers; ++layer) {
      const std::string in = "gpt_neox.layers." + std::to_string(layer) + ".";
      const auto add = [&](const Rows& branch) {
        for (size_t i = 0; i < x.size(); ++i) x[i] += branch[i];
      };
      const auto attention_branch = [&](const Rows& from) {
        const Rows qkv =
            linear(norm(from, in + "input_layernorm"), in + "attention.query_key_value", C, 3 * C);
        return linear(attention(qkv), in + "attention.dense", C, C);
      };
      const auto mlp_branch = [&](const Rows& from) {
        Rows hidden =
            linear(norm(from, in + "post_attention_layernorm"), in + "mlp.dense_h_to_4h", C, F);
        for (double& h : hidden) h = gelu(h);
        return linear(hidden, in + "mlp.dense_4h_to_h", F, C);
      };
      const Rows entered = x;
      add(attention_branch(entered));
      add(mlp_branch(config_.parallel_residual ? entered : x));
    }
    x = norm(x, "gpt_neox.final_layer_norm");
    for (int64_t t = 0; t < T; ++t) {
      double total = 0.0, of_target = 0.0;
      for (int64_t v = 0; v < V; ++v) {
        double logit = 0.0;
        for (int64_t c = 0; c < C; ++c) logit += x[t * C + c] * head[v * C + c];
        total += std::exp(logit);
        if (v == batch.targets[b * T + t]) of_target = logit;
      }
      losses.push_back(std::log(total) - of_target);
    }
  }
  return losses;
}

double ReferenceModel::loss(const OwnedBatch& batch) const {
  const std::vector<double> each = losses(batch);
  double sum = 0.0;
  for (size_t n = 0; n < each.size(); ++n) sum += each[n] * double{batch.weights[n]};
  return sum;
}

void randomize(Gpt& model, uint64_t seed) {
  HostArena weights(model.device(), model.params());
  for (const Parameter& parameter : model.table().all()) {
    const Tensor tensor = weights.at(parameter);
    const bool matrix = tensor.rank() == 2;
    const double deviation = matrix ? 0.3 : 0.2;
    const bool by_token = matrix && parameter.layer < 0;
    const int64_t rows = by_token ? model.config().vocab_size : tensor.dim(0);
    const int64_t used = parameter.numel / tensor.dim(0) * rows;
    Rng rng(seed, Purpose::kTest, 1, static_cast<uint64_t>(parameter.offset));
    for (int64_t i = 0; i < parameter.numel; ++i)
      tensor.as<float>()[i] =
          i < used ? static_cast<float>(parameter.init_mean + deviation * rng.normal()) : 0.0f;
  }
  weights.store();
  model.refresh_compute_params();
}

}  // namespace midfill::test
