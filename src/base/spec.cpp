#include "base/spec.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "base/file.h"

namespace slipway {
namespace {

constexpr int kDeepestDeclaration = 64;
constexpr int kMaxNodes = 200'000;  // also what an alias may expand to

using Marks = std::map<std::string, std::pair<int, int>>;

std::string escape(std::string_view key) {
  std::string text;
  for (const char c : key) {
    if (c == '~') {
      text += "~0";
    } else if (c == '/') {
      text += "~1";
    } else {
      text += c;
    }
  }
  return text;
}

std::string at(const std::string& name, const YAML::Mark& mark) {
  return name + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1);
}

// YAML 1.2 core schema: only true/false, null, and plain numbers are not text. "yes", "NO" and
// "1_000" stay text.
Json scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // quoted
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL")
    return nullptr;
  const char* begin = text.data() + (text[0] == '+' ? 1 : 0);
  const char* end = text.data() + text.size();
  const bool leading_zero = text.size() > 1 && text[0] == '0' &&
                            text.find_first_not_of("0123456789") == std::string::npos;
  std::int64_t whole = 0;
  if (const auto r = std::from_chars(begin, end, whole);
      r.ec == std::errc{} && r.ptr == end && !leading_zero)
    return whole;
  double real = 0;
  if (const auto r = std::from_chars(begin, end, real);
      r.ec == std::errc{} && r.ptr == end && !leading_zero &&
      text.find_first_of("0123456789") != std::string::npos) {
    return real;
  }
  return text;
}

struct Converter {
  const std::string& name;
  Marks& marks;
  int nodes = 0;

  Result<Json> convert(const YAML::Node& node, const std::string& pointer, int depth) {
    if (depth > kDeepestDeclaration)
      return invalid_argument(at(name, node.Mark()) + ": nested more than " +
                              std::to_string(kDeepestDeclaration) + " deep");
    if (++nodes > kMaxNodes)
      return invalid_argument(name + ": more than " + std::to_string(kMaxNodes) +
                              " values; are aliases expanding?");
    if (!node.Mark().is_null())
      marks.try_emplace(pointer, node.Mark().line + 1, node.Mark().column + 1);
    switch (node.Type()) {
      case YAML::NodeType::Null:
      case YAML::NodeType::Undefined:
        return Json(nullptr);
      case YAML::NodeType::Scalar:
        return scalar(node);
      case YAML::NodeType::Sequence: {
        Json list = Json::array();
        for (std::size_t i = 0; i < node.size(); ++i) {
          auto item = convert(node[i], pointer + "/" + std::to_string(i), depth + 1);
          if (!item) return item;
          list.push_back(std::move(*item));
        }
        return list;
      }
      case YAML::NodeType::Map: {
        Json object = Json::object();
        for (const auto& entry : node) {
          if (!entry.first.IsScalar())
            return invalid_argument(at(name, entry.first.Mark()) + ": a key has to be text");
          const std::string& key = entry.first.Scalar();
          if (object.contains(key))
            return invalid_argument(at(name, entry.first.Mark()) + ": the key '" + key +
                                    "' stands here twice");
          const std::string child = pointer + "/" + escape(key);
          marks[child] = {entry.first.Mark().line + 1, entry.first.Mark().column + 1};
          auto value = convert(entry.second, child, depth + 1);
          if (!value) return value;
          object[key] = std::move(*value);
        }
        return object;
      }
    }
    return Json(nullptr);
  }
};

const char* kind_of(const Json& value) {
  if (value.is_object()) return "a mapping";
  if (value.is_array()) return "a list";
  if (value.is_string()) return "text";
  if (value.is_boolean()) return "true/false";
  if (value.is_null()) return "nothing";
  return "a number";
}

std::string shown(const Json& value) {
  if (value.is_structured()) return kind_of(value);
  std::string text = value.dump();
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

}  // namespace

Result<SpecDocument> SpecDocument::load(const std::string& path) {
  auto text = read_file(path);
  if (!text) return text.error();
  return parse(*text, path);
}

Result<SpecDocument> SpecDocument::parse(std::string_view text, const std::string& name) {
  SpecDocument document;
  document.name_ = name;
  try {
    Converter converter{name, document.marks_};
    auto root = converter.convert(YAML::Load(std::string(text)), "", 0);
    if (!root) return root.error();
    document.root_ = std::move(*root);
  } catch (const YAML::Exception& problem) {
    return invalid_argument((problem.mark.is_null() ? name : at(name, problem.mark)) + ": " +
                            problem.msg);
  }
  return document;
}

SpecDocument SpecDocument::from_json(Json value, const std::string& name) {
  SpecDocument document;
  document.root_ = std::move(value);
  document.name_ = name;
  return document;
}

