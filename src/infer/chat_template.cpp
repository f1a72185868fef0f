#include "infer/chat_template.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>

#include "base/error.h"
#include "base/utf8.h"
#include "infer/plain_text.h"

namespace lt2 {
namespace {

using nlohmann::ordered_json;
using Ids = std::vector<int32_t>;

Template parsed(const std::string& text, const std::string& name) {
  return Template::parse(without_byte_order_mark(text), name, TemplateOptions::chat());
}

// Special tokens, and other added tokens of the vocabulary if the template writes them and they look like marks. Added
// words and runs of spaces are text.
Marks marks_of(const Tokenizer& tokenizer, const ChatSource& source) {
  const auto looks_like_one = [](const std::string& name) {
    return std::any_of(name.begin(), name.end(), [](char c) { return std::ispunct(static_cast<uint8_t>(c)) != 0; });
  };
  const auto writes = [&](const std::string& name) {
    return source.text.find(name) != std::string::npos ||
           (source.for_tools && source.for_tools->find(name) != std::string::npos);
  };
  Marks marks;
  for (auto& [name, id] : tokenizer.marks()) {
    if (!name.empty() && (tokenizer.is_special(id) || (looks_like_one(name) && writes(name))))
      marks.emplace_back(name, id);
  }
  return marks;
}

using TextChange = std::function<std::string(const std::string&)>;

// How the texts of a message are changed: message text, other values, and names that a template may compare.
struct Changes {
  TextChange prose, value, name;
};

// Every text in `value`. Names of members, and types ("function", "string"), are what templates compare.
void change_texts(ordered_json& value, const TextChange& change, const TextChange& name) {
  if (value.is_string()) {
    value = change(value.get_ref<const std::string&>());
  } else if (value.is_array()) {
    for (auto& item : value) change_texts(item, change, name);
  } else if (value.is_object()) {
    auto out = ordered_json::object();
    for (auto& [key, member] : value.items()) {
      change_texts(member, key == "type" ? name : change, name);
      out[name(key)] = std::move(member);
    }
    value = std::move(out);
  }
}

void change_message(ordered_json& fields, const Changes& changes) {
  for (auto& [key, value] : fields.items()) {
    if (key == "role") continue;
    if (value.is_string()) {
      value = changes.prose(value.get_ref<const std::string&>());
    } else if (key == "content" && value.is_array()) {
      for (auto& part : value) {
        const bool text = part.is_object() && part.contains("text") && part["text"].is_string();
        const auto written = text ? changes.prose(part["text"].get_ref<const std::string&>()) : std::string();
        change_texts(part, part.is_string() ? changes.prose : changes.value, changes.name);
        if (text) part["text"] = written;
      }
    } else {
      change_texts(value, changes.value, changes.name);
    }
  }
}

// A text that ends an answer: one line, without the spaces at its end.
std::string first_line(std::string text) {
  const size_t begin = text.find_first_not_of(" \n");
  if (begin == text.npos) return "";
  text.resize(std::min(text.size(), text.find('\n', begin)));
  text.resize(text.find_last_not_of(' ') + 1);
  return text;
}

}  // namespace

ChatTemplate::ChatTemplate(const ChatSource& source, const Tokenizer& tokenizer)
    : tokenizer_(tokenizer),
      source_(source),
      template_(parsed(source.text, source.name)),
      names_(marks_of(tokenizer, source)),
      is_mark_(static_cast<size_t>(tokenizer.n_words())) {
  if (source.for_tools) for_tools_ = parsed(*source.for_tools, source.name + " (tool_use)");
  for (int32_t id = 0; id < tokenizer.n_words(); ++id) is_mark_[static_cast<size_t>(id)] = tokenizer.is_special(id);
  for (const auto& [name, id] : names_.marks()) {
    is_mark_[static_cast<size_t>(id)] = true;
    if (!source_.bos && id == tokenizer.bos_id()) source_.bos = name;
    if (!source_.eos && id == tokenizer.eos_id()) source_.eos = name;
  }
  begun_ = names_.begun_in(source.text + "{" + source.for_tools.value_or(""));
  // This token stands for unknown characters, so any text may give it.
  if (tokenizer.unknown_id() >= 0) is_mark_[static_cast<size_t>(tokenizer.unknown_id())] = false;
}

bool ChatTemplate::is_mark(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < is_mark_.size() && is_mark_[static_cast<size_t>(id)];
}

// A template may write "<|" + role + "|>".
void ChatTemplate::check_role(const ordered_json& fields, size_t number) const {
  LT2_CHECK(fields.is_object() && fields.contains("role") && fields["role"].is_string(),
            "{}: message {} must be an object with a role, a text", name(), number);
  const auto& role = fields["role"].get_ref<const std::string&>();
  constexpr std::array kUsual = {"system", "developer", "user", "assistant", "tool"};
  if (std::find(kUsual.begin(), kUsual.end(), role) != kUsual.end()) return;
  const auto knows = [&](const std::string& text) {
    return text.find("'" + role + "'") != text.npos || text.find("\"" + role + "\"") != text.npos;
  };
  const bool known = knows(source_.text) || (source_.for_tools && knows(*source_.for_tools));
  LT2_CHECK(count_invalid_utf8(role) == 0 && (known || names_.weak_points(role, true).empty()),
            "{}: message {} has the role \"{}\", which the template does not know and a special token's name holds; "
            "expected one like system, user, assistant or tool",
            name(), number, replace_invalid_utf8(role));
}

MarkedText ChatTemplate::rendered(const ChatRequest& request, Cover cover) const {
  const bool tools = for_tools_ && request.tools.is_array() && !request.tools.empty();
  const TextChange repaired = [](const std::string& text) { return replace_invalid_utf8(text); };
  auto messages = ordered_json::array();
  for (const auto& message : request.messages) {
    messages.push_back(message.fields);
    change_message(messages.back(), {repaired, repaired, repaired});
  }
  auto functions = request.tools;
  change_texts(functions, repaired, repaired);

  Disguise disguise(names_);
  const TextChange note = [&](const std::string& text) {
    disguise.avoid(text);
    return text;
  };
  disguise.avoid(source_.text);
  if (source_.for_tools) disguise.avoid(*source_.for_tools);
  for (const auto& [mark, id] : names_.marks()) disguise.avoid(mark);
  change_texts(functions, note, note);
  for (auto& message : messages) change_message(message, {note, note, note});
  const TextChange names = [&](const std::string& text) { return disguise.covered(text, false); };
  const TextChange ends = [&](const std::string& text) { return disguise.covered(text, true); };
  const TextChange guarded_names = [&](const std::string& text) { return disguise.covered_with_guards(text, false); };
  const TextChange guarded = [&](const std::string& text) { return disguise.covered_with_guards(text, true); };
  const TextChange whole = [&](const std::string& text) { return disguise.covered_whole(text); };
  Changes covered{.prose = ends, .value = ends, .name = names};
  if (cover == Cover::kGuards) covered = {.prose = guarded, .value = guarded, .name = guarded_names};
  if (cover == Cover::kWhole) covered = {.prose = whole, .value = whole, .name = guarded_names};
  change_texts(functions, covered.value, covered.name);
  for (size_t i = 0; i < messages.size(); ++i)
    if (!request.messages[i].by_model) change_message(messages[i], covered);

  ordered_json variables = {{"messages", std::move(messages)},
                            {"tools", std::move(functions)},
                            {"documents", nullptr},
                            {"add_generation_prompt", request.add_generation_prompt}};
  if (source_.bos) variables["bos_token"] = *source_.bos;
  if (source_.eos) variables["eos_token"] = *source_.eos;
  return disguise.uncovered((tools ? *for_tools_ : template_).render(variables));
}

// Under the cover of names a template sees what people wrote, names excepted, so this gives the text that is to be
// written. Its marks cannot be trusted: a template that removes "x" makes "<|im_xend|>" a name. So the same text must
// come of a rendering in which no name can be made of what people wrote:
// - under full cover, as with every template that does not look at the letters;
// - under the cover of guards, a sign of each name: every mark then has its guard, and with it its beginning, from the
//   template. Where a text of the template ends in such a beginning ("<" + content), what follows may be people's, so
//   these marks must be those of full cover, too.
// To compare the marks of two renderings alone would not do: a template that leaves out a message writes two marks
// less, and a person who knows it forges two.
MarkedText ChatTemplate::render(const ChatRequest& request) const {
  for (size_t i = 0; i < request.messages.size(); ++i) check_role(request.messages[i].fields, i);
  const auto text = rendered(request, Cover::kNames).text;
  const auto under = [&](Cover cover) -> std::optional<MarkedText> {
    try {
      return rendered(request, cover);
    } catch (const Error&) {  // the template refuses covered text
      return std::nullopt;
    }
  };
  const auto whole = under(Cover::kWhole);
  if (whole && whole->text == text) return *whole;
  const auto begun = [&](const MarkedText& rendering) {
    Ids ids;
    for (const auto& mark : rendering.marks)
      if (std::find(begun_.begin(), begun_.end(), mark.id) != begun_.end()) ids.push_back(mark.id);
    return ids;
  };
  auto guarded = under(Cover::kGuards);
  const bool sound = guarded && guarded->text == text && begun(*guarded) == (whole ? begun(*whole) : Ids());
  LT2_CHECK(sound,
            "{}: the template changes what people wrote, and some of it may become a special token; leave out signs "
            "like < and | and what the template looks for, or use another template",
            name());
  return *std::move(guarded);
}

bool ChatTemplate::marks_are_tokens(const std::string& text, const Ids& ids) const {
  Ids spelled;
  for (const auto& mark : marks_in(text)) spelled.push_back(mark.id);
  return ids_of_marks(spelled) == ids_of_marks(ids);
}

std::vector<MarkedText::Mark> ChatTemplate::marks_in(std::string_view text) const {
  std::vector<MarkedText::Mark> out;
  for (size_t at = 0; at < text.size();) {
    const auto match = names_.finder().find(text, at);
    if (match.number < 0) break;
    out.push_back({match.begin, match.end, match.number});
    at = match.end;
  }
  return out;
}

Ids ChatTemplate::ids_of_marks(const Ids& ids) const {
  Ids out;
  std::copy_if(ids.begin(), ids.end(), std::back_inserter(out), [this](int32_t id) { return is_mark(id); });
  return out;
}

// Appends a mark, if there is one, and the text after it.
void ChatTemplate::append_piece(std::string_view piece, const MarkedText::Mark* mark, bool begun, Ids& ids) const {
  if (piece.empty()) return;
  const auto read = tokenizer_.encode(piece, false, false, {.continues = begun, .specials = true});
  if (ids_of_marks(read) == (mark ? Ids{mark->id} : Ids()) && marks_in(piece).size() == (mark ? 1 : 0)) {
    ids.insert(ids.end(), read.begin(), read.end());
    return;
  }
  if (mark) ids.push_back(mark->id);
  auto text = mark ? piece.substr(mark->end - mark->begin) : piece;
  // No text gives special tokens; other marks are split after their first character.
  size_t done = 0;
  const auto append_up_to = [&](size_t end) {
    append_plain_text(
        tokenizer_, text.substr(done, end - done), begun || done > 0, [this](int32_t id) { return is_mark(id); }, ids);
    done = end;
  };
  for (const auto& forged : marks_in(text))
    if (!tokenizer_.is_special(forged.id)) append_up_to(utf8_border_from(text, forged.begin + 1));
  append_up_to(text.size());
}

Ids ChatTemplate::encode(const MarkedText& text, size_t from, const Ids& before) const {
  const auto rest = std::string_view(text.text).substr(from);
  std::vector<MarkedText::Mark> marks;
  Ids expected;
  for (const auto& [begin, end, id] : text.marks) {
    if (begin < from) continue;
    marks.push_back({begin - from, end - from, id});
    if (is_mark(id)) expected.push_back(id);
  }
  bool begun = tokenizer_.holds_text(before);
  auto read = tokenizer_.encode(rest, false, false, {.continues = begun, .specials = true});
  if (marks_in(rest) == marks && ids_of_marks(read) == expected) return read;
  // Some text imitates a mark: encode mark by mark, each with the text after it.
  Ids ids;
  size_t done = 0;
  const MarkedText::Mark* mark = nullptr;
  const auto append_up_to = [&](size_t end) {
    append_piece(rest.substr(done, end - done), mark, begun, ids);
    begun = begun || end > (mark ? mark->end : done);
    done = end;
  };
  for (const auto& next : marks) {
    append_up_to(next.begin);
    mark = &next;
  }
  append_up_to(rest.size());
  return ids;
}

ChatTemplate::Ending ChatTemplate::ending() const {
  ChatRequest request{.messages = {{{{"role", "user"}, {"content", kSomeQuestion}}},
                                   {{{"role", "assistant"}, {"content", kSomeAnswer}}, true},
                                   {{{"role", "user"}, {"content", kNextQuestion}}}},
                      .tools = nullptr,
                      .add_generation_prompt = false};
  Ending out;
  MarkedText text;
  try {
    text = render(request);
  } catch (const Error&) {  // a template that needs other conversations; it reports errors when it is used
    return out;
  }
  const size_t answer = text.text.rfind(kSomeAnswer);
  if (answer == std::string::npos) return out;
  const size_t begin = answer + std::string_view(kSomeAnswer).size();
  size_t end = std::min(text.text.find(kNextQuestion, begin), text.text.size());
  const auto mark =
      std::find_if(text.marks.begin(), text.marks.end(), [&](const auto& each) { return each.begin >= begin; });
  const bool marked = mark != text.marks.end() && mark->begin < end;
  if (marked) end = mark->begin;
  if (const auto line = first_line(text.text.substr(begin, end - begin)); !line.empty()) {
    out.texts.push_back(line);
  } else if (marked) {
    out.tokens.push_back(mark->id);
  }
  return out;
}

}  // namespace lt2
