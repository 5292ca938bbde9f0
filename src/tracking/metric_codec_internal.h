// Metric points as bytes. A chunk holds points of one metric, sorted and each once, column by
// column:
//   byte 1 (the version) · varint count · times · steps · values
// Times and steps: the first as a zigzag varint, then the differences of differences likewise,
// where 0 is followed by how many of them there are; evenly spaced points cost next to nothing.
// Values: byte 0 and 8 bytes each (IEEE 754, little-endian), or byte 1 and each as its difference
// (xor) from the one before: a byte with the number of zero bytes in front (high half) and of bytes
// that follow (low half), and those bytes; whichever is shorter. The idea is Gorilla's: T. Pelkonen
// et al., "Gorilla: A Fast, Scalable, In-Memory Time Series Database", VLDB 2015, section 4.1, in
// whole bytes. A record holds chunks of several metrics: per metric varint length · key · varint
// length · chunk.
#pragma once
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/result.h"

namespace slipway::tracking {

struct Point {
  std::int64_t timestamp_ms = 0;
  std::int64_t step = 0;
  double value = 0;  // finite or NaN
};

// NaN has the place of 0, behind it, as in MLflow's tables.
inline double place_of(double value) { return std::isnan(value) ? 0 : value; }
// By time, step, value: the order of histories. Points that are neither before the other are the
// same point.
inline bool is_before(const Point& a, const Point& b) {
  return std::tuple(a.timestamp_ms, a.step, place_of(a.value), std::isnan(a.value)) <
         std::tuple(b.timestamp_ms, b.step, place_of(b.value), std::isnan(b.value));
}
// The order in which curves are drawn: step first.
inline bool is_left_of(const Point& a, const Point& b) {
  return std::tuple(a.step, a.timestamp_ms, place_of(a.value), std::isnan(a.value)) <
         std::tuple(b.step, b.timestamp_ms, place_of(b.value), std::isnan(b.value));
}

// Sorts, and leaves each point once.
void sort_points(std::vector<Point>& points);

std::string encode_chunk(std::span<const Point> points);
// Appends. data_loss when the bytes are not a chunk.
Result<void> decode_chunk(std::string_view bytes, std::vector<Point>& to);

void append_to_record(std::string& record, std::string_view key, std::string_view chunk);
// Takes the next metric off the front; false at the end.
Result<bool> next_in_record(std::string_view& record, std::string_view& key,
                            std::string_view& chunk);

}  // namespace slipway::tracking
