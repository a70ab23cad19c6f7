// Runs ops of a test on the device under test. The operands are tensors in the test's own memory;
// on `cuda` they go to the device before the op, each tensor into an allocation of its own (so that
// race mode and AddressSanitizer know its borders), and come back after it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"
#include "tests/support/operands.h"

namespace midfill::test {

// MIDFILL_TEST_DEVICE is "cuda".
bool on_cuda();

// Widths that the device under test takes: all of them on the CPU, multiples of 8 on `cuda`.
std::vector<int64_t> supported_widths(std::initializer_list<int64_t> widths);

// Calls body(threads) for the ways of running an op that must not change its bits: 1, 2 and 3
// threads on the CPU; each schedule of the emulation; twice on a GPU.
void for_each_way(const std::function<void(int threads)>& body);

class OpDevice {
 public:
  explicit OpDevice(int threads) : device_(on_cuda() ? "cuda" : "cpu", threads) {}

  template <typename Op>
  void run(const Op& op) {
    if (!device_.is_cuda()) {
      device_.run(op);
      return;
    }
    op.check();  // of the operands as they stand
    Op staged = op;
    OperandCopies copies(tensors_of(staged), {}, &device_);
    device_.run(staged);
    copies.bring_back();
  }

  Device& device() { return device_; }

 private:
  Device device_;
};

// One output of an op: of the reference in f32 and of two others.
struct Bf16Output {
  std::string name;
  std::vector<float> exact;    // the CPU in f32
  std::vector<float> rounded;  // the same, its operands rounded to bf16 before and after
  std::vector<float> found;    // cuda with operands in bf16
};
testing::AssertionResult within_twice_rounding(const std::vector<Bf16Output>& outputs);

// The rule for kernels in bf16 (docs/numerics.md): runs `op`, whose operands are all f32 (or i32),
// on the CPU and, with the operands `narrow` in bf16, on `cuda`; succeeds where the error of each
// of `outputs`, at its largest and in the L2 norm, is at most twice the error that rounding those
// operands alone causes in the reference. The op's own operands are not changed.
//
//   EXPECT_TRUE(test::bf16_error_is_rounding(op, {&GeluForward::y, &GeluForward::x},
//                                            {&GeluForward::y}));
template <typename Op>
testing::AssertionResult bf16_error_is_rounding(const Op& op,
                                                const std::vector<Tensor Op::*>& narrow,
                                                const std::vector<Tensor Op::*>& outputs) {
  const auto members = [](Op& of, const std::vector<Tensor Op::*>& which) {
    std::vector<Tensor*> found;
    for (Tensor Op::*member : which)
      if (of.*member) found.push_back(&(of.*member));
    return found;
  };
  std::vector<Bf16Output> results;
  Device cpu("cpu", 2), cuda("cuda", 2);
  {
    Op exact = op;
    OperandCopies copies(tensors_of(exact), {}, nullptr);
    cpu.run(exact);
    for (Tensor* t : members(exact, outputs))
      results.push_back({fmt::format("output {}", results.size()), to_floats(*t), {}, {}});
  }
  {
    Op rounded = op;
    OperandCopies copies(tensors_of(rounded), {}, nullptr);
    for (Tensor* t : members(rounded, narrow)) round_to_bf16(*t);
    cpu.run(rounded);
    for (Tensor* t : members(rounded, narrow)) round_to_bf16(*t);
    size_t i = 0;
    for (Tensor* t : members(rounded, outputs)) results[i++].rounded = to_floats(*t);
  }
  {
    Op found = op;
    OperandCopies copies(tensors_of(found), members(found, narrow), &cuda);
    cuda.run(found);
    size_t i = 0;
    for (Tensor* t : members(found, outputs)) results[i++].found = copies.floats_of(*t);
  }
  return within_twice_rounding(results);
}

}  // namespace midfill::test
