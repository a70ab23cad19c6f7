// manifest.json of a checkpoint: size and XXH3-128 of each file. Written last, so a directory whose
// manifest verifies is complete.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace midfill {

// Of manifest.json and state.json; raised when an older midfill could misread a newer checkpoint.
constexpr int64_t kCheckpointVersion = 1;

// Lists every file that `directory` holds.
void write_manifest(const std::filesystem::path& directory, int64_t step);

// Why the checkpoint cannot be used, in one line ("model.safetensors: 12 bytes, expected 4096"),
// or nothing where every file is there with its size and hash.
std::optional<std::string> verify_manifest(const std::filesystem::path& directory, int64_t step);

}  // namespace midfill
