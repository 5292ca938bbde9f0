// An engine for fuzz targets where libFuzzer is not: replays every file of the folders given, then
// mutates them at random for the time given. Takes libFuzzer's own flags:
//   fuzz_expression -max_total_time=30 -seed=7 tests/fuzz/corpus/expression
// What it tries next is kept in the file ./fuzz-last, which is what to look at after a crash: give
// it as the only argument to run it once more.
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/rng.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using slipway::Rng;

constexpr std::size_t kLongest = 1 << 16;

std::string read_whole(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void try_one(const std::string& input) {
  {
    std::ofstream last("fuzz-last", std::ios::binary | std::ios::trunc);
    last << input;
  }
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

// One to eight small changes: bytes turned, cut, doubled, taken from another input, or replaced by
// what parsers find hard.
std::string mutate(Rng& rng, std::string text, const std::vector<std::string>& corpus) {
  static const std::string kHard[] = {"",           "\0",    "\"",     "\\",
                                      "\n",         "\r\n",  "\xFF",   "\xED\xA0\x80",
                                      "-0",         "1e999", "NaN",    "null",
                                      "[[[[[[",     "{",     "'''",    "99999999999999999999",
                                      ",,,,",       "(",     "`",      "\xEF\xBB\xBF",
                                      "2147483648", "-1",    "1e-400", "true",
                                      "\"\"",       ";",     "\t"};
  for (std::uint64_t i = rng.below(8) + 1; i-- > 0;) {
    const std::size_t at = text.empty() ? 0 : rng.below(text.size());
    const std::size_t size =
        text.empty() ? 0 : rng.below(std::min<std::size_t>(text.size() - at, 32) + 1);
    switch (rng.below(6)) {
      case 0:
        if (!text.empty()) text[at] = static_cast<char>(rng.below(256));
        break;
      case 1:
        text.erase(at, size);
        break;
      case 2:
        text.insert(at, text.substr(at, size));
        break;
      case 3:
        text.insert(at, kHard[rng.below(std::size(kHard))]);
        break;
      case 4: {
        const std::string& other = corpus[rng.below(corpus.size())];
        if (!other.empty()) text.insert(at, other.substr(rng.below(other.size()), size + 8));
        break;
      }
      default:
        if (!text.empty())
          text[at] = static_cast<char>(text[at] ^ static_cast<char>(1U << rng.below(8)));
    }
  }
  if (text.size() > kLongest) text.resize(kLongest);
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 10;
  std::uint64_t seed = 1;
  std::vector<std::string> corpus;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("-max_total_time=")) {
      seconds = std::atof(argument.c_str() + 16);
    } else if (argument.starts_with("-seed=")) {
      seed = std::strtoull(argument.c_str() + 6, nullptr, 10);
    } else if (std::filesystem::is_directory(argument)) {
      std::vector<std::filesystem::path> files;
      for (const auto& entry : std::filesystem::directory_iterator(argument))
        files.push_back(entry.path());
      std::sort(files.begin(), files.end());
      for (const auto& file : files) corpus.push_back(read_whole(file));
    } else {
      try_one(read_whole(argument));
      return 0;
    }
  }
  if (corpus.empty()) corpus.emplace_back();
  for (const std::string& input : corpus) try_one(input);
  Rng rng(seed);
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  std::uint64_t runs = 0;
  while (std::chrono::steady_clock::now() < until) {
    try_one(mutate(rng, corpus[rng.below(corpus.size())], corpus));
    ++runs;
  }
  std::printf("%zu inputs replayed, %llu tried, seed %llu\n", corpus.size(),
              static_cast<unsigned long long>(runs), static_cast<unsigned long long>(seed));
  std::filesystem::remove("fuzz-last");
  return 0;
}
