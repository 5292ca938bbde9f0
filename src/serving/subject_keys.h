// A key for each person (or whatever a deployment declares as its subject) whose inputs are in the
// prediction log, so that erasing the key makes everything logged about them unreadable, wherever
// copies of the log are. The keys are rows of the database, each sealed under `predictions.key` of
// the keys folder: neither the database nor the log tells anything without the other and that file.
//   auto sealed = keys->seal("alice", "41.5", "flights/p7/age");     // makes alice's key when new
//   auto clear = keys->unseal(*sealed, "flights/p7/age");           // not_found once she is erased
//   auto erased = keys->erase(ctx, "alice");                        // audited; for ever
// XChaCha20-Poly1305 (libsodium). A sealed text is "sealed1.<key id>.<base64 of nonce and box>".
// Thread-safe. seal blocks on the database for a subject that was not asked for lately.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "audit/audit.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/result.h"
#include "db/database.h"

namespace slipway::serving {

class SubjectKeys {
 public:
  static Result<std::unique_ptr<SubjectKeys>> open(db::Database& db, audit::Log& audit,
                                                   const std::filesystem::path& keys_dir,
                                                   const Clock& clock);
  ~SubjectKeys();

  // context: what the text belongs to; it opens under the same one only.
  Result<std::string> seal(std::string_view subject, std::string_view text,
                           std::string_view context);
  Result<std::string> unseal(std::string_view sealed, std::string_view context) const;
  static bool is_sealed(std::string_view text);

  // Destroys the subject's key: not_found when there is none. What comes later gets a new one.
  Result<void> erase(const Context& ctx, std::string_view subject);
  Result<std::int64_t> count() const;

 private:
  struct Impl;
  explicit SubjectKeys(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::serving
