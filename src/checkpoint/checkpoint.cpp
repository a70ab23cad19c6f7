#include "src/checkpoint/checkpoint.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <span>

#include "src/checkpoint/atomic_directory.h"
#include "src/checkpoint/manifest.h"
#include "src/checkpoint/moments.h"
#include "src/checkpoint/run_directory.h"
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

// Whether a run that goes on from here begins with weights that its last step has improved.
bool was_applied(const TrainState& state) {
  return state.skipped_in_row == 0;
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
  // A loss may be as small as it likes.
  const Json json = parse_json(read_file(path, kMaxStateBytes), path.string(), 64, TooSmall::zero);
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

// Whether all are finite, by their exponents: vector code.
bool all_finite(std::span<const float> values) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t found = 0;
  for (const float x : values) found |= (std::bit_cast<uint32_t>(x) & kExponent) == kExponent;
  return found == 0;
}

void require_finite(const ParameterTable& table, const HostArena& arena, int64_t step,
                    std::string_view what) {
  for (const Parameter& p : table.all()) {
    const std::span<const float> values(arena.at(p).as<float>(), static_cast<size_t>(p.numel));
    if (all_finite(values)) continue;
    const auto bad =
        std::ranges::find_if(values, [](float x) { return !std::isfinite(x); }) - values.begin();
    fail("step {}: {} {} holds {} at element {}, expected finite numbers; nothing is saved", step,
         what, p.name, values[static_cast<size_t>(bad)], bad);
  }
}

void write_weights(const fs::path& path, const Gpt& model, int64_t step) {
  const HostArena weights(model.device(), model.params());
  require_finite(model.table(), weights, step, "weight");
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

void write_moments(const fs::path& directory, const Gpt& model, const Optimizer& optimizer,
                   int64_t step) {
  const HostArena m(model.device(), optimizer.m()), v(model.device(), optimizer.v());
  require_finite(model.table(), m, step, "first moment of");
  require_finite(model.table(), v, step, "second moment of");
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
  write_weights(directory.path() / kWeights, model, state.step);
  if (optimizer) write_moments(directory.path(), model, *optimizer, state.step);
  write_state(directory.path() / kState, state);
  write_manifest(directory.path(), state.step);
  directory.commit();
}

std::vector<std::string> remove_unfinished_checkpoints(const fs::path& run) {
  return remove_leftovers(run, std::string(kPrefix), OtherWriters::locked_out);
}

void CheckpointKeeper::saved(const TrainState& state) {
  known_[state.step] = {.whole = true, .applied = was_applied(state)};
}

CheckpointKeeper::Found CheckpointKeeper::look_at(const fs::path& checkpoint, int64_t step) {
  const auto known = known_.find(step);
  if (known != known_.end()) return known->second;
  Found found;
  found.whole = !verify_manifest(checkpoint, step);
  found.applied = found.whole && was_applied(read_state(checkpoint / kState));
  return known_[step] = found;
}

std::vector<std::string> CheckpointKeeper::prune(const fs::path& run) {
  std::vector<std::string> failures = remove_unfinished_checkpoints(run);
  try {
    for (const fs::path& checkpoint : superfluous(run)) {
      try {
        remove_directory(checkpoint);
      } catch (const Error& error) {
        failures.push_back(error.what());
      }
    }
  } catch (const Error& error) {
    failures.push_back(error.what());
  }
  std::erase_if(failures, [&](const std::string& line) { return !told_.insert(line).second; });
  return failures;
}

std::vector<fs::path> CheckpointKeeper::superfluous(const fs::path& run) {
  const int slots = std::max(1, keep_last_);
  int whole = 0;
  bool applied = false;  // the newest whole one whose last update was applied has been met
  std::vector<fs::path> out;
  for (const auto& [step, path] : list_checkpoints(run)) {
    // What is older than all that is wanted need not be read.
    const bool wanted = whole < slots || !applied;
    const Found found = wanted ? look_at(path, step) : Found{};
    const bool newer_than_whole = whole == 0;
    whole += found.whole;
    const bool keep =
        (keep_every_ > 0 && step % keep_every_ == 0) ||
        (found.whole ? whole <= slots || (found.applied && !applied) : wanted && newer_than_whole);
    applied = applied || found.applied;
    if (!keep) out.push_back(path);
  }
  return out;
}

std::optional<FoundCheckpoint> find_checkpoint(const fs::path& run) {
  // A checkpoint that vanishes while it is read was pruned by a process that has saved a newer one.
  constexpr int kAttempts = 100;
  for (int attempt = 1;; ++attempt) {
    std::vector<std::string> passed_over;
    bool vanished = false;
    for (const auto& [step, path] : list_checkpoints(run)) {
      const auto reason = verify_manifest(path, step);
      if (!reason) return FoundCheckpoint{path, step, std::move(passed_over)};
      vanished = vanished || !is_there(path);
      passed_over.push_back(fmt::format("{}: {}", path.string(), *reason));
    }
    if (passed_over.empty()) return std::nullopt;
    require(vanished && attempt < kAttempts, "{}: none of {} checkpoints is whole; the newest: {}",
            run.string(), passed_over.size(), passed_over.front());
  }
}

FoundCheckpoint find_checkpoint(const fs::path& run, int64_t step) {
  const auto all = list_checkpoints(run);
  const auto found = all.find(step);
  if (found == all.end()) {
    std::string steps;
    for (const auto& [there, path] : all) steps += fmt::format(" {}", there);
    fail("{}: no checkpoint of step {}; there are:{}", run.string(), step,
         steps.empty() ? " none" : steps);
  }
  const auto reason = verify_manifest(found->second, step);
  require(!reason, "{}: {}", found->second.string(), reason.value_or(""));
  return {found->second, step, {}};
}

std::optional<FoundCheckpoint> find_applied_checkpoint(const fs::path& run) {
  for (const auto& [step, path] : list_checkpoints(run))
    if (!verify_manifest(path, step) && was_applied(read_state(path / kState)))
      return FoundCheckpoint{path, step, {}};
  return std::nullopt;
}

std::optional<int64_t> newest_step(const fs::path& run) {
  const auto all = list_checkpoints(run);
  return all.empty() ? std::nullopt : std::optional(all.begin()->first);
}

std::vector<fs::path> set_aside_after(const fs::path& run, int64_t step) {
  const auto all = list_checkpoints(run);
  std::vector<fs::path> moved;
  for (auto entry = all.rbegin(); entry != all.rend(); ++entry) {
    const auto& [other, path] = *entry;
    if (other <= step) continue;
    const fs::path aside = make_aside(run);
    fs::path name = aside / path.filename();
    for (int n = 2; is_there(name); ++n)
      name = aside / fmt::format("{}.{}", path.filename().string(), n);
    std::error_code failed;
    fs::rename(path, name, failed);
    require(!failed, "{}: cannot rename to {}: {}", path.string(), name.string(), failed.message());
    moved.push_back(name);
  }
  if (!moved.empty()) {
    fsync_directory(moved.front().parent_path());
    fsync_directory(run);
  }
  return moved;
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
