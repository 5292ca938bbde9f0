// JSON texts against a JSON Schema, by the valijson library.
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "data/expectation_sql_internal.h"

namespace slipway::data {

Result<std::vector<std::size_t>> not_of_schema(const Json& schema,
                                               const std::vector<std::string>& texts) {
  valijson::Schema compiled;
  try {
    valijson::SchemaParser parser;
    const valijson::adapters::NlohmannJsonAdapter adapter(schema);
    parser.populateSchema(adapter, compiled);
  } catch (const std::exception& failure) {
    return invalid_argument(std::string("schema is no JSON Schema: ") + failure.what());
  }
  std::vector<std::size_t> bad;
  valijson::Validator validator(valijson::Validator::kStrongTypes);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto document = parse_json(texts[i]);
    if (!document) {
      bad.push_back(i);
      continue;
    }
    const valijson::adapters::NlohmannJsonAdapter adapter(*document);
    if (!validator.validate(compiled, adapter, nullptr)) bad.push_back(i);
  }
  return bad;
}

}  // namespace slipway::data
