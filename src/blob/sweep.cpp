#include "blob/sweep.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <unordered_set>

#include "base/fault.h"
#include "base/file.h"
#include "base/json.h"
#include "blob/store_internal.h"
#include "db/database.h"

namespace slipway::blob {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kLargestManifest = std::int64_t{64} << 20;
constexpr std::string_view kAside = ".gc-";

int nibble(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

Digest parse_digest(std::string_view hex) {
  Digest digest{};
  for (std::size_t i = 0; i < digest.size(); ++i)
    digest[i] = static_cast<std::uint8_t>(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
  return digest;
}

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

// Every run of exactly 64 hexadecimal characters.
template <class Take>
void each_digest(std::string_view text, Take&& take) {
  for (std::size_t at = 0; at < text.size();) {
    if (!is_hex(text[at])) {
      ++at;
      continue;
    }
    std::size_t end = at;
    while (end < text.size() && is_hex(text[end])) ++end;
    if (end - at == 64) take(text.substr(at, 64));
    at = end;
  }
}

// What was found under a source that may name manifests.
struct MaybeManifest {
  std::string sha256;
  std::uint8_t kind;
};

// Adds the files of the manifest, when the blob is one: a tree's and a dataset's both have
// {"files": [{"sha256": …}]}.
Result<void> expand(const Store& store, const MaybeManifest& root, LiveSet& live) {
  auto path = store.path_of(root.sha256);
  if (!path) {
    if (path.error().code == Code::not_found) return {};  // counted as missing by the sweep
    live.damaged_manifests.push_back(root.sha256);
    return {};
  }
  auto fd = open_regular(*path);
  if (!fd) return {};
  char first = 0;
  struct stat info{};
  if (::fstat(fd->get(), &info) != 0 || info.st_size > kLargestManifest ||
      ::pread(fd->get(), &first, 1, 0) != 1 || first != '{')
    return {};
  auto text = store.read(root.sha256);
  if (!text) {
    if (text.error().code == Code::data_loss) live.damaged_manifests.push_back(root.sha256);
    return {};
  }
  const Json json = Json::parse(*text, nullptr, false);
  if (!json.is_object() || !json.contains("files") || !json["files"].is_array()) return {};
  for (const Json& file : json["files"]) {
    if (file.is_object() && file.contains("sha256") && file["sha256"].is_string())
      live.add(file["sha256"].get_ref<const std::string&>(), root.kind, true);
  }
  return {};
}

struct Listed {
  std::string name;
  std::int64_t size = 0;
  std::int64_t modified_us = 0;
};

Result<std::int64_t> modified_us(const fs::path& file, std::int64_t* size) {
  struct stat info{};
  if (::lstat(file.c_str(), &info) != 0) return errno_error(errno, "cannot stat", file);
  if (size != nullptr) *size = info.st_size;
  return info.st_mtim.tv_sec * 1'000'000 + info.st_mtim.tv_nsec / 1000;
}

// Blobs that a sweep which died had renamed aside go back to their names.
void put_back(const fs::path& folder, const std::string& name) {
  const fs::path home = folder / name.substr(kAside.size());
  std::error_code ignored;
  if (fs::exists(home, ignored)) {
    fs::remove(folder / name, ignored);
  } else {
    fs::rename(folder / name, home, ignored);
  }
}

Result<std::vector<Listed>> list(const fs::path& folder) {
  std::vector<std::string> aside;
  std::vector<Listed> blobs;
  std::error_code failed;
  for (fs::directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(kAside) && is_digest(std::string_view(name).substr(kAside.size())))
      aside.push_back(name);
  }
  if (failed == std::errc::no_such_file_or_directory) return blobs;
  if (failed) return errno_error(failed.value(), "cannot list", folder);
  for (const std::string& name : aside) put_back(folder, name);
  for (fs::directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    Listed blob{.name = it->path().filename().string()};
    if (!is_digest(blob.name)) continue;
    auto modified = modified_us(it->path(), &blob.size);
    if (!modified) continue;  // removed meanwhile
    blob.modified_us = *modified;
    blobs.push_back(std::move(blob));
  }
  if (failed) return errno_error(failed.value(), "cannot list", folder);
  std::ranges::sort(blobs, {}, &Listed::name);
  return blobs;
}

// True when it is gone, false when somebody put it again in the last moment.
Result<bool> remove_blob(const fs::path& folder, const Listed& blob, std::int64_t put_before_us) {
  const fs::path file = folder / blob.name;
  const fs::path aside = folder / (std::string(kAside) + blob.name);
  if (::rename(file.c_str(), aside.c_str()) != 0) {
    if (errno == ENOENT) return true;
    return errno_error(errno, "cannot rename", file);
  }
  if (auto fault = fault::point("blob.sweep_aside"); !fault) return fault.error();
  auto modified = modified_us(aside, nullptr);
  if (!modified) return modified.error();
  if (*modified >= put_before_us) {
    if (::rename(aside.c_str(), file.c_str()) != 0)
      return errno_error(errno, "cannot rename", aside);
    return false;
  }
  if (::unlink(aside.c_str()) != 0) return errno_error(errno, "cannot remove", aside);
  if (auto fault = fault::point("blob.sweep_removed"); !fault) return fault.error();
  return true;
}

Result<std::vector<Listed>> list_remote(Remote& remote, const std::string& first_two) {
  auto objects = remote.list(first_two);
  if (!objects) return objects.error();
  std::vector<Listed> blobs;
  for (RemoteObject& object : *objects)
    blobs.push_back({std::move(object.sha256), object.size, to_micros(object.put)});
  return blobs;
}

// An object store has no rename to step aside with: an old blob that is put again between the
// second look and the removal, a few milliseconds, would be lost. docs/reference/moving.md says so.
Result<bool> remove_remote(Remote& remote, const fs::path& folder, const Listed& blob,
                           std::int64_t put_before_us) {
  auto now = remote.find(blob.name);
  if (!now) {
    if (now.error().code == Code::not_found) return true;
    return now.error();
  }
  if (to_micros(now->put) >= put_before_us) return false;
  if (auto gone = remote.remove(blob.name); !gone) return gone.error();
  std::error_code ignored;
  fs::remove(folder / blob.name, ignored);  // from the cache
  return true;
}

void note(std::vector<std::string>& examples, std::string text) {
  if (examples.size() < kSweepExamples) examples.push_back(std::move(text));
}

}  // namespace

void LiveSet::add(std::string_view hex, std::uint8_t kind, bool certain) {
  if (is_digest(hex)) entries_.push_back({parse_digest(hex), kind, certain});
}

void LiveSet::finish() {
  std::ranges::sort(entries_, [](const Entry& a, const Entry& b) {
    return std::tuple(a.digest, !a.certain, a.kind) < std::tuple(b.digest, !b.certain, b.kind);
  });
  const auto doubled = std::ranges::unique(entries_, {}, &Entry::digest);
  entries_.erase(doubled.begin(), doubled.end());
  entries_.shrink_to_fit();
}

std::uint8_t LiveSet::kind_index(std::string_view name) {
  const auto known = std::ranges::find(kinds_, name);
  if (known != kinds_.end()) return static_cast<std::uint8_t>(known - kinds_.begin());
  kinds_.emplace_back(name);
  return static_cast<std::uint8_t>(kinds_.size() - 1);
}

const LiveSet::Entry* LiveSet::find(const Digest& digest) const {
  const auto at = std::ranges::lower_bound(entries_, digest, {}, &Entry::digest);
  return at != entries_.end() && at->digest == digest ? &*at : nullptr;
}

Result<LiveSet> mark(const Context& ctx, const db::Database& db, const Store& store,
                     std::span<const RootSource> sources, const LeaveOut& leave_out) {
  LiveSet live;
  std::vector<MaybeManifest> manifests;
  std::unordered_set<std::string> seen;
  auto read = db.read([&](db::Connection& c) -> Result<void> {
    for (const RootSource& source : sources) {
      const std::uint8_t kind = live.kind_index(source.kind);
      auto rows = c.query("-- many rows\n" + std::string(source.sql));  // PostgreSQL: in batches
      if (!rows) return rows.error().at(source.kind);
      const bool has_path = leave_out && source.sql.find(", path FROM") != std::string_view::npos;
      const auto take = [&](std::string_view digest) {
        live.add(digest, kind, source.exact);
        if (source.manifests && is_digest(digest) && seen.insert(std::string(digest)).second)
          manifests.push_back({std::string(digest), kind});
      };
      for (std::size_t row = 0; rows->next(); ++row) {
        if (row % 4096 == 0) {
          if (auto wanted = ctx.check(); !wanted) return wanted.error();
        }
        if (has_path && leave_out(rows->view(1))) continue;
        if (source.exact) {
          take(rows->view(0));
        } else {
          each_digest(rows->view(0), take);
        }
      }
      if (auto status = rows->status(); !status) return status.error().at(source.kind);
    }
    return {};
  });
  if (!read) return read.error();
  for (const MaybeManifest& manifest : manifests) {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    if (auto expanded = expand(store, manifest, live); !expanded) return expanded.error();
  }
  live.finish();
  return live;
}

Result<Swept> sweep(const Context& ctx, Store& store, const LiveSet& live,
                    const SweepOptions& options) {
  Swept swept;
  swept.kept.resize(live.kinds().size());
  const std::int64_t put_before_us = to_micros(options.put_before);
  auto expected = live.entries().begin();
  const auto missing_until = [&](const Digest& digest) {
    for (; expected != live.entries().end() && expected->digest < digest; ++expected) {
      if (!expected->certain) continue;
      ++swept.missing;
      note(swept.missing_digests, to_hex(expected->digest));
    }
  };
  for (int first = 0; first < 256; ++first) {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    const fs::path folder = store.root() / fmt::format("{:02x}", first);
    Remote* remote = store.remote();
    auto blobs = remote ? list_remote(*remote, folder.filename().string()) : list(folder);
    if (!blobs) return blobs.error();
    for (const Listed& blob : *blobs) {
      const Digest digest = parse_digest(blob.name);
      missing_until(digest);
      if (expected != live.entries().end() && expected->digest == digest) {
        swept.kept[expected->kind].add(blob.size);
        ++expected;
      } else if (blob.modified_us >= put_before_us) {
        swept.young.add(blob.size);
      } else {
        if (auto wanted = ctx.check(); !wanted) return wanted.error();
        auto gone = options.dry_run ? Result<bool>(true)
                    : remote        ? remove_remote(*remote, folder, blob, put_before_us)
                                    : remove_blob(folder, blob, put_before_us);
        if (!gone) {
          swept.failed.add(blob.size);
          note(swept.problems, gone.error().message);
        } else if (*gone) {
          swept.garbage.add(blob.size);
          note(swept.garbage_digests, blob.name);
        } else {
          swept.young.add(blob.size);
        }
      }
    }
  }
  Digest end;
  end.fill(0xFF);
  missing_until(end);
  return swept;
}

}  // namespace slipway::blob
