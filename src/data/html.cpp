#include "base/utf8.h"
#include "data/html_internal.h"

namespace slipway::data::html {

namespace {

constexpr std::string_view kStyle = R"(
:root{color-scheme:light dark;--ink:#1d2733;--dim:#5d6b7a;--line:#dfe5ec;--page:#f6f8fa;--card:#fff;
--bar:#3b7dbd;--good:#1a7f4b;--bad:#c0362c;--warn:#a05a00;--badge:#eef2f6}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ef;--dim:#97a4b2;--line:#2c3641;--page:#12171d;
--card:#1a2129;--bar:#5b9bd8;--good:#4cc38a;--bad:#f0776c;--warn:#e0a44c;--badge:#232c36}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);
font:14px/1.45 system-ui,sans-serif}main{max-width:1180px;margin:0 auto;padding:28px 20px}
h1{font-size:22px;margin:0 0 16px;overflow-wrap:anywhere}h2{font-size:16px;margin:30px 0 10px}
h3{font-size:15px;margin:0 0 2px;overflow-wrap:anywhere}
.tiles{display:flex;flex-wrap:wrap;gap:10px}.tile{background:var(--card);border:1px solid
var(--line);border-radius:8px;padding:10px 16px;min-width:120px}.tile b{display:block;font-size:20px;
font-variant-numeric:tabular-nums}.tile span{color:var(--dim)}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}.dim{color:var(--dim)}
table{width:100%;border-collapse:collapse;background:var(--card);border:1px solid var(--line);
border-radius:8px}th{text-align:left;color:var(--dim);font-weight:600}th,td{padding:7px 10px;
border-top:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}tr:first-child th{border:0}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td.mark{font-weight:700;white-space:nowrap}code{background:var(--badge);border-radius:4px;
padding:1px 5px;font-size:13px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(340px,1fr));gap:12px}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px}
.card dl{display:grid;grid-template-columns:auto 1fr;gap:1px 12px;margin:8px 0 0}
.card dt{color:var(--dim)}.card dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
ul.notes{margin:8px 0 0;padding-left:18px}svg{display:block;width:100%;height:56px;margin-top:8px}
svg rect{fill:var(--bar)}.share{height:5px;background:var(--badge);border-radius:3px}
.share i{display:block;height:5px;background:var(--bad);border-radius:3px}
)";

}  // namespace

std::string escape(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::size_t at = 0;
  while (at < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
      ++at;
      switch (byte) {
        case '&':
          out += "&amp;";
          break;
        case '<':
          out += "&lt;";
          break;
        case '>':
          out += "&gt;";
          break;
        case '"':
          out += "&quot;";
          break;
        case '\'':
          out += "&#39;";
          break;
        default:
          if (byte < 0x20 || byte == 0x7f) {
            append_utf8(out, byte == 0x7f ? U'\u2421' : U'\u2400' + byte);
          } else {
            out += static_cast<char>(byte);
          }
      }
      continue;
    }
    std::size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    length = std::min(length, text.size() - at);
    if (is_utf8(text.substr(at, length))) {
      out += text.substr(at, length);
      at += length;
    } else {
      append_utf8(out, U'\ufffd');
      ++at;
    }
  }
  return out;
}

std::string clipped(std::string_view text, std::size_t limit) {
  const auto cut = [](std::string_view whole, std::size_t most) {
    std::size_t at = 0;
    for (std::size_t seen = 0; at < whole.size(); ++at) {
      if ((static_cast<unsigned char>(whole[at]) & 0xc0) == 0x80) continue;
      if (seen++ == most) break;
    }
    return whole.substr(0, at);
  };
  const auto shown = cut(text, limit);
  if (shown.size() == text.size()) return escape(text);
  return fmt::format("<span title=\"{}\">{}…</span>", escape(cut(text, 500)), escape(shown));
}

std::string page(std::string_view title, std::string_view body) {
  const auto name = escape(title);
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width,initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>{}</title><style>{}</style>"
      "</head><body><main><h1>{}</h1>\n{}</main></body></html>\n",
      name, kStyle, name, body);
}

std::string tiles(const std::vector<Tile>& list) {
  std::string out = "<div class=\"tiles\">";
  for (const auto& tile : list) {
    out += fmt::format("<div class=\"tile\"><b class=\"{}\">{}</b><span>{}</span></div>", tile.kind,
                       escape(tile.value), escape(tile.name));
  }
  return out + "</div>\n";
}

std::string bars(const std::vector<std::int64_t>& counts, const std::vector<std::string>& labels) {
  if (counts.empty()) return "";
  const auto most = static_cast<double>(
      std::max<std::int64_t>(1, *std::max_element(counts.begin(), counts.end())));
  const double width = 300.0 / static_cast<double>(counts.size());
  std::string out = "<svg viewBox=\"0 0 300 56\" preserveAspectRatio=\"none\" role=\"img\">";
  for (std::size_t i = 0; i < counts.size(); ++i) {
    double height = 54 * static_cast<double>(counts[i]) / most;
    if (counts[i] > 0) height = std::max(height, 1.0);  // seen at all
    out += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"><title>{}: {}</title>"
        "</rect>",
        static_cast<double>(i) * width, 56 - height, std::max(width - 1, 0.5), height,
        escape(i < labels.size() ? labels[i] : ""), grouped(counts[i]));
  }
  return out + "</svg>";
}

std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  const std::size_t first = number < 0 ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

}  // namespace slipway::data::html
