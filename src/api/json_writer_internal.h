// Appends JSON to a string, for answers of many items: no tree is built. Commas come by themselves;
// that begin and end match, and that every name is followed by a value, is the caller's affair.
//   JsonWriter json(out);
//   json.begin('{').name("runs").begin('[');
//   for (…) json.text(run.name);
//   json.end(']').end('}');
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace slipway::api {

class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}

  JsonWriter& begin(char bracket) {
    comma();
    out_.push_back(bracket);
    return *this;
  }
  JsonWriter& end(char bracket) {
    out_.push_back(bracket);
    return *this;
  }
  // A name as it stands in the code: nothing in it needs an escape.
  JsonWriter& name(std::string_view plain) {
    comma();
    out_.push_back('"');
    out_ += plain;
    out_ += "\":";
    return *this;
  }
  JsonWriter& text(std::string_view text);  // bytes that are not UTF-8 become U+FFFD
  JsonWriter& number(std::int64_t value);
  JsonWriter& number(double value);  // NaN, which JSON lacks, becomes "NaN", as MLflow writes it
  JsonWriter& flag(bool value) {
    comma();
    out_ += value ? "true" : "false";
    return *this;
  }

 private:
  void comma() {
    if (out_.empty()) return;
    const char last = out_.back();
    if (last != '{' && last != '[' && last != ':') out_.push_back(',');
  }
  std::string& out_;
};

}  // namespace slipway::api
