#include "api/status_map.h"

#include <array>

namespace slipway::api {
namespace {

// gRPC's numbers: https://grpc.io/docs/guides/status-codes/. 499 is nginx's "client closed
// request".
constexpr std::array kStatuses = {
    Status{Code::invalid_argument, 400, 3, "INVALID_ARGUMENT", "INVALID_PARAMETER_VALUE", 400, 2},
    Status{Code::unauthenticated, 401, 16, "UNAUTHENTICATED", "UNAUTHENTICATED", 401, 5},
    Status{Code::permission_denied, 403, 7, "PERMISSION_DENIED", "PERMISSION_DENIED", 403, 5},
    Status{Code::not_found, 404, 5, "NOT_FOUND", "RESOURCE_DOES_NOT_EXIST", 404, 3},
    Status{Code::already_exists, 409, 6, "ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS", 400, 4},
    Status{Code::failed_precondition, 409, 9, "FAILED_PRECONDITION", "INVALID_PARAMETER_VALUE", 400,
           4},
    Status{Code::resource_exhausted, 429, 8, "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", 429, 6},
    Status{Code::storage_full, 507, 8, "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", 507, 6},
    Status{Code::unavailable, 503, 14, "UNAVAILABLE", "TEMPORARILY_UNAVAILABLE", 503, 6},
    Status{Code::cancelled, 499, 1, "CANCELLED", "CANCELLED", 499, 130},
    Status{Code::deadline_exceeded, 504, 4, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", 504, 6},
    Status{Code::unimplemented, 501, 12, "UNIMPLEMENTED", "NOT_IMPLEMENTED", 501, 1},
    Status{Code::data_loss, 500, 15, "DATA_LOSS", "DATA_LOSS", 500, 1},
    Status{Code::internal, 500, 13, "INTERNAL", "INTERNAL_ERROR", 500, 1},
};

}  // namespace

const Status& status_of(Code code) {
  for (const auto& status : kStatuses) {
    if (status.code == code) return status;
  }
  return kStatuses.back();
}

std::span<const Status> all_statuses() { return kStatuses; }

}  // namespace slipway::api
