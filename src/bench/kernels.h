// `midfill bench kernels`: the speed of every op, beside what the device can do at most.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "src/bench/cases.h"
#include "src/io/json.h"

namespace midfill {

struct KernelBench {
  std::vector<std::string> ops;  // of kernel_ops(); empty: all
  std::string device = "cpu";
  std::string dtype;               // "f32", "bf16"; empty: what training takes on the device
  std::vector<std::string> sizes;  // of Shape::set
  int threads = 0;
  Stopwatch::Rule rule;
};

// {"bench": "kernels", ...machine, "ceilings", "datasheet", "results": [{"op", "variant", "dims",
// "shape", "dtype", "bound", "flop", "bytes", "ms", "ms_p20", "ms_p80", "runs", "tflops",
// "gb_per_s", "of_datasheet", "of_ceiling", "vs_plain"}]}: times in milliseconds, shares as
// fractions, null where there is no figure. "vs_plain" is the time of the library's product alone
// by that of the op. On the emulation only "ms". Without `measure` no times: the list of what would
// be measured.
Json run_kernel_bench(const KernelBench& options, bool measure);

// The report as text: what was measured on what, and a table in Markdown.
std::string kernel_bench_text(const Json& report);

}  // namespace midfill
