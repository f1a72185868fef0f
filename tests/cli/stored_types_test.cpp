// What a folder's weights are stored in, and what the commands make of it: all take fp32, bf16 and fp16.
#include "checkpoint/safetensors.h"
#include "tests/support/program.h"

namespace lt2::test {
namespace {

class StoredTypes : public Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    ASSERT_EQ(run("train config=tiny.yaml").status, 0);
    ASSERT_EQ(run("convert in=run out=hf to=hf").status, 0);
  }
  // The small files of `from`, and its weights rounded to `rounded` and stored in `stored`.
  void store(const fs::path& from, const std::string& to, torch::ScalarType rounded, torch::ScalarType stored) {
    fs::create_directories(root_ / to);
    for (const char* name : {"params.json", "config.json"}) {
      if (fs::exists(from / name)) fs::copy_file(from / name, root_ / to / name);
    }
    const SafetensorsFile file(from / "model.safetensors");
    std::vector<std::pair<std::string, torch::Tensor>> tensors;
    for (const auto& name : file.names()) tensors.emplace_back(name, file.tensor(name).to(rounded).to(stored));
    write_safetensors(root_ / to / "model.safetensors", tensors);
  }
  std::string output_of(const std::string& arguments) {
    const auto result = run(arguments);
    EXPECT_EQ(result.status, 0) << arguments << "\n" << result.err;
    EXPECT_EQ(result.err.find("internal"), std::string::npos) << result.err;
    return result.out;
  }
};

TEST_F(StoredTypes, AllCommandsTakeThem) {
  const fs::path step = root_ / "run/checkpoints/0000000004";
  const std::string speak = " prompt='line 7' max_gen_len=12 logprobs=0";
  for (const auto& [form, from] : {std::pair<std::string, fs::path>{"run", step}, {"hf", root_ / "hf"}}) {
    for (const auto& [name, type] : {std::pair<std::string, torch::ScalarType>{"fp32", torch::kFloat32},
                                     {"bf16", torch::kBFloat16},
                                     {"fp16", torch::kFloat16}}) {
      const auto folder = form + "_" + name, wide = folder + "_wide";
      SCOPED_TRACE(folder);
      store(from, folder, type, type);
      store(from, wide, type, torch::kFloat32);
      output_of("inspect ckpt=" + folder);
      if (form == "run") output_of("bench mode=decode contexts=8 seconds=0.01 ckpt=" + folder);
      // Exact: as if the same numbers had been stored in fp32.
      output_of("convert to=lt2 in=" + folder + " out=" + folder + "_back");
      output_of("convert to=lt2 in=" + wide + " out=" + wide + "_back");
      EXPECT_EQ(read_file(root_ / (folder + "_back/model.safetensors")),
                read_file(root_ / (wide + "_back/model.safetensors")));
      for (const char* dtype : {"fp32", "bf16"}) {
        const auto options = std::string(" dtype=") + dtype + speak;
        EXPECT_EQ(output_of("generate ckpt=" + folder + options), output_of("generate ckpt=" + wide + options));
      }
      output_of("quantize weights=int8 text=text.txt tokens=64 ckpt=" + folder + " out=" + folder + "_int8");
      output_of("quantize weights=int8 ckpt=" + wide + " out=" + wide + "_int8");
      EXPECT_EQ(output_of("generate ckpt=" + folder + "_int8" + speak),
                output_of("generate ckpt=" + wide + "_int8" + speak));
    }
  }
  // The program reports the conversion.
  const auto rounded = run("generate ckpt=run_fp16 prompt=x max_gen_len=1"),
             exact = run("generate ckpt=run_fp16 prompt=x max_gen_len=1 dtype=fp32");
  EXPECT_NE(rounded.err.find("weights in fp16 are rounded to bf16"), std::string::npos) << rounded.err;
  EXPECT_NE(exact.err.find("weights in fp16 are widened to fp32"), std::string::npos) << exact.err;
}

// A text file with a mark in front: the mark is no part of what is measured or continued.
TEST_F(StoredTypes, AByteOrderMarkIsNoText) {
  std::ofstream(root_ / "plain.txt") << read_file(root_ / "text.txt").substr(0, 200);
  std::ofstream(root_ / "marked.txt") << "\xef\xbb\xbf" << read_file(root_ / "plain.txt");
  for (const std::string command : {"generate ckpt=run max_gen_len=8 prompt_file=", "quantize ckpt=run text="}) {
    auto marked = output_of(command + "marked.txt");
    if (const auto at = marked.find("marked"); at != std::string::npos) marked.replace(at, 6, "plain");
    EXPECT_EQ(marked, output_of(command + "plain.txt"));
  }
}

// Shells do not expand the tilde after key=; the program does in every key that names a file.
TEST_F(StoredTypes, ATildeIsTheHomeFolder) {
  ::setenv("HOME", root_.c_str(), 1);
  output_of("train 'config=~/tiny.yaml' 'dump_dir=~/other' steps=2");
  output_of("convert 'in=~/other' 'out=~/official' to=official");
  output_of("quantize 'ckpt=~/other' 'out=~/packed' weights=int8");
  output_of("generate 'ckpt=~/packed' prompt=null max_gen_len=2 'state=~/talk'");
  output_of("inspect 'ckpt=~/other'");
  output_of("tokenize 'in=~/text.txt' 'out=~/ids.txt'");
  std::ofstream(root_ / "docs.jsonl") << "{\"text\": \"a\"}\n{\"text\": \"b\"}\n";
  output_of("data prepare 'in=~/text.txt,~/docs.jsonl' 'out=~/chunks' name=x nchunks=1 validation_lines=0");
  EXPECT_FALSE(fs::exists(root_ / "~"));
  for (const char* name : {"other/config.yaml", "official/params.json", "packed/packed.safetensors", "talk", "ids.txt"})
    EXPECT_TRUE(fs::exists(root_ / name)) << name;
}

}  // namespace
}  // namespace lt2::test
