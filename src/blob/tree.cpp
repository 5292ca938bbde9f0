#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/json.h"
#include "blob/io_internal.h"
#include "blob/store.h"
#include "blob/store_internal.h"

namespace slipway::blob {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxPath = 1024;
constexpr std::size_t kMaxPart = 255;
constexpr int kMaxDepth = 64;
constexpr std::int64_t kMaxManifest = std::int64_t{64} << 20;

// Well-formed UTF-8 (Unicode 15, table 3-7): no overlong forms, no surrogates, nothing above
// U+10FFFF.
bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    std::size_t more = 0;
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    if (lead < 0x80) {
      more = 0;
    } else if (lead >= 0xC2 && lead <= 0xDF) {
      more = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      more = 2;
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      more = 3;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    } else {
      return false;
    }
    if (i + more >= text.size()) return false;
    for (std::size_t k = 1; k <= more; ++k) {
      const auto byte = static_cast<unsigned char>(text[i + k]);
      if (byte < low || byte > high) return false;
      low = 0x80;
      high = 0xBF;
    }
    i += more + 1;
  }
  return true;
}

// For messages: control characters and broken UTF-8 must not reach a terminal or a log.
std::string printable(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, 120)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      shown += c;
    } else {
      shown += fmt::format("\\x{:02x}", byte);
    }
  }
  return shown;
}

Error not_a_tree(const std::string& sha256, const std::string& why) {
  return invalid_argument("blob " + sha256 + " is not a folder's manifest: " + why);
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// The regular files under `folder`, as relative paths. Opened part by part below the descriptor, so
// that a symbolic link put there meanwhile cannot lead out of the folder.
class Walker {
 public:
  Walker(fs::path root,
         std::function<Result<void>(int folder, const std::string& name, const std::string& path)>
             visit)
      : root_(std::move(root)), visit_(std::move(visit)) {}

  Result<void> walk(Fd folder, const std::string& prefix, int depth) {
    const fs::path shown = prefix.empty() ? root_ : root_ / prefix;
    if (depth > kMaxDepth) {
      return invalid_argument("'" + shown.string() + "' is more than " + std::to_string(kMaxDepth) +
                              " folders deep");
    }
    Fd listing(::dup(folder.get()));
    if (!listing) return errno_error(errno, "cannot list", shown);
    const std::unique_ptr<DIR, CloseDir> dir(::fdopendir(listing.get()));
    if (!dir) return errno_error(errno, "cannot list", shown);
    listing.release();  // now the DIR's
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(dir.get())) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
      errno = 0;
    }
    if (errno != 0) return errno_error(errno, "cannot list", shown);
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      const std::string path = prefix.empty() ? name : prefix + "/" + name;
      if (auto allowed = check_relative_path(path); !allowed)
        return allowed.error().at(root_.string());
      struct stat info{};
      if (::fstatat(folder.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno_error(errno, "cannot stat", root_ / path);
      }
      if (S_ISDIR(info.st_mode)) {
        auto below = open_folder(folder.get(), name, root_ / path);
        if (!below) return below.error();
        if (auto walked = walk(std::move(*below), path, depth + 1); !walked) return walked.error();
      } else if (auto visited = visit_(folder.get(), name, path); !visited) {
        return visited.error();
      }
    }
    return {};
  }

 private:
  fs::path root_;
  std::function<Result<void>(int, const std::string&, const std::string&)> visit_;
};

// Writes one checked copy of a blob.
Result<void> copy_out(const fs::path& from, const Store::TreeFile& wanted, const fs::path& to) {
  auto in = open_regular(from);
  if (!in) return in.error();
  auto out = create_new(to, 0644);
  if (!out) return out.error();
  auto found = copy_hashing(in->get(), from, out->get(), to);
  if (!found) return found.error();
  if (found->sha256 != wanted.sha256) {
    return damaged(wanted.sha256, from,
                   "(file '" + wanted.path + "' of the tree) holds " + std::to_string(found->size) +
                       " bytes with digest " + found->sha256);
  }
  if (found->size != wanted.size) {
    return data_loss("the tree says that '" + wanted.path + "' has " + std::to_string(wanted.size) +
                     " bytes, blob " + wanted.sha256 + " has " + std::to_string(found->size));
  }
  if (::fsync(out->get()) != 0) return errno_error(errno, "cannot fsync", to);
  return {};
}

}  // namespace

Result<void> check_relative_path(std::string_view path) {
  const auto refuse = [&](const std::string& why) {
    return invalid_argument("path '" + printable(path) + "' " + why +
                            "; wanted a relative path such as 'data/model.json'");
  };
  if (path.empty()) return refuse("is empty");
  if (path.size() > kMaxPath)
    return refuse("is longer than " + std::to_string(kMaxPath) + " bytes");
  if (path.front() == '/') return refuse("is absolute");
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) return refuse("holds a control character");
    if (c == '\\') return refuse("holds a backslash");
  }
  if (!is_utf8(path)) return refuse("is not UTF-8");
  while (true) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty())
      return invalid_argument("a path has an empty part: two '/' in a row, or one at its end");
    if (part == "." || part == "..") {
      return invalid_argument("a path has the part '" + std::string(part) +
                              "', which could lead out of its folder");
    }
    if (part.size() > kMaxPart) {
      return invalid_argument("a path has a part of more than " + std::to_string(kMaxPart) +
                              " bytes: '" + printable(part) + "'");
    }
    if (slash == std::string_view::npos) return {};
    path.remove_prefix(slash + 1);
  }
}

