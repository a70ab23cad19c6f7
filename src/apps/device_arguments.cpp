#include "src/apps/device_arguments.h"

#include "src/apps/validators.h"

namespace midfill {

void DeviceArguments::add_to(CLI::App& app) {
  app.add_option("--device", device, "cpu or cuda")->type_name("NAME")->capture_default_str();
  app.add_option("--dtype", dtype,
                 "f32 or bf16 (default: f32 on cpu; on cuda what the run was trained in, f32 for "
                 "others)")
      ->type_name("NAME")
      ->check(CLI::IsMember({"f32", "bf16"}));
  app.add_option("--threads", threads, "CPU threads; 0: all")
      ->check(whole_number(0, kMostThreads))
      ->capture_default_str();
}

DType DeviceArguments::dtype_of(const WeightsSource& source) const {
  if (dtype.empty()) return device == "cuda" ? source.dtype : DType::f32;
  return dtype == "bf16" ? DType::bf16 : DType::f32;
}

}  // namespace midfill
