#include <arrow/table.h>
#include <fmt/ranges.h>

#include "data/cell_json.h"
#include "serving/prediction_log_internal.h"

namespace slipway::serving {
namespace {

// Row `row` of a batch in the log's column layout.
Prediction prediction_at(std::string deployment, const data::Batch& batch, std::int64_t row) {
  Prediction found{.deployment = std::move(deployment),
                   .id = std::string(batch.columns[0].text(row)),
                   .time = from_micros(batch.columns[1].integer(row)),
                   .version = batch.columns[2].integer(row),
                   .alias = std::string(batch.columns[4].text(row)),
                   .latency_us = batch.columns[5].integer(row)};
  if (!batch.columns[6].is_null(row)) found.score = batch.columns[6].real(row);
  const auto text_at = [&](std::size_t column) {
    const data::ColumnView& view = batch.columns[column];
    return view.is_null(row) ? std::string() : std::string(view.text(row));
  };
  for (std::size_t i = 7; i < batch.columns.size(); ++i) {
    const std::string& name = batch.schema->fields[i].name;
    if (name == PredictionLog::kTraceColumns[0]) {
      found.caller = text_at(i);
    } else if (name == PredictionLog::kTraceColumns[1]) {
      found.trace = text_at(i);
    } else if (name == PredictionLog::kTraceColumns[2]) {
      found.inputs_hash = text_at(i);
    } else if (name == PredictionLog::kTraceColumns[3]) {
      found.outputs = text_at(i);
    } else {
      found.inputs[name] = data::cell_json(batch.columns[i], row);
    }
  }
  return found;
}

Result<Prediction> prediction_in(std::string deployment, const data::TablePtr& table) {
  auto columns = data::Columns::from_table(table);
  if (!columns) return columns.error();
  return prediction_at(std::move(deployment), columns->batch(), 0);
}

}  // namespace

Result<void> PredictionLog::Impl::each_batch(const WalFile& file, const Visit& visit) const {
  auto mapped = file.map();
  if (!mapped) return mapped.error();
  std::map<std::uint32_t, wal::Stream>
      streams;  // the file's own, read along: its map may be growing
  wal::Walk walk(mapped->view());
  while (auto record = walk.next()) {
    if (record->kind == wal::Kind::stream) {
      auto stream = wal::decode_stream(record->reader);
      if (!stream) return stream.error();
      streams.insert(std::move(*stream));
      continue;
    }
    const wal::BatchHead head = record->reader.batch_head(record->kind);
    const auto stream = streams.find(head.stream);
    if (stream == streams.end()) {
      return data_loss(fmt::format("'{}' has a batch of an unknown stream at byte {}",
                                   file.path().string(), record->offset));
    }
    if (auto visited = visit(head.stream, stream->second, head, record->reader); !visited) {
      return visited.error().at(file.path().string());
    }
  }
  if (walk.end() != mapped->view().size()) {
    return data_loss(
        fmt::format("'{}' has a wrong checksum at byte {}", file.path().string(), walk.end()));
  }
  return {};
}

Result<data::TablePtr> PredictionLog::Impl::read(std::string_view name, Time from, Time to,
                                                 const ReadOptions& read_options) const {
  std::vector<Segment> segments;
  std::vector<std::shared_ptr<WalFile>> open_files;
  {
    const std::shared_lock guard(catalogue);
    if (const auto found = deployments.find(name); found != deployments.end())
      segments = found->second.segments;
    open_files.assign(files.begin(), files.end());
  }
  const auto role_wanted = [&](Role role) {
    return !read_options.role || *read_options.role == role;
  };

  std::vector<data::TablePtr> tables;
  for (const Segment& segment : segments) {
    if (!role_wanted(segment.role) || !segment.overlaps(from, to)) continue;
    auto table = read_segment(segment, from, to, read_options.columns);
    if (!table) return table.error();
    tables.push_back(std::move(*table));
  }
  std::optional<data::Schema> newest;
  for (const auto& file : open_files) {
    std::map<std::uint32_t, data::BatchBuilder> rows;
    auto visited =
        each_batch(*file,
                   [&](std::uint32_t id, const wal::Stream& stream, const wal::BatchHead& head,
                       wal::Reader& reader) -> Result<void> {
                     if (stream.deployment != name) return {};
                     if (!newest || stream.role == Role::primary) newest = stream.inputs;
                     if (!role_wanted(stream.role) || head.time < from || head.time >= to)
                       return {};
                     auto builder = rows.find(id);
                     if (builder == rows.end())
                       builder = rows.try_emplace(id, wal::log_schema(stream.inputs)).first;
                     return wal::append_rows(reader, head, stream, builder->second);
                   });
    if (!visited) return visited.error();
    for (const auto& [id, builder] : rows) {
      auto table = builder.to_table();
      if (!table) return table.error();
      tables.push_back(std::move(*table));
    }
  }
  if (tables.empty()) {
    // No row, but the columns are known.
    if (newest) {
      auto empty = data::BatchBuilder(wal::log_schema(*newest)).to_table();
      if (!empty) return empty.error();
      tables.push_back(std::move(*empty));
    } else if (!segments.empty()) {
      auto primary =
          std::ranges::find(segments.rbegin(), segments.rend(), Role::primary, &Segment::role);
      auto empty = read_segment_schema(primary != segments.rend() ? *primary : segments.back());
      if (!empty) return empty.error();
      tables.push_back(std::move(*empty));
    } else {
      return not_found(fmt::format("deployment '{}' has logged no predictions", name));
    }
  }
  auto all = unite(tables, read_options.columns);
  if (!all || read_options.traces || !read_options.columns.empty()) return all;
  data::TablePtr table = std::move(*all);
  for (const std::string_view column : kTraceColumns) {
    const int at = table->schema()->GetFieldIndex(std::string(column));
    if (at < 0) continue;
    auto without = table->RemoveColumn(at);
    if (!without.ok()) return internal("cannot leave a column out: " + without.status().ToString());
    table = *without;
  }
  return table;
}

Result<data::TablePtr> PredictionLog::read(std::string_view deployment, Time from, Time to,
                                           const ReadOptions& options) const {
  return impl_->read(deployment, from, to, options);
}

std::optional<Time> PredictionLog::watermark(std::string_view deployment) const {
  std::optional<Time> latest;
  const std::shared_lock guard(impl_->catalogue);
  if (const auto found = impl_->deployments.find(deployment); found != impl_->deployments.end()) {
    for (const auto& segment : found->second.segments) {
      if (segment.role == Role::primary)
        latest = std::max(latest.value_or(segment.last), segment.last);
    }
  }
  for (const auto& file : impl_->files) {
    for (const auto& [id, counts] : file->counts) {
      const wal::Stream& stream = file->streams.at(id);
      if (stream.role == Role::primary && stream.deployment == deployment) {
        latest = std::max(latest.value_or(counts.last), counts.last);
      }
    }
  }
  return latest;
}

std::int64_t PredictionLog::count(std::string_view deployment, Role role) const {
  std::int64_t rows = 0;
  const std::shared_lock guard(impl_->catalogue);
  if (const auto found = impl_->deployments.find(deployment); found != impl_->deployments.end()) {
    for (const auto& segment : found->second.segments) {
      if (segment.role == role) rows += segment.rows;
    }
  }
  for (const auto& file : impl_->files) {
    for (const auto& [id, counts] : file->counts) {
      const wal::Stream& stream = file->streams.at(id);
      if (stream.role == role && stream.deployment == deployment) rows += counts.rows;
    }
  }
  return rows;
}

std::vector<std::string> PredictionLog::deployments() const {
  std::set<std::string> names;
  const std::shared_lock guard(impl_->catalogue);
  for (const auto& [name, deployment] : impl_->deployments) {
    if (!deployment.segments.empty()) names.insert(name);
  }
  for (const auto& file : impl_->files) {
    for (const auto& [id, stream] : file->streams) names.insert(stream.deployment);
  }
  return {names.begin(), names.end()};
}

bool PredictionLog::contains(std::string_view id) const {
  const std::uint64_t hash = id_hash(id);
  {
    const std::unique_lock guard(impl_->queue_mutex);
    if (impl_->reserved.contains(hash)) return true;
  }
  const std::shared_lock guard(impl_->catalogue);
  return impl_->known(hash);
}

Result<Prediction> PredictionLog::Impl::find(std::string_view id) const {
  const std::uint64_t hash = id_hash(id);
  std::vector<std::pair<std::shared_ptr<WalFile>, std::int64_t>> records;
  std::vector<std::pair<std::string, Segment>> segments;
  {
    const std::shared_lock guard(catalogue);
    for (const auto& file : files) {
      if (const auto found = file->offsets.find(hash); found != file->offsets.end()) {
        records.emplace_back(file, found->second);
      }
    }
    for (const auto& [name, deployment] : deployments) {
      for (const auto& segment : deployment.segments) {
        if (segment.ids != nullptr && segment.ids->contains(hash))
          segments.emplace_back(name, segment);
      }
    }
  }
  for (const auto& [file, offset] : records) {
    auto payload = file->read_record(offset);
    if (!payload) return payload.error();
    wal::Reader reader(*payload);
    const auto kind = static_cast<wal::Kind>(reader.u8());
    const wal::BatchHead head = reader.batch_head(kind);
    std::optional<wal::Stream> stream;
    {
      const std::shared_lock guard(catalogue);
      if (const auto found = file->streams.find(head.stream); found != file->streams.end())
        stream = found->second;
    }
    if (!stream)
      return data_loss(fmt::format("'{}' has a batch of an unknown stream", file->path().string()));
    data::BatchBuilder rows(wal::log_schema(stream->inputs));
    if (auto added = wal::append_rows(reader, head, *stream, rows); !added) return added.error();
    auto batch = rows.batch();
    if (!batch) return batch.error();
    for (std::int64_t row = 0; row < batch->rows; ++row) {
      if (batch->columns[0].text(row) == id) return prediction_at(stream->deployment, *batch, row);
    }
  }
  for (const auto& [name, segment] : segments) {
    auto table = find_in_segment(segment, id);
    if (!table) return table.error();
    if (*table) return prediction_in(name, **table);
  }
  return not_found(fmt::format("no prediction has the id '{}'", id));
}

Result<Prediction> PredictionLog::find(std::string_view id) const { return impl_->find(id); }

PredictionLogStats PredictionLog::stats() const {
  PredictionLogStats stats;
  {
    const std::shared_lock guard(impl_->catalogue);
    stats = impl_->stats;
  }
  {
    const std::unique_lock guard(impl_->queue_mutex);
    stats.dropped_rows = impl_->dropped_rows;
  }
  const std::unique_lock guard(impl_->seal_mutex);
  stats.seal_failures = impl_->stats_seal_failures;
  return stats;
}

}  // namespace slipway::serving
