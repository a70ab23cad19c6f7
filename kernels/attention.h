#pragma once

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"

namespace midfill {

// How positions enter attention: an operand, not another op. Rotary: the first R dims of each head
// of q and k are turned by position t, half-split: dims (i, i + R/2) are one pair, turned by the
// angle t * base^(-2i/R). R = 0 (empty tables) leaves q and k as they are.
// shapes   cos, sin (T', R/2) with T' >= every position used
// source   Su et al., "RoFormer", 2021; half-split pairs as GPT-NeoX has them
struct Rotary {
  Tensor cos, sin;
  int64_t dims() const { return cos ? 2 * cos.dim(1) : 0; }
};

// Fills the tables for positions [0, T'): angles in double, rounded once to f32.
// shapes   cos, sin (T', R/2), f32, overwritten
struct RotaryTables {
  Tensor cos, sin;  // out
  double base = 10000.0;
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

// Causal self-attention over packed projections, per head:
//   out = softmax(scale * rot(q) rot(k)^T + causal mask) v,  scale = 1 / sqrt(HS)
// shapes   out (B,T,NH,HS)   lse (B,NH,T)   qkv (B,T,NH,3,HS)
// dtypes   f32, or bf16 on cuda (all the same); lse and rotary tables always f32
// layout   contiguous; qkv holds q, k, v of one head side by side, as GPT-NeoX checkpoints do. Any
//          T >= 1; any HS on the CPU, on cuda multiples of 8 up to 128 in f32 and 32, 64, 96, 128
//          in bf16
// writes   out, lse overwritten; out must not overlap qkv
//          lse[b,h,t] = log sum_j exp(scale * score), natural log
// numerics online softmax over blocks of keys, so that no T x T matrix exists; bit-identical at
//          any thread count, on cuda from run to run; a NaN reaches all that depends on it, and may
//          reach earlier queries of its tile of 64. In bf16, turned q and k and the probabilities
//          are rounded to bf16; scores, sums and lse are f32
// accuracy vs double: 5e-6 of the largest |v| (out), 5e-6 absolute + relative (lse); bf16: twice
//          the error of rounding the operands
// cost     2*B*NH*T*T*HS FLOP (causal half); compute bound. In bf16 with R > 0, keys are turned
//          into B*T*NH*HS elements of the workspace beforehand
// source   Dao et al., "FlashAttention", 2022; Dao, "FlashAttention-2", 2023
struct AttentionForward {
  Tensor out, lse;  // out
  Tensor qkv;       // in
  Rotary position;  // in
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

// Gradient of the packed projections, before the rotation (dq and dk are turned back inside), and of
// their bias.
// shapes   dqkv, qkv (B,T,NH,3,HS)   dbias (NH*3*HS)   dout, out (B,T,NH,HS)   lse (B,NH,T)
// dtypes   f32, or bf16 on cuda (all the same); lse, dbias and rotary tables always f32
// layout   as AttentionForward
// writes   dqkv overwritten; must not overlap qkv, out or dout
//          dbias optional: += the sum of dqkv over B and T
// numerics scores are recomputed from q, k and lse; no atomics: bit-identical run to run at a given
//          thread count, and on cuda. A NaN reaches all that depends on it, and may reach others of
//          its tile of 64. In bf16, turned q and k, probabilities and gradients of scores are
//          rounded to bf16, sums are f32, and dbias sums dqkv before its rounding
// accuracy vs double: 2e-5 of the tensor's largest magnitude; bf16: twice the error of rounding the
//          operands
// cost     5*B*NH*T*T*HS FLOP (causal half), 7 on cuda; compute bound. In bf16 the workspace takes
//          8*B*NH*T bytes, with R > 0 4*B*T*NH*HS more for turned q and k, and with dbias
//          4*B*ceil(T/64)*NH*3*HS for partial sums
struct AttentionBackward {
  Tensor dqkv;                 // out
  Tensor dbias;                // in, out
  Tensor dout, out, lse, qkv;  // in
  Rotary position;             // in
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

// Attention of T new positions [start, start + T) over a KV cache: rotates the new q and k, appends
// the new k and v to the caches, attends causally over [0, start + T). T = 1 is a decoding step,
// T > 1 a prefill.
// shapes   out (B,T,NH,HS)   k_cache, v_cache (B,NH,Tmax,HS)   qkv (B,T,NH,3,HS)
// dtypes   f32, or bf16 on cuda (all the same); rotary tables always f32
// layout   contiguous; any HS on the CPU, on cuda multiples of 8 up to 128
// writes   out overwritten; rows [start, start + T) of the caches overwritten, later rows neither
//          read nor written; start + T <= Tmax
// numerics as AttentionForward; keys are cached after rotation, in the dtype of the cache. On cuda
//          at T = 1 the keys are summed in chunks of 128, whatever the number of multiprocessors
// accuracy vs AttentionForward over the whole sequence: 1e-5 of the largest |v|; bf16: twice the
//          error of rounding the operands
// cost     reads 2*B*NH*(start+T)*HS cached elements; memory bound at T = 1
struct AttentionDecode {
  Tensor out;               // out
  Tensor k_cache, v_cache;  // in, out
  Tensor qkv;               // in
  Rotary position;          // in
  int64_t start = 0;
  void check() const;
  void run(Cpu& cpu) const;
  void run(Cuda& cuda) const;
};

}  // namespace midfill
