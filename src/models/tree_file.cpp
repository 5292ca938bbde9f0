#include "models/tree_file_internal.h"

namespace slipway::models {
namespace {

constexpr std::size_t kMostDepth = 64;

// Builds a Json value from parser events, and stops the parser at the limits. Stopping matters: a
// few bytes of UBJSON can announce an array of 2^62 nulls, and its parser recurses once per level.
class LimitedBuilder final : public nlohmann::json_sax<Json> {
 public:
  explicit LimitedBuilder(std::size_t bytes) : bytes_(bytes) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return stop("it holds binary data"); }
  bool start_object(std::size_t size) override { return open(Json::object(), size); }
  bool start_array(std::size_t size) override { return open(Json::array(), size); }
  bool key(string_t& value) override {
    key_ = std::move(value);
    return count();
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t position, const std::string&, const Json::exception& e) override {
    return stop("byte " + std::to_string(position) + ": " + e.what());
  }

  Json root;
  std::string problem;

 private:
  bool stop(std::string why) {
    if (problem.empty()) problem = std::move(why);
    return false;
  }
  bool count() {
    return ++parts_ <= 2 * bytes_ + 16 || stop("it announces more values than it has bytes");
  }
  Json* place(Json value) {
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    Json& member = (*open_.back())[key_];
    member = std::move(value);
    return &member;
  }
  bool put(Json value) {
    if (!count()) return false;
    place(std::move(value));
    return true;
  }
  bool open(Json value, std::size_t size) {
    if (!count()) return false;
    if (size != static_cast<std::size_t>(-1) && size > bytes_)
      return stop("it announces more values than it has bytes");
    if (open_.size() >= kMostDepth)
      return stop("it is nested more than " + std::to_string(kMostDepth) + " deep");
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::size_t bytes_;
  std::size_t parts_ = 0;
  std::vector<Json*> open_;
  std::string key_;
};

}  // namespace

Result<Json> read_json_or_ubjson(std::string_view bytes) {
  // Both forms of an object begin with a brace; JSON goes on with a quote, a brace or white space,
  // UBJSON with a type.
  const std::size_t next = bytes.size() > 1 ? 1 : 0;
  const bool json = !bytes.empty() &&
                    (bytes[0] != '{' ||
                     std::string_view("\"} \t\r\n").find(bytes[next]) != std::string_view::npos);
  LimitedBuilder builder(bytes.size());
  try {
    Json::sax_parse(
        bytes.begin(), bytes.end(), &builder,
        json ? nlohmann::detail::input_format_t::json : nlohmann::detail::input_format_t::ubjson);
  } catch (const std::exception& e) {
    return data_loss(e.what());
  }
  if (!builder.problem.empty()) return data_loss(builder.problem);
  return std::move(builder.root);
}

}  // namespace slipway::models
