#include "blob/multipart.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <map>
#include <mutex>
#include <unordered_map>

#include "base/fault.h"
#include "base/file.h"
#include "base/hash.h"
#include "blob/store_internal.h"

namespace slipway::blob {
namespace {

constexpr unsigned kOwnerOnly = 0600;
constexpr std::size_t kJoinBuffer = std::size_t{1} << 20;

std::string_view without_quotes(std::string_view etag) {
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
    etag.remove_prefix(1);
    etag.remove_suffix(1);
  }
  return etag;
}

// A part that came before its turn.
struct Waiting {
  std::unique_ptr<Temporary> file;
  std::string etag;
};

}  // namespace

// Parts are joined in their order as soon as they are there: by the thread that brought the next
// one, while other threads bring others.
struct Multipart::Upload {
  Upload(std::string what, int wanted, std::unique_ptr<Writer> into)
      : subject(std::move(what)), parts(wanted), joined(std::move(into)) {}

  Result<void> take(int number, std::unique_ptr<Temporary> file, std::string etag);
  Result<void> join();
  Result<void> append(const std::filesystem::path& file);

  const std::string subject;
  const int parts;

  std::mutex mutex;
  std::condition_variable changed;
  std::map<int, Waiting> waiting;
  std::vector<std::string> etags;  // of the joined parts, in order
  bool joining = false;            // a thread is writing to `joined`
  bool closed = false;             // completed or aborted
  std::optional<Error> failed;     // joining went wrong: the upload is lost
  std::unique_ptr<Writer> joined;  // belongs to the thread that set `joining`
  SteadyTime touched{};            // under Impl::mutex
};

struct Multipart::Impl {
  Impl(Store& target, const Clock& time, IdSource& id_source, Limits most)
      : store(target), clock(time), ids(id_source), limits(most) {}

  // Takes out what has been left alone for too long; the caller drops it after the lock.
  std::vector<std::shared_ptr<Upload>> take_stale(SteadyTime now);
  Result<std::shared_ptr<Upload>> find(const std::string& id);
  Result<std::shared_ptr<Upload>> find(const std::string& id, const std::string& subject);
  void forget(const std::string& id);

  Store& store;
  const Clock& clock;
  IdSource& ids;
  const Limits limits;
  std::mutex mutex;
  std::unordered_map<std::string, std::shared_ptr<Upload>> uploads;
};

struct Multipart::Part::Impl {
  std::shared_ptr<Upload> upload;
  int number = 0;
  std::unique_ptr<Temporary> file;
  Fd out;
  Sha256 hash;
};

// ---- parts ----

