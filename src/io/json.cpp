#include "src/io/json.h"

#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kernels/common/check.h"
#include "src/io/one_line.h"

namespace midfill {

namespace {

// nlohmann's messages read "[json.exception.parse_error.101] parse error at line 1, column 2: ...".
std::string without_tag(const std::string& message) {
  const size_t end = message.find("] ");
  return end == std::string::npos ? message : message.substr(end + 2);
}

// Keeps nothing but the first error.
class Judge final : public nlohmann::json_sax<Json> {
 public:
  std::string take() { return std::move(error_); }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(int64_t) override { return true; }
  bool number_unsigned(uint64_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(Json::binary_t&) override { return true; }
  bool start_object(size_t) override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_object() override { return true; }
  bool end_array() override { return true; }
  bool key(std::string&) override { return true; }
  bool parse_error(size_t at, const std::string&, const Json::exception& error) override {
    if (dynamic_cast<const Json::out_of_range*>(&error)) return false;  // a number's size
    // Behind "parse error at line 1, column 12: ".
    const std::string message = without_tag(error.what());
    const size_t place = message.find(": ");
    error_ =
        fmt::format("byte {}: {}", at,
                    one_line(place == std::string::npos ? message : message.substr(place + 2)));
    return false;
  }

 private:
  std::string error_;
};

// Makes the value of what nlohmann's parser reads, and refuses what that parser lets pass.
class Reader final : public nlohmann::json_sax<Json> {
 public:
  Reader(std::string_view origin, int max_depth, TooSmall too_small)
      : origin_(origin), max_depth_(static_cast<size_t>(max_depth)), too_small_(too_small) {}

  Json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(int64_t value) override { return put(value); }
  bool number_unsigned(uint64_t value) override { return put(value); }
  bool number_float(double value, const std::string& text) override {
    if (too_small_ == TooSmall::error && is_too_small(value, text))
      fail("{}: not valid JSON: number underflow parsing '{}', expected 0 or at least 2.3e-308",
           origin_, one_line(text, 40));
    return put(value);
  }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }  // never in a text

  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& key) override {
    Open& object = open_.back();
    if (!object.keys.insert(key).second)
      fail("{}: key {} stands twice in one object", origin_, in_quotes(key));
    object.key = std::move(key);
    return true;
  }
  bool parse_error(size_t, const std::string&, const Json::exception& error) override {
    fail("{}: not valid JSON: {}", origin_, one_line(without_tag(error.what())));
  }

 private:
  // An object or array whose end has not come; what is in it stays where it is meanwhile.
  struct Open {
    Json* value;
    std::set<std::string> keys = {};
    std::string key = {};  // of the member that comes next
  };

  Json& place(Json value) {
    if (open_.empty()) return root_ = std::move(value);
    Open& parent = open_.back();
    if (parent.value->is_array()) return parent.value->emplace_back(std::move(value));
    // Not by operator[], which would look for the key among all that are there.
    auto& members = parent.value->get_ref<Json::object_t&>();
    return members.emplace_back(std::move(parent.key), std::move(value)).second;
  }
  bool put(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    require(open_.size() < max_depth_, "{}: nested deeper than {} levels", origin_, max_depth_);
    open_.push_back({.value = &place(std::move(value))});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view origin_;
  size_t max_depth_;
  TooSmall too_small_;
  Json root_;
  std::vector<Open> open_;
};

}  // namespace

bool is_too_small(double value, std::string_view text) {
  if (std::fpclassify(value) == FP_SUBNORMAL) return true;
  return value == 0 &&
         text.substr(0, text.find_first_of("eE")).find_first_of("123456789") != text.npos;
}

std::string_view without_byte_order_mark(std::string_view file) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  return file.substr(file.starts_with(kMark) ? kMark.size() : 0);
}

std::string json_error(std::string_view line) {
  if (const size_t at = line.find('\0'); at != line.npos)
    return fmt::format("byte {}: a NUL byte", at + 1);
  Judge judge;
  Json::sax_parse(line, &judge);
  return judge.take();
}

Json parse_json(std::string_view text, std::string_view origin, int max_depth, TooSmall too_small) {
  require(!text.starts_with("\xEF\xBB\xBF"),
          "{}: starts with a byte order mark, expected plain UTF-8 JSON", origin);
  // nlohmann takes a NUL for the end of the text and would ignore what follows.
  require(text.find('\0') == text.npos, "{}: not valid JSON: a NUL byte at byte {}", origin,
          text.find('\0'));
  Reader reader(origin, max_depth, too_small);
  Json::sax_parse(text, &reader);
  return reader.take();
}

}  // namespace midfill
