// Fixtures with random edits: a text or an error of one line, whatever comes.
#include <gtest/gtest.h>

#include <random>

#include "tests/support/mutate.h"
#include "tests/template/support.h"

namespace lt2 {
namespace {

// Puts pieces of templates into each other, which goes deeper into the evaluator than changed bytes do.
class Splicer {
 public:
  Splicer(const nlohmann::ordered_json& file, uint32_t seed) : random_(seed) {
    for (const auto& fixture : file["templates"]) {
      const auto source = fixture["template"].get<std::string>();
      for (size_t at = source.find('{'); at != std::string::npos; at = source.find('{', at + 1)) {
        const size_t end = source.find('}', at);
        if (end != std::string::npos) pieces_.push_back(source.substr(at, std::min<size_t>(end - at + 2, 200)));
      }
    }
  }
  std::string operator()(std::string source) {
    for (size_t left = 1 + random_() % 3; left > 0; --left)
      source.insert(random_() % (source.size() + 1), pieces_[random_() % pieces_.size()]);
    return source;
  }

 private:
  std::mt19937 random_;
  std::vector<std::string> pieces_;
};

TEST(TemplateMutations, EndWithATextOrAnError) {
  int texts = 0, errors = 0;
  for (const char* name : {"chat", "edges", "tasks"}) {
    const auto file = test::fixtures(name);
    const auto& many = file["variables"];
    test::Mutator mutate(7);
    Splicer splice(file, 11);
    const int rounds = name == std::string("chat") ? 40 : 12;
    for (const auto& fixture : file["templates"])
      for (int round = 0; round < rounds; ++round) {
        auto options = test::options_of(fixture);
        options.limits.steps = 200'000;
        options.limits.output_bytes = 1 << 20;
        const auto source = fixture["template"].get<std::string>();
        const auto changed = round % 2 ? splice(source) : mutate(source);
        const auto found = test::rendered(changed, options, many[static_cast<size_t>(round) % many.size()]);
        ++(found.failed ? errors : texts);
        if (!found.failed) continue;
        EXPECT_TRUE(found.text.starts_with("fixture:")) << found.text << "\n" << changed;
        EXPECT_EQ(found.text.find('\n'), std::string::npos) << found.text << "\n" << changed;
      }
  }
  EXPECT_GT(texts, 500);
  EXPECT_GT(errors, 500);
}

}  // namespace
}  // namespace lt2
