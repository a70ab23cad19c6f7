#include <string>

#include "kernels/common/check.h"
#include "src/data/byte_stream.h"
#include "src/infer/infill.h"
#include "src/io/json.h"

namespace midfill {

namespace {

constexpr size_t kMaxBytes = size_t{1} << 30;  // unpacked; the largest benchmark has 10 MB

std::string read_all(const std::string& path) {
  const auto stream = open_stream(path);
  std::string text, piece(size_t{1} << 20, '\0');
  while (const size_t n = stream->read({piece.data(), piece.size()})) {
    text.append(piece, 0, n);
    require(text.size() <= kMaxBytes,
            "{}: unpacks to more than {} bytes, which is no list of tasks", path, kMaxBytes);
  }
  return text;
}

InfillTask parse_task(std::string_view line, const std::string& origin) {
  const Json object = parse_json(line, origin);
  require(object.is_object(), "{}: expected a JSON object, found {}", origin, object.type_name());
  const auto string_at = [&](const char* key) {
    const auto at = object.find(key);
    require(at != object.end(), "{}: no key \"{}\"", origin, key);
    require(at->is_string(), "{}: \"{}\" is {}, expected a string", origin, key, at->type_name());
    return at->get<std::string>();
  };
  return {string_at("task_id"), string_at("prompt"), string_at("suffix")};
}

}  // namespace

std::vector<InfillTask> read_tasks(const std::filesystem::path& path) {
  const std::string file = read_all(path.string());
  const std::string_view text = without_byte_order_mark(file);
  std::vector<InfillTask> tasks;
  int64_t line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    tasks.push_back(parse_task(line, fmt::format("{}: line {}", path.string(), line_number)));
  }
  require(!tasks.empty(), "{}: no tasks, expected lines with task_id, prompt and suffix",
          path.string());
  return tasks;
}

}  // namespace midfill
