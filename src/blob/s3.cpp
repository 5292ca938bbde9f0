// S3 through Arrow's file systems. Arrow keeps S3 in a library of its own (libarrow_s3), which is
// loaded only when somebody names an s3:// URL: it costs 15 MB of memory.
// https://arrow.apache.org/docs/cpp/api/filesystem.html; requests that fail with 5xx, and broken or
// stalled connections, are tried again by the AWS SDK inside, with backoff.
#include <arrow/filesystem/api.h>
#include <arrow/io/interfaces.h>
#include <arrow/util/config.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>

#include "base/file.h"
#include "blob/io_internal.h"
#include "blob/remote.h"
#include "blob/store.h"

namespace slipway::blob {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece = std::size_t{8} << 20;  // read or sent at a time; parts are as large

Error remote_error(const arrow::Status& status, const std::string& doing) {
  const std::string text = status.ToString();
  const std::string message = fmt::format("{}: {}", doing, text.substr(0, 500));
  const auto says = [&](std::string_view words) { return text.find(words) != std::string::npos; };
  if (says("ACCESS_DENIED") || says("HTTP status 403") || says("SIGNATURE_DOES_NOT_MATCH") ||
      says("INVALID_ACCESS_KEY_ID"))
    return permission_denied(message +
                             " (credentials: AWS_ACCESS_KEY_ID and "
                             "AWS_SECRET_ACCESS_KEY, or AWS's files)");
  if (says("NO_SUCH_KEY") || says("HTTP status 404") || says("does not exist") || says("not found"))
    return not_found(message);
  if (status.IsOutOfMemory()) return resource_exhausted(message);
  return unavailable(message);
}

// Arrow's S3 client has threads of its own, which must have ended before the program does.
struct AtExit {
  ~AtExit() { arrow::fs::EnsureFinalized(); }
};

// Beside libarrow itself, wherever that is.
arrow::Status load_library() {
  static std::once_flag once;
  static arrow::Status loaded;
  std::call_once(once, [] {
    Dl_info info{};
    if (::dladdr(reinterpret_cast<const void*>(&arrow::fs::LoadFileSystemFactories), &info) == 0 ||
        info.dli_fname == nullptr) {
      loaded = arrow::Status::IOError("the folder of libarrow is not known");
      return;
    }
    const fs::path arrow_library = fs::canonical(info.dli_fname);
    std::string name = arrow_library.filename().string();  // libarrow.so.2600
    const std::size_t dot = name.find(".so");
    name = "libarrow_s3" + name.substr(std::min(dot, name.size()));
    loaded = arrow::fs::LoadFileSystemFactories((arrow_library.parent_path() / name).c_str());
  });
  return loaded;
}

class S3Remote final : public Remote {
 public:
  S3Remote(std::shared_ptr<arrow::fs::FileSystem> files, std::string root, std::string shown)
      : files_(std::move(files)), root_(std::move(root)), shown_(std::move(shown)) {}

  Result<void> put(const std::string& sha256, const fs::path& file) override {
    auto in = open_regular(file);
    if (!in) return in.error();
    const std::string doing = "cannot store blob " + sha256 + " in " + shown_;
    auto out = files_->OpenOutputStream(key(sha256));
    if (!out.ok()) return remote_error(out.status(), doing);
    std::string buffer(kPiece, '\0');
    while (true) {
      const ssize_t got = ::read(in->get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        const Error error = errno_error(errno, "cannot read", file);
        (void)(*out)->Abort();
        return error;
      }
      if (got == 0) break;
      auto sent = (*out)->Write(buffer.data(), got);
      // Waits for what is on its way, or a fast disk and a slow network would fill the memory.
      if (sent.ok()) sent = (*out)->Flush();
      if (!sent.ok()) {
        (void)(*out)->Abort();  // the parts sent so far never become an object
        return remote_error(sent, doing);
      }
    }
    // Only this makes the object visible.
    if (auto closed = (*out)->Close(); !closed.ok()) return remote_error(closed, doing);
    return {};
  }

  Result<RemoteObject> find(const std::string& sha256) override {
    auto info = files_->GetFileInfo(key(sha256));
    if (!info.ok()) return remote_error(info.status(), "cannot look into " + shown_);
    if (info->type() != arrow::fs::FileType::File)
      return not_found("blob " + sha256 + " is not in " + shown_);
    return object(*info, sha256);
  }

