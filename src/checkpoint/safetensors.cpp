#include "checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/units.h"

namespace lt2 {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr const char* kMetadata = "__metadata__";

struct Dtype {
  const char* name;
  torch::ScalarType type;
  uint64_t bytes;
};
constexpr std::array kDtypes = {Dtype{"F64", torch::kFloat64, 8}, Dtype{"F32", torch::kFloat32, 4},
                                Dtype{"F16", torch::kFloat16, 2}, Dtype{"BF16", torch::kBFloat16, 2},
                                Dtype{"I64", torch::kInt64, 8},   Dtype{"I32", torch::kInt32, 4},
                                Dtype{"I16", torch::kInt16, 2},   Dtype{"I8", torch::kInt8, 1},
                                Dtype{"U8", torch::kUInt8, 1},    Dtype{"BOOL", torch::kBool, 1}};

const Dtype* find_dtype(const std::string& name) {
  const auto found = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const Dtype& d) { return name == d.name; });
  return found == kDtypes.end() ? nullptr : &*found;
}

// In quotes and on one line, whatever bytes the file put there; the middle of a long text is left out.
std::string in_quotes(const std::string& text) {
  const std::string shown = text.size() <= 200 ? text : text.substr(0, 100) + " ... " + text.substr(text.size() - 50);
  return json(shown).dump(-1, ' ', true, json::error_handler_t::replace);
}

// Elements of a tensor, or nothing when the strides of its dimensions overflow.
std::optional<uint64_t> element_count(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  bool empty = false;
  for (const int64_t size : shape) {
    empty = empty || size == 0;
    if (__builtin_mul_overflow(count, std::max<int64_t>(size, 1), &count)) return std::nullopt;
  }
  return empty ? 0 : static_cast<uint64_t>(count);
}

std::string shape_text(const std::vector<int64_t>& shape) {
  const std::string text = json(shape).dump();
  return text.size() <= 200 ? text : text.substr(0, 200) + " ...";
}

}  // namespace

// Takes the header's JSON piece by piece. No tree is built, so nothing can nest deeply, and repeated names are seen.
class SafetensorsFile::HeaderReader : public nlohmann::json_sax<json> {
 public:
  explicit HeaderReader(SafetensorsFile& target) : target_(target) {}

