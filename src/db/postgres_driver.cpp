#include "db/session_internal.h"

namespace slipway::db {

Result<std::unique_ptr<Driver>> open_postgres(const std::string&, const Options&) {
  return unimplemented("PostgreSQL is not compiled in");
}

}  // namespace slipway::db
