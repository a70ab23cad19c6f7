#include "src/checkpoint/run_facts.h"

#include "kernels/common/check.h"
#include "src/io/file.h"
#include "src/io/json.h"

namespace midfill {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kVersion = 1;
constexpr uint64_t kMaxBytes = 64 << 20;

fs::path facts_path(const fs::path& run) {
  return run / "run.json";
}

Json to_json(const std::vector<SourceFacts>& sources) {
  Json list = Json::array();
  for (const SourceFacts& s : sources)
    list.push_back({{"name", s.name},
                    {"tokens", s.tokens},
                    {"samples", s.samples},
                    {"fingerprint", s.fingerprint}});
  return list;
}

std::vector<SourceFacts> sources_from(const Json& list) {
  std::vector<SourceFacts> sources;
  for (const Json& s : list)
    sources.push_back({.name = s.at("name").get<std::string>(),
                       .tokens = s.at("tokens").get<int64_t>(),
                       .samples = s.at("samples").get<int64_t>(),
                       .fingerprint = s.at("fingerprint").get<std::string>()});
  return sources;
}

}  // namespace

RunFacts read_run_facts(const fs::path& run) {
  const fs::path path = facts_path(run);
  RunFacts facts;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return facts;
  const Json json = parse_json(read_file(path, kMaxBytes), path.string());
  try {
    const auto version = json.at("version").get<int64_t>();
    require(version == kVersion, "format version {}, this midfill reads {}", version, kVersion);
    facts.tokenizer = json.at("tokenizer").get<std::string>();
    facts.train = sources_from(json.at("train"));
    facts.valid = sources_from(json.at("valid"));
    facts.saved = json.at("saved").get<int64_t>();
  } catch (const std::exception& error) {
    fail("{}: damaged: {}", path.string(), error.what());
  }
  return facts;
}

void write_run_facts(const fs::path& run, const RunFacts& facts) {
  const Json json = {{"version", kVersion},
                     {"tokenizer", facts.tokenizer},
                     {"train", to_json(facts.train)},
                     {"valid", to_json(facts.valid)},
                     {"saved", facts.saved}};
  write_file(facts_path(run), json.dump(1) + "\n");
}

}  // namespace midfill
