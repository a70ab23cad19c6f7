// AdamW's moments on disk: optimizer-RRRRR-of-WWWWW.safetensors, one file a writer. Each tensor is
// a slice of one moment of one parameter, named "m.<parameter>" or "v.<parameter>", flat f32; the
// file's metadata gives its first element within the flattened parameter under the same name. So
// the shards of any number of writers load into any other number.
#pragma once

#include <filesystem>

#include "kernels/common/tensor.h"
#include "src/model/parameters.h"

namespace midfill {

// m, v: flat f32, the layout of the parameter arena. One shard that holds everything.
void write_moments(const std::filesystem::path& directory, const ParameterTable& table,
                   const Tensor& m, const Tensor& v);

// Fills m and v from the shards of `directory` and returns true, or returns false where it has
// none. Throws Error where a shard is missing, or the slices leave a hole, overlap or name an
// unknown parameter.
bool read_moments(const std::filesystem::path& directory, const ParameterTable& table,
                  const Tensor& m, const Tensor& v);

}  // namespace midfill
