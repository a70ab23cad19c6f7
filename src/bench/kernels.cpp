#include "src/bench/kernels.h"

#include <fmt/format.h>

#include <optional>

#include "kernels/linear.h"
#include "kernels/memory.h"
#include "src/bench/machine.h"
#include "src/bench/table.h"
#include "src/train/peak.h"

namespace midfill {

namespace {

// What the device does at most, measured: the denominators of "% of ceiling".
struct Ceilings {
  double copy_gb_per_s = 0, gemm_tflops = 0;
  int64_t gemm_size = 0;
};

// What its maker promises; zeros where there is no such promise.
struct DataSheet {
  double gb_per_s = 0, bf16_tflops = 0, f32_tflops = 0;
};
DataSheet data_sheet(Device& device) {
  if (!device.is_cuda()) return {};
  const std::string& name = device.cuda().name();
  return {datasheet_gb_per_s(name), datasheet_tflops(name, DType::bf16),
          datasheet_tflops(name, DType::f32)};
}

// Sizes by device: large enough to be past the caches and the launch, small enough for a moment.
struct CeilingSizes {
  int64_t copy_floats, gemm;
};
CeilingSizes ceiling_sizes(Device& device) {
  if (is_emulated(device)) return {4096, 64};
  if (device.is_cuda()) return {int64_t{1} << 28, 8192};
  return {int64_t{1} << 26, 2048};
}

LinearForward square_product(Operands& o, DType t, int64_t size) {
  return {.y = o.empty(t, {size, size}),
          .x = o.normal(t, {size, size}),
          .w = o.normal(t, {size, size}),
          .bias = {},
          .residual = {}};
}

Ceilings measure_ceilings(Device& device, Stopwatch& watch, const Stopwatch::Rule& rule, DType t) {
  const auto [floats, size] = ceiling_sizes(device);
  Ceilings found{.gemm_size = size};
  {
    Operands o(device);
    const Copy copy{.y = o.empty(DType::f32, {floats}), .x = o.normal(DType::f32, {floats})};
    const Timing time = watch.measure({.run = [&] { device.run(copy); }, .prepare = {}}, rule);
    found.copy_gb_per_s = 2.0 * static_cast<double>(copy.x.bytes()) / time.median_ms * 1e-6;
  }
  Operands o(device);
  const LinearForward gemm = square_product(o, t, size);
  const Timing time = watch.measure({.run = [&] { device.run(gemm); }, .prepare = {}}, rule);
  const auto n = static_cast<double>(size);
  found.gemm_tflops = 2.0 * n * n * n / time.median_ms * 1e-9;
  return found;
}

// About a second of matrix products on a GPU, enqueued and not waited for.
void keep_busy(Operands& o, DType t) {
  const int64_t size = ceiling_sizes(o.device()).gemm;
  const LinearForward gemm = square_product(o, t, size);
  const auto n = static_cast<double>(size);
  const double flop = t == DType::bf16 ? 5e14 : 5e13;
  for (double done = 0; done < flop; done += 2.0 * n * n * n) o.device().run(gemm);
}

DType dtype_of(const std::string& name, Device& device) {
  if (name.empty()) return device.is_cuda() ? DType::bf16 : DType::f32;
  require(name == "f32" || name == "bf16", "--dtype {}: expected f32 or bf16", name);
  require(name == "f32" || device.is_cuda(), "--dtype bf16: the CPU computes in f32");
  return name == "bf16" ? DType::bf16 : DType::f32;
}

Shape default_shape(Device& device) {
  if (!device.is_cuda()) return Shape::small();
  return is_emulated(device) ? Shape::tiny() : Shape();
}

Json describe_case(const Case& c) {
  Json dims = Json::object();
  for (const auto& [name, size] : c.dims) dims[name] = size;
  return {{"op", c.op},
          {"variant", c.variant},
          {"dims", dims},
          {"shape", c.shape_text()},
          {"dtype", name_of(c.dtype)},
          {"bound", c.compute_bound ? "compute" : "memory"},
          {"flop", c.flop},
          {"bytes", c.bytes}};
}

Json share(double value, double of) {
  return of > 0 ? Json(value / of) : Json(nullptr);
}

// Times of one case, and what follows from them where they mean something.
void measure_case(Json& result, const Case& c, Device& device, Stopwatch& watch,
                  const Stopwatch::Rule& rule, const Ceilings& ceilings, const DataSheet& sheet) {
  const auto time = [&](const auto& make) {
    Operands o(device);
    const Work work = make(o);
    return work.run ? std::optional(watch.measure(work, rule)) : std::nullopt;
  };
  const Timing found = *time(c.make);
  result["ms"] = found.median_ms;
  result["ms_p20"] = found.p20_ms;
  result["ms_p80"] = found.p80_ms;
  result["runs"] = found.runs;
  if (is_emulated(device)) return;

  const double tflops = c.flop / found.median_ms * 1e-9;
  const double gb_per_s = c.bytes / found.median_ms * 1e-6;
  result["tflops"] = c.flop > 0 ? Json(tflops) : Json(nullptr);
  result["gb_per_s"] = gb_per_s;
  const double peak = c.dtype == DType::bf16 ? sheet.bf16_tflops : sheet.f32_tflops;
  if (c.compute_bound) {
    result["of_datasheet"] = share(tflops, peak);
    result["of_ceiling"] = share(tflops, ceilings.gemm_tflops);
  } else {
    result["of_datasheet"] = share(gb_per_s, sheet.gb_per_s);
    result["of_ceiling"] = share(gb_per_s, ceilings.copy_gb_per_s);
  }
  const auto plain = c.make_plain ? time(c.make_plain) : std::nullopt;
  result["vs_plain"] = plain ? Json(plain->median_ms / found.median_ms) : Json(nullptr);
}

// A figure of a result; "–" where it has none.
std::string figure(const Json& result, const char* key, double factor = 1.0) {
  const auto found = result.find(key);
  if (found == result.end() || found->is_null()) return "–";
  return three_digits(factor * found->get<double>());
}

Table table_of(const Json& report) {
  const Json& results = report.at("results");
  const bool measured = results.front().contains("ms");
  const bool cuda = report.at("device").at("kind") == "cuda";
  std::vector<std::string> header = {"op", "shape", "dtype"};
  if (measured)
    for (const char* title : {"ms median (p20–p80)", "TFLOP/s", "GB/s", "% of datasheet",
                              "% of measured ceiling", cuda ? "vs cuBLAS" : "vs OpenBLAS"})
      header.emplace_back(title);
  Table table(header);
  for (const Json& result : results) {
    std::vector<std::string> row;
    for (const char* key : {"op", "shape", "dtype"}) row.push_back(result.at(key));
    if (measured) {
      row.push_back(fmt::format("{} ({}–{})", figure(result, "ms"), figure(result, "ms_p20"),
                                figure(result, "ms_p80")));
      row.push_back(figure(result, "tflops"));
      row.push_back(figure(result, "gb_per_s"));
      row.push_back(figure(result, "of_datasheet", 100));
      row.push_back(figure(result, "of_ceiling", 100));
      row.push_back(figure(result, "vs_plain"));
    }
    table.add(row);
  }
  return table;
}

}  // namespace

Json run_kernel_bench(const KernelBench& options, bool measure) {
  Device device(options.device, options.threads);
  const DType dtype = dtype_of(options.dtype, device);
  Shape shape = default_shape(device);
  shape.set(options.sizes);
  const std::vector<Case> cases = kernel_cases(options.ops, shape, dtype);
  const bool emulated = is_emulated(device);

  Json report = {{"bench", "kernels"}, {"program", "midfill"}};
  {
    Operands o(device);
    report.update(describe_machine(device, [&] {
      if (measure) keep_busy(o, dtype);
    }));
  }
  report["results"] = Json::array();
  for (const Case& c : cases) report["results"].push_back(describe_case(c));
  if (!measure) return report;

  // One run shows that an op works on the emulation; more would say nothing.
  const Stopwatch::Rule rule =
      emulated ? Stopwatch::Rule{.min_ms = 0, .min_runs = 1, .warmup = 0} : options.rule;
  Stopwatch watch(device);
  Ceilings ceilings;
  const DataSheet sheet = data_sheet(device);
  if (!emulated) {
    ceilings = measure_ceilings(device, watch, rule, dtype);
    report["ceilings"] = {{"copy_gb_per_s", ceilings.copy_gb_per_s},
                          {"gemm_tflops", ceilings.gemm_tflops},
                          {"gemm_size", ceilings.gemm_size},
                          {"gemm_dtype", name_of(dtype)}};
    report["datasheet"] = nullptr;
    if (sheet.gb_per_s > 0)
      report["datasheet"] = {{"gb_per_s", sheet.gb_per_s},
                             {"bf16_tflops", sheet.bf16_tflops},
                             {"f32_tflops", sheet.f32_tflops}};
  }
  for (size_t i = 0; i < cases.size(); ++i)
    measure_case(report["results"][i], cases[i], device, watch, rule, ceilings, sheet);
  return report;
}

std::string kernel_bench_text(const Json& report) {
  std::string text = machine_text(report);
  if (report.contains("ceilings")) {
    const Json &ceilings = report.at("ceilings"), &sheet = report.at("datasheet");
    text += fmt::format(
        "ceilings copy {:.1f} GB/s, matrix product of {} in {} {:.4g} TFLOP/s\n",
        ceilings.at("copy_gb_per_s").get<double>(), ceilings.at("gemm_size").get<int64_t>(),
        ceilings.at("gemm_dtype").get<std::string>(), ceilings.at("gemm_tflops").get<double>());
    if (sheet.is_object())
      text += fmt::format("sheet    {} GB/s, {} TFLOP/s bf16, {} TFLOP/s f32\n",
                          sheet.at("gb_per_s").get<double>(), sheet.at("bf16_tflops").get<double>(),
                          sheet.at("f32_tflops").get<double>());
  }
  return text + "\n" + table_of(report).text();
}

}  // namespace midfill