std::string SpecDocument::place(const std::string& pointer) const {
  for (std::string here = pointer;; here.resize(here.rfind('/'))) {
    if (const auto mark = marks_.find(here); mark != marks_.end()) {
      return name_ + ":" + std::to_string(mark->second.first) + ":" +
             std::to_string(mark->second.second);
    }
    if (here.empty()) break;
  }
  return marks_.empty() && !pointer.empty() ? name_ + pointer : name_;
}

SpecReader::SpecReader(const SpecDocument& document) : SpecReader(document, "") {}

SpecReader::SpecReader(const SpecDocument& document, std::string pointer)
    : SpecReader(std::shared_ptr<const SpecDocument>(&document, [](const SpecDocument*) {}),
                 std::move(pointer)) {}

SpecReader::SpecReader(std::shared_ptr<const SpecDocument> document, std::string pointer)
    : document_(std::move(document)),
      pointer_(std::move(pointer)),
      problems_(std::make_shared<std::vector<std::string>>()) {
  static const Json kNothing = Json::object();
  const Json::json_pointer where(pointer_);
  value_ = document_->root().contains(where) ? &document_->root().at(where) : &kNothing;
  if (!value_->is_object()) {
    if (!value_->is_null())
      problem("", std::string("expected a mapping of keys, found ") + shown(*value_));
    value_ = &kNothing;
  }
}

const Json& SpecReader::value() const { return *value_; }

bool SpecReader::has(std::string_view key) const {
  const auto found = value_->find(std::string(key));
  return found != value_->end() && !found->is_null();
}

std::vector<std::string> SpecReader::keys() const {
  std::vector<std::string> names;
  for (const auto& [key, unused] : value_->items()) names.push_back(key);
  return names;
}

std::string SpecReader::place() const { return document_->place(pointer_); }

std::string SpecReader::place(std::string_view key) const {
  return document_->place(pointer_ + "/" + escape(key));
}

void SpecReader::problem(std::string_view key, const std::string& message) {
  problems_->push_back((key.empty() ? place() : place(key)) + ": " + message);
}

const Json* SpecReader::find(std::string_view key) {
  if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) asked_.emplace_back(key);
  const auto found = value_->find(std::string(key));
  return found == value_->end() || found->is_null() ? nullptr : &*found;
}

std::string SpecReader::text(std::string_view key) {
  if (find(key) == nullptr) problem("", "the key '" + std::string(key) + "' is missing");
  return text(key, "");
}

std::int64_t SpecReader::integer(std::string_view key) {
  if (find(key) == nullptr) problem("", "the key '" + std::string(key) + "' is missing");
  return integer(key, std::int64_t{0});
}

double SpecReader::number(std::string_view key) {
  if (find(key) == nullptr) problem("", "the key '" + std::string(key) + "' is missing");
  return number(key, 0.0);
}

std::string SpecReader::text(std::string_view key, std::string otherwise) {
  const Json* value = find(key);
  if (value == nullptr) return otherwise;
  if (value->is_string()) return value->get<std::string>();
  if (value->is_number()) return value->dump();
  problem(key, "'" + std::string(key) + "' has to be text, found " + shown(*value));
  return otherwise;
}

std::int64_t SpecReader::integer(std::string_view key, std::int64_t otherwise) {
  const Json* value = find(key);
  if (value == nullptr) return otherwise;
  if (value->is_number_integer()) return value->get<std::int64_t>();
  if (value->is_number_float() && std::floor(value->get<double>()) == value->get<double>() &&
      std::abs(value->get<double>()) < 9e15) {
    return static_cast<std::int64_t>(value->get<double>());
  }
  problem(key, "'" + std::string(key) + "' has to be a whole number, found " + shown(*value));
  return otherwise;
}

double SpecReader::number(std::string_view key, double otherwise) {
  const Json* value = find(key);
  if (value == nullptr) return otherwise;
  if (value->is_number()) return value->get<double>();
  problem(key, "'" + std::string(key) + "' has to be a number, found " + shown(*value));
  return otherwise;
}

bool SpecReader::boolean(std::string_view key, bool otherwise) {
  const Json* value = find(key);
  if (value == nullptr) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  problem(key, "'" + std::string(key) + "' has to be true or false, found " + shown(*value));
  return otherwise;
}

Duration SpecReader::duration(std::string_view key, Duration otherwise) {
  const Json* value = find(key);
  if (value == nullptr) return otherwise;
  auto parsed = value->is_string() ? parse_duration(value->get<std::string>())
                                   : Result<Duration>(invalid_argument(
                                         shown(*value) + " has no unit; write 30s, 15m, 6h or 7d"));
  if (parsed) return *parsed;
  problem(key, "'" + std::string(key) + "': " + parsed.error().message);
  return otherwise;
}

