// What `ingest` and `transform` are declared as, and how they load only what is new. Private to
// this folder.
#pragma once
#include "data/recipe.h"
#include "steps/common_internal.h"

namespace slipway::steps {

// Where the SQL under `key` begins.
data::SqlOrigin sql_origin(const pipeline::StepConfig& config, std::string_view key);

// Loading only what is new since the dataset's newest version:
//   incremental:
//     source: orders
//     by: watermark            # files: whole files that were not loaded yet; offsets: of Kafka
//     column: updated_at       # rising with time; of files: the event time, for `late`
//     lateness: 1h             # rows this much older than the newest loaded are looked at again
//     key: [id]                # tells rows that are there already
//     keep: last               # first, last or error: of rows with one key
//     late: keep               # drop or error: rows older than the newest loaded
struct Incremental {
  std::string source;
  std::string by;
  std::string column;
  Duration lateness{0};
  std::vector<std::string> key;
  std::string keep;
  std::string late;
  static std::optional<Incremental> read(SpecReader& reader);
  Json to_json() const;
};

struct IngestSpec {
  std::string dataset;
  std::string from;
  std::string sql;
  std::string sql_file;
  data::Recipe steps;
  Json steps_json;
  std::int64_t memory_limit_mb = 512;
  std::map<std::string, data::Source> sources;
  std::map<std::string, std::string> inputs;
  std::optional<Incremental> incremental;

  static IngestSpec read(SpecReader& reader, const std::filesystem::path& folder, bool from_files);
};

// The state that the newest version left for the next load; part of its provenance.
struct LoadState {
  std::optional<data::DatasetRef> base;  // nothing: the first load, or the declaration changed
  Json files = Json::array();            // of the incremental source: what was loaded
  std::string watermark;                 // as SQL writes the column's value
  std::map<std::string, std::int64_t> offsets;
};
// `recipe_digest` is of everything that shapes rows: another one than last time loads all anew.
Result<LoadState> load_state(const Services& services, const IngestSpec& spec,
                             const std::string& recipe_digest);

// Of the facts, those that the state does not know.
std::vector<data::FileFacts> new_files(const LoadState& state,
                                       const std::vector<data::FileFacts>& facts);

// The new rows (a relation of the engine, in the five types) beside those of the base: which are
// appended, and whether the base can stay as it is.
struct Merge {
  std::string sql;           // of the rows to write
  bool append = false;       // behind the base's files; else they are all rows of the new version
  std::int64_t dropped = 0;  // late rows, or rows of keys that are there already
};
Result<Merge> merge_rows(const Context& ctx, data::Engine& engine, const Services& services,
                         const Incremental& incremental, const LoadState& state,
                         const std::string& fresh);

}  // namespace slipway::steps
