// What a measurement was made on, for the head of its report.
#pragma once

#include <functional>
#include <string>

#include "kernels/common/device.h"
#include "src/io/json.h"

namespace midfill {

// The device `cuda` of the preset `simt`: its times say nothing about a GPU.
bool is_emulated(Device& device);

// {"commit", "device": {"kind", "name", "emulated", ...}, "host": {"cpu", "threads", "openblas",
// "load"}}. On a GPU "device" has what nvidia-smi says of driver, clocks and power, asked while
// `busy` (optional: enqueues work of about a second) keeps the GPU at its clocks of work.
Json describe_machine(Device& device, const std::function<void()>& busy = {});

// The same in lines of text.
std::string machine_text(const Json& machine);

}  // namespace midfill
