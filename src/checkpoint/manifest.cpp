#include "src/checkpoint/manifest.h"

#include <algorithm>
#include <vector>

#include "kernels/common/check.h"
#include "src/checkpoint/safetensors.h"
#include "src/io/file.h"
#include "src/io/hash.h"
#include "src/io/json.h"

namespace midfill {

namespace fs = std::filesystem;

namespace {

constexpr const char* kManifest = "manifest.json";
constexpr uint64_t kMaxManifestBytes = 16 << 20;

// Bytes and XXH3-128.
struct Contents {
  explicit Contents(const fs::path& file) {
    Hash hash;
    bytes = read_blocks(file, [&](std::span<const std::byte> block) { hash.add(block); });
    xxh3_128 = hash.text();
  }
  uint64_t bytes;
  std::string xxh3_128;
};

void verify(const fs::path& directory, int64_t step) {
  const Json manifest = parse_json(read_file(directory / kManifest, kMaxManifestBytes), kManifest);
  require(manifest.is_object() && manifest.contains("version") &&
              manifest["version"].is_number_integer(),
          "{}: no format version", kManifest);
  const auto version = manifest["version"].get<int64_t>();
  require(version == kCheckpointVersion, "{}: format version {}, this midfill reads {}", kManifest,
          version, kCheckpointVersion);
  require(manifest.size() == 3 && manifest.contains("step") && manifest.contains("files") &&
              manifest["step"].is_number_integer() && manifest["files"].is_object(),
          "{}: expected exactly version, step and files", kManifest);
  require(manifest["step"] == step, "{}: of step {}, expected {}", kManifest,
          manifest["step"].dump(), step);

  const Json& files = manifest["files"];
  for (const char* name : {"model.safetensors", "state.json"})
    require(files.contains(name), "{}: does not list {}", kManifest, name);
  for (const auto& [name, entry] : files.items()) {
    require(!name.empty() && name.find('/') == std::string::npos && name != "..",
            "{}: {} is not a file name", kManifest, in_quotes(name));
    require(entry.is_object() && entry.contains("bytes") && entry.contains("xxh3_128") &&
                entry["bytes"].is_number_unsigned() && entry["xxh3_128"].is_string(),
            "{}: {}: expected bytes and xxh3_128", kManifest, in_quotes(name));
    const Contents found(directory / name);
    require(found.bytes == entry["bytes"].get<uint64_t>(), "{}: {} bytes, expected {}", name,
            found.bytes, entry["bytes"].dump());
    require(found.xxh3_128 == entry["xxh3_128"], "{}: contents differ from the manifest's hash",
            name);
  }
}

}  // namespace

void write_manifest(const fs::path& directory, int64_t step) {
  std::vector<std::string> names;
  std::error_code failed;
  for (fs::directory_iterator entry(directory, failed), end; !failed && entry != end;
       entry.increment(failed))
    names.push_back(entry->path().filename().string());
  require(!failed, "{}: cannot list: {}", directory.string(), failed.message());
  std::ranges::sort(names);
  Json files = Json::object();
  for (const std::string& name : names) {
    const Contents contents(directory / name);
    files[name] = {{"bytes", contents.bytes}, {"xxh3_128", contents.xxh3_128}};
  }
  const Json manifest = {{"version", kCheckpointVersion}, {"step", step}, {"files", files}};
  write_file(directory / kManifest, manifest.dump(1) + "\n");
}

std::optional<std::string> verify_manifest(const fs::path& directory, int64_t step) {
  try {
    verify(directory, step);
  } catch (const Error& error) {
    return error.what();
  }
  return std::nullopt;
}

}  // namespace midfill
