// Field numbers: onnx/onnx.proto (ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto,
// FunctionProto). Wire format: protobuf's encoding guide. Only lengths are followed; nothing is
// copied but names of files.
#include "models/onnx_file_internal.h"

#include <cstdint>

namespace slipway::models {
namespace {

constexpr int kMostNesting = 64;
constexpr std::uint32_t kLengthDelimited = 2;

struct Field {
  std::uint32_t number = 0;
  std::uint32_t wire = 0;
  std::string_view bytes;  // of a length-delimited field
};

// Fields of one message, in order. ok() is false once something is no field.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}
  bool ok() const { return ok_; }

  bool next(Field& field) {
    if (rest_.empty() || !ok_) return false;
    std::uint64_t tag = 0;
    if (!varint(tag)) return false;
    field.number = static_cast<std::uint32_t>(tag >> 3);
    field.wire = static_cast<std::uint32_t>(tag & 7);
    std::uint64_t length = 0;
    switch (field.wire) {
      case 0:
        return varint(length);
      case 1:
        length = 8;
        break;
      case kLengthDelimited:
        if (!varint(length)) return false;
        break;
      case 5:
        length = 4;
        break;
      default:
        return ok_ = false;
    }
    if (length > rest_.size()) return ok_ = false;
    field.bytes = rest_.substr(0, static_cast<std::size_t>(length));
    rest_.remove_prefix(static_cast<std::size_t>(length));
    return true;
  }

 private:
  bool varint(std::uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return true;
    }
    return ok_ = false;
  }

  std::string_view rest_;
  bool ok_ = true;
};

enum class Message { model, graph, node, attribute, tensor, sparse, function, entry };

struct Child {
  Message in;
  std::uint32_t number;
  Message is;
};
constexpr Child kChildren[] = {
    {Message::model, 7, Message::graph},       {Message::model, 25, Message::function},
    {Message::graph, 1, Message::node},        {Message::graph, 5, Message::tensor},
    {Message::graph, 15, Message::sparse},     {Message::node, 5, Message::attribute},
    {Message::attribute, 5, Message::tensor},  {Message::attribute, 6, Message::graph},
    {Message::attribute, 10, Message::tensor}, {Message::attribute, 11, Message::graph},
    {Message::attribute, 22, Message::sparse}, {Message::attribute, 23, Message::sparse},
    {Message::sparse, 1, Message::tensor},     {Message::sparse, 2, Message::tensor},
    {Message::function, 7, Message::node},     {Message::function, 11, Message::attribute},
    {Message::tensor, 13, Message::entry}};

Result<void> walk(std::string_view bytes, Message what, int depth,
                  std::vector<std::string>& found) {
  if (depth > kMostNesting)
    return data_loss(fmt::format("it is nested more than {} deep", kMostNesting));
  Fields fields(bytes);
  std::string_view key;
  std::string_view value;
  for (Field field; fields.next(field);) {
    if (field.wire != kLengthDelimited) continue;
    if (what == Message::entry) {
      if (field.number == 1) key = field.bytes;
      if (field.number == 2) value = field.bytes;
      continue;
    }
    for (const Child& child : kChildren) {
      if (child.in != what || child.number != field.number) continue;
      if (auto walked = walk(field.bytes, child.is, depth + 1, found); !walked) return walked;
    }
  }
  if (!fields.ok()) return data_loss("it is damaged or cut off");
  if (what == Message::entry && key == "location") found.emplace_back(value);
  return {};
}

}  // namespace

Result<std::vector<std::string>> external_files(std::string_view model) {
  if (model.empty()) return data_loss("it is empty");
  std::vector<std::string> found;
  if (auto walked = walk(model, Message::model, 0, found); !walked) return walked.error();
  return found;
}

}  // namespace slipway::models
