#include "src/io/one_line.h"

#include "tests/support/test_support.h"

namespace midfill {
namespace {

TEST(OneLine, EscapesWhatIsNoText) {
  EXPECT_EQ(one_line("plain, \"quoted\" and größer 数 🙂"),
            "plain, \"quoted\" and größer 数 🙂");
  EXPECT_EQ(one_line(std::string_view("a\nb\x1b[31m\x7f\0", 9)), R"(a\nb\x1b[31m\x7f)");
  EXPECT_EQ(one_line("\xC2\x85 \xC2\xA0"), "\\xc2\\x85 \xC2\xA0");  // U+0085 is a control character
  EXPECT_EQ(one_line("\xff\xe6\x95 \xc3"), R"(\xff\xe6\x95 \xc3)");
}

TEST(OneLine, LeavesOutTheMiddleOfALongText) {
  const std::string text = std::string(1000, 'a') + std::string(1000, 'b');
  EXPECT_EQ(one_line(text, 8), "aaaaaa...bb");
  EXPECT_EQ(one_line(std::string(200, 'a')), std::string(200, 'a'));
  // A character that is cut is shown as its bytes.
  EXPECT_EQ(one_line("ab数cdefgh", 4), R"(ab\xe6...h)");
}

TEST(OneLine, QuotesNames) {
  EXPECT_EQ(in_quotes("a\"b\n\x7f"), R"("a\"b\n\u007f")");
  EXPECT_EQ(in_quotes("\xff"), R"("\ufffd")");
  EXPECT_EQ(in_quotes(std::string(101, 'x')), '"' + std::string(100, 'x') + "\"...");
}

}  // namespace
}  // namespace midfill
