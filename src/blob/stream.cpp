#include "blob/stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fault.h"
#include "base/file.h"
#include "base/hash.h"
#include "blob/store_internal.h"

namespace slipway::blob {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kCheckBuffer = std::size_t{1} << 20;
// The kernel begins to write this much at a time, so that the fsync at the end finds little to do.
constexpr std::int64_t kWriteBehind = std::int64_t{8} << 20;
constexpr std::size_t kMostSound = 65'536;  // blobs remembered as checked

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

// ---- what was checked ----

Result<FileState> FileState::of(int fd, const fs::path& shown) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return errno_error(errno, "cannot stat", shown);
  return FileState{.device = info.st_dev,
                   .inode = info.st_ino,
                   .size = info.st_size,
                   .modified_ns = nanoseconds(info.st_mtim),
                   .changed_ns = nanoseconds(info.st_ctim)};
}

bool Store::Impl::known_sound(const std::string& sha256, const FileState& state) const {
  return checked.with([&](const auto& known) {
    const auto found = known.find(sha256);
    return found != known.end() && found->second == state;
  });
}

void Store::Impl::note_sound(const std::string& sha256, const FileState& state) {
  checked.with([&](auto& known) {
    if (known.size() >= kMostSound) known.clear();
    known.insert_or_assign(sha256, state);
  });
}

// ---- Writer ----

struct Writer::Impl {
  explicit Impl(Store::Impl& owner) : store(owner), temporary(owner.new_temporary()) {}

  Store::Impl& store;
  const Temporary temporary;
  Fd out;
  Sha256 hash;
  std::int64_t size = 0;
  std::int64_t begun = 0;  // bytes the kernel was asked to write already
};

Writer::Writer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Writer::~Writer() = default;
std::int64_t Writer::size() const { return impl_->size; }

Result<std::unique_ptr<Writer>> Writer::open(Store& store) {
  if (auto writable = store.impl_->check_writable(); !writable) return writable.error();
  auto impl = std::make_unique<Impl>(*store.impl_);
  auto out = create_new(impl->temporary.path, kReadOnly);
  if (!out) return out.error();
  impl->out = std::move(*out);
  return std::unique_ptr<Writer>(new Writer(std::move(impl)));
}

Result<void> Writer::append(std::string_view bytes) {
  Impl& my = *impl_;
  if (bytes.empty()) return {};
  my.hash.update(bytes);
  if (auto put = write_all(my.out.get(), bytes, my.temporary.path); !put) return put;
  my.size += static_cast<std::int64_t>(bytes.size());
  if (my.size - my.begun >= kWriteBehind) {
    (void)::sync_file_range(my.out.get(), my.begun, my.size - my.begun, SYNC_FILE_RANGE_WRITE);
    my.begun = my.size;
  }
  return fault::point("blob.tmp_partial");
}

Result<Ref> Writer::commit(std::string_view wanted) {
  Impl& my = *impl_;
  const Ref ref{my.hash.finish_hex(), my.size};
  if (!wanted.empty() && wanted != ref.sha256) {
    return invalid_argument("the bytes have the SHA-256 " + ref.sha256 + ", not " +
                            std::string(wanted.substr(0, 80)) + " as was said: nothing was stored");
  }
  auto there = my.store.stored(ref);
  if (!there) return there.error();
  if (*there) return ref;
  auto published = my.store.publish(my.out.get(), my.temporary.path, ref);
  if (!published) return published.error();
  // Behind the rename, which counts as a change.
  if (auto state = FileState::of(my.out.get(), my.temporary.path); state)
    my.store.note_sound(ref.sha256, *state);
  return ref;
}

// ---- Reader ----

struct Reader::Impl {
  Store::Impl* store = nullptr;
  std::string sha256;
  fs::path file;
  Fd in;
  FileState state;
  std::int64_t size = 0;
  std::int64_t left = 0;
  bool whole = true;  // hash says at the end whether the bytes are right
  Sha256 hash;

