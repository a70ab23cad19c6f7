#include "src/data/json_line.h"

#include "kernels/common/check.h"
#include "kernels/common/rng.h"
#include "src/io/json.h"
#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using namespace std::string_literals;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

std::string text_of(std::string line, const std::string& key = "text") {
  std::string text = "left from before";
  JsonLine(key).text_of(line, text);
  return text;
}

std::string refusal(const std::string& line, const std::string& key = "text") {
  const std::string said = error_of([&] { text_of(line, key); });
  EXPECT_EQ(said.find('\n'), std::string::npos) << said;
  return said;
}

// The same object with a number that only the slower of the two parsers can read.
std::string slow(std::string line) {
  line.insert(line.rfind('}'), ",\"id\":123456789012345678901234567890");
  return line;
}

TEST(JsonLine, TheTextUnderTheKey) {
  EXPECT_EQ(text_of(R"({"text":"a"})"), "a");
  EXPECT_EQ(text_of(R"( {"meta":{"text":1},"text":"b"} )"), "b");
  EXPECT_EQ(text_of(R"({"text":""})"), "");
  EXPECT_EQ(text_of(R"({"text":"\u0000\ud83d\ude00\n"})"), "\0\xF0\x9F\x98\x80\n"s);
  EXPECT_EQ(text_of(R"({"":"no name"})", ""), "no name");
  EXPECT_EQ(text_of(R"({"t\u0065xt":"escaped"})"), "escaped");
}

TEST(JsonLine, AKeyOfKeys) {
  for (const auto& made : {std::function<std::string(std::string)>([](auto l) { return l; }),
                           std::function<std::string(std::string)>(slow)}) {
    EXPECT_EQ(text_of(made(R"({"a":{"b":"x"}})"), "a.b"), "x");
    EXPECT_EQ(text_of(made(R"({"a":{"b":{"c":"x"}},"b":3})"), "a.b.c"), "x");
    // A key that holds the dot itself comes first, wherever it stands.
    EXPECT_EQ(text_of(made(R"({"a":{"b":"x"},"a.b":"y"})"), "a.b"), "y");
    EXPECT_EQ(text_of(made(R"({"a.b":"y","a":{"b":"x"}})"), "a.b"), "y");
    EXPECT_EQ(text_of(made(R"({"a":{"":{"b":"x"}}})"), "a..b"), "x");
    EXPECT_SAYS(refusal(made(R"({"b":"x"})"), "a.b"), "no key \"a\"");
    EXPECT_SAYS(refusal(made(R"({"a":{"c":"x"}})"), "a.b"), "no key \"a.b\"");
    EXPECT_SAYS(refusal(made(R"({"a":"x"})"), "a.b"), "\"a\": expected an object, found a string");
    EXPECT_SAYS(refusal(made(R"({"a":[{"b":"x"}]})"), "a.b"), "found an array");
    EXPECT_SAYS(refusal(made(R"({"a":{"b":null}})"), "a.b"),
                "\"a.b\": expected a string, found null");
    EXPECT_SAYS(refusal(made(R"({"a":{"b":"x","b":"y"}})"), "a.b"), "\"b\" stands twice");
    EXPECT_SAYS(refusal(made(R"({"a":{},"a":{"b":"y"}})"), "a.b"), "\"a\" stands twice");
  }
}

TEST(JsonLine, NumbersThatOneParserCannotHold) {
  EXPECT_EQ(text_of(slow(R"({"text":"a"})")), "a");
  EXPECT_SAYS(refusal(slow(R"({"text":1})")), "\"text\": expected a string, found a number");
  EXPECT_SAYS(refusal(slow(R"({"text":["a"]})")), "expected a string, found an array");
  EXPECT_SAYS(refusal(slow(R"({"txt":"a"})")), "no key \"text\"");
  // Nobody reads it: a document is not lost for it. So does Python write its floats.
  for (const char* number : {"1e999", "-1e999", "1e400", "NaN", "Infinity", "-Infinity", "1e-400"})
    for (const char* form : {R"({"n":#,"text":"a"})", R"({"text":"a","n":[1,#,{"m":# }]})",
                             R"({"s":"NaN \"# NaN\\","n":#,"text":"a"})"}) {
      std::string line = form;
      for (size_t at; (at = line.find('#')) != std::string::npos;) line.replace(at, 1, number);
      EXPECT_EQ(text_of(line), "a") << line;
    }
  EXPECT_EQ(text_of(R"({"n":1e999,"text":"NaN 1e999 \" -Infinity"})"), "NaN 1e999 \" -Infinity");
  for (const char* number : {"nan", "-NaN", "+1", "01e999", "1e999x", "NaNs", "1.e999", ".1e999",
                             "1e", "--Infinity", "- Infinity", "inf", "Infinity 1", "1 1e999"})
    EXPECT_SAYS(refusal(fmt::format(R"({{"text":"a","n":{}}})", number)), "not valid JSON: ");
  EXPECT_SAYS(refusal(R"({NaN:1,"text":"a"})"), "not valid JSON: byte ");
  EXPECT_SAYS(refusal(R"({"text":NaN})"), "\"text\": expected a string, found a number");
  EXPECT_EQ(text_of(R"({"text":"a","n":1e-400})"), "a");
  EXPECT_EQ(text_of(slow(R"({"text":"a","n":1e-400})")), "a");
  EXPECT_SAYS(refusal(R"({"text":"a","n":01})"), "not valid JSON");
}

TEST(JsonLine, AnErrorLeavesItUsable) {
  JsonLine json("text");
  std::string text, bad = "{\"text\":\"" + std::string(100, '\xff'), good = R"({"text":"a"})";
  EXPECT_SAYS(error_of([&] { json.text_of(bad, text); }), "not valid JSON");
  json.text_of(good, text);
  EXPECT_EQ(text, "a");
}

TEST(JsonLine, ALongLineAndThenAShortOne) {
  JsonLine json("text");
  const std::string large(size_t{20} << 20, 'x');
  std::string text, line = Json({{"text", large}}).dump();
  json.text_of(line, text);
  EXPECT_TRUE(text == large);
  line = R"({"text":"short"})";
  json.text_of(line, text);
  EXPECT_EQ(text, "short");
}

// Every text comes back; every line that is damaged is an error of one line, or some text.
TEST(JsonLine, AnyBytes) {
  for (uint64_t i = 0; i < 20'000; ++i) {
    Rng rng(1, Purpose::kTest, 0, i);
    std::string value;
    for (uint64_t n = rng.below(12); n > 0; --n)
      value += std::vector<std::string>{"a", "\"", "\\",   "\n", "\xC3\xA9", "\xF0\x9F\x98\x80",
                                        "{", "}",  "text", "\t", "\x01",     ","}[rng.below(12)];
    std::string line = Json({{"n", 1.5}, {"meta", {{"text", value}}}, {"text", value}}).dump();
    ASSERT_EQ(text_of(line), value) << line;
    ASSERT_EQ(text_of(line, "meta.text"), value) << line;
    for (uint64_t n = 1 + rng.below(3); n > 0; --n) {
      const size_t at = rng.below(line.size());
      switch (rng.below(3)) {
        case 0:
          line[at] = static_cast<char>(rng.below(256));
          break;
        case 1:
          line.erase(at, 1 + rng.below(4));
          break;
        default:
          line.insert(at, std::string(1 + rng.below(3), static_cast<char>(rng.below(256))));
      }
      if (line.empty()) break;
    }
    try {
      text_of(line);
    } catch (const Error& error) {
      ASSERT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace midfill
