#include "src/train/metrics_log.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "kernels/common/check.h"
#include "src/checkpoint/run_directory.h"
#include "src/io/file.h"

namespace midfill {

namespace {

constexpr const char* kName = "metrics.jsonl";

// The record of a line, or nothing where it is none.
std::optional<Json> record_of(std::string_view line) {
  try {
    Json record = parse_json(line, "metrics.jsonl");
    if (record.is_object() && record.contains("step") && record["step"].is_number_integer())
      return record;
  } catch (const Error&) {
  }
  return std::nullopt;
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& run, int64_t step)
    : last_evaluation_(truncate(run, step)), file_(run / kName) {}

std::optional<int64_t> MetricsLog::truncate(const std::filesystem::path& run, int64_t step) {
  const std::filesystem::path path = run / kName;
  std::optional<int64_t> last_evaluation;
  if (!std::filesystem::exists(path)) return last_evaluation;
  const std::string text = read_file(path);
  std::string kept, aside;
  int64_t lines_aside = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    const auto record = record_of(line);
    const bool stays = record && (*record)["step"].get<int64_t>() <= step;
    (stays ? kept : aside).append(line).push_back('\n');
    lines_aside += !stays;
    if (stays && record->contains("eval")) last_evaluation = (*record)["step"].get<int64_t>();
  }
  if (lines_aside > 0) {
    AppendFile file(make_aside(run) / kName);
    file.append(Json{{"resumed_after", step}, {"lines", lines_aside}}.dump() + "\n" + aside);
    file.sync();
  }
  if (kept != text) write_file(path, kept);
  return last_evaluation;
}

}  // namespace midfill
