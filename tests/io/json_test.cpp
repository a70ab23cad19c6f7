#include "src/io/json.h"

#include "tests/support/test_support.h"

namespace midfill {
namespace {

std::string error_of(const std::string& text) {
  return test::error_of([&] { parse_json(text, "f.json"); });
}

TEST(Json, KeepsOrderAndValues) {
  const Json json = parse_json(R"({"b": 1, "a": [true, 2.5, "x"]})", "f.json");
  EXPECT_EQ(json.dump(), R"({"b":1,"a":[true,2.5,"x"]})");
}

TEST(Json, RefusesWhatIsNotStrict) {
  EXPECT_NE(error_of("{\"a\": 1, \"b\": {\"a\": 1}, \"a\": 2}").find("\"a\" stands twice"),
            std::string::npos);
  EXPECT_NE(error_of("\xEF\xBB\xBF{}").find("byte order mark"), std::string::npos);
  EXPECT_NE(error_of("{\"a\": 1,}").find("line 1, column 9"), std::string::npos);
  EXPECT_NE(error_of("{\"a\": NaN}").find("not valid JSON"), std::string::npos);
  EXPECT_NE(error_of("{\"a\": 1e999}").find("1e999"), std::string::npos);
  EXPECT_NE(error_of("").find("not valid JSON"), std::string::npos);
  EXPECT_NE(error_of("{} {}").find("not valid JSON"), std::string::npos);
  EXPECT_NE(error_of(std::string("{}\0{", 4)).find("a NUL byte at byte 2"), std::string::npos);
  EXPECT_NE(error_of(std::string(100000, '[')).find("nested deeper"), std::string::npos);
  EXPECT_NE(error_of("{\"a\": \"\xff\"}").find("not valid JSON"), std::string::npos);
}

// A number is what its text says: neither infinity nor 0 stands for another one.
TEST(Json, RefusesNumbersThatADoubleDoesNotHold) {
  for (const std::string text :
       {"1e-400", "-1e-400", "0.001e-310", "1e-310", "4.9e-324", "2.2e-308", "123e-99999"})
    EXPECT_EQ(error_of("{\"a\": [" + text + "]}"),
              "f.json: not valid JSON: number underflow parsing '" + text +
                  "', expected 0 or at least 2.3e-308")
        << text;
  for (const std::string text : {"1e309", "-1e999"})
    EXPECT_NE(error_of(text).find("number overflow"), std::string::npos) << text;
  for (const std::string text : {"0", "-0", "0.0", "-0.000", "0e5", "0.0e-999", "0E-5"})
    EXPECT_EQ(parse_json(text, "").get<double>(), 0.0) << text;
  EXPECT_EQ(parse_json("2.3e-308", "").get<double>(), 2.3e-308);
  EXPECT_EQ(parse_json("1.7e308", "").get<double>(), 1.7e308);
  EXPECT_LT(error_of("0." + std::string(100000, '0') + "1").size(), 200u);
  EXPECT_EQ(parse_json("[1e-400]", "", 64, TooSmall::zero).dump(), "[0.0]");
}

TEST(Json, TakesEveryKindOfValueWhereverItMayStand) {
  for (const std::string text : {R"(null)", R"(true)", R"(-5)", R"(18446744073709551615)", R"(0.5)",
                                 R"("")", R"([])", R"({})", R"([[],{},[[1],[2,{"a":[]}]]])",
                                 R"({"":{"b":{"c":[]},"a":null},"x":[{"x":1},{"x":2}],"a":false})"})
    EXPECT_EQ(parse_json(text, "").dump(), text);
}

TEST(Json, LimitsTheDepth) {
  EXPECT_EQ(parse_json("[[{}]]", "", 3).dump(), "[[{}]]");
  EXPECT_EQ(test::error_of([] { parse_json("[[{}]]", "f.json", 2); }),
            "f.json: nested deeper than 2 levels");
}

// Found by fuzzing: bytes of the file stood in the message as they were.
TEST(Json, MessagesAreOneLineWhateverTheFileHolds) {
  const std::string key = error_of("{\"a\\n\\u007f\": 1, \"a\\n\\u007f\": 2}");
  EXPECT_NE(key.find(R"(key "a\n\u007f" stands twice)"), std::string::npos) << key;
  const std::string byte = error_of("{\x7f");
  EXPECT_NE(byte.find(R"(last read: '{\x7f')"), std::string::npos) << byte;
  EXPECT_LT(error_of("[\"" + std::string(100000, 'x')).size(), 400u);
}

TEST(Json, SaysWhatALineLacks) {
  for (const char* line : {"{}", "[1, 1e999, {\"a\": 1, \"a\": 2}]", " \"a\" "})
    EXPECT_EQ(json_error(line), "") << line;
  EXPECT_EQ(json_error("{\"a\":1,}").find("byte 8: syntax error while parsing object key"), 0u)
      << json_error("{\"a\":1,}");
  EXPECT_EQ(json_error(std::string("[1,\0]", 5)), "byte 4: a NUL byte");
  EXPECT_EQ(json_error("[\"\\ud800\"]").find("byte 9: "), 0u);
  EXPECT_LT(json_error("[\"" + std::string(100000, 'x')).size(), 400u);
}

}  // namespace
}  // namespace midfill
