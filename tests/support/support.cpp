#include "support/support.h"

#include <cstdio>
#include <cstdlib>

namespace slipway::test {
namespace {

TempDir make_scratch() {
  auto dir = TempDir::create(std::filesystem::temp_directory_path(), "slipway-test");
  if (!dir) {
    std::fprintf(stderr, "%s\n", dir.error().message.c_str());
    std::abort();
  }
  return std::move(*dir);
}

}  // namespace

Scratch::Scratch() : dir_(make_scratch()) {}

std::filesystem::path Scratch::file(std::string_view name, std::string_view bytes) const {
  const std::filesystem::path path = dir_.path() / name;
  if (auto written = make_dirs(path.parent_path()); written)
    written = write_file_atomic(path, bytes);
  return path;
}

}  // namespace slipway::test
