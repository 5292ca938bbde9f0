// What the two halves of the declaration's reader share: spec_transforms.cpp knows the transforms,
// spec.cpp the entries that they stand in.
#pragma once
#include <optional>
#include <string_view>

#include "features/expression_internal.h"
#include "features/spec.h"

namespace slipway::features {

// What a transform takes: numbers, the raw value as a category (or numbers, further down a chain),
// a raw timestamp, or a raw text.
enum class Takes { numbers, category, timestamp, text };

struct TransformKind {
  std::string_view name;
  Takes takes;
  std::string_view short_option;  // what a bare value stands for: `impute: median`
  Transform (*read)(SpecReader&);
  bool last = false;  // nothing can follow it
};

const TransformKind& kind_of(const Transform& transform);
// The transform declared by `item`, the entry's `number`th; problems go to the entry.
std::optional<Transform> read_transform(SpecReader& entry, const Json& item, std::size_t number);

// The derived columns, in the order of the spec; every problem is a line of one invalid_argument.
Result<std::vector<Expression>> compile(const PipelineSpec& spec, const data::Schema& schema);

}  // namespace slipway::features
