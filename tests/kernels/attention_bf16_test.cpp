// Attention in bf16 on cuda: what attention_test.cpp proves of the ops in f32 carries over by the
// rule that a kernel in bf16 errs at most twice as much as rounding its operands does.
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "kernels/attention.h"
#include "kernels/simt/runtime.h"
#include "tests/kernels/attention_operands.h"
#include "tests/support/numerics.h"
#include "tests/support/op_device.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::poisoned;
using test::random_floats;
using test::same_bits;

using Shape = test::AttentionShape;

// Operands in f32 of ops that run with copies of them in bf16.
struct Attention : test::AttentionOperands {
  std::vector<float> dbias;

  explicit Attention(const Shape& shape, double scale = 1.0)
      : AttentionOperands(shape, scale), dbias(random_floats(s.NH * 3 * s.HS, 3)) {
    if (s.R > 0) Device("cpu", 1).run(RotaryTables{.cos = rotary().cos, .sin = rotary().sin});
  }
  // After the forward pass of the CPU.
  AttentionBackward backward_op() const {
    Device("cpu", 2).run(forward_op());
    AttentionBackward op = AttentionOperands::backward_op();
    op.dbias = Tensor::of(dbias.data(), {s.NH * 3 * s.HS});
    return op;
  }
};

const std::vector<Tensor AttentionForward::*> kForwardNarrow = {&AttentionForward::out,
                                                                &AttentionForward::qkv};
const std::vector<Tensor AttentionForward::*> kForwardOutputs = {&AttentionForward::out,
                                                                 &AttentionForward::lse};

const std::vector<Tensor AttentionBackward::*> kBackwardNarrow = {
    &AttentionBackward::dqkv, &AttentionBackward::dout, &AttentionBackward::out,
    &AttentionBackward::qkv};
const std::vector<Tensor AttentionBackward::*> kBackwardOutputs = {&AttentionBackward::dqkv,
                                                                   &AttentionBackward::dbias};

