// Stores whose bytes are elsewhere: an object store that several machines share, with the local
// folder as a cache of limited size in front of it. Keys are digests, so an object is either the
// whole blob or not there (an object appears when its upload is complete), and never changes.
//   auto remote = open_remote("s3://bucket/prefix?region=eu-central-1");
//   auto store = Store::open(home / "blobs", std::move(*remote), {.cache_bytes = 20'000'000'000});
// A put is acknowledged when the object is there. Reads come from the cache, else from the object,
// whose digest is checked before the file appears in the cache; a damaged copy in the cache is
// fetched again. Files used in the last ten minutes stay in the cache even when it is too large.
// Thread-safe; calls block on the network.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace slipway::blob {

struct RemoteObject {
  std::string sha256;
  std::int64_t size = 0;
  Time put;  // by the clock of the object store
};

class Remote {
 public:
  virtual ~Remote() = default;
  // Whole or not at all; what was there of that name is replaced, and counts as put now.
  virtual Result<void> put(const std::string& sha256, const std::filesystem::path& file) = 0;
  virtual Result<RemoteObject> find(const std::string& sha256) = 0;  // not_found
  // Writes into an open file, from its beginning.
  virtual Result<void> get(const std::string& sha256, int fd) = 0;  // not_found
  virtual Result<void> remove(const std::string& sha256) = 0;       // nothing there: fine
  // All objects whose digests begin with these two characters, by digest.
  virtual Result<std::vector<RemoteObject>> list(const std::string& first_two) = 0;
  virtual std::string name() const = 0;  // for messages, without secrets
};

struct RemoteOptions {
  std::int64_t cache_bytes = std::int64_t{20} << 30;
};

// "s3://bucket/prefix" with options as a query: region, endpoint_override (host:port), scheme
// (http or https), tls_ca_file_path. Credentials come from the environment (AWS_ACCESS_KEY_ID …),
// AWS's files or the machine's role, never from the URL. Makes sure that the bucket can be read.
Result<std::unique_ptr<Remote>> open_remote(const std::string& url);

}  // namespace slipway::blob
