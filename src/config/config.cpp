#include "src/config/config.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "kernels/common/check.h"
#include "src/config/fields.h"
#include "src/config/messages.h"
#include "src/config/synonyms.h"
#include "src/config/value.h"
#include "src/io/file.h"
#include "src/io/json.h"
#include "src/io/one_line.h"

namespace midfill {

namespace {

constexpr uint64_t kMaxFileBytes = 1 << 20;

const Field* find_field(std::string_view name) {
  const auto& all = fields();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const Field& field) { return field.name() == name; });
  return found == all.end() ? nullptr : &*found;
}

bool is_section(std::string_view name) {
  const auto& all = fields();
  return !name.empty() && std::any_of(all.begin(), all.end(),
                                      [&](const Field& field) { return field.section == name; });
}

// The valid key or section that `name` may be a slip of, by the whole of it or by its last part in
// whatever section; empty where none is much like it.
std::string nearest_key(std::string_view name) {
  const std::string_view last = name.substr(std::min(name.rfind('.') + 1, name.size()));
  std::string best;
  size_t best_distance = last.size() * 2 / 5 + 1;  // as far away is too far
  const auto offer = [&](const std::string& candidate, size_t distance) {
    if (distance < best_distance) best = candidate, best_distance = distance;
  };
  for (const Field& field : fields()) {
    offer(field.name(), edit_distance(name, field.name()));
    offer(field.name(), edit_distance(last, field.key));
    if (!field.section.empty())
      offer(std::string(field.section), edit_distance(name, field.section));
  }
  return best;
}

// "the key for this is "optim.lr"": what another trainer's name is called here.
std::string text_of(const Synonym& synonym) {
  std::string keys(synonym.keys);
  const bool several = keys.find(' ') != std::string::npos;
  for (size_t at = 0; (at = keys.find(' ', at)) != std::string::npos; at += 3)
    keys.replace(at, 1, "\", \"");
  return fmt::format("the {}{} for this {} \"{}\"{}{}", is_section(keys) ? "section" : "key",
                     several ? "s" : "", several ? "are" : "is", keys,
                     synonym.note.empty() ? "" : ": ", synonym.note);
}

[[noreturn]] void fail_unknown(std::string_view origin, std::string_view name) {
  // A key may be of any length; the message and the search stay short.
  const std::string_view searched = name.substr(0, 80);
  std::string help = "`midfill train --keys` lists the valid ones";
  if (const Synonym* synonym = find_synonym(searched)) {
    help = text_of(*synonym);
  } else if (const std::string nearest = nearest_key(searched); !nearest.empty()) {
    help = fmt::format("the nearest valid key is \"{}\"", nearest);
  }
  fail("{}: unknown key {}; {}", origin, in_quotes(name), help);
}

void set_field(Config& config, const Field& field, const Json& value, std::string_view origin) {
  bool stored = false;
  try {
    stored = field.set(config, value);
  } catch (const Error& within) {
    fail("{}: {}", origin, within.what());
  }
  require(stored, "{}: {} is {}, expected {}", origin, field.name(), short_dump(value),
          field.expected);
}

void read_section(Config& config, const std::string& section, const Json& values,
                  std::string_view origin) {
  require(values.is_object(), "{}: {} is {}, expected an object with the keys of the section",
          origin, section, short_dump(values));
  for (const auto& [key, value] : values.items()) {
    const std::string name = section + "." + key;
    const Field* field = find_field(name);
    if (!field) fail_unknown(origin, name);
    set_field(config, *field, value, origin);
  }
}

// "section.key=value": the value of a text key may stand without quotes; what begins like a list,
// where the key takes one, is a list.
void apply_override(Config& config, const std::string& text) {
  const size_t equals = text.find('=');
  require(equals != std::string::npos, "--set {}: expected section.key=value", one_line(text));
  const std::string name = text.substr(0, equals), value = text.substr(equals + 1);
  const std::string origin = "--set " + one_line(name);
  const Field* field = find_field(name);
  require(!is_section(name), "--set {}: names a section, expected {}.key=value", one_line(text),
          name);
  if (!field) fail_unknown("--set", name);
  const bool is_list = field->takes_list && value.starts_with('[');
  if (!field->is_text || is_list || value.starts_with('"')) {
    std::optional<Json> json;
    try {
      json = parse_json(value, origin);
    } catch (const Error&) {
      if (Json::accept(value)) throw;  // JSON, but against the rules: which one is said
      fail("--set: {} is {}, expected {}", name, value.empty() ? "empty" : one_line(value),
           field->expected);
    }
    return set_field(config, *field, *json, "--set");
  }
  try {
    static_cast<void>(Json(value).dump());
  } catch (const Json::exception&) {
    fail("{}: the value is not valid UTF-8", origin);
  }
  set_field(config, *field, Json(value), "--set");
}

}  // namespace

