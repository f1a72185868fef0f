#pragma once
// Chat templates and prompts of evaluation tasks: the subset of Jinja that published ones are written in.
//
//   const auto chat = lt2::Template::parse(source, "tokenizer_config.json: chat_template",
//   lt2::TemplateOptions::chat()); const std::string prompt = chat.render({{"messages", messages},
//   {"add_generation_prompt", true}});
//
// Judged against jinja2 3.1 (scripts/make-template-fixtures.py). What it has: expressions with Python's meaning,
// filters, tests, methods of texts, lists and dicts, for (filter, else, recursive, loop.*, break, continue), if, set,
// namespaces, macros, call, filter and with blocks, raw, whitespace control, {% generation %}, raise_exception,
// strftime_now. What it refuses by name: other templates (extends, include, import, block), autoescape, integers beyond
// 64 bits. Values cannot be changed, as in the sandbox that chat templates are published for: list.append is an error.
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace lt2 {

namespace jinja {
struct Tree;
}

/// Limits on time, memory and stack, so that a hostile template ends with an error.
struct TemplateLimits {
  size_t output_bytes = size_t{16} << 20;  // of the result, and of every text on the way there
  int64_t steps = 10'000'000;              // one for each node that is evaluated, each item and each 64 bytes handled
  int depth = 200;                         // of nested syntax, and of macros and recursive loops that call each other
  int64_t range_items = 100'000;           // of one range(), as in jinja2's sandbox
};

struct TemplateOptions {
  bool trim_blocks = false;            // a newline right after a block or comment is dropped
  bool lstrip_blocks = false;          // spaces between the start of a line and a block or comment are dropped
  bool keep_trailing_newline = false;  // otherwise one newline at the end of the source is dropped
  bool strict_undefined = false;       // a name without a value is an error wherever it is used
  std::optional<std::tm> now;          // for strftime_now; the local time if there is none
  TemplateLimits limits;

  /// As the chat templates of Hugging Face models are rendered: trim_blocks and lstrip_blocks.
  static TemplateOptions chat();
  /// As the texts of evaluation tasks are: strict_undefined and keep_trailing_newline.
  static TemplateOptions task();
};

/// A parsed template. Copies share the syntax tree; render() may run in several threads at once.
class Template {
 public:
  /// `name` stands in errors: "NAME:LINE: what was expected, what was found". Throws lt2::Error for what is no
  /// template, is not in the subset, or is nested deeper than the limit. `source` must be UTF-8.
  static Template parse(std::string_view source, const std::string& name, const TemplateOptions& options = {});

  /// The text with an object's members as variables. Throws lt2::Error "NAME:LINE: ..." for what fails on the way,
  /// raise_exception and limits among it. Objects keep their order; integers must fit 64 bits, texts must be UTF-8.
  std::string render(const nlohmann::ordered_json& variables) const;

  const std::string& name() const { return name_; }

 private:
  Template(std::string name, const TemplateOptions& options, std::shared_ptr<const jinja::Tree> tree);
  std::string name_;
  TemplateOptions options_;
  std::shared_ptr<const jinja::Tree> tree_;
};

}  // namespace lt2
