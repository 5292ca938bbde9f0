// Which views there are, and which dataset version each is looked up in; and the views in memory.
//   auto switched = store.materialise(ctx, spec);          // to the newest version of its dataset
//   LiveViews live(store);
//   auto changed = live.refresh(ctx);                      // a step: the server's poller calls it
//   auto view = live.find("carrier_past");                 // a snapshot: hold on to it for a
//   request
// A switch is one row, written with its audit entry "feature_view.switch" in one transaction, after
// the new version has been built once: a version that cannot be looked up changes nothing. Readers
// see the old snapshot or the new one. Thread-safe; materialise() and refresh() block on disk.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "audit/audit.h"
#include "base/guarded.h"
#include "data/datasets.h"
#include "db/database.h"
#include "features/view.h"

namespace slipway::features {

struct ViewRecord {
  ViewSpec spec;
  std::string version;  // "flight_history@3fa9…"
  Time switched;
  std::string switched_by;
  std::int64_t serial = 0;
};

class ViewStore {
 public:
  // All four outlive the store.
  static Result<std::unique_ptr<ViewStore>> open(db::Database& db, data::DatasetStore& datasets,
                                                 audit::Log& audit, const Clock& clock);

  // To the dataset version given ("name@version"), else the one the spec names, else the newest.
  // failed_precondition when a view of that name is declared otherwise: what models were trained
  // with does not change under them.
  Result<ViewRecord> materialise(const Context& ctx, const ViewSpec& spec,
                                 const std::string& version = "");
  Result<ViewRecord> find(const std::string& name) const;  // not_found names the nearest
  Result<std::vector<ViewRecord>> list() const;
  Result<void> drop(const Context& ctx, const std::string& name);
  // The snapshot of a record, from the dataset's files.
  Result<ViewPtr> load(const Context& ctx, const ViewSpec& spec, const std::string& version) const;

 private:
  ViewStore(db::Database& db, data::DatasetStore& datasets, audit::Log& audit, const Clock& clock)
      : db_(db), datasets_(datasets), audit_(audit), clock_(clock) {}
  db::Database& db_;
  data::DatasetStore& datasets_;
  audit::Log& audit_;
  const Clock& clock_;
};

// A view as of one version of its dataset ("name" is the newest).
Result<ViewPtr> load_view(const Context& ctx, const data::DatasetStore& datasets,
                          const ViewSpec& spec, const std::string& version);

class LiveViews final : public ViewSource {
 public:
  explicit LiveViews(const ViewStore& store) : store_(store) {}
  // Loads what was switched since the last call and lets go of what was dropped; true when anything
  // changed. A view that cannot be loaded keeps its old snapshot, and the error tells which.
  Result<bool> refresh(const Context& ctx);
  ViewPtr find(const std::string& name) const override;

 private:
  struct Live {
    std::int64_t serial = 0;
    Time switched;
    ViewPtr view;
  };
  const ViewStore& store_;
  Guarded<std::map<std::string, Live>> live_;
};

}  // namespace slipway::features
