#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "base/error.h"
#include "checkpoint/pickle.h"
#include "checkpoint/pickle_format.h"

namespace lt2 {
namespace {

using Kind = PickleValue::Kind;

const StorageType* storage_type(std::string_view name) {
  const auto found =
      std::find_if(kStorageTypes.begin(), kStorageTypes.end(), [&](const auto& type) { return name == type.name; });
  return found == kStorageTypes.end() ? nullptr : &*found;
}

bool is_known_name(std::string_view name) {
  return name == kOrderedDict || name == kRebuildTensor || name == kRebuildParameter || storage_type(name);
}

constexpr uint64_t kMaxValues = 10'000'000;
constexpr size_t kMaxRank = 64, kMaxKey = 200;
constexpr int kMaxDepth = 200;
// A view may repeat elements (stride 0), and a few bytes must not stand for terabytes.
constexpr uint64_t kMaxRepeated = uint64_t{1} << 24;

// A name from the file, on one line and of bounded length.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 120)) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte >= 0x20 && byte < 0x7f ? std::string(1, c) : fmt::format("\\x{:02x}", byte);
  }
  return text.size() > 120 ? out + "..." : out;
}

}  // namespace

// The stack machine. Every operation makes at most one value, so memory follows the length of the program.
class PickleReader {
 public:
  PickleReader(std::string_view bytes, const std::string& where, Pickle& target)
      : bytes_(bytes), where_(where), target_(target) {}

  void run() {
    LT2_CHECK(bytes_.size() <= kMaxPickleBytes, "{}: a pickle of {} bytes is too long, at most {}", where_,
              bytes_.size(), kMaxPickleBytes);
    check(number<uint8_t>() == kProto, "not a pickle: it does not begin with its protocol");
    const int protocol = number<uint8_t>();
    check(protocol >= 2 && protocol <= 5, "protocol {} is not read, only 2 to 5", protocol);
    for (bool more = true; more;) {
      at_ = position_;
      more = step(number<uint8_t>());
      check(target_.values_.size() <= kMaxValues, "more than {} values", kMaxValues);
    }
    check(marks_.empty() && stack_.size() == 1, "the pickle ends with {} values on its stack, expected 1",
          stack_.size());
    target_.root_ = stack_.back();
    check_tree();
  }

 private:
  template <typename... Args>
  void check(bool condition, fmt::format_string<Args...> format, Args&&... args) const {
    if (!condition) fail("{}: byte {}: {}", where_, at_, fmt::format(format, std::forward<Args>(args)...));
  }

