#include "serving/subject_keys.h"

#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include <list>

#include "base/file.h"
#include "base/guarded.h"
#include "base/hash.h"
#include "serving/migrations.h"
#include "serving/queries.h"

namespace slipway::serving {
namespace {

constexpr std::size_t kKeyBytes = crypto_aead_xchacha20poly1305_ietf_KEYBYTES;
constexpr std::size_t kBoxNonce = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr std::size_t kBoxTag = crypto_aead_xchacha20poly1305_ietf_ABYTES;
constexpr std::size_t kKeyIdBytes = 16;
constexpr std::string_view kSealedMark = "sealed1.";
constexpr std::size_t kCached = 10'000;  // subjects whose keys are at hand

using SecretKey = std::array<unsigned char, kKeyBytes>;

const unsigned char* bytes_in(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string box_up(const SecretKey& key, std::string_view text, std::string_view context) {
  std::string box(kBoxNonce + text.size() + kBoxTag, '\0');
  auto* out = reinterpret_cast<unsigned char*>(box.data());
  randombytes_buf(out, kBoxNonce);
  crypto_aead_xchacha20poly1305_ietf_encrypt(out + kBoxNonce, nullptr, bytes_in(text), text.size(),
                                             bytes_in(context), context.size(), nullptr, out,
                                             key.data());
  return to_base64(box);
}

Result<std::string> unbox(const SecretKey& key, std::string_view base64, std::string_view context,
                          std::string_view what) {
  const auto box = from_base64(base64);
  if (box && box->size() >= kBoxNonce + kBoxTag) {
    const std::string_view sealed = std::string_view(*box).substr(kBoxNonce);
    std::string text(sealed.size() - kBoxTag, '\0');
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(
            reinterpret_cast<unsigned char*>(text.data()), nullptr, nullptr, bytes_in(sealed),
            sealed.size(), bytes_in(context), context.size(), bytes_in(*box), key.data()) == 0)
      return text;
  }
  return data_loss(fmt::format("{} was changed, or belongs to another key or row", what));
}

Result<SecretKey> key_from(std::string_view text, std::string_view what) {
  if (text.size() != kKeyBytes) return data_loss(fmt::format("{} is no key", what));
  SecretKey key{};
  std::ranges::copy(text, key.begin());
  return key;
}

// Made with mode 0600 at first use; whoever was faster wins.
Result<SecretKey> open_master(const std::filesystem::path& file) {
  if (auto made = make_dirs(file.parent_path()); !made) return made.error();
  auto text = read_file(file);
  if (!text && text.error().code == Code::not_found) {
    SecretKey fresh{};
    randombytes_buf(fresh.data(), fresh.size());
    const std::string line = to_hex(fresh) + "\n";
    const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && errno != EEXIST) return errno_error(errno, "cannot create", file);
    if (fd >= 0) {
      const bool whole =
          ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size()) &&
          ::fsync(fd) == 0;
      const int problem = errno;
      ::close(fd);
      if (!whole) {
        std::error_code ignored;
        std::filesystem::remove(file, ignored);
        return errno_error(problem, "cannot write", file);
      }
      if (auto synced = fsync_path(file.parent_path()); !synced) return synced.error();
    }
    text = read_file(file);
  }
  if (!text) return text.error();
  if (text->ends_with('\n')) text->pop_back();
  const auto bytes = from_hex(*text);
  if (!bytes)
    return data_loss("'" + file.string() + "' is no key: 64 hexadecimal characters wanted");
  return key_from(*bytes, "'" + file.string() + "'");
}

}  // namespace

struct SubjectKeys::Impl {
  struct Held {
    std::string id;
    SecretKey key;
  };

  Impl(db::Database& database, audit::Log& log, const Clock& time, const SecretKey& key)
      : db(database), audit(log), clock(time), master(key) {}

  // Subjects are kept by a keyed hash: the table does not say who they are.
  std::string name_of(std::string_view subject) const {
    std::array<std::uint8_t, crypto_auth_hmacsha256_BYTES> mac{};
    crypto_auth_hmacsha256(mac.data(), bytes_in(subject), subject.size(), master.data());
    return to_hex(mac);
  }
  Result<Held> key_of(const std::string& name);
  Result<std::optional<Held>> stored(db::Connection& connection, std::string_view sql,
                                     std::string_view by) const;

  db::Database& db;
  audit::Log& audit;
  const Clock& clock;
  const SecretKey master;
  Guarded<std::map<std::string, Held>> cache;  // by name; started anew when it is full
};

Result<std::optional<SubjectKeys::Impl::Held>> SubjectKeys::Impl::stored(
    db::Connection& connection, std::string_view sql, std::string_view by) const {
  auto rows = connection.query(sql, by);
  if (!rows) return rows.error();
  if (!rows->next()) {
    if (auto status = rows->status(); !status) return status.error();
    return std::optional<Held>{};
  }
  Held held{.id = rows->text(0), .key = {}};
  auto bytes = unbox(master, rows->text(1), held.id, "a subject's key");
  if (!bytes) return bytes.error();
  auto key = key_from(*bytes, "a subject's key");
  if (!key) return key.error();
  held.key = *key;
  return std::optional(std::move(held));
}