std::vector<std::string> SpecReader::texts(std::string_view key) {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  std::vector<std::string> items;
  if (value->is_array()) {
    for (const Json& item : *value) {
      if (item.is_string()) {
        items.push_back(item.get<std::string>());
      } else if (item.is_number()) {
        items.push_back(item.dump());
      } else {
        problem(key, "'" + std::string(key) + "' has to be a list of texts, found " + shown(item) +
                         " in it");
      }
    }
    return items;
  }
  problem(key, "'" + std::string(key) + "' has to be a list of texts, found " + shown(*value));
  return items;
}

Json SpecReader::json(std::string_view key) {
  const Json* value = find(key);
  return value == nullptr ? Json(nullptr) : *value;
}

std::string SpecReader::one_of(std::string_view key, const std::vector<std::string>& allowed,
                               std::string otherwise) {
  std::string word = text(key, otherwise);
  if (word == otherwise || std::find(allowed.begin(), allowed.end(), word) != allowed.end())
    return word;
  std::string list;
  for (const std::string& option : allowed) list += (list.empty() ? "" : ", ") + option;
  const auto near = nearest(word, allowed);
  problem(key, "'" + word + "' is not a value of '" + std::string(key) + "'" +
                   (near ? "; did you mean '" + *near + "'?" : "") + " (one of " + list + ")");
  return otherwise;
}

SpecReader SpecReader::object(std::string_view key) {
  find(key);
  SpecReader child(document_, pointer_ + "/" + escape(key));
  problems_->insert(problems_->end(), child.problems_->begin(), child.problems_->end());
  child.problems_ = problems_;
  return child;
}

std::vector<SpecReader> SpecReader::list(std::string_view key) {
  const Json* value = find(key);
  std::vector<SpecReader> readers;
  if (value == nullptr) return readers;
  if (!value->is_array()) {
    problem(key, "'" + std::string(key) + "' has to be a list, found " + shown(*value));
    return readers;
  }
  for (std::size_t i = 0; i < value->size(); ++i) {
    SpecReader child(document_, pointer_ + "/" + escape(key) + "/" + std::to_string(i));
    problems_->insert(problems_->end(), child.problems_->begin(), child.problems_->end());
    child.problems_ = problems_;
    readers.push_back(std::move(child));
  }
  return readers;
}

std::vector<std::pair<std::string, SpecReader>> SpecReader::entries(std::string_view key) {
  const Json* value = find(key);
  std::vector<std::pair<std::string, SpecReader>> readers;
  if (value == nullptr) return readers;
  if (!value->is_object()) {
    problem(key, "'" + std::string(key) + "' has to be a mapping, found " + shown(*value));
    return readers;
  }
  for (const auto& [name, unused] : value->items()) {
    SpecReader child(document_, pointer_ + "/" + escape(key) + "/" + escape(name));
    problems_->insert(problems_->end(), child.problems_->begin(), child.problems_->end());
    child.problems_ = problems_;
    readers.emplace_back(name, std::move(child));
  }
  return readers;
}

void SpecReader::close() {
  for (const auto& [key, unused] : value_->items()) {
    if (std::find(asked_.begin(), asked_.end(), key) != asked_.end()) continue;
    const auto near = nearest(key, asked_);
    std::string list;
    for (const std::string& option : asked_) list += (list.empty() ? "" : ", ") + option;
    problem(key, "unknown key '" + key + "'" + (near ? "; did you mean '" + *near + "'?" : "") +
                     " (known: " + list + ")");
  }
}

Result<void> SpecReader::finish() {
  close();
  if (problems_->empty()) return {};
  std::string all;
  std::set<std::string> seen;
  for (const std::string& problem : *problems_) {
    if (seen.insert(problem).second) all += (all.empty() ? "" : "\n") + problem;
  }
  return invalid_argument(all);
}

std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates) {
  // Damerau-Levenshtein distance with adjacent swaps (optimal string alignment).
  const auto distance = [](std::string_view a, std::string_view b) {
    std::vector<std::size_t> before(b.size() + 1);
    std::vector<std::size_t> previous(b.size() + 1);
    std::vector<std::size_t> current(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) previous[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
      current[0] = i;
      for (std::size_t j = 1; j <= b.size(); ++j) {
        current[j] = std::min({previous[j] + 1, current[j - 1] + 1,
                               previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
          current[j] = std::min(current[j], before[j - 2] + 1);
      }
      std::swap(before, previous);
      std::swap(previous, current);
    }
    return previous[b.size()];
  };
  std::optional<std::string> best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > word.size() + 8 || word.size() > candidate.size() + 8) continue;
    if (const std::size_t d = distance(word, candidate); d < best_distance) {
      best_distance = d;
      best = candidate;
    }
  }
  return best;
}

}  // namespace slipway
