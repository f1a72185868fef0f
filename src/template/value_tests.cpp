#include "template/value_tests.h"

#include <unordered_map>

#include "template/filters.h"
#include "template/operators.h"
#include "template/parameters.h"
#include "template/text.h"

namespace lt2::jinja {
namespace {

using Test = bool (*)(Runtime& run, const Value& value, const Arguments& arguments);

// A test without arguments.
template <typename Holds>
Test plain(Holds) {
  return [](Runtime& run, const Value& value, const Arguments& arguments) {
    const Parameters given("a test", arguments, {});
    return Holds{}(run, value);
  };
}

// An operator with the value on its left.
template <const char* sign>
bool comparing(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("a test", arguments, {"other"}, 1);
  return compare(run, sign, value, given[0]);
}

constexpr char kEqual[] = "==", kUnequal[] = "!=", kLess[] = "<", kLessEqual[] = "<=", kGreater[] = ">",
               kGreaterEqual[] = ">=", kIn[] = "in";

bool rest_is(Runtime& run, const Value& value, int64_t by, int64_t rest) {
  return equal(run, arithmetic(run, "%", value, Value::integer(by)), Value::integer(rest));
}

bool divisible(Runtime& run, const Value& value, const Arguments& arguments) {
  const Parameters given("divisibleby", arguments, {"num"}, 1);
  return equal(run, arithmetic(run, "%", value, given[0]), Value::integer(0));
}

bool same(Runtime&, const Value& value, const Arguments& arguments) {
  const Parameters given("sameas", arguments, {"other"}, 1);
  return value.same_as(given[0]);
}

bool cased(Runtime& run, const Value& value, const char* method) {
  const std::string text = text_of(run, value);
  run.spend_bytes(text.size());
  bool holds = false;
  character_test(method, text, holds);
  return holds;
}

bool is_sequence(Runtime& run, const Value& value) {
  // A lenient one has a length and can be asked for items.
  if (value.is_undefined()) return !run.options.strict_undefined || value.undefined().lenient;
  if (!value.is_sequence()) return value.is_text() || value.is_dict();
  return value.sequence().kind != SequenceKind::kView && value.sequence().kind != SequenceKind::kIterator;
}

bool is_iterable(Runtime& run, const Value& value) {
  check_defined(run, value);
  return iterable(value) || (value.is_object() && value.type_name() == "LoopContext");
}

bool is_true(const Value& value, bool wanted) { return value.is_boolean() && value.boolean() == wanted; }

const std::unordered_map<std::string, Test>& tests() {
  static const std::unordered_map<std::string, Test> all = {
      {"defined", plain([](Runtime&, const Value& v) { return !v.is_undefined(); })},
      {"undefined", plain([](Runtime&, const Value& v) { return v.is_undefined(); })},
      {"none", plain([](Runtime&, const Value& v) { return v.is_none(); })},
      {"boolean", plain([](Runtime&, const Value& v) { return v.is_boolean(); })},
      {"true", plain([](Runtime&, const Value& v) { return is_true(v, true); })},
      {"false", plain([](Runtime&, const Value& v) { return is_true(v, false); })},
      {"integer", plain([](Runtime&, const Value& v) { return v.is_integer() && !v.is_boolean(); })},
      {"float", plain([](Runtime&, const Value& v) { return v.is_real(); })},
      {"number", plain([](Runtime&, const Value& v) { return v.is_number(); })},
      {"string", plain([](Runtime&, const Value& v) { return v.is_text(); })},
      {"mapping", plain([](Runtime&, const Value& v) { return v.is_dict(); })},
      {"sequence", plain([](Runtime& run, const Value& v) { return is_sequence(run, v); })},
      {"iterable", plain([](Runtime& run, const Value& v) { return is_iterable(run, v); })},
      {"callable",
       plain([](Runtime&, const Value& v) { return v.is_undefined() || (v.is_object() && v.object()->callable()); })},
      {"escaped", plain([](Runtime&, const Value&) { return false; })},
      {"odd", plain([](Runtime& run, const Value& v) { return rest_is(run, v, 2, 1); })},
      {"even", plain([](Runtime& run, const Value& v) { return rest_is(run, v, 2, 0); })},
      {"lower", plain([](Runtime& run, const Value& v) { return cased(run, v, "islower"); })},
      {"upper", plain([](Runtime& run, const Value& v) { return cased(run, v, "isupper"); })},
      {"filter", plain([](Runtime&, const Value& v) { return v.is_text() && has_filter(v.bytes()); })},
      {"test", plain([](Runtime&, const Value& v) { return v.is_text() && has_test(v.bytes()); })},
      {"divisibleby", divisible},
      {"sameas", same},
      {"in", comparing<kIn>},
      {"==", comparing<kEqual>},
      {"eq", comparing<kEqual>},
      {"equalto", comparing<kEqual>},
      {"!=", comparing<kUnequal>},
      {"ne", comparing<kUnequal>},
      {">", comparing<kGreater>},
      {"gt", comparing<kGreater>},
      {"greaterthan", comparing<kGreater>},
      {">=", comparing<kGreaterEqual>},
      {"ge", comparing<kGreaterEqual>},
      {"<", comparing<kLess>},
      {"lt", comparing<kLess>},
      {"lessthan", comparing<kLess>},
      {"<=", comparing<kLessEqual>},
      {"le", comparing<kLessEqual>},
  };
  return all;
}

}  // namespace

bool has_test(const std::string& name) { return tests().count(name) > 0; }

bool apply_test(Runtime& run, const std::string& name, const Value& value, const Arguments& arguments) {
  const auto there = tests().find(name);
  LT2_CHECK(there != tests().end(), "no test is named '{}'", name);
  run.spend(1);
  return there->second(run, value, arguments);
}

}  // namespace lt2::jinja
