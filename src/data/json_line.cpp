#include "src/data/json_line.h"

#include <simdjson.h>

#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "kernels/common/check.h"
#include "src/io/json.h"

namespace midfill {

namespace {

namespace dom = simdjson::dom;

constexpr size_t kLargeLine = size_t{16}
                              << 20;  // behind a longer one the parser gives its memory back
constexpr int kMaxDepth = 1024;       // simdjson's own

std::vector<std::string> split_at_dots(const std::string& key) {
  std::vector<std::string> parts;
  for (size_t begin = 0;;) {
    const size_t dot = key.find('.', begin);
    parts.push_back(key.substr(begin, dot - begin));
    if (dot == std::string::npos) return parts;
    begin = dot + 1;
  }
}

// The two parsers' values as text_of reads them: find() gives the value of a key, if it is there.
struct Fast {  // simdjson
  using Value = dom::element;
  static bool is_object(const Value& value) { return value.is_object(); }
  static std::optional<Value> find(const Value& value, std::string_view key) {
    std::optional<Value> found;
    const dom::object object = value;
    for (const auto& [name, member] : object) {
      if (name != key) continue;
      require(!found, "key \"{}\" stands twice", key);
      found = member;
    }
    return found;
  }
  static std::optional<std::string_view> string(const Value& value) {
    std::string_view view;
    if (value.get(view)) return std::nullopt;
    return view;
  }
  static const char* name_of(const Value& value) {
    if (value.is_null()) return "null";
    if (value.is_bool()) return "a boolean";
    if (value.is_string()) return "a string";
    if (value.is_number()) return "a number";
    return value.is_array() ? "an array" : "an object";
  }
};

struct Slow {  // parse_json
  using Value = const Json*;
  static bool is_object(Value value) { return value->is_object(); }
  static std::optional<Value> find(Value value, std::string_view key) {
    const auto at =
        value->find(std::string(key));  // parse_json has refused a key that stands twice
    if (at == value->end()) return std::nullopt;
    return &*at;
  }
  static std::optional<std::string_view> string(Value value) {
    if (!value->is_string()) return std::nullopt;
    return value->get_ref<const std::string&>();
  }
  static std::string name_of(Value value) {
    const std::string name = value->type_name();
    if (name == "null") return name;
    return (name == "array" || name == "object" ? "an " : "a ") + name;
  }
};

template <typename Parser>
std::string_view find_text(typename Parser::Value root, const std::string& key,
                           std::span<const std::string> path) {
  require(Parser::is_object(root), "expected an object, found {}", Parser::name_of(root));
  auto value = Parser::find(root, key);
  if (!value && !path.empty()) {
    value = root;
    std::string above;
    for (const std::string& step : path) {
      require(Parser::is_object(*value), "\"{}\": expected an object, found {}", above,
              Parser::name_of(*value));
      value = Parser::find(*value, step);
      above += above.empty() ? step : "." + step;
      require(value.has_value(), "no key \"{}\"", above);
    }
  }
  require(value.has_value(), "no key \"{}\"", key);
  const auto text = Parser::string(*value);
  require(text.has_value(), "\"{}\": expected a string, found {}", key, Parser::name_of(*value));
  return *text;
}

}  // namespace

struct JsonLine::Impl {
  dom::parser parser;
};

JsonLine::JsonLine(std::string key) : key_(std::move(key)), impl_(std::make_unique<Impl>()) {
  if (key_.find('.') != std::string::npos) path_ = split_at_dots(key_);
}
JsonLine::~JsonLine() = default;
JsonLine::JsonLine(JsonLine&&) noexcept = default;

void JsonLine::text_of(std::string& line, std::string& text) {
  if (impl_->parser.capacity() > kLargeLine) impl_ = std::make_unique<Impl>();
  line.reserve(line.size() + simdjson::SIMDJSON_PADDING);
  require(!line.starts_with("\xEF\xBB\xBF"), "starts with a byte order mark, expected JSON");
  dom::element root;
  const auto error = impl_->parser.parse(line.data(), line.size(), false).get(root);
  if (!error) {
    text = find_text<Fast>(root, key_, path_);
  } else {
    if (error == simdjson::MEMALLOC) throw std::bad_alloc();
    // Numbers that simdjson has no type for are JSON all the same; the other parser decides.
    require(error == simdjson::NUMBER_ERROR, "not valid JSON: {}", simdjson::error_message(error));
    const Json slow = parse_json(line, "not valid JSON", kMaxDepth, TooSmall::zero);
    text = find_text<Slow>(&slow, key_, path_);
  }
}

}  // namespace midfill