Multipart::Part::Part(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Multipart::Part::~Part() = default;

Result<void> Multipart::Part::append(std::string_view bytes) {
  impl_->hash.update(bytes);
  if (auto put = write_all(impl_->out.get(), bytes, impl_->file->path); !put) return put;
  return fault::point("blob.tmp_partial");
}

Result<std::string> Multipart::Part::finish() {
  std::string etag = impl_->hash.finish_hex();
  auto taken = impl_->upload->take(impl_->number, std::move(impl_->file), etag);
  if (!taken) return taken.error();
  return etag;
}

Result<void> Multipart::Upload::take(int number, std::unique_ptr<Temporary> file,
                                     std::string etag) {
  {
    const std::scoped_lock lock(mutex);
    if (failed) return *failed;
    if (closed) return not_found("the upload ended while this part was on its way");
    if (number <= static_cast<int>(etags.size())) {
      if (etags[static_cast<std::size_t>(number - 1)] == etag) return {};
      return failed_precondition("part " + std::to_string(number) +
                                 " was sent before with other bytes, which are joined already: "
                                 "abort the upload and start again");
    }
    waiting[number] = {std::move(file), std::move(etag)};
  }
  return join();
}

Result<void> Multipart::Upload::join() {
  std::unique_lock lock(mutex);
  if (joining) return {};  // that thread will find the new part
  joining = true;
  while (!failed && !closed) {
    auto next = waiting.extract(static_cast<int>(etags.size()) + 1);
    if (next.empty()) break;
    etags.push_back(next.mapped().etag);
    lock.unlock();
    auto appended = append(next.mapped().file->path);
    next = {};  // removes the file
    lock.lock();
    if (!appended) {
      failed = appended.error();
      joined.reset();  // what is lost need not fill the disk until somebody aborts
      waiting.clear();
    }
  }
  joining = false;
  changed.notify_all();
  return failed ? Result<void>(*failed) : Result<void>();
}

Result<void> Multipart::Upload::append(const std::filesystem::path& file) {
  auto in = open_regular(file);
  if (!in) return in.error();
  std::string buffer(kJoinBuffer, '\0');
  while (true) {
    const ssize_t got = ::read(in->get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, "cannot read", file);
    if (got == 0) return {};
    auto put = joined->append({buffer.data(), static_cast<std::size_t>(got)});
    if (!put) return put;
  }
}

// ---- uploads ----

Multipart::Multipart(Store& store, const Clock& clock, IdSource& ids)
    : Multipart(store, clock, ids, Limits()) {}
Multipart::Multipart(Store& store, const Clock& clock, IdSource& ids, Limits limits)
    : impl_(std::make_unique<Impl>(store, clock, ids, limits)) {}
Multipart::~Multipart() = default;

std::vector<std::shared_ptr<Multipart::Upload>> Multipart::Impl::take_stale(SteadyTime now) {
  std::vector<std::shared_ptr<Upload>> stale;
  for (auto it = uploads.begin(); it != uploads.end();) {
    if (now - it->second->touched < limits.idle) {
      ++it;
      continue;
    }
    stale.push_back(std::move(it->second));
    it = uploads.erase(it);
  }
  return stale;
}

Result<std::shared_ptr<Multipart::Upload>> Multipart::Impl::find(const std::string& id) {
  std::vector<std::shared_ptr<Upload>> stale;
  const std::scoped_lock lock(mutex);
  const SteadyTime now = clock.steady();
  stale = take_stale(now);
  const auto found = uploads.find(id);
  if (found == uploads.end()) {
    return not_found(
        "there is no upload under this id: it ended, was left alone for too long, or "
        "the server was started anew; begin the upload again");
  }
  found->second->touched = now;
  return found->second;
}

Result<std::shared_ptr<Multipart::Upload>> Multipart::Impl::find(const std::string& id,
                                                                 const std::string& subject) {
  auto upload = find(id);
  if (upload && (*upload)->subject != subject) {
    return invalid_argument("this upload is for '" + (*upload)->subject + "', not for '" + subject +
                            "'");
  }
  return upload;
}

void Multipart::Impl::forget(const std::string& id) {
  const std::scoped_lock lock(mutex);
  uploads.erase(id);
}

Result<std::string> Multipart::create(const std::string& subject, int parts) {
  if (parts < 1 || parts > impl_->limits.parts) {
    return invalid_argument("an upload has 1 to " + std::to_string(impl_->limits.parts) +
                            " parts, not " + std::to_string(parts) + ": choose larger parts");
  }
  std::vector<std::shared_ptr<Upload>> stale;
  const std::scoped_lock lock(impl_->mutex);
  const SteadyTime now = impl_->clock.steady();
  stale = impl_->take_stale(now);
  if (impl_->uploads.size() >= impl_->limits.uploads) {
    return unavailable(std::to_string(impl_->uploads.size()) +
                       " uploads in parts are open, which is the most; complete or abort some");
  }
  auto writer = Writer::open(impl_->store);
  if (!writer) return writer.error();
  auto upload = std::make_shared<Upload>(subject, parts, std::move(*writer));
  upload->touched = now;
  std::string id = impl_->ids.next();
  impl_->uploads.emplace(id, std::move(upload));
  return id;
}

Result<std::unique_ptr<Multipart::Part>> Multipart::part(const std::string& id, int number) {
  auto upload = impl_->find(id);
  if (!upload) return upload.error();
  if (number < 1 || number > (*upload)->parts) {
    return invalid_argument("this upload has the parts 1 to " + std::to_string((*upload)->parts) +
                            ", not " + std::to_string(number));
  }
  auto part = std::make_unique<Part::Impl>();
  part->upload = std::move(*upload);
  part->number = number;
  part->file = std::make_unique<Temporary>(impl_->store.impl_->new_temporary());
  auto out = create_new(part->file->path, kOwnerOnly);
  if (!out) return out.error();
  part->out = std::move(*out);
  return std::unique_ptr<Part>(new Part(std::move(part)));
}

Result<Ref> Multipart::complete(const std::string& id, const std::string& subject,
                                std::span<const PartRef> parts) {
  auto found = impl_->find(id, subject);
  if (!found) return found.error();
  Upload& upload = **found;
  std::vector<PartRef> wanted(parts.begin(), parts.end());
  std::ranges::sort(wanted, {}, &PartRef::number);
  std::unique_lock lock(upload.mutex);
  upload.changed.wait(lock, [&] { return !upload.joining; });
  if (upload.failed) return *upload.failed;
  if (upload.closed) return not_found("this upload has ended");
  for (int number = 1; number <= static_cast<int>(wanted.size()); ++number) {
    const PartRef& part = wanted[static_cast<std::size_t>(number - 1)];
    if (part.number != number) {
      return invalid_argument("the list of parts must name 1 to the last, each once: it has no " +
                              std::to_string(number));
    }
    if (number > static_cast<int>(upload.etags.size())) {
      return failed_precondition("part " + std::to_string(number) + " has not come yet");
    }
    const std::string_view etag = without_quotes(part.etag);
    if (!etag.empty() && etag != upload.etags[static_cast<std::size_t>(number - 1)]) {
      return invalid_argument("part " + std::to_string(number) + " has the ETag " +
                              upload.etags[static_cast<std::size_t>(number - 1)] + ", not " +
                              std::string(etag.substr(0, 80)));
    }
  }
  if (wanted.size() < upload.etags.size() + upload.waiting.size()) {
    return invalid_argument(std::to_string(upload.etags.size() + upload.waiting.size()) +
                            " parts have come, and the list names " +
                            std::to_string(wanted.size()));
  }
  if (wanted.empty()) return invalid_argument("the list of parts is empty");
  upload.joining = true;
  upload.closed = true;
  lock.unlock();
  auto ref = upload.joined->commit();
  impl_->forget(id);
  return ref;
}

Result<void> Multipart::abort(const std::string& id, const std::string& subject) {
  auto upload = impl_->find(id, subject);
  if (!upload) return upload.error();
  {
    const std::scoped_lock lock((*upload)->mutex);
    (*upload)->closed = true;
  }
  impl_->forget(id);
  return {};
}

}  // namespace slipway::blob