Result<Ref> Store::put_tree(const fs::path& folder) {
  auto top = open_folder(AT_FDCWD, folder.string(), folder);
  if (!top) return top.error();
  std::vector<TreeFile> files;
  Walker walker(folder,
                [&](int parent, const std::string& name, const std::string& path) -> Result<void> {
                  auto in = open_regular(parent, name, folder / path);
                  if (!in) return in.error();
                  auto ref = impl_->put_stream(in->get(), folder / path);
                  if (!ref) return ref.error();
                  files.push_back({path, ref->sha256, ref->size});
                  return {};
                });
  if (auto walked = walker.walk(std::move(*top), "", 0); !walked) return walked.error();
  std::sort(files.begin(), files.end(),
            [](const TreeFile& a, const TreeFile& b) { return a.path < b.path; });
  Json listed = Json::array();
  for (const TreeFile& file : files) {
    listed.push_back({{"path", file.path}, {"sha256", file.sha256}, {"size", file.size}});
  }
  return put_bytes(canonical({{"files", std::move(listed)}, {"version", 1}}));
}

Result<std::vector<Store::TreeFile>> Store::tree(const std::string& sha256) const {
  auto path = impl_->existing(sha256);
  if (!path) return path.error();
  std::error_code failed;
  const auto size = fs::file_size(*path, failed);
  if (failed) return errno_error(failed.value(), "cannot stat", *path);
  if (static_cast<std::int64_t>(size) > kMaxManifest)
    return not_a_tree(sha256, "it is larger than 64 MiB");
  auto bytes = read(sha256);
  if (!bytes) return bytes.error();
  auto manifest = parse_json(*bytes, "manifest");
  if (!manifest) return not_a_tree(sha256, "it is not JSON");
  if (!manifest->is_object() || !manifest->contains("files") || !(*manifest)["files"].is_array()) {
    return not_a_tree(sha256, "it has no list 'files'");
  }
  if (manifest->value("version", Json()) != 1) return not_a_tree(sha256, "its 'version' is not 1");
  std::vector<TreeFile> files;
  for (const Json& item : (*manifest)["files"]) {
    if (!item.is_object() || !item.value("path", Json()).is_string() ||
        !item.value("sha256", Json()).is_string() ||
        !item.value("size", Json()).is_number_integer()) {
      return not_a_tree(sha256,
                        "entry " + std::to_string(files.size()) + " has no path, sha256 and size");
    }
    TreeFile file{item["path"].get<std::string>(), item["sha256"].get<std::string>(),
                  item["size"].get<std::int64_t>()};
    if (auto allowed = check_relative_path(file.path); !allowed)
      return not_a_tree(sha256, allowed.error().message);
    if (!is_digest(file.sha256))
      return not_a_tree(sha256, "'" + file.path + "' has no SHA-256 digest");
    if (!files.empty() && !(files.back().path < file.path)) {
      return not_a_tree(sha256,
                        "its paths are not in order, or one occurs twice: '" + file.path + "'");
    }
    files.push_back(std::move(file));
  }
  return files;
}

Result<void> Store::get_tree(const std::string& sha256, const fs::path& folder) const {
  auto files = tree(sha256);
  if (!files) return files.error();
  const fs::path target =
      folder.has_filename() ? folder : folder.parent_path();  // "copy/" means "copy"
  if (std::error_code failed; fs::exists(fs::symlink_status(target, failed))) {
    return already_exists("'" + target.string() +
                          "' exists; a tree is written only into a new folder");
  }
  const fs::path parent = target.has_parent_path() ? target.parent_path() : fs::path(".");
  if (auto made = make_dirs(parent); !made) return made.error();
  auto beside = TempDir::create(parent, "." + target.filename().string() + ".");
  if (!beside) return beside.error();
  const fs::path built = beside->path() / "tree";
  if (auto made = make_dirs(built); !made) return made.error();
  std::set<fs::path> folders = {built};
  for (const TreeFile& file : *files) {
    auto from = impl_->existing(file.sha256);
    if (!from) return from.error().at("file '" + file.path + "' of tree " + sha256);
    const fs::path to = built / file.path;
    if (folders.insert(to.parent_path()).second) {
      if (auto made = make_dirs(to.parent_path()); !made) return made.error();
      for (fs::path up = to.parent_path(); up != built; up = up.parent_path()) folders.insert(up);
    }
    if (auto copied = copy_out(*from, file, to); !copied) return copied.error();
  }
  for (const fs::path& made : folders) {
    if (auto synced = fsync_path(made); !synced) return synced.error();
  }
  if (::renameat2(AT_FDCWD, built.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST)
      return already_exists("'" + target.string() + "' was made by another meanwhile");
    return errno_error(errno, "cannot rename to", target);
  }
  return fsync_path(parent);
}

Result<void> Store::verify_tree(const std::string& sha256) const {
  auto files = tree(sha256);
  if (!files) return files.error();
  for (const TreeFile& file : *files) {
    if (auto sound = impl_->check(file.sha256); !sound) {
      return sound.error().at("file '" + file.path + "' of tree " + sha256);
    }
  }
  return {};
}

}  // namespace slipway::blob