  Result<void> compare() {
    if (const std::string found = hash.finish_hex(); found != sha256) {
      store->drop_cached(sha256);
      return damaged(sha256, file, "holds bytes with digest " + found);
    }
    store->note_sound(sha256, state);
    return {};
  }
};

Reader::Reader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Reader::~Reader() = default;
std::int64_t Reader::size() const { return impl_->size; }

Result<std::unique_ptr<Reader>> Reader::open(const Store& store, const std::string& sha256) {
  auto impl = std::make_unique<Impl>();
  auto file = store.impl_->existing(sha256);
  if (!file) return file.error();
  auto in = open_regular(*file);
  if (!in) return in.error();
  auto state = FileState::of(in->get(), *file);
  if (!state) return state.error();
  (void)::posix_fadvise(in->get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  impl->store = store.impl_.get();
  impl->sha256 = sha256;
  impl->file = std::move(*file);
  impl->in = std::move(*in);
  impl->state = *state;
  impl->size = impl->left = state->size;
  if (impl->size == 0) {
    if (auto right = impl->compare(); !right) return right.error();
  }
  return std::unique_ptr<Reader>(new Reader(std::move(impl)));
}

Result<std::unique_ptr<Reader>> Reader::open(const Store& store, const std::string& sha256,
                                             std::int64_t offset, std::int64_t length) {
  auto checked = check_once(store, sha256);
  if (!checked) return checked.error();
  if (offset < 0 || length < 0 || length > checked->size - offset) {
    return invalid_argument("blob " + sha256 + " has " + std::to_string(checked->size) +
                            " bytes; " + std::to_string(length) + " from " +
                            std::to_string(offset) + " on were asked for");
  }
  auto reader = open(store, sha256);
  if (!reader) return reader;
  Impl& impl = *(*reader)->impl_;
  if (offset == 0 && length == impl.size) return reader;
  if (::lseek(impl.in.get(), offset, SEEK_SET) != offset)
    return errno_error(errno, "cannot seek in", impl.file);
  impl.size = impl.left = length;
  impl.whole = false;
  return reader;
}

Result<Ref> check_once(const Store& store, const std::string& sha256) {
  auto reader = Reader::open(store, sha256);
  if (!reader) return reader.error();
  const Reader::Impl& impl = *(*reader)->impl_;
  if (!impl.store->known_sound(sha256, impl.state)) {
    std::string buffer(kCheckBuffer, '\0');
    while (true) {
      auto got = (*reader)->read(buffer);  // notes it as sound at its end
      if (!got) return got.error();
      if (*got == 0) break;
    }
  }
  return Ref{sha256, impl.size};
}

Result<Ref> keep(Store& store, const std::string& sha256) {
  auto ref = check_once(store, sha256);
  if (!ref) return ref;
  auto kept = store.impl_->keep_young(sha256);
  if (!kept) return kept.error();
  if (!*kept) return not_found("blob " + sha256 + " was swept a moment ago");
  // Being touched changed the file's times, but not its bytes.
  auto reader = Reader::open(store, sha256);
  if (!reader) return reader.error();
  store.impl_->note_sound(sha256, (*reader)->impl_->state);
  return ref;
}

Result<std::size_t> Reader::read(std::span<char> into) {
  Impl& my = *impl_;
  const auto wanted = static_cast<std::size_t>(
      std::min<std::int64_t>(my.left, static_cast<std::int64_t>(into.size())));
  std::size_t have = 0;
  while (have < wanted) {
    const ssize_t got = ::read(my.in.get(), into.data() + have, wanted - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, "cannot read", my.file);
    if (got == 0) return damaged(my.sha256, my.file, "became shorter while it was read");
    have += static_cast<std::size_t>(got);
  }
  if (have == 0) return have;
  my.left -= static_cast<std::int64_t>(have);
  if (my.whole) {
    my.hash.update({into.data(), have});
    if (my.left == 0) {
      if (auto right = my.compare(); !right) return right.error();
    }
  }
  return have;
}

}  // namespace slipway::blob
