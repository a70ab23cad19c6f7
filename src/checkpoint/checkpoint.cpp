#include "src/checkpoint/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <map>

#include "src/checkpoint/atomic_directory.h"
#include "src/checkpoint/manifest.h"
#include "src/checkpoint/moments.h"
#include "src/checkpoint/safetensors.h"
#include "src/io/json.h"
#include "src/model/host_arena.h"

namespace midfill {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "step_";
constexpr const char* kWeights = "model.safetensors";
constexpr const char* kState = "state.json";
constexpr uint64_t kMaxStateBytes = 64 << 20;

fs::path checkpoint_path(const fs::path& run, int64_t step) {
  return run / fmt::format("{}{:08}", kPrefix, step);
}

// The step of "step_00001000"; nothing for other names.
std::optional<int64_t> step_of(const fs::path& path) {
  const std::string name = path.filename().string();
  int64_t step = 0;
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const auto [end, error] =
      std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  if (error != std::errc() || step < 0 || checkpoint_path("", step) != name) return std::nullopt;
  return step;
}

// Every checkpoint directory of a run by step, newest first, whether it verifies or not.
std::map<int64_t, fs::path, std::greater<>> list_checkpoints(const fs::path& run) {
  std::map<int64_t, fs::path, std::greater<>> checkpoints;
  std::error_code failed;
  for (fs::directory_iterator entry(run, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    if (const auto step = step_of(entry->path())) checkpoints[*step] = entry->path();
  }
  require(!failed, "{}: cannot list: {}", run.string(), failed.message());
  return checkpoints;
}

// Where the members of TrainState stand in state.json.
template <typename State, typename Integer, typename Window>
void visit_state(State& state, Integer integer, Window window) {
  integer("step", state.step);
  integer("tokens", state.tokens);
  integer("updates", state.updates);
  integer("skipped", state.skipped);
  integer("skipped_in_row", state.skipped_in_row);
  window("loss_window", state.loss_window);
  window("norm_window", state.norm_window);
}

void write_state(const fs::path& path, const TrainState& state) {
  Json json = {{"version", kCheckpointVersion}};
  visit_state(
      state, [&](const char* key, int64_t value) { json[key] = value; },
      [&](const char* key, const std::vector<double>& values) {
        for (double value : values)
          require(std::isfinite(value), "{}: {} holds {}, expected finite numbers", path.string(),
                  key, value);
        json[key] = values;
      });
  write_file(path, json.dump(1) + "\n");
}

TrainState read_state(const fs::path& path) {
  const Json json = parse_json(read_file(path, kMaxStateBytes), path.string());
  require(json.is_object(), "{}: expected an object", path.string());
  size_t keys = 1;
  const auto at = [&](const char* key) -> const Json& {
    require(json.contains(key), "{}: no key \"{}\"", path.string(), key);
    return json[key];
  };
  require(at("version") == kCheckpointVersion, "{}: format version {}, this midfill reads {}",
          path.string(), at("version").dump(), kCheckpointVersion);
  TrainState state;
  visit_state(
      state,
      [&](const char* key, int64_t& value) {
        require(at(key).is_number_unsigned() && at(key).get<uint64_t>() <= INT64_MAX,
                "{}: \"{}\" is {}, expected a whole number from 0", path.string(), key,
                at(key).dump().substr(0, 40));
        value = at(key).get<int64_t>();
        ++keys;
      },
      [&](const char* key, std::vector<double>& values) {
        require(at(key).is_array() &&
                    std::ranges::all_of(at(key), [](const Json& v) { return v.is_number(); }),
                "{}: \"{}\" is not an array of numbers", path.string(), key);
        values = at(key).get<std::vector<double>>();
        ++keys;
      });
  require(json.size() == keys, "{}: {} keys, expected {}", path.string(), json.size(), keys);
  return state;
}

void write_weights(const fs::path& path, const Gpt& model) {
  const HostArena weights(model.device(), model.params());
  std::vector<SafetensorsEntry> entries;
  for (const Parameter& p : model.table().all())
    entries.push_back(SafetensorsEntry::of(p.name, weights.at(p), p.shape));
  write_safetensors(path, entries, {{"format", "pt"}}, AtomicFile::Existing::replace);
}

void read_weights(const fs::path& path, Gpt& model) {
  const SafetensorsFile file(path);
  for (const SafetensorsEntry& entry : file.entries()) {
    const auto& all = model.table().all();
    require(std::ranges::find(all, entry.name, &Parameter::name) != all.end(),
            "{}: tensor {} is none of this model's", path.string(), in_quotes(entry.name));
  }
  HostArena weights(model.device(), model.params());
  for (const Parameter& p : model.table().all()) {
    const SafetensorsEntry* entry = file.find(p.name);
    require(entry, "{}: no tensor {}", path.string(), in_quotes(p.name));
    require(entry->dtype == "F32" && entry->shape == p.shape,
            "{}: tensor {} is {} {}, expected F32 {}", path.string(), in_quotes(p.name),
            entry->dtype, shape_text(entry->shape), shape_text(p.shape));
    copy_as_f32(*entry, path, {weights.at(p).as<float>(), static_cast<size_t>(p.numel)});
  }
  weights.store();
  model.refresh_compute_params();
}

void write_moments(const fs::path& directory, const Gpt& model, const Optimizer& optimizer) {
  const HostArena m(model.device(), optimizer.m()), v(model.device(), optimizer.v());
  write_moments(directory, model.table(), m.tensor(), v.tensor());
}

// False, and moments of zero, where the checkpoint has none.
bool read_moments(const fs::path& directory, const Gpt& model, Optimizer& optimizer) {
  HostArena m(model.device(), optimizer.m()), v(model.device(), optimizer.v());
  const bool found = read_moments(directory, model.table(), m.tensor(), v.tensor());
  for (HostArena* moment : {&m, &v}) {
    const Tensor& values = moment->tensor();
    if (!found) std::memset(values.data(), 0, static_cast<size_t>(values.bytes()));
    moment->store();
  }
  return found;
}

}  // namespace

void save_checkpoint(const fs::path& run, const Gpt& model, const Optimizer* optimizer,
                     const TrainState& state) {
  AtomicDirectory directory(checkpoint_path(run, state.step), AtomicDirectory::Existing::replace);
  write_weights(directory.path() / kWeights, model);
  if (optimizer) write_moments(directory.path(), model, *optimizer);
  write_state(directory.path() / kState, state);
  write_manifest(directory.path(), state.step);
  directory.commit();
}

void remove_unfinished_checkpoints(const fs::path& run) {
  remove_leftovers(run, std::string(kPrefix), OtherWriters::locked_out);
}

void prune_checkpoints(const fs::path& run, int keep_last, int64_t keep_every) {
  remove_unfinished_checkpoints(run);
  int newer = 0;
  bool verified = false;  // the newest good one has been met
  for (const auto& [step, path] : list_checkpoints(run)) {
    bool keep = newer++ < std::max(1, keep_last) || (keep_every > 0 && step % keep_every == 0);
    if (!verified) {
      verified = !verify_manifest(path, step);
      keep |= verified;
    }
    if (!keep) remove_directory(path);
  }
}

std::optional<FoundCheckpoint> find_checkpoint(const fs::path& run) {
  std::vector<std::string> passed_over;
  for (const auto& [step, path] : list_checkpoints(run)) {
    const auto reason = verify_manifest(path, step);
    if (!reason) return FoundCheckpoint{path, step, std::move(passed_over)};
    passed_over.push_back(fmt::format("{}: {}", path.string(), *reason));
  }
  require(passed_over.empty(), "{}: none of {} checkpoints is whole; the newest: {}", run.string(),
          passed_over.size(), passed_over.empty() ? "" : passed_over.front());
  return std::nullopt;
}

TrainState load_checkpoint(const fs::path& checkpoint, Gpt& model, Optimizer* optimizer) {
  TrainState state = read_state(checkpoint / kState);
  read_weights(checkpoint / kWeights, model);
  if (!optimizer) return state;
  if (!read_moments(checkpoint, model, *optimizer))
    require(state.updates == 0, "{}: no moments after {} updates", checkpoint.string(),
            state.updates);
  optimizer->set_updates(state.updates);
  return state;
}

}  // namespace midfill