Result<SubjectKeys::Impl::Held> SubjectKeys::Impl::key_of(const std::string& name) {
  auto known = cache.with([&](const auto& held) -> std::optional<Held> {
    const auto found = held.find(name);
    if (found == held.end()) return std::nullopt;
    return found->second;
  });
  if (known) return *known;
  Held fresh;
  std::array<std::uint8_t, kKeyIdBytes> id{};
  randombytes_buf(id.data(), id.size());
  randombytes_buf(fresh.key.data(), fresh.key.size());
  fresh.id = to_hex(id);
  const std::string sealed =
      box_up(master, {reinterpret_cast<const char*>(fresh.key.data()), fresh.key.size()}, fresh.id);
  auto held = db.write([&](db::Transaction& tx) -> Result<Held> {
    auto there = stored(tx, sql::find_subject_key, name);
    if (!there) return there.error();
    if (*there) return std::move(**there);
    if (auto ran = tx.run(sql::insert_subject_key, fresh.id, name, sealed, to_micros(clock.now()));
        !ran)
      return ran.error();
    return fresh;
  });
  if (!held) return held.error();
  cache.with([&](auto& all) {
    if (all.size() >= kCached) all.clear();
    all.insert_or_assign(name, *held);
  });
  return *held;
}

SubjectKeys::SubjectKeys(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SubjectKeys::~SubjectKeys() = default;

Result<std::unique_ptr<SubjectKeys>> SubjectKeys::open(db::Database& db, audit::Log& audit,
                                                       const std::filesystem::path& keys_dir,
                                                       const Clock& clock) {
  if (sodium_init() < 0) return internal("libsodium could not be started");
  if (auto migrated = db.migrate("serving", kMigrations); !migrated) return migrated.error();
  auto master = open_master(keys_dir / "predictions.key");
  if (!master) return master.error();
  return std::unique_ptr<SubjectKeys>(
      new SubjectKeys(std::make_unique<Impl>(db, audit, clock, *master)));
}

Result<std::string> SubjectKeys::seal(std::string_view subject, std::string_view text,
                                      std::string_view context) {
  auto held = impl_->key_of(impl_->name_of(subject));
  if (!held) return held.error();
  return fmt::format("{}{}.{}", kSealedMark, held->id, box_up(held->key, text, context));
}

bool SubjectKeys::is_sealed(std::string_view text) {
  return text.starts_with(kSealedMark) && text.find('.', kSealedMark.size()) != text.npos;
}

Result<std::string> SubjectKeys::unseal(std::string_view sealed, std::string_view context) const {
  if (!is_sealed(sealed)) return invalid_argument("this is no sealed value");
  sealed.remove_prefix(kSealedMark.size());
  const std::size_t dot = sealed.find('.');
  const std::string id(sealed.substr(0, dot));
  auto held = impl_->db.read([&](db::Connection& connection) {
    return impl_->stored(connection, sql::find_subject_key_by_id, id);
  });
  if (!held) return held.error();
  if (!*held) return not_found("the subject was erased: their key is gone");
  return unbox((*held)->key, sealed.substr(dot + 1), context, "a sealed value");
}

Result<void> SubjectKeys::erase(const Context& ctx, std::string_view subject) {
  const std::string name = impl_->name_of(subject);
  auto erased = impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    auto there = impl_->stored(tx, sql::find_subject_key, name);
    if (!there) return there.error();
    if (!*there) return not_found("no prediction was logged under a key of this subject");
    // Written over before it is deleted: a deleted row's bytes stay in its page.
    const std::string nothing(to_base64(std::string(kBoxNonce + kKeyBytes + kBoxTag, '\0')));
    if (auto ran = tx.run(sql::blank_subject_key, (*there)->id, nothing); !ran) return ran;
    if (auto ran = tx.run(sql::delete_subject_key, (*there)->id); !ran) return ran;
    auto entry = impl_->audit.append(tx, {.actor = ctx.principal.name,
                                          .action = "subject.erase",
                                          .object = "subjects/" + name.substr(0, 16),
                                          .details = {{"key", (*there)->id}}});
    if (!entry) return entry.error();
    return {};
  });
  if (erased) impl_->cache.with([&](auto& all) { all.erase(name); });
  return erased;
}

Result<std::int64_t> SubjectKeys::count() const {
  return impl_->db.read([](db::Connection& connection) -> Result<std::int64_t> {
    auto rows = connection.query(sql::count_subject_keys);
    if (!rows) return rows.error();
    const std::int64_t count = rows->next() ? rows->integer(0) : 0;
    if (auto status = rows->status(); !status) return status.error();
    return count;
  });
}

}  // namespace slipway::serving
