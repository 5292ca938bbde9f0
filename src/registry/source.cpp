// Where a version may say that its files are. MLflow's history of holes here is long
// (CVE-2023-1177, CVE-2023-6831, CVE-2024-1558, CVE-2024-3848 and others: local files and other
// hosts by way of a source), so what is not known to be harmless is refused, from the text alone:
// no answer depends on what exists.
#include "base/hash.h"
#include "registry/registry_internal.h"

namespace slipway::registry {
namespace {

constexpr std::size_t kLongestSource = 2000;
constexpr int kMostDecodings = 8;

// "a%2fb" -> "a/b"; once. A broken escape stays as it is.
std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      if (const auto byte = from_hex(text.substr(i + 1, 2)); byte) {
        out += *byte;
        i += 2;
        continue;
      }
    }
    out += text[i];
  }
  return out;
}

// No "." or ".." part, no control character, backslash, query or fragment, however often escaped.
bool is_plain(std::string_view source) {
  std::string text(source);
  for (int round = 0; round < kMostDecodings; ++round) {
    std::string decoded = percent_decoded(text);
    if (decoded == text) break;
    text = std::move(decoded);
  }
  if (percent_decoded(text) != text) return false;
  const auto forbidden = [](unsigned char c) {
    return c < 0x20 || c == 0x7f || c == '\\' || c == '?' || c == '#';
  };
  if (std::ranges::any_of(text, forbidden)) return false;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('/', begin), text.size());
    const auto part = std::string_view(text).substr(begin, end - begin);
    if (part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

// "runs:/" followed by a name and not by another "/", after which a host would stand.
bool begins(std::string_view source, std::string_view scheme) {
  return source.starts_with(scheme) && source.size() > scheme.size() &&
         source[scheme.size()] != '/';
}

bool below(std::string_view source, std::string_view prefix) {
  while (prefix.ends_with('/') && !prefix.ends_with(":/")) prefix.remove_suffix(1);
  return source.starts_with(prefix) &&
         (source.size() == prefix.size() || prefix.ends_with('/') || source[prefix.size()] == '/');
}

}  // namespace

Result<void> check_source(const VersionSpec& spec, std::span<const std::string> allowed) {
  const std::string_view source = spec.source;
  if (source.empty()) return invalid_argument("a model version needs a source");
  // What MLflow's client and pages send for prompts, which have no files. The tag allows nothing
  // else (CVE-2026-2614: it switched the check off).
  if (is_prompt(spec.tags)) {
    if (source == "dummy-source" || source == "prompt-template") return {};
    return invalid_argument(
        "Invalid prompt source: a prompt version has the source 'dummy-source', as it has no "
        "files");
  }
  const bool kept_here = begins(source, "runs:/") || begins(source, "models:/") ||
                         begins(source, "mlflow-artifacts:/") ||
                         (!spec.digest.empty() && source == "slipway:/bundles/" + spec.digest);
  const bool known = kept_here || std::ranges::any_of(allowed, [&](const std::string& prefix) {
                       return below(source, prefix);
                     });
  if (known && source.size() <= kLongestSource && is_plain(source)) return {};
  return invalid_argument(fmt::format(
      "Invalid model version source '{}': it has to begin with runs:/, models:/, "
      "mlflow-artifacts:/ or what `slipway up --allow-source` names, and holds no host, '..', "
      "'\\', '?' or '#'",
      source.substr(0, 200)));
}

Result<void> check_source_prefix(const std::string& prefix) {
  const auto scheme = prefix.find(":/");
  if (scheme != std::string::npos && scheme > 1 && is_plain(prefix) &&
      !prefix.starts_with("file:")) {
    return {};
  }
  return invalid_argument(
      fmt::format("'{}' is no prefix of sources: a scheme and what is below it are wanted, such as "
                  "s3://bucket/models; files of this machine are never one",
                  prefix));
}

}  // namespace slipway::registry
