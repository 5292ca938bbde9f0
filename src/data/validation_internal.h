// How expectations become SQL. Private to this folder.
#pragma once
#include "data/validation.h"

namespace slipway::data {

// Checks that look at each row, so that bad rows can be counted, shown and set aside.
bool is_row_check(Check check);

}  // namespace slipway::data
