// Any bytes as a template: a clear error of one line, or a text within its limit.
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Isrc fuzz/template_fuzz.cpp src/template/*.cpp
//       src/base/text.cpp -lfmt -lutf8proc && ./a.out fuzz/seeds/template
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "template/template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto variables = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": " Où? \n"},
                 {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
                 {"role": "tool", "content": "{}"}, {"role": "assistant", "content": "<think>a</think>b"}],
    "tools": [{"function": {"name": "f", "description": "d", "parameters": {"properties": {"x": {"type": "string"}}}}}],
    "a": 1, "b": "two", "f": 2.5, "n": null, "l": [3, 1, 2], "d": {"x": 1, "items": 5}, "add_generation_prompt": true})");
  // The first byte chooses the options; the seeds' first one is text, which does no harm.
  lt2::TemplateOptions options;
  options.trim_blocks = size > 0 && data[0] & 1;
  options.lstrip_blocks = size > 0 && data[0] & 2;
  options.strict_undefined = size > 0 && data[0] & 4;
  options.limits.steps = 300'000;
  options.limits.output_bytes = size_t{1} << 20;
  try {
    const std::string_view source(reinterpret_cast<const char*>(data), size);
    const auto text = lt2::Template::parse(source, "fuzz", options).render(variables);
    if (text.size() > options.limits.output_bytes) std::abort();
  } catch (const lt2::Error& error) {
    if (!std::string_view(error.what()).starts_with("fuzz:")) std::abort();
  }
  return 0;
}
