// Identifiers. An IdSource is passed in, so that tests can predict them.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace slipway {

class IdSource {
 public:
  virtual ~IdSource() = default;
  // 32 lower-case hexadecimal characters (128 bits). Thread-safe.
  virtual std::string next() = 0;
};

// From the operating system's generator.
class RandomIds final : public IdSource {
 public:
  std::string next() override;
};

// 000…001, 000…002, …
class SequentialIds final : public IdSource {
 public:
  std::string next() override;

 private:
  std::atomic<std::uint64_t> counter_{0};
};

}  // namespace slipway
