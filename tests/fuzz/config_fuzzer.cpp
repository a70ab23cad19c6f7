// A configuration and overrides: JSON, then "section.key=value" texts, each behind a NUL byte. What
// is accepted survives to_json and back.
#include <vector>

#include "src/config/config.h"
#include "tests/fuzz/fuzzing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace midfill;
  fuzz::Input input(data, size);
  const std::string_view json = input.until('\0');
  std::vector<std::string> overrides;
  while (!input.empty()) overrides.emplace_back(input.until('\0'));

  Config config;
  if (!fuzz::works([&] { config = parse_config(json, "config.json", overrides); })) return 0;
  const std::string written = to_json(config);
  Config again;
  fuzz::expect(fuzz::works([&] { again = parse_config(written, "written.json"); }),
               "what to_json wrote is refused: {}", written);
  fuzz::expect(differences(config, again).empty() && to_json(again) == written,
               "to_json does not survive parse_config: {}\n{}", written, to_json(again));
  return 0;
}
