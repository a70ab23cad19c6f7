#include "src/train/metrics_log.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "kernels/common/check.h"
#include "src/io/file.h"

namespace midfill {

namespace {

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

MetricsLog::MetricsLog(const std::filesystem::path& path, int64_t step)
    : last_evaluation_(truncate(path, step)), file_(path) {}

std::optional<int64_t> MetricsLog::truncate(const std::filesystem::path& path, int64_t step) {
  std::optional<int64_t> last_evaluation;
  if (!std::filesystem::exists(path)) return last_evaluation;
  const std::string text = read_file(path);
  std::string kept;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    const auto record = record_of(line);
    if (!record || (*record)["step"].get<int64_t>() > step) continue;
    if (record->contains("eval")) last_evaluation = (*record)["step"].get<int64_t>();
    kept.append(line).push_back('\n');
  }
  if (kept != text) write_file(path, kept);
  return last_evaluation;
}

}  // namespace midfill