  // --- the program's bytes
  std::string_view take(uint64_t count) {
    check(count <= bytes_.size() - position_, "expected {} more bytes, found {}. Copied completely?", count,
          bytes_.size() - position_);
    position_ += static_cast<size_t>(count);
    return bytes_.substr(position_ - static_cast<size_t>(count), static_cast<size_t>(count));
  }
  template <class T>
  T number() {
    static_assert(std::endian::native == std::endian::little);
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  double big_endian_double() {
    const auto bytes = take(8);
    uint64_t bits = 0;
    for (const char c : bytes) bits = bits << 8 | static_cast<uint8_t>(c);
    return std::bit_cast<double>(bits);
  }
  std::string_view line() {
    const auto end = bytes_.find('\n', position_);
    check(end != std::string_view::npos, "a name without end");
    const auto text = bytes_.substr(position_, end - position_);
    position_ = end + 1;
    return text;
  }
  int64_t long_integer(uint64_t count) {
    const auto bytes = take(count);
    // Python writes the shortest form, so more than 8 bytes is more than 64 bits.
    check(count <= 8, "an integer of {} bytes is too large", count);
    uint64_t value = !bytes.empty() && bytes.back() < 0 ? ~uint64_t{0} : 0;
    for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
    return static_cast<int64_t>(value);
  }

  // --- stack and memo
  PickleValue* push(PickleValue value) {
    PickleValue* added = target_.add(std::move(value));
    stack_.push_back(added);
    return added;
  }
  size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleValue* top() {
    check(stack_.size() > floor(), "the stack is empty");
    return stack_.back();
  }
  PickleValue* pop() {
    PickleValue* value = top();
    stack_.pop_back();
    return value;
  }
  std::vector<PickleRef> pop_to_mark() {
    check(!marks_.empty(), "no mark on the stack");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleRef> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void memoize(uint64_t index) { memo_[index] = top(); }
  void recall(uint64_t index) {
    const auto found = memo_.find(index);
    check(found != memo_.end(), "memo entry {} was never stored", index);
    stack_.push_back(found->second);
  }

  // --- building
  // Calls copy their arguments, and many calls may share one.
  void charge(size_t copied) {
    copied_ += copied;
    check(copied_ <= kMaxValues, "more than {} values", kMaxValues);
  }
  void push_tuple(size_t count) {
    check(stack_.size() - floor() >= count, "the stack is empty");
    const auto begin = stack_.end() - static_cast<std::ptrdiff_t>(count);
    std::vector<PickleRef> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    push({.kind = Kind::kTuple, .items = std::move(items)});
  }
  void append(std::vector<PickleRef> items) {
    PickleValue* list = top();
    check(list->is(Kind::kList), "append to {}, expected a list", list->kind_name());
    list->items.insert(list->items.end(), items.begin(), items.end());
  }
  void check_pairs(const std::vector<PickleRef>& items) const {
    check(items.size() % 2 == 0, "a dict with a key but no value");
    for (size_t i = 0; i < items.size(); i += 2) {
      const Kind key = items[i]->kind;
      check(key == Kind::kText || key == Kind::kInt || key == Kind::kBytes || key == Kind::kTuple ||
                key == Kind::kFloat || key == Kind::kBool || key == Kind::kNone,
            "{} as the key of a dict", items[i]->kind_name());
    }
  }
  void set_items(std::vector<PickleRef> items) {
    PickleValue* dict = top();
    check(dict->is(Kind::kDict), "item set in {}, expected a dict", dict->kind_name());
    check_pairs(items);
    dict->items.insert(dict->items.end(), items.begin(), items.end());
  }
  void push_name(std::string name) {
    check(is_known_name(name), "the file asks for {}, which is no part of a checkpoint of tensors; nothing was run",
          printable(name));
    push({.kind = Kind::kName, .text = std::move(name)});
  }
  void stack_global() {
    const PickleValue *name = pop(), *module = pop();
    check(name->is(Kind::kText) && module->is(Kind::kText), "a Python name must be two strings");
    push_name(module->text + " " + name->text);
  }
  // OrderedDict().__dict__, such as a state dict's _metadata: not data.
  void build() {
    pop();
    check(top()->is(Kind::kDict), "attributes for {}", top()->kind_name());
  }

  // ('storage', torch.FloatStorage, '0', 'cpu', 12)
  void persistent_id() {
    const PickleValue* id = pop();
    check(id->is(Kind::kTuple) && id->items.size() == 5, "a persistent id that is no tuple of 5");
    const auto& items = id->items;
    const bool valid = items[0]->is(Kind::kText) && items[0]->text == "storage" && items[1]->is(Kind::kName) &&
                       items[2]->is(Kind::kText) && items[3]->is(Kind::kText) && items[4]->is(Kind::kInt) &&
                       items[4]->integer >= 0;
    const StorageType* type = valid ? storage_type(items[1]->text) : nullptr;
    check(type, "expected a persistent id ('storage', type, key, place, elements)");
    const auto elements = static_cast<uint64_t>(items[4]->integer);
    check(items[2]->text.size() <= kMaxKey, "the key of a storage has {} bytes", items[2]->text.size());
    check(elements <= INT64_MAX / type->bytes, "a storage of {} elements", elements);
    auto view = std::make_shared<TensorView>();
    view->storage = {type->dtype, items[2]->text, elements};
    push({.kind = Kind::kStorage, .tensor = std::move(view)});
  }

  void reduce() {
    const PickleValue *arguments = pop(), *function = pop();
    check(function->is(Kind::kName), "a call of {}", function->kind_name());
    check(arguments->is(Kind::kTuple), "a call with {}, expected a tuple", arguments->kind_name());
    const auto& items = arguments->items;
    if (function->text == kOrderedDict) return ordered_dict(items);
    if (function->text == kRebuildTensor) return rebuild_tensor(items);
    check(function->text == kRebuildParameter, "{} cannot be called", function->text);
    check(items.size() == 3 && items[0]->is(Kind::kTensor), "_rebuild_parameter without a tensor");
    push({.kind = Kind::kTensor, .tensor = items[0]->tensor});
  }
  // OrderedDict() or OrderedDict([(key, value), ...])
  void ordered_dict(const std::vector<PickleRef>& arguments) {
    check(arguments.size() <= 1, "OrderedDict with {} arguments", arguments.size());
    std::vector<PickleRef> items;
    if (!arguments.empty()) {
      check(arguments[0]->is(Kind::kList), "OrderedDict of {}", arguments[0]->kind_name());
      for (const PickleRef pair : arguments[0]->items) {
        const bool two = (pair->is(Kind::kTuple) || pair->is(Kind::kList)) && pair->items.size() == 2;
        check(two, "OrderedDict of something else than pairs");
        items.insert(items.end(), pair->items.begin(), pair->items.end());
      }
      check_pairs(items);
      charge(items.size());
    }
    push({.kind = Kind::kDict, .items = std::move(items)});
  }
  // (storage, offset, sizes, strides, requires_grad, hooks[, metadata])
  void rebuild_tensor(const std::vector<PickleRef>& items) {
    const bool valid = (items.size() == 6 || items.size() == 7) && items[0]->is(Kind::kStorage) &&
                       items[1]->is(Kind::kInt) && items[2]->is(Kind::kTuple) && items[3]->is(Kind::kTuple);
    check(valid, "expected _rebuild_tensor_v2(storage, offset, sizes, strides, ...)");
    auto view = std::make_shared<TensorView>();
    view->storage = items[0]->tensor->storage;
    check(items[1]->integer >= 0, "a tensor with offset {}", items[1]->integer);
    view->offset = static_cast<uint64_t>(items[1]->integer);
    view->shape = extents(items[2]->items, "size");
    view->stride = extents(items[3]->items, "stride");
    check(view->shape.size() == view->stride.size(), "a tensor with {} sizes but {} strides", view->shape.size(),
          view->stride.size());
    check_bounds(*view);
    push({.kind = Kind::kTensor, .tensor = std::move(view)});
  }
  std::vector<int64_t> extents(const std::vector<PickleRef>& items, const char* what) {
    check(items.size() <= kMaxRank, "a tensor of {} dimensions, at most {}", items.size(), kMaxRank);
    charge(items.size());
    std::vector<int64_t> out;
    for (const PickleRef item : items) {
      check(item->is(Kind::kInt) && item->integer >= 0, "a tensor with a {} of {}", what,
            item->is(Kind::kInt) ? std::to_string(item->integer) : item->kind_name());
      out.push_back(item->integer);
    }
    return out;
  }
  void check_bounds(const TensorView& view) const {
    int64_t count = 1, dense = 1, last = static_cast<int64_t>(view.offset);
    bool overflow = false;
    for (size_t i = 0; i < view.shape.size(); ++i) {
      int64_t reach = 0;
      overflow |= __builtin_mul_overflow(std::max<int64_t>(view.shape[i], 1), dense, &dense);
      overflow |= __builtin_mul_overflow(view.shape[i], count, &count);
      overflow |= __builtin_mul_overflow(std::max<int64_t>(view.shape[i], 1) - 1, view.stride[i], &reach);
      overflow |= __builtin_add_overflow(last, reach, &last);
    }
    // Sizes times the element must fit too, zeros or not: torch multiplies them.
    overflow |= dense > INT64_MAX / 8;
    check(!overflow, "a tensor of shape [{}] with strides [{}] is too large", fmt::join(view.shape, ", "),
          fmt::join(view.stride, ", "));
    const uint64_t elements = view.storage.elements, n = static_cast<uint64_t>(count);
    check(n == 0 ? view.offset <= elements : static_cast<uint64_t>(last) < elements,
          "a tensor of shape [{}], strides [{}] at {} reaches element {} of a storage of {}",
          fmt::join(view.shape, ", "), fmt::join(view.stride, ", "), view.offset, last, elements);
    check(n <= std::max(elements, kMaxRepeated), "a tensor of shape [{}] repeats a storage of {} elements too often",
          fmt::join(view.shape, ", "), elements);
  }

  bool step(uint8_t op) {
    switch (op) {
      case kStop:
        return false;
      case kProto:
        check(number<uint8_t>() <= 5, "unknown protocol");
        break;
      case kFrame:
        check(number<uint64_t>() <= bytes_.size() - position_, "a frame beyond the end");
        break;
      case kMark:
        marks_.push_back(stack_.size());
        break;
      case kPop:
        // Python's POP right after MARK takes the mark.
        if (stack_.size() > floor()) {
          stack_.pop_back();
        } else {
          pop_to_mark();
        }
        break;
      case kPopMark:
        pop_to_mark();
        break;
      case kDup:
        stack_.push_back(top());
        break;
      case kNoneOp:
        push({});
        break;
      case kNewTrue:
        push({.kind = Kind::kBool, .integer = 1});
        break;
      case kNewFalse:
        push({.kind = Kind::kBool});
        break;
      case kBinInt:
        push({.kind = Kind::kInt, .integer = number<int32_t>()});
        break;
      case kBinInt1:
        push({.kind = Kind::kInt, .integer = number<uint8_t>()});
        break;
      case kBinInt2:
        push({.kind = Kind::kInt, .integer = number<uint16_t>()});
        break;
      case kLong1:
        push({.kind = Kind::kInt, .integer = long_integer(number<uint8_t>())});
        break;
      case kLong4:
        push({.kind = Kind::kInt, .integer = long_integer(number<uint32_t>())});
        break;
      case kBinFloat:
        push({.kind = Kind::kFloat, .real = big_endian_double()});
        break;
      case kShortBinString:
      case kShortBinUnicode:
        push({.kind = Kind::kText, .text = std::string(take(number<uint8_t>()))});
        break;
      case kBinString:
      case kBinUnicode:
        push({.kind = Kind::kText, .text = std::string(take(number<uint32_t>()))});
        break;
      case kBinUnicode8:
        push({.kind = Kind::kText, .text = std::string(take(number<uint64_t>()))});
        break;
      case kShortBinBytes:
        push({.kind = Kind::kBytes, .text = std::string(take(number<uint8_t>()))});
        break;
      case kBinBytes:
        push({.kind = Kind::kBytes, .text = std::string(take(number<uint32_t>()))});
        break;
      case kBinBytes8:
      case kByteArray8:
        push({.kind = Kind::kBytes, .text = std::string(take(number<uint64_t>()))});
        break;
      case kEmptyList:
        push({.kind = Kind::kList});
        break;
      case kEmptyTuple:
        push({.kind = Kind::kTuple});
        break;
      case kEmptyDict:
        push({.kind = Kind::kDict});
        break;
      case kListOp:
        push({.kind = Kind::kList, .items = pop_to_mark()});
        break;
      case kTupleOp:
        push({.kind = Kind::kTuple, .items = pop_to_mark()});
        break;
      case kDictOp: {
        auto items = pop_to_mark();
        check_pairs(items);
        push({.kind = Kind::kDict, .items = std::move(items)});
        break;
      }
      case kTuple1:
        push_tuple(1);
        break;
      case kTuple2:
        push_tuple(2);
        break;
      case kTuple3:
        push_tuple(3);
        break;
      case kAppend: {
        PickleRef item = pop();
        append({item});
        break;
      }
      case kAppends:
        append(pop_to_mark());
        break;
      case kSetItem: {
        PickleRef value = pop(), key = pop();
        set_items({key, value});
        break;
      }
      case kSetItems:
        set_items(pop_to_mark());
        break;
      case kBinPut:
        memoize(number<uint8_t>());
        break;
      case kLongBinPut:
        memoize(number<uint32_t>());
        break;
      case kMemoize:
        memoize(memo_.size());
        break;
      case kBinGet:
        recall(number<uint8_t>());
        break;
      case kLongBinGet:
        recall(number<uint32_t>());
        break;
      case kGlobal: {
        const std::string module(line()), name(line());
        push_name(module + " " + name);
        break;
      }
      case kStackGlobal:
        stack_global();
        break;
      case kBinPersId:
        persistent_id();
        break;
      case kReduce:
        reduce();
        break;
      case kBuild:
        build();
        break;
      default:
        check(false, "operation 0x{:02x} is not used by checkpoints of tensors", op);
    }
    return true;
  }

  // The memo can put a list into itself. This check frees later walks over the tree from that case.
  void check_tree() const {
    enum class Seen : uint8_t { kOpen, kDone };
    std::unordered_map<PickleRef, Seen> seen;
    std::vector<std::pair<PickleRef, size_t>> path;
    const auto enter = [&](PickleRef value) {
      if (value->items.empty()) return;
      const auto [found, fresh] = seen.emplace(value, Seen::kOpen);
      LT2_CHECK(fresh || found->second == Seen::kDone, "{}: {} that holds itself", where_, value->kind_name());
      LT2_CHECK(path.size() < kMaxDepth, "{}: nested more than {} deep", where_, kMaxDepth);
      if (fresh) path.emplace_back(value, 0);
    };
    enter(target_.root_);
    while (!path.empty()) {
      auto& [value, next] = path.back();
      if (next < value->items.size()) {
        enter(value->items[next++]);
      } else {
        seen[value] = Seen::kDone;
        path.pop_back();
      }
    }
  }

  std::string_view bytes_;
  const std::string& where_;
  Pickle& target_;
  size_t position_ = 0, at_ = 0;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, PickleValue*> memo_;
  uint64_t copied_ = 0;
};

Pickle Pickle::read(std::string_view bytes, const std::string& where) {
  Pickle out;
  PickleReader(bytes, where, out).run();
  return out;
}

}  // namespace lt2
