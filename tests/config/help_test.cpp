#include "config/help.h"

#include <gtest/gtest.h>

#include <sstream>

#include "config/generate_config.h"
#include "config/train_config.h"

namespace lt2 {
namespace {

struct Example {
  std::string model;
  std::optional<int64_t> count;
  double rate = 0.5;
  bool compile = false;
  std::string kernel = "fast";
  struct Group {
    int64_t size = 4;
    template <class Visit>
    void fields(Visit&& visit) {
      visit("size", size, within(1, 8), "ours: how many there are in each of them, which may take more than one line");
    }
  } group;

  template <class Visit>
  void fields(Visit&& visit) {
    visit("model", model, verbatim(), "a folder");
    visit("compile", compile, ignored("nothing is compiled"), "torch.compile");
    visit("sampling", kHeading, any(), "");
    visit("count", count, at_least(1), "how many");
    visit("rate", rate, above_up_to(0, 1), "a|b");
    visit("group", group, any(), "");
    visit("kernel", kernel, one_of({"fast", "slow"}), "which");
  }
};

TEST(Help, ListsFieldsBySectionAndTheIgnoredLast) {
  EXPECT_EQ(field_list(default_fields<Example>(), 60),
            "  model=         a folder\n"
            "\n"
            "sampling\n"
            "  count=null     how many [int, at least 1]\n"
            "  rate=0.5       a|b [above 0 and at most 1]\n"
            "  kernel=fast    which [fast, slow]\n"
            "\n"
            "group\n"
            "  group.size=4   ours: how many there are in each of them,\n"
            "                 which may take more than one line [1 to 8]\n"
            "\n"
            "official keys without effect here\n"
            "  compile=false  torch.compile: nothing is compiled\n");
}

TEST(Help, TablesTellOfficialFromOurs) {
  const auto page = field_tables(default_fields<Example>(), 3);
  EXPECT_NE(page.find("\n### group\n\n| key | type | default | values | meaning | from |\n"), std::string::npos)
      << page;
  EXPECT_NE(page.find("| `group.size` | int | `4` | 1 to 8 | how many there are in each of them, which "
                      "may take more than one line | ours |\n"),
            std::string::npos)
      << page;
  EXPECT_NE(page.find("| `rate` | float | `0.5` | above 0 and at most 1 | a\\|b | official |\n"), std::string::npos)
      << page;
  EXPECT_NE(page.find("| `compile` | bool | `false` | torch.compile | nothing is compiled |\n"), std::string::npos)
      << page;
}

TEST(Help, WrapsAtTheWidth) {
  EXPECT_EQ(wrapped("aa bb cc", 5), "aa bb\ncc");
  EXPECT_EQ(wrapped("aa bb cc", 7, 2, 4), "aa\n  bb cc");
  EXPECT_EQ(wrapped("aaaaaaaa b", 3), "aaaaaaaa\nb");  // a long word stays whole
  EXPECT_EQ(wrapped("", 3), "");
  for (const size_t width : {40, 60, 100, 160}) {
    std::istringstream lines(field_list(default_fields<TrainConfig>(), width) +
                             field_list(default_fields<GenerateConfig>(), width));
    for (std::string line; std::getline(lines, line);) {
      const bool one_word = line.find(' ', line.find_first_not_of(' ')) == std::string::npos;
      EXPECT_TRUE(line.size() <= width || one_word) << width << ": " << line;
    }
  }
}

}  // namespace
}  // namespace lt2
