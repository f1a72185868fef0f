// Where a folder's chat template is found, and what is said of one that is damaged.
#include "folders/chat_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/files.h"
#include "folders/companions.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_folder.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class ChatSourceTest : public ::testing::Test {
 protected:
  void put(const std::string& name, const std::string& content) { write_file_atomically(root_ / name, content); }
  void put_settings(const json& settings) { put("tokenizer_config.json", settings.dump()); }
  std::string error() const {
    return test::error_of([&] { read_chat_source(root_); });
  }
  test::TempFolder temporary_;
  const fs::path root_ = temporary_.path();
};

TEST_F(ChatSourceTest, AFileOfItsOwnComesFirst) {
  EXPECT_FALSE(read_chat_source(root_));
  put_settings({{"bos_token", "<s>"}, {"eos_token", {{"content", "</s>"}, {"lstrip", false}}}});
  EXPECT_FALSE(read_chat_source(root_));
  put_settings({{"bos_token", "<s>"}, {"eos_token", {{"content", "</s>"}}}, {"chat_template", "{{ 1 }}"}});
  auto chat = read_chat_source(root_);
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->text, "{{ 1 }}");
  EXPECT_EQ(chat->name, (root_ / "tokenizer_config.json").string() + ": chat_template");
  EXPECT_EQ(chat->bos, "<s>");
  EXPECT_EQ(chat->eos, "</s>");
  EXPECT_FALSE(chat->for_tools);
  put("chat_template.jinja", "{{ 2 }}");
  chat = read_chat_source(root_);
  EXPECT_EQ(chat->text, "{{ 2 }}");
  EXPECT_EQ(chat->name, (root_ / "chat_template.jinja").string());
  EXPECT_EQ(chat->bos, "<s>");
  fs::remove(root_ / "tokenizer_config.json");
  chat = read_chat_source(root_);
  EXPECT_EQ(chat->text, "{{ 2 }}");
  EXPECT_FALSE(chat->bos);
}

TEST_F(ChatSourceTest, OfNamedOnesTheDefaultAndTheOneForTools) {
  const json tools = {{"name", "tool_use"}, {"template", "with tools"}},
             standard = {{"name", "default"}, {"template", "without"}},
             other = {{"name", "rag"}, {"template", "documents"}};
  put_settings({{"chat_template", {other, tools, standard}}, {"bos_token", nullptr}});
  const auto chat = read_chat_source(root_);
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->text, "without");
  EXPECT_EQ(chat->for_tools, "with tools");
  EXPECT_FALSE(chat->bos);
  put_settings({{"chat_template", {other}}});
  EXPECT_EQ(error(), (root_ / "tokenizer_config.json").string() +
                         ": chat_template: none of the templates is named \"default\"; found rag");
}

TEST_F(ChatSourceTest, DamageIsOneLineWithFileAndKey) {
  const auto where = (root_ / "tokenizer_config.json").string() + ": ";
  const auto begins = [&](const std::string& start) {
    EXPECT_EQ(error().rfind(start, 0), 0u) << error();
    EXPECT_EQ(error().find('\n'), std::string::npos) << error();
  };
  put_settings({{"chat_template", 3}});
  begins(where + "chat_template: expected a template or a list");
  put_settings({{"chat_template", {{{"name", "default"}}}}});
  begins(where + "chat_template[0]: expected {\"name\": .., \"template\": ..}");
  put_settings({{"chat_template", {{{"name", "default"}, {"template", 3}}}}});
  begins(where + "chat_template[0]: expected the text of a template");
  put_settings({{"chat_template", json::array()}});
  begins(where + "chat_template: none of the templates");
  put_settings({{"chat_template", "x"}, {"bos_token", 3}});
  begins(where + "bos_token must be a text");
  put_settings({{"chat_template", "x"}, {"eos_token", {{"content", 3}}}});
  begins(where + "eos_token must be a text");
  put("tokenizer_config.json", "{\"chat_template\": ");
  begins(where + "expected a JSON object");
  fs::remove(root_ / "tokenizer_config.json");
  put("chat_template.jinja", "\xff");
  begins((root_ / "chat_template.jinja").string() + ": expected a template in UTF-8");
}

TEST_F(ChatSourceTest, WhoeverWritesAFolderCarriesItAlong) {
  put("tokenizer.json", "{}");  // cannot be opened, and is carried all the same
  put("chat_template.jinja", "{{ 2 }}");
  put_settings({{"eos_token", "</s>"}});
  const TokenizerConfig vocabulary{.name = "hf", .path = (root_ / "tokenizer.json").string(), .specials = "lingua"};
  for (const auto& companions : {companions_of(root_, vocabulary), companions_of_run(vocabulary)}) {
    for (const char* name : {"tokenizer.json", "chat_template.jinja", "tokenizer_config.json"})
      EXPECT_NE(companions.find(name), nullptr) << name;
  }
  const auto names = companion_names();  // which are verified when a folder is opened
  for (const char* name : {"chat_template.jinja", "tokenizer_config.json"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
}

}  // namespace
}  // namespace lt2
