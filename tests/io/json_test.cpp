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

// Found by fuzzing: bytes of the file stood in the message as they were.
TEST(Json, MessagesAreOneLineWhateverTheFileHolds) {
  const std::string key = error_of("{\"a\\n\\u007f\": 1, \"a\\n\\u007f\": 2}");
  EXPECT_NE(key.find(R"(key "a\n\u007f" stands twice)"), std::string::npos) << key;
  const std::string byte = error_of("{\x7f");
  EXPECT_NE(byte.find(R"(last read: '{\x7f')"), std::string::npos) << byte;
  EXPECT_LT(error_of("[\"" + std::string(100000, 'x')).size(), 400u);
}

}  // namespace
}  // namespace midfill