  bool start_object(size_t) override {
    if (place_ == Place::kStart) return enter(Place::kTop);
    if (place_ == Place::kTop && key_ == kMetadata) return enter(Place::kMetadata);
    if (place_ != Place::kTop) return unexpected("an object");
    info_ = {};
    fields_.clear();
    return enter(Place::kTensor);
  }
  bool end_object() override {
    if (place_ == Place::kTensor) {
      for (const char* field : {"dtype", "shape", "data_offsets"})
        LT2_CHECK(fields_.count(field), "{}: no \"{}\" given", where(), field);
      target_.tensors_.emplace(name_, info_);
    }
    return enter(place_ == Place::kTop ? Place::kEnd : Place::kTop);
  }
  bool key(std::string& key) override {
    key_ = key;
    auto& seen = place_ == Place::kTop ? names_ : place_ == Place::kMetadata ? metadata_keys_ : fields_;
    LT2_CHECK(seen.insert(key).second, "{}: {} appears twice in the header", where(), in_quotes(key));
    if (place_ == Place::kTop) name_ = key;
    const bool known = place_ != Place::kTensor || key == "dtype" || key == "shape" || key == "data_offsets";
    LT2_CHECK(known, "{}: unknown key {}; expected dtype, shape and data_offsets", where(), in_quotes(key));
    return true;
  }
  bool string(std::string& value) override {
    if (place_ == Place::kMetadata) return target_.metadata_.emplace(key_, value).second;
    if (place_ != Place::kTensor || key_ != "dtype") return unexpected("a string");
    LT2_CHECK(find_dtype(value), "{}: unknown dtype {}; expected F64 F32 F16 BF16 I64 I32 I16 I8 U8 or BOOL", where(),
              in_quotes(value));
    info_.dtype = value;
    return true;
  }
  bool start_array(size_t) override {
    if (place_ != Place::kTensor || key_ == "dtype") return unexpected("an array");
    numbers_ = 0;
    return enter(Place::kNumbers);
  }
  bool end_array() override {
    if (key_ == "data_offsets") LT2_CHECK(numbers_ == 2, "{}: expected 2 data_offsets, found {}", where(), numbers_);
    return enter(Place::kTensor);
  }
  bool number_unsigned(uint64_t value) override {
    if (place_ != Place::kNumbers) return unexpected("a number");
    ++numbers_;
    if (key_ == "shape") {
      LT2_CHECK(value <= INT64_MAX, "{}: size {} in the shape is too large", where(), value);
      info_.shape.push_back(static_cast<int64_t>(value));
    } else if (numbers_ <= 2) {
      (numbers_ == 1 ? info_.begin : info_.end) = value;
    }
    return true;
  }
  bool number_integer(int64_t value) override { return unexpected(fmt::format("{}", value)); }
  bool number_float(double, const std::string& text) override { return unexpected(in_quotes(text)); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool null() override {
    if (place_ == Place::kTop && key_ == kMetadata) return true;  // none, as some programs write it
    return unexpected("null");
  }
  bool binary(json::binary_t&) override { return unexpected("binary data"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    // The library's text may quote raw bytes of the file; what it says before them is enough.
    const std::string text = error.what();
    fail("{}: the header is not valid JSON at byte {}: {}", target_.path_.string(), position + 7, in_quotes(text));
  }

 private:
  enum class Place { kStart, kTop, kMetadata, kTensor, kNumbers, kEnd };

  bool enter(Place place) {
    place_ = place;
    return true;
  }
  std::string where() const {
    return target_.path_.string() + (name_.empty() || place_ == Place::kTop ? "" : ": " + in_quotes(name_));
  }
  [[noreturn]] bool unexpected(const std::string& found) const {
    const char* expected = place_ == Place::kStart || place_ == Place::kTop ? "an object"
                           : place_ == Place::kMetadata || key_ == "dtype"  ? "a string"
                           : place_ == Place::kNumbers                      ? "a whole number below 2^63"
                                                                            : "an array";
    fail("{}: the header's {} must be {}, found {}", where(), place_ == Place::kStart ? "JSON" : in_quotes(key_),
         expected, found);
  }

  SafetensorsFile& target_;
  Place place_ = Place::kStart;
  std::string name_, key_;
  std::set<std::string> names_, metadata_keys_, fields_;
  TensorInfo info_;
  size_t numbers_ = 0;
};

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(path), file_(std::make_shared<MappedFile>(path)) {
  read_header();
  check_layout();
}

void SafetensorsFile::read_header() {
  const std::string name = path_.string();
  LT2_CHECK(file_->size() >= 8, "{}: not a safetensors file: expected at least 8 bytes, found {}. Copied completely?",
            name, file_->size());
  uint64_t length = 0;
  std::memcpy(&length, file_->data(), 8);
  LT2_CHECK(length <= kMaxHeaderBytes,
            "{}: not a safetensors file: its first 8 bytes say a header of {} bytes, at most {}", name, length,
            kMaxHeaderBytes);
  LT2_CHECK(length <= file_->size() - 8,
            "{}: expected a header of {} bytes, found only {} bytes after its length. Copied completely?", name, length,
            file_->size() - 8);
  data_begin_ = 8 + static_cast<size_t>(length);
  const char* header = reinterpret_cast<const char*>(file_->data()) + 8;
  LT2_CHECK(length > 0 && *header == '{', "{}: not a safetensors file: the header must begin with {{", name);
  // The JSON library takes a zero byte for the end and would not look at what follows.
  LT2_CHECK(!std::memchr(header, 0, length), "{}: the header is not valid JSON: it holds a zero byte", name);
  HeaderReader reader(*this);
  json::sax_parse(header, header + length, &reader);
}

void SafetensorsFile::check_layout() {
  const uint64_t data_bytes = file_->size() - data_begin_;
  for (const auto& [name, info] : tensors_) {
    const auto count = element_count(info.shape);
    uint64_t bytes = 0;
    LT2_CHECK(count && !__builtin_mul_overflow(*count, find_dtype(info.dtype)->bytes, &bytes) && bytes <= INT64_MAX,
              "{}: {}: shape {} is too large", path_.string(), in_quotes(name), shape_text(info.shape));
    LT2_CHECK(info.begin <= info.end && info.end <= data_bytes,
              "{}: {}: data_offsets [{}, {}] lie outside the file's {} bytes of data. Copied completely?",
              path_.string(), in_quotes(name), info.begin, info.end, data_bytes);
    LT2_CHECK(info.end - info.begin == bytes, "{}: {}: {} of shape {} needs {} bytes, data_offsets [{}, {}] hold {}",
              path_.string(), in_quotes(name), info.dtype, shape_text(info.shape), bytes, info.begin, info.end,
              info.end - info.begin);
    names_.push_back(name);
  }
  std::sort(names_.begin(), names_.end(), [&](const std::string& a, const std::string& b) {
    const TensorInfo &x = tensors_.at(a), &y = tensors_.at(b);
    return std::tie(x.begin, x.end, a) < std::tie(y.begin, y.end, b);
  });
  uint64_t covered = 0;
  for (const std::string& name : names_) {
    const TensorInfo& info = tensors_.at(name);
    LT2_CHECK(info.begin == covered, "{}: {}: data_offsets begin at {}, {} the end of the tensor before, {}",
              path_.string(), in_quotes(name), info.begin, info.begin < covered ? "overlapping" : "leaving a gap after",
              covered);
    covered = info.end;
  }
  LT2_CHECK(covered == data_bytes, "{}: the tensors take {} bytes, found {} bytes of data", path_.string(), covered,
            data_bytes);
}

const TensorInfo& SafetensorsFile::info(const std::string& name) const {
  const auto found = tensors_.find(name);
  LT2_CHECK(found != tensors_.end(), "{}: no tensor {} among the {} in the file", path_.string(), in_quotes(name),
            names_.size());
  return found->second;
}

const uint8_t* SafetensorsFile::bytes(const std::string& name) const {
  const TensorInfo& tensor = info(name);
  const uint8_t* begin = file_->data() + data_begin_ + tensor.begin;
  if (tensor.dtype == "BOOL") {
    const uint8_t* end = begin + (tensor.end - tensor.begin);
    const uint8_t* bad = std::find_if(begin, end, [](uint8_t byte) { return byte > 1; });
    LT2_CHECK(bad == end, "{}: {}: BOOL elements must be 0 or 1, found {} at {}", path_.string(), in_quotes(name),
              bad == end ? 0 : *bad, bad - begin);
  }
  return begin;
}

torch::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const TensorInfo& tensor = info(name);
  const uint8_t* begin = bytes(name);
  auto copy = torch::empty(tensor.shape, find_dtype(tensor.dtype)->type);
  if (copy.numel() > 0) std::memcpy(copy.data_ptr(), begin, tensor.end - tensor.begin);
  return copy;
}

torch::Tensor SafetensorsFile::view(const std::string& name) const {
  const TensorInfo& tensor = info(name);
  const uint8_t* begin = bytes(name);
  const Dtype& dtype = *find_dtype(tensor.dtype);
  if (tensor.begin == tensor.end || reinterpret_cast<uintptr_t>(begin) % dtype.bytes != 0) return this->tensor(name);
  return torch::from_blob(
      const_cast<uint8_t*>(begin), tensor.shape, [file = file_](void*) {}, dtype.type);
}

namespace {

const Dtype& dtype_of(const std::string& where, const torch::Tensor& tensor) {
  LT2_CHECK(tensor.defined(), "{}: cannot save an undefined tensor", where);
  LT2_CHECK(tensor.layout() == torch::kStrided, "{}: cannot save a sparse tensor", where);
  for (const Dtype& dtype : kDtypes)
    if (tensor.scalar_type() == dtype.type) return dtype;
  fail("{}: the safetensors format has no dtype {}", where, torch::toString(tensor.scalar_type()));
}

std::string make_header(const std::filesystem::path& path,
                        const std::vector<std::pair<std::string, torch::Tensor>>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::string header = "{";
  if (!metadata.empty()) header += fmt::format("\"{}\":{},", kMetadata, json(metadata).dump());
  std::set<std::string> names;
  uint64_t begin = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::string where = path.string() + ": " + in_quotes(name);
    LT2_CHECK(name != kMetadata, "{}: a tensor cannot have this name", where);
    LT2_CHECK(names.insert(name).second, "{}: two tensors have this name", where);
    const Dtype& dtype = dtype_of(where, tensor);
    const uint64_t end = begin + static_cast<uint64_t>(tensor.numel()) * dtype.bytes;
    header += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}},", json(name).dump(),
                          dtype.name, json(tensor.sizes().vec()).dump(), begin, end);
    begin = end;
  }
  if (header.back() == ',') header.pop_back();
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  LT2_CHECK(header.size() <= kMaxHeaderBytes, "{}: a header of {} bytes is too large, at most {}", path.string(),
            header.size(), kMaxHeaderBytes);
  return header;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, torch::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::string header;
  try {
    header = make_header(path, tensors, metadata);
  } catch (const json::exception& error) {
    fail("{}: names and metadata must be UTF-8: {}", path.string(), in_quotes(error.what()));
  }
  AtomicFile file(path);
  const uint64_t length = header.size();
  file.write(&length, sizeof(length));
  file.write(header.data(), header.size());
  for (const auto& [name, tensor] : tensors) {
    const auto plain = tensor.detach().cpu().resolve_neg().contiguous();
    if (plain.numel() > 0) file.write(plain.data_ptr(), plain.nbytes());
  }
  file.commit();
}

}  // namespace lt2
