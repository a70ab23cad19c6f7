// Host access to a tensor of a device: initial weights, checkpoints, Hugging Face files, tests.
#pragma once

#include "kernels/common/device.h"
#include "kernels/common/tensor.h"
#include "src/model/parameters.h"

namespace midfill {

// On the CPU the tensor's own memory. On `cuda` a copy, taken after all work before it, that
// store() brings back.
//
//   HostArena weights(device, model.params());
//   init_parameters(device.cpu(), table, config, seed, weights.tensor());
//   weights.store();
//   model.refresh_compute_params();
class HostArena {
 public:
  HostArena(Device& device, const Tensor& arena);

  const Tensor& tensor() const { return host_; }  // dtype and shape of the arena
  // One parameter's view of an arena in f32 with the layout of the parameter table.
  Tensor at(const Parameter& parameter) const { return view_of(parameter, host_); }
  void store();

 private:
  Device* device_;
  Tensor arena_, host_;
  Buffer copy_;
};

}  // namespace midfill