Config parse_config(std::string_view json, std::string_view origin,
                    const std::vector<std::string>& overrides) {
  const Json root = parse_json(json, origin);
  require(root.is_object(), "{}: the file holds {}, expected an object", origin, short_dump(root));
  Config config;
  for (const auto& [key, value] : root.items()) {
    if (is_section(key)) {
      read_section(config, key, value, origin);
      continue;
    }
    const Field* field = find_field(key);
    if (!field) fail_unknown(origin, key);
    require(field->section.empty(),
            "{}: key \"{}\" stands at the top level, expected \"{}\" inside \"{}\"", origin, key,
            field->key, field->section);
    set_field(config, *field, value, origin);
  }
  for (const std::string& text : overrides) apply_override(config, text);
  validate(config, origin);
  return config;
}

Config load_config(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  return parse_config(read_file(path, kMaxFileBytes), path.string(), overrides);
}

std::optional<std::string> set_value(Config& config, std::string_view key, const Json& value) {
  const Field* field = find_field(key);
  require(field != nullptr, "the configuration has no key \"{}\"", key);
  return field->set(config, value) ? std::nullopt : std::optional(field->expected);
}

std::string to_json(const Config& config) {
  Json root = Json::object();
  for (const Field& field : fields()) {
    Json& section = field.section.empty() ? root : root[std::string(field.section)];
    section[std::string(field.key)] = field.get(config);
  }
  return root.dump(2) + "\n";
}

namespace {

// Where lists have as many elements before and after, each value in them by itself.
void add_differences(const Field& field, const std::string& name, const Json& a, const Json& b,
                     bool may_change, std::vector<ConfigDifference>& out) {
  if (a == b) return;
  if (a.is_array() && b.is_array() && a.size() == b.size()) {
    for (size_t i = 0; i < a.size(); ++i)
      for (const auto& [key, value] : a[i].items())
        add_differences(field, fmt::format("{}[{}].{}", name, i, key), value, b[i][key],
                        field.may_change && (field.only_change.empty() || key == field.only_change),
                        out);
    return;
  }
  out.push_back({name, short_dump(a), short_dump(b), may_change});
}

}  // namespace

std::vector<ConfigDifference> differences(const Config& before, const Config& after) {
  std::vector<ConfigDifference> out;
  for (const Field& field : fields()) {
    const Json a = field.get(before), b = field.get(after);
    const bool list = a.is_array() || b.is_array();
    add_differences(field, field.name(), a, b,
                    field.may_change && !(list && !field.only_change.empty()), out);
  }
  return out;
}

std::string config_reference() {
  const Config defaults;
  std::string out, section = "none";
  for (const Field& field : fields()) {
    if (field.section != section) {
      section = field.section;
      out += fmt::format(
          "\n### {}\n\n| key | default | value | meaning | resume |\n|---|---|---|---|---|\n",
          section.empty() ? "Top level" : fmt::format("`{}`", section));
    }
    std::string value;
    for (const char c : field.get(defaults).dump()) {
      if (c == '|') value += '\\';  // or it would end the cell
      value += c;
    }
    out += fmt::format("| `{}` | `{}` | {} | {} | {} |\n", field.key, value, field.expected,
                       field.meaning, field.may_change ? "may change" : "fixed");
  }
  return out.substr(1);
}

void validate(const Config& config, std::string_view origin) {
  const ModelConfig& m = config.model;
  require(m.d_model % m.n_heads == 0,
          "{}: model.n_heads is {}, expected a divisor of model.d_model, {}", origin, m.n_heads,
          m.d_model);
  const int turned = static_cast<int>(m.head_size() * m.rotary_pct);
  require(
      turned >= 2 && turned % 2 == 0,
      "{}: model.rotary_pct is {}, which turns {} dims of a head of {}, expected an even number "
      "of at least 2",
      origin, m.rotary_pct, turned, m.head_size());

  const FimConfig& f = config.fim;
  require(f.rate == 0 || f.psm + f.spm1 + f.spm2 > 0,
          "{}: fim.psm, fim.spm1 and fim.spm2 are all 0, expected at least one above 0 as fim.rate "
          "is {}",
          origin, f.rate);
  require(std::isfinite(f.psm + f.spm1 + f.spm2),
          "{}: fim.psm + fim.spm1 + fim.spm2 overflows, expected smaller weights", origin);

  const OptimConfig& o = config.optim;
  require(
      o.schedule != Schedule::wsd || o.warmup_steps > 0 || o.warmup + o.decay <= 1,
      "{}: optim.warmup {} and optim.decay {} add up to more than 1, expected at most all steps",
      origin, o.warmup, o.decay);

  const TrainConfig& t = config.train;
  require(t.batch_tokens % m.n_ctx == 0,
          "{}: train.batch_tokens is {}, expected a multiple of model.n_ctx, {}", origin,
          t.batch_tokens, m.n_ctx);
  constexpr int64_t kMostTokens = int64_t{1} << 28;
  require(int64_t{t.micro_batch} * m.n_ctx <= kMostTokens,
          "{}: train.micro_batch is {}, expected at most {} samples of model.n_ctx {}", origin,
          t.micro_batch, kMostTokens / m.n_ctx, m.n_ctx);
}

}  // namespace midfill
