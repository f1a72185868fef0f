#include "checkpoint/hf_folder.h"

#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/log.h"

namespace lt2 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char *kConfig = "config.json", *kIndex = "model.safetensors.index.json", *kSingle = "model.safetensors";
constexpr int kMaxDepth = 64;

// Without the limit a hostile file could nest without end; of equal keys the library would silently keep one.
json read_json(const fs::path& path, const std::string& text) {
  std::vector<std::set<std::string>> keys;
  const auto look = [&](int depth, json::parse_event_t event, json& value) {
    LT2_CHECK(depth <= kMaxDepth, "{}: nested more than {} deep", path.string(), kMaxDepth);
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key) {
      LT2_CHECK(keys.back().insert(value.get<std::string>()).second, "{}: the key {} appears twice", path.string(),
                value.dump(-1, ' ', true, json::error_handler_t::replace));
    }
    return true;
  };
  json root = json::parse(text, look, /*allow_exceptions=*/false);
  LT2_CHECK(root.is_object(), "{}: expected a JSON object", path.string());
  return root;
}

std::string quoted(const std::string& text) { return json(text).dump(-1, ' ', true, json::error_handler_t::replace); }

}  // namespace

bool HfFolder::is_one(const fs::path& folder) {
  return fs::exists(folder / kConfig) && (fs::exists(folder / kIndex) || fs::exists(folder / kSingle));
}

HfFolder::HfFolder(const fs::path& folder) : folder_(folder) {
  const fs::path config = folder / kConfig, index = folder / kIndex;
  LT2_CHECK(fs::exists(config), "{} does not exist; a model folder describes its model there", config.string());
  config_ = read_file(config);
  read_json(config, config_);
  if (fs::exists(index)) {
    LT2_CHECK(!fs::exists(folder / kSingle), "{}: holds both {} and {}. Remove the one that does not belong to it",
              folder.string(), kSingle, kIndex);
    read_index(index);
  } else {
    LT2_CHECK(fs::exists(folder / kSingle), "{}: expected {} or {} in it", folder.string(), kSingle, kIndex);
    add_shard(kSingle);
  }
}

void HfFolder::read_index(const fs::path& index) {
  const json root = read_json(index, read_file(index));
  const auto map = root.find("weight_map");
  LT2_CHECK(map != root.end() && map->is_object() && !map->empty(),
            "{}: expected \"weight_map\": {{\"TENSOR\": \"FILE\", ...}}", index.string());
  std::set<std::string> files;
  for (const auto& [name, file] : map->items()) {
    const bool inside = file.is_string() && fs::path(file.get<std::string>()).filename() == file.get<std::string>() &&
                        file != "." && file != ".." && file != "";
    LT2_CHECK(inside, "{}: {}: expected the name of a file next to it, found {}", index.string(), quoted(name),
              file.dump(-1, ' ', true, json::error_handler_t::replace));
    files.insert(file.get<std::string>());
  }
  for (const auto& file : files) {
    std::error_code ignored;  // of a name that the file system cannot have
    LT2_CHECK(fs::exists(folder_ / file, ignored), "{}: shard {} is missing; {} lists it. Downloaded completely?",
              folder_.string(), quoted(file), kIndex);
    add_shard(file);
  }
  uint64_t total = 0;
  for (const auto& [name, file] : map->items()) {
    LT2_CHECK(contains(name) && shard(name).path().filename() == file.get<std::string>(),
              "{}: {} should be in {}, but is {}", index.string(), quoted(name), quoted(file.get<std::string>()),
              contains(name) ? "in " + shard(name).path().filename().string() : "not there");
  }
  for (const auto& name : names_) {
    LT2_CHECK(map->contains(name), "{}: {} is in {}, but the index does not list it", index.string(), quoted(name),
              shard(name).path().filename().string());
    total += info(name).end - info(name).begin;
  }
  const auto metadata = root.find("metadata");
  if (metadata == root.end() || !metadata->is_object() || !metadata->contains("total_size")) return;
  // Nothing hangs on it: every tensor has been found whole. Programs that change a folder often leave the old total.
  const auto& said = metadata->at("total_size");
  if (said == total || said == std::to_string(total)) return;
  const auto text = said.dump(-1, ' ', true, json::error_handler_t::replace);
  log_warning("{}: total_size is {}, the tensors take {} bytes; it is not used", index.string(),
              text.size() > 100 ? text.substr(0, 100) + "..." : text, total);
}

void HfFolder::add_shard(const std::string& file) {
  shards_.emplace_back(folder_ / file);
  for (const auto& name : shards_.back().names()) {
    const auto [found, fresh] = shard_of_.emplace(name, shards_.size() - 1);
    LT2_CHECK(fresh, "{}: {} is in {} and in {}", folder_.string(), quoted(name),
              shards_[found->second].path().filename().string(), file);
    names_.push_back(name);
  }
}

const SafetensorsFile& HfFolder::shard(const std::string& name) const {
  const auto found = shard_of_.find(name);
  LT2_CHECK(found != shard_of_.end(), "{}: no tensor {} among the {} in the folder", folder_.string(), quoted(name),
            names_.size());
  return shards_[found->second];
}

void write_hf_folder(const fs::path& folder, const std::string& config,
                     const std::vector<std::pair<std::string, torch::Tensor>>& tensors, torch::ScalarType dtype,
                     uint64_t shard_bytes) {
  const auto type_of = [&](const torch::Tensor& tensor) {
    return tensor.is_floating_point() ? dtype : tensor.scalar_type();
  };
  std::vector<size_t> begins{0};  // of each shard, in tensors
  uint64_t total = 0, in_shard = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto& tensor = tensors[i].second;
    const uint64_t bytes = static_cast<uint64_t>(tensor.numel()) * c10::elementSize(type_of(tensor));
    if (i > begins.back() && in_shard + bytes > shard_bytes) {
      begins.push_back(i);
      in_shard = 0;
    }
    in_shard += bytes;
    total += bytes;
  }
  begins.push_back(tensors.size());
  const size_t count = begins.size() - 1;
  json map = json::object();
  for (size_t shard = 0; shard < count; ++shard) {
    const std::string file = count == 1 ? kSingle : fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, count);
    std::vector<std::pair<std::string, torch::Tensor>> part;
    for (size_t i = begins[shard]; i < begins[shard + 1]; ++i) {
      const auto& [name, tensor] = tensors[i];
      part.emplace_back(name, tensor.detach().to(type_of(tensor)));
      map[name] = file;
    }
    write_safetensors(folder / file, part, {{"format", "pt"}});
  }
  if (count > 1) {
    const json index{{"metadata", {{"total_size", total}}}, {"weight_map", map}};
    write_file_atomically(folder / kIndex, index.dump(2) + "\n");
  }
  write_file_atomically(folder / kConfig, config);
}

}  // namespace lt2