// The outputs of the op on cuda, one after another, its operands `narrow` in bf16.
template <typename Op>
std::vector<float> run_in_bf16(Op op, const std::vector<Tensor Op::*>& narrow,
                               const std::vector<Tensor Op::*>& outputs) {
  Device cuda("cuda", 1);
  std::vector<Tensor*> members;
  for (Tensor Op::*member : narrow) members.push_back(&(op.*member));
  test::OperandCopies copies(test::tensors_of(op), members, &cuda);
  cuda.run(op);
  std::vector<float> all;
  for (Tensor Op::*member : outputs) {
    const std::vector<float> values = copies.floats_of(op.*member);
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

// Each head size; no rotation, of a part that ends inside a chunk of eight, between chunks, and of
// all; one row, rows around the edges of tiles of 32, 64 and 128; several heads and sequences.
const Shape kShapes[] = {{1, 1, 1, 32, 32},   {2, 1, 8, 128, 0},    {2, 17, 3, 32, 8},
                         {1, 33, 1, 96, 96},  {1, 64, 2, 64, 16},   {2, 65, 1, 128, 128},
                         {2, 100, 3, 96, 20}, {2, 128, 3, 64, 64},  {1, 129, 1, 128, 0},
                         {2, 130, 2, 64, 0},  {1, 130, 1, 128, 32}, {1, 200, 1, 32, 0},
                         {1, 257, 1, 32, 16}};

class AttentionBf16 : public testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Shapes, AttentionBf16, testing::ValuesIn(kShapes),
                         testing::PrintToStringParamName());

TEST_P(AttentionBf16, ForwardErrorIsRounding) {
  EXPECT_TRUE(test::bf16_error_is_rounding(Attention(GetParam()).forward_op(), kForwardNarrow,
                                           kForwardOutputs));
}

// Scores up to several hundred: maxima that grow from tile to tile and exponentials that vanish.
TEST_P(AttentionBf16, LargeScoresErrAsRounding) {
  EXPECT_TRUE(test::bf16_error_is_rounding(Attention(GetParam(), 10.0).forward_op(), kForwardNarrow,
                                           kForwardOutputs));
}

TEST_P(AttentionBf16, BackwardErrorIsRounding) {
  const Attention a(GetParam());
  EXPECT_TRUE(
      test::bf16_error_is_rounding(a.backward_op(), kBackwardNarrow, {&AttentionBackward::dqkv}));
}

// Up to the rounding of dqkv, which is made after the sum.
TEST_P(AttentionBf16, BiasGradientIsTheSumOfRows) {
  const Attention a(GetParam());
  const auto found = run_in_bf16(a.backward_op(), kBackwardNarrow, kBackwardOutputs);
  const size_t columns = a.dbias.size(), rows = a.dqkv.size() / columns;
  std::vector<double> expected(a.dbias.begin(), a.dbias.end()), tolerances(columns, 1e-5);
  for (size_t row = 0; row < rows; ++row)
    for (size_t c = 0; c < columns; ++c) {
      expected[c] += found[row * columns + c];
      tolerances[c] += std::abs(found[row * columns + c]) / 256;
    }
  EXPECT_TRUE(test::all_near({found.data() + a.dqkv.size(), columns}, expected, tolerances));
}

TEST_P(AttentionBf16, BackwardRepeatsBitForBit) {
  std::optional<std::vector<float>> first;
  test::for_each_way([&](int) {
    const Attention a(GetParam());
    const auto found = run_in_bf16(a.backward_op(), kBackwardNarrow, kBackwardOutputs);
    if (!first) first = found;
    EXPECT_TRUE(same_bits(*first, found));
  });
}

TEST_P(AttentionBf16, BiasGradientIsOptional) {
  const Attention a(GetParam());
  AttentionBackward without = a.backward_op();
  without.dbias = {};
  EXPECT_TRUE(same_bits(run_in_bf16(without, kBackwardNarrow, {&AttentionBackward::dqkv}),
                        run_in_bf16(a.backward_op(), kBackwardNarrow, {&AttentionBackward::dqkv})));
}

TEST_P(AttentionBf16, ForwardRepeatsBitForBit) {
  std::optional<std::vector<float>> first;
  test::for_each_way([&](int) {
    const Attention a(GetParam());
    const auto found = run_in_bf16(a.forward_op(), kForwardNarrow, kForwardOutputs);
    if (!first) first = found;
    EXPECT_TRUE(same_bits(*first, found));
  });
}

// A sequence, head or tile computes the same whatever stands beside or after it.
TEST(AttentionBf16, LaterPositionsChangeNothing) {
  Attention all({1, 150, 1, 64, 16}), begin({1, 90, 1, 64, 16});
  begin.qkv.assign(all.qkv.begin(), all.qkv.begin() + static_cast<int64_t>(begin.qkv.size()));
  const auto a = run_in_bf16(all.forward_op(), kForwardNarrow, {&AttentionForward::out});
  const auto b = run_in_bf16(begin.forward_op(), kForwardNarrow, {&AttentionForward::out});
  EXPECT_TRUE(same_bits({a.data(), b.size()}, b));
}

TEST(AttentionBf16, NotANumberReachesWhatDependsOnIt) {
  for (int part : {0, 1, 2}) {
    Attention a({1, 140, 2, 32, 16});
    const int64_t t = 131;
    a.qkv[((t * 2 + 1) * 3 + part) * 32 + 3] = std::numeric_limits<float>::quiet_NaN();
    const auto out = run_in_bf16(a.forward_op(), kForwardNarrow, {&AttentionForward::out});
    const auto is_nan = [&](int64_t at, int64_t head) {
      return std::isnan(out[(at * 2 + head) * 32 + 3]);
    };
    EXPECT_TRUE(is_nan(t, 1)) << part;
    EXPECT_EQ(is_nan(139, 1), part != 0) << part;
    EXPECT_FALSE(is_nan(t, 0)) << part;
    EXPECT_FALSE(is_nan(127, 1)) << part;  // of the tile of 64 before
  }
}

TEST(AttentionBf16, OtherHeadSizesAreRefused) {
  const Attention a({1, 4, 1, 80, 0});
  EXPECT_EQ(
      error_of([&] { run_in_bf16(a.forward_op(), kForwardNarrow, {&AttentionForward::out}); }),
      "AttentionForward on cuda: head size 80 in bf16, expected 32, 64, 96 or 128");
}

#ifdef MIDFILL_TEST_SCHEDULES
// Of the launch before: no matrix read from a tile (attention_bf16.cuh) takes more passes than it
// must. Race mode counts other accesses too, but sees stores of vectors in parts.
void expect_no_bank_conflicts() {
  int64_t reads = 0;
  for (const simt::BankUse& use : simt::bank_use()) {
    if (!use.where.starts_with("attention_bf16.cuh")) continue;
    reads += use.accesses;
    EXPECT_EQ(use.passes, use.needed) << use.where << ", " << use.accesses << " accesses";
  }
  EXPECT_GT(reads, 0);
}

TEST_P(AttentionBf16, ForwardHasNoBankConflicts) {
  const simt::Options before = simt::options();
  simt::options().count_banks = true;
  run_in_bf16(Attention(GetParam()).forward_op(), kForwardNarrow, kForwardOutputs);
  expect_no_bank_conflicts();
  simt::options() = before;
}

// The last launch is that of keys and values; that of queries reads its tiles as the forward pass
// does. Turning the gradients back, once a block, may meet a bank twice.
TEST_P(AttentionBf16, BackwardHasNoBankConflicts) {
  const simt::Options before = simt::options();
  simt::options().count_banks = true;
  Shape unturned = GetParam();
  unturned.R = 0;
  const Attention a(unturned);
  AttentionBackward op = a.backward_op();
  op.dbias = {};
  run_in_bf16(op, kBackwardNarrow, {&AttentionBackward::dqkv});
  expect_no_bank_conflicts();
  simt::options() = before;
}
#endif

}  // namespace
}  // namespace midfill
