// A value of a JSON document and where it stands, for readers that refuse what they do not know.
#pragma once

#include <simdjson.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "kernels/common/check.h"
#include "src/io/one_line.h"
#include "src/tokenizer/tokenizer.h"

namespace midfill {

// Errors begin with where(), "file: model.vocab". The document and its name must outlive it.
class JsonNode {
 public:
  using Element = simdjson::dom::element;

  JsonNode(Element element, std::string_view origin, std::string path)
      : element_(element), origin_(origin), path_(std::move(path)) {}

  std::string where() const { return fmt::format("{}: {}", origin_, path_); }
  bool is_null() const { return element_.is_null(); }
  bool is_array() const { return element_.is_array(); }
  bool is_string() const { return element_.is_string(); }

  bool boolean() const {
    require(element_.is_bool(), "{} is {}, expected true or false", where(), shown());
    return element_.get_bool().value_unsafe();
  }
  std::string_view string() const {
    require(element_.is_string(), "{} is {}, expected a string", where(), shown());
    return element_.get_string().value_unsafe();
  }
  TokenId id() const {
    const auto value = element_.get_int64();
    require(value.error() == simdjson::SUCCESS && value.value_unsafe() >= 0 &&
                value.value_unsafe() < INT32_MAX,
            "{} is {}, expected an id from 0 to 2^31-2", where(), shown());
    return static_cast<TokenId>(value.value_unsafe());
  }
  simdjson::dom::array array() const {
    require(element_.is_array(), "{} is {}, expected an array", where(), shown());
    return element_.get_array().value_unsafe();
  }
  simdjson::dom::object object() const {
    require(element_.is_object(), "{} is {}, expected an object", where(), shown());
    return element_.get_object().value_unsafe();
  }

  std::optional<JsonNode> find(std::string_view key) const {
    const auto found = object().at_key(key);
    if (found.error() != simdjson::SUCCESS) return std::nullopt;
    return JsonNode(found.value_unsafe(), origin_,
                    path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key));
  }
  JsonNode at(std::string_view key) const {
    const std::optional<JsonNode> found = find(key);
    require(found.has_value(), "{}: \"{}\" is missing", path_.empty() ? origin_ : where(), key);
    return *found;
  }
  JsonNode item(Element element, size_t index) const {
    return JsonNode(element, origin_, fmt::format("{}[{}]", path_, index));
  }
  // Throws unless every key is one of `known` and stands there once.
  void expect_keys(std::initializer_list<std::string_view> known) const {
    std::unordered_set<std::string_view> seen;
    for (const auto [key, value] : object()) {
      require(std::find(known.begin(), known.end(), key) != known.end(),
              "{}: key {} is not understood", path_.empty() ? origin_ : where(), in_quotes(key));
      require(seen.insert(key).second, "{}: key \"{}\" stands twice",
              path_.empty() ? origin_ : where(), key);
    }
  }
  void expect_null(std::string_view key, std::string_view reason) const {
    const std::optional<JsonNode> value = find(key);
    require(!value || value->is_null(), "{} is {}, expected null: {}", value ? value->where() : "",
            value ? value->shown() : "", reason);
  }
  // The value as JSON, cut to a readable length.
  std::string shown() const { return one_line(simdjson::minify(element_), 60); }

 private:
  Element element_;
  std::string_view origin_;
  std::string path_;
};

}  // namespace midfill
