#include "src/checkpoint/moments.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <vector>

#include "src/checkpoint/safetensors.h"

namespace midfill {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "optimizer-", kOf = "-of-", kSuffix = ".safetensors";

struct Shard {
  int rank, world;
};

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.size() != 5)
    return std::nullopt;
  return value;
}

// "optimizer-00001-of-00003.safetensors"
std::optional<Shard> shard_of(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  const size_t of = name.find(kOf);
  if (of == std::string_view::npos) return std::nullopt;
  const auto rank = number(name.substr(0, of)), world = number(name.substr(of + kOf.size()));
  if (!rank || !world) return std::nullopt;
  return Shard{*rank, *world};
}

// The shards of a directory in order of rank; all of them, or an Error.
std::vector<fs::path> shards_of(const fs::path& directory) {
  std::map<int, fs::path> shards;
  std::optional<int> world;
  std::error_code failed;
  for (fs::directory_iterator entry(directory, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    const auto shard = shard_of(entry->path().filename().string());
    if (!shard) continue;
    require(!world || *world == shard->world, "{}: shards of {} and of {} writers",
            directory.string(), world.value_or(0), shard->world);
    world = shard->world;
    shards[shard->rank] = entry->path();
  }
  require(!failed, "{}: cannot list: {}", directory.string(), failed.message());
  std::vector<fs::path> paths;
  for (int rank = 0; rank < world.value_or(0); ++rank) {
    require(shards.contains(rank), "{}: no optimizer shard {} of {}", directory.string(), rank,
            *world);
    paths.push_back(shards[rank]);
  }
  require(shards.size() == paths.size(), "{}: an optimizer shard past the {} expected",
          directory.string(), paths.size());
  return paths;
}

std::span<float> slice_of(const Tensor& arena, const Parameter& parameter) {
  return {arena.as<float>() + parameter.offset, static_cast<size_t>(parameter.numel)};
}

struct Range {
  int64_t begin, end;
};

// The ranges found for one moment must be [0, numel) without hole or overlap.
void check_cover(const fs::path& directory, const std::string& name, std::vector<Range> ranges,
                 int64_t numel) {
  std::ranges::sort(ranges, {}, &Range::begin);
  int64_t end = 0;
  for (const Range& range : ranges) {
    require(range.begin == end, "{}: slices of {} {} at element {}", directory.string(),
            in_quotes(name), range.begin < end ? "overlap" : "leave a hole", end);
    end = range.end;
  }
  require(end == numel, "{}: slices of {} end at element {}, expected {}", directory.string(),
          in_quotes(name), end, numel);
}

}  // namespace

void write_moments(const fs::path& directory, const ParameterTable& table, const Tensor& m,
                   const Tensor& v) {
  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> begins;
  for (const auto& [letter, arena] : {std::pair('m', m), std::pair('v', v)}) {
    for (const Parameter& parameter : table.all()) {
      const std::string name = fmt::format("{}.{}", letter, parameter.name);
      const auto slice = slice_of(arena, parameter);
      entries.push_back({name, "F32", {parameter.numel}, std::as_bytes(slice)});
      begins.emplace(name, "0");
    }
  }
  write_safetensors(directory / "optimizer-00000-of-00001.safetensors", entries, begins,
                    AtomicFile::Existing::replace);
}

bool read_moments(const fs::path& directory, const ParameterTable& table, const Tensor& m,
                  const Tensor& v) {
  const std::vector<fs::path> paths = shards_of(directory);
  if (paths.empty()) return false;
  std::map<std::string, std::span<float>> targets;
  for (const Parameter& parameter : table.all()) {
    targets[fmt::format("m.{}", parameter.name)] = slice_of(m, parameter);
    targets[fmt::format("v.{}", parameter.name)] = slice_of(v, parameter);
  }
  std::map<std::string, std::vector<Range>> ranges;
  for (const fs::path& path : paths) {
    const SafetensorsFile file(path);
    for (const SafetensorsEntry& entry : file.entries()) {
      const auto target = targets.find(entry.name);
      require(target != targets.end(), "{}: moment {} of no parameter of this model", path.string(),
              in_quotes(entry.name));
      require(entry.dtype == "F32" && entry.shape.size() == 1, "{}: {} is {} {}, expected flat F32",
              path.string(), in_quotes(entry.name), entry.dtype, shape_text(entry.shape));
      const auto begin = file.metadata().find(entry.name);
      int64_t first = -1;
      if (begin != file.metadata().end()) {
        const std::string& text = begin->second;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), first);
        if (error != std::errc() || end != text.data() + text.size()) first = -1;
      }
      const auto numel = static_cast<int64_t>(target->second.size());
      require(first >= 0 && first <= numel && entry.shape[0] <= numel - first,
              "{}: slice {} of {} elements from {}, expected one within {}", path.string(),
              in_quotes(entry.name), entry.shape[0],
              begin == file.metadata().end() ? "nowhere" : in_quotes(begin->second), numel);
      copy_as_f32(
          entry, path,
          target->second.subspan(static_cast<size_t>(first), static_cast<size_t>(entry.shape[0])));
      if (entry.shape[0] > 0) ranges[entry.name].push_back({first, first + entry.shape[0]});
    }
  }
  for (const auto& [name, target] : targets)
    check_cover(directory, name, ranges[name], static_cast<int64_t>(target.size()));
  return true;
}

}  // namespace midfill
