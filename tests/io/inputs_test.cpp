#include "src/io/inputs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "tests/support/test_support.h"

namespace midfill {
namespace {

using test::error_of;
using test::write_text;
using ::testing::HasSubstr;

// a.py  b.txt  sub/B.py  sub/a.c  sub/deep/[x].py  sub/pipe  link -> sub  c.py -> a.py
class ListInputs : public ::testing::Test {
 protected:
  ListInputs() {
    std::filesystem::create_directories(dir_ / "sub/deep");
    for (const char* name : {"a.py", "b.txt", "sub/B.py", "sub/a.c", "sub/deep/[x].py"})
      write_text(dir_ / name, name);
    EXPECT_EQ(::mkfifo((dir_ / "sub/pipe").c_str(), 0600), 0);
    std::filesystem::create_directory_symlink(dir_ / "sub", dir_ / "link");
    std::filesystem::create_symlink(dir_ / "a.py", dir_ / "c.py");
  }

  std::vector<std::string> list(const std::vector<std::string>& names,
                                const std::vector<std::string>& include = {},
                                const std::vector<std::string>& exclude = {}) {
    std::vector<std::string> inputs;
    for (const std::string& name : names) inputs.push_back((dir_ / name).string());
    std::vector<std::string> found;
    named_.clear();
    for (const auto& [path, named] : list_inputs(inputs, include, exclude)) {
      found.push_back(path.lexically_relative(dir_.path()).string());
      if (named) named_.push_back(found.back());
    }
    return found;
  }

  using Names = std::vector<std::string>;
  Names named_;  // by the last list()
  const test::TemporaryDirectory dir_;
};

TEST_F(ListInputs, TellsNamedFilesFromFound) {
  list({"sub"});
  EXPECT_EQ(named_, Names{});
  list({"sub", "*.txt", "sub/a.c"});
  EXPECT_EQ(named_, (Names{"b.txt", "sub/a.c"}));
  list({"", "c.py"});  // another name of a.py
  EXPECT_EQ(named_, Names{"a.py"});
}

TEST_F(ListInputs, WalksDirectoriesInByteOrder) {
  // The pipe, the linked directory and the second name of a.py are not there.
  EXPECT_EQ(list({""}), (Names{"a.py", "b.txt", "sub/B.py", "sub/a.c", "sub/deep/[x].py"}));
}

TEST_F(ListInputs, ListsEachFileOnce) {
  EXPECT_EQ(list({"sub", "sub/a.c", "b.txt", "sub"}),
            (Names{"b.txt", "sub/B.py", "sub/a.c", "sub/deep/[x].py"}));
  EXPECT_EQ(list({"c.py"}), Names{"c.py"});
}

TEST_F(ListInputs, ExpandsGlobs) {
  EXPECT_EQ(list({"*.py"}), Names{"a.py"});
  EXPECT_EQ(list({"s*"}), list({"sub"}));
  EXPECT_EQ(list({"sub/[aB].*"}), (Names{"sub/B.py", "sub/a.c"}));
  EXPECT_EQ(list({"sub/deep/[x].py"}), Names{"sub/deep/[x].py"}) << "a file of that very name";
}

TEST_F(ListInputs, IncludesAndExcludes) {
  EXPECT_EQ(list({""}, {"*.py"}), (Names{"a.py", "sub/B.py", "sub/deep/[x].py"}));
  EXPECT_EQ(list({""}, {"*.py", "*.c"}, {"*/deep/*"}), (Names{"a.py", "sub/B.py", "sub/a.c"}));
  EXPECT_EQ(list({"a.py", "b.txt"}, {}, {"b*"}), Names{"a.py"});
}

TEST_F(ListInputs, RefusesWhatNamesNothing) {
  EXPECT_THAT(error_of([&] { list({"a.py", "gone"}); }), HasSubstr("gone: no such file"));
  EXPECT_THAT(error_of([&] { list({"*.rs"}); }), HasSubstr("*.rs: no file matches"));
  EXPECT_THAT(error_of([&] { list({"sub/pipe"}); }), HasSubstr("expected a file or a directory"));
  EXPECT_THAT(error_of([&] { list({""}, {"*.rs"}); }), HasSubstr("no input file that"));
  EXPECT_THAT(error_of([&] { list({}); }), HasSubstr("no input file"));
}

TEST_F(ListInputs, RefusesAnUnreadableDirectory) {
  if (::geteuid() == 0) GTEST_SKIP() << "root reads every directory";
  std::filesystem::permissions(dir_ / "sub", std::filesystem::perms::none);
  const std::string error = error_of([&] { list({""}); });
  std::filesystem::permissions(dir_ / "sub", std::filesystem::perms::owner_all);
  EXPECT_THAT(error, HasSubstr("sub: cannot list"));
}

}  // namespace
}  // namespace midfill
