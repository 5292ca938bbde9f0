// One server per PostgreSQL database: homes on several machines may name the same one, and two
// servers would both evaluate its windows and judge its challengers. (A SQLite home has its own
// lock file.) The lock is the server's as long as its connection lives; when the connection was
// lost it is taken again, and a lock that somebody else took meanwhile is an error in the log.
//   auto lock = ServerLock::acquire(url);   // held until it is destroyed
// Thread-safe; has a thread of its own.
#pragma once
#include <memory>
#include <string>

#include "base/result.h"

namespace slipway::db {

class ServerLock {
 public:
  // failed_precondition when another server has it.
  static Result<std::unique_ptr<ServerLock>> acquire(const std::string& url);
  ~ServerLock();

 private:
  struct Impl;
  explicit ServerLock(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::db
