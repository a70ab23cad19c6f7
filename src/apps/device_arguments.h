// Where a command that only reads a model computes: --device, --dtype, --threads.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "kernels/common/device.h"
#include "src/checkpoint/model_source.h"

namespace midfill {

struct DeviceArguments {
  std::string device = "cpu", dtype;
  int threads = 0;

  void add_to(CLI::App& app);
  Device make() const { return Device(device, threads); }
  // What was asked for; otherwise f32 on the CPU, and on `cuda` what the run was trained in.
  DType dtype_of(const WeightsSource& source) const;
};

}  // namespace midfill