  Result<void> get(const std::string& sha256, int fd) override {
    const std::string doing = "cannot read blob " + sha256 + " from " + shown_;
    auto in = files_->OpenInputFile(key(sha256));
    if (!in.ok()) return remote_error(in.status(), doing);
    auto size = (*in)->GetSize();
    if (!size.ok()) return remote_error(size.status(), doing);
    std::string buffer(std::min<std::size_t>(kPiece, static_cast<std::size_t>(*size)), '\0');
    for (std::int64_t at = 0; at < *size;) {
      auto got =
          (*in)->ReadAt(at, std::min<std::int64_t>(std::ssize(buffer), *size - at), buffer.data());
      if (!got.ok()) return remote_error(got.status(), doing);
      if (*got == 0) return unavailable(doing + ": it ended too early");
      if (auto put = write_all(fd, {buffer.data(), static_cast<std::size_t>(*got)}, shown_); !put)
        return put;
      at += *got;
    }
    return {};
  }

  Result<void> remove(const std::string& sha256) override {
    const arrow::Status removed = files_->DeleteFile(key(sha256));
    if (removed.ok()) return {};
    Error error = remote_error(removed, "cannot remove blob " + sha256 + " from " + shown_);
    if (error.code == Code::not_found) return {};
    return error;
  }

  Result<std::vector<RemoteObject>> list(const std::string& first_two) override {
    arrow::fs::FileSelector below;
    below.base_dir = root_ + "/" + first_two;
    below.allow_not_found = true;
    auto found = files_->GetFileInfo(below);
    if (!found.ok()) return remote_error(found.status(), "cannot list " + shown_);
    std::vector<RemoteObject> objects;
    for (const arrow::fs::FileInfo& info : *found) {
      if (info.type() == arrow::fs::FileType::File && is_digest(info.base_name()))
        objects.push_back(object(info, info.base_name()));
    }
    std::ranges::sort(objects, {}, &RemoteObject::sha256);
    return objects;
  }

  std::string name() const override { return shown_; }

 private:
  std::string key(const std::string& sha256) const {
    return root_ + "/" + sha256.substr(0, 2) + "/" + sha256;
  }
  static RemoteObject object(const arrow::fs::FileInfo& info, std::string sha256) {
    return {.sha256 = std::move(sha256),
            .size = info.size(),
            .put = std::chrono::time_point_cast<Duration>(info.mtime())};
  }

  std::shared_ptr<arrow::fs::FileSystem> files_;
  std::string root_;   // "bucket/prefix"
  std::string shown_;  // "s3://bucket/prefix"
};

}  // namespace

Result<std::unique_ptr<Remote>> open_remote(const std::string& url) {
  constexpr std::string_view kScheme = "s3://";
  const std::string shown = url.substr(0, url.find('?'));
  if (!url.starts_with(kScheme) || shown.size() == kScheme.size()) {
    return invalid_argument(fmt::format(
        "'{}' is no place for artifacts: wanted s3://BUCKET/PREFIX, with options such as "
        "?region=eu-central-1 or ?endpoint_override=minio.example.org:9000&scheme=http",
        shown));
  }
  if (shown.find('@') != std::string::npos) {
    return invalid_argument(
        "the URL of the artifacts holds credentials: give them in AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or in AWS's files");
  }
  // Small objects in one request, instead of the three of an upload in parts.
  const std::string with_option =
      url + (url.find('?') == std::string::npos ? "?" : "&") + "allow_delayed_open=true";
  try {
    std::string root;
    auto files = arrow::fs::FileSystemFromUri(with_option, &root);
    if (!files.ok()) {  // a libarrow with S3 built in needs no library
      if (auto loaded = load_library(); !loaded.ok()) {
        return unimplemented("this installation has no S3 support: " + loaded.ToString());
      }
      files = arrow::fs::FileSystemFromUri(with_option, &root);
    }
    if (!files.ok()) return invalid_argument(shown + ": " + files.status().ToString());
    static const AtExit at_exit;
    while (root.ends_with('/')) root.pop_back();
    // A wrong key or a missing bucket is said at once, not by the first upload.
    const std::string bucket = root.substr(0, root.find('/'));
    auto there = (*files)->GetFileInfo(bucket);
    if (!there.ok()) return remote_error(there.status(), "cannot look into " + shown);
    if (there->type() != arrow::fs::FileType::Directory)
      return not_found(fmt::format("there is no bucket '{}'", bucket));
    auto remote = std::make_unique<S3Remote>(std::move(*files), root, shown);
    if (auto listed = remote->list("00"); !listed) return listed.error();
    return std::unique_ptr<Remote>(std::move(remote));
  } catch (const std::exception& e) {
    return unavailable(fmt::format("{}: {}", shown, e.what()));
  }
}

}  // namespace slipway::blob
