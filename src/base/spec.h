// Declarations that people write: YAML (or JSON) with a place for every value, and a reader that
// turns them into settings, telling file, line, column and the nearest valid key for what is wrong.
//   auto doc = SpecDocument::load("pipeline.yaml");
//   SpecReader reader(*doc);                                   // at the root
//   auto name = reader.text("name");                           // required
//   auto retries = reader.integer("retries", 0);               // optional with default
//   for (auto& step : reader.list("steps")) …
//   if (auto problems = reader.finish(); !problems) return problems.error();   // unknown keys,
//   wrong types
// Readers collect problems instead of stopping at the first. Not thread-safe.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"

namespace slipway {

class SpecDocument {
 public:
  static Result<SpecDocument> load(const std::string& path);  // .yaml, .yml or .json
  static Result<SpecDocument> parse(
      std::string_view text, const std::string& name);  // name stands for the file in messages
  static SpecDocument from_json(Json value,
                                const std::string& name);  // no places: messages name the pointer
  const Json& root() const { return root_; }
  const std::string& name() const { return name_; }
  // "pipeline.yaml:12:5" for a JSON pointer ("/steps/0/sql"); of the key if the value has none; the
  // name alone when unknown.
  std::string place(const std::string& pointer) const;
  // The part under one pointer with another value there (references replaced, say); places stay
  // those of the file.
  SpecDocument with_value(const std::string& pointer, Json value) const {
    SpecDocument part;
    part.name_ = name_;
    part.root_[Json::json_pointer(pointer)] = std::move(value);
    for (auto mark = marks_.lower_bound(pointer);
         mark != marks_.end() && mark->first.starts_with(pointer); ++mark) {
      part.marks_.insert(*mark);
    }
    return part;
  }

 private:
  Json root_;
  std::string name_;
  std::map<std::string, std::pair<int, int>> marks_;  // pointer -> line, column, from 1
};

class SpecReader {
 public:
  explicit SpecReader(const SpecDocument& document);
  SpecReader(const SpecDocument& document, std::string pointer);
  // A reader over loose JSON, for values that came from a store.
  SpecReader(std::shared_ptr<const SpecDocument> document, std::string pointer);

  bool has(std::string_view key) const;
  std::vector<std::string> keys() const;
  // Required: a missing or ill-typed value is noted as a problem and an empty value is returned.
  std::string text(std::string_view key);
  std::int64_t integer(std::string_view key);
  double number(std::string_view key);
  // Optional, with a default.
  std::string text(std::string_view key, std::string otherwise);
  std::int64_t integer(std::string_view key, std::int64_t otherwise);
  double number(std::string_view key, double otherwise);
  bool boolean(std::string_view key, bool otherwise);
  Duration duration(std::string_view key, Duration otherwise);
  std::vector<std::string> texts(
      std::string_view key);        // a list of strings, or one string; missing: empty
  Json json(std::string_view key);  // anything; missing: null
  std::string one_of(std::string_view key, const std::vector<std::string>& allowed,
                     std::string otherwise);
  // Nested readers share this one's problem list. Missing: an empty reader / no readers.
  SpecReader object(std::string_view key);
  std::vector<SpecReader> list(std::string_view key);  // of objects
  std::vector<std::pair<std::string, SpecReader>> entries(
      std::string_view key);  // of a mapping whose values are objects

  const Json& value() const;
  const std::string& pointer() const { return pointer_; }
  std::string place() const;                      // of this object
  std::string place(std::string_view key) const;  // of one of its values
  void problem(std::string_view key,
               const std::string& message);  // note a problem at a key ("" for the object itself)
  // Notes keys of this object that nobody asked for (with the nearest valid key), then returns all
  // problems of the whole family of readers as one invalid_argument error, a line each.
  Result<void> finish();
  // Notes unknown keys of this object only.
  void close();

 private:
  struct Shared;
  const Json* find(std::string_view key);
  std::shared_ptr<const SpecDocument> document_;
  std::string pointer_;
  const Json* value_;
  std::vector<std::string> asked_;
  std::shared_ptr<std::vector<std::string>> problems_;
};

// The candidate nearest to `word` by edit distance, or nothing when none is near.
std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates);

}  // namespace slipway
