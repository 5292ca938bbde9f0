"""Searches answered by slipway and by MLflow's own store, over the same runs: the same runs in the same order.

The same calls fill both: MLflow's SqlAlchemyStore on a SQLite file, in this process, and slipway through MLflow's
RestStore, which is what its client speaks with. Filters and orders are drawn with a seed that each failure prints.
"""

import random
import uuid

import pytest
import requests

sqlalchemy_store = pytest.importorskip("mlflow.store.tracking.sqlalchemy_store")

from mlflow.entities import (  # noqa: E402
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    Metric,
    Param,
    RunStatus,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.store.tracking.rest_store import RestStore  # noqa: E402
from mlflow.utils.rest_utils import MlflowHostCreds  # noqa: E402

from support.slipway_server import SlipwayServer  # noqa: E402

SEED = 20260717
RUNS = 160
NAN, INF = float("nan"), float("inf")

METRICS = ["auc", "val loss", "top-1/acc.x"]
VALUES = [0.0, 0.5, 0.5, -1.25, 3e7, -0.0, NAN, NAN, INF, -INF, 1e-9]
PARAMS = {
    "depth": ["1", "2", "10", "1e3", ""],
    "note": ["it's", 'say "x"', "100%", "a_b", "axb", "*", "[x]", "?", "\\", "Ünïcødé", "ünïcødé", "日本語", "A", "a"],
    "long": ["z" * 64 + "1", "z" * 64 + "2", "z" * 500],
}
TAGS = {"team": ["ops", "Ops", "research"], "odd key/ä": ["x", "y", "x y"]}
NAMES = ["alpha", "Alpha", "beta_1", "beta-1", "100%"]
DATASETS = [("train", "d1", "training"), ("test", "d2", "validation"), ("train", "d3", None), ("Other", "d1", "training")]


def fill(store, experiments, ids):
    """160 runs; `ids` gives each its id, or takes those that the store made."""
    draw = random.Random(SEED)
    for i in range(RUNS):
        name, experiment = draw.choice(NAMES), draw.choice(experiments)
        run = store.create_run(
            experiment, draw.choice(["ann", "Bob"]), 1_700_000_000_000 + draw.randrange(40), [], name
        )
        ids.append(run.info.run_id)
        run_id = run.info.run_id
        for key in METRICS:
            if draw.random() < 0.7:
                points = [
                    Metric(key, draw.choice(VALUES), draw.randrange(3), draw.randrange(3))
                    for _ in range(draw.randrange(1, 5))
                ]
                store.log_batch(run_id, points, [], [])
                store.log_metric(run_id, points[0])  # once more: changes nothing
        params = [Param(key, draw.choice(values)) for key, values in PARAMS.items() if draw.random() < 0.8]
        tags = [RunTag(key, draw.choice(values)) for key, values in TAGS.items() if draw.random() < 0.6]
        store.log_batch(run_id, [], params, tags)
        inputs = []
        for name, digest, context in draw.sample(DATASETS, draw.randrange(3)):
            tags = [InputTag("mlflow.data.context", context)] if context else []
            inputs.append(DatasetInput(Dataset(name, digest, "local", "{}"), tags))
        if inputs:
            store.log_inputs(run_id, inputs)
        status = draw.choice([RunStatus.RUNNING, RunStatus.FINISHED, RunStatus.FAILED])
        ended = 1_700_000_100_000 + draw.randrange(9) if draw.random() < 0.6 else None
        store.update_run_info(run_id, status, ended, None)
        if draw.random() < 0.2:
            store.delete_run(run_id)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(MLflow's store, slipway's, the experiments' ids, the runs' ids)."""
    folder = tmp_path_factory.mktemp("parity")
    with SlipwayServer(folder / "home") as server:
        ours = RestStore(lambda: MlflowHostCreds(server.url))
        theirs = sqlalchemy_store.SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
        experiments = [ours.create_experiment(name) for name in ("one", "Two")]
        assert [theirs.create_experiment(name) for name in ("one", "Two")] == experiments
        run_ids = []
        fill(ours, experiments, run_ids)
        given = iter(run_ids)
        with pytest.MonkeyPatch.context() as patch:
            # Ties go by id: both stores have to have the same.
            real = uuid.uuid4
            made_by = sqlalchemy_store.SqlAlchemyStore.create_run

            def create_run(*args, **kwargs):
                patch.setattr(sqlalchemy_store.uuid, "uuid4", lambda: uuid.UUID(next(given)))
                try:
                    return made_by(*args, **kwargs)
                finally:
                    patch.setattr(sqlalchemy_store.uuid, "uuid4", real)

            patch.setattr(sqlalchemy_store.SqlAlchemyStore, "create_run", create_run)
            again = []
            fill(theirs, experiments, again)
        assert again == run_ids
        yield theirs, ours, experiments, run_ids, server.url


def quoted(draw, value):
    if "'" in value:
        return f'"{value}"'
    return f"'{value}'" if '"' in value or draw.random() < 0.7 else f'"{value}"'


def key_text(draw, scopes, key):
    plain = key.replace("_", "a").isalnum() and key.isascii()
    if plain and draw.random() < 0.7:
        return f"{draw.choice(scopes)}.{key}"
    mark = draw.choice("`\"")
    return f"{draw.choice(scopes)}.{mark}{key}{mark}"


def pattern(draw, value):
    cut = draw.randrange(len(value) + 1)
    return draw.choice([value, value[:cut] + "%", "%" + value[cut:], value[:cut] + "_" + value[cut + 1 :], "%", "_"])


def text_comparison(draw, name, values, null=False, lists=False):
    ops = ["=", "!=", "LIKE", "ILIKE", "like"] + ["IS NULL", "IS NOT NULL"] * null + ["IN", "NOT IN"] * lists
    op = draw.choice(ops)
    if op.startswith("IS"):
        return f"{name} {op}"
    if op.endswith("IN"):
        # An apostrophe within a list is read differently: see docs/reference/mlflow.md.
        some = [v for v in draw.sample(values, min(2, len(values))) if "'" not in v] or ["none"]
        return f"{name} {op} ({', '.join(repr(v) for v in some)})"
    value = draw.choice(values + ["nothing"])
    if "ike" in op.lower():
        value = pattern(draw, value).replace("\\", "")
    if value.endswith("\\"):
        value = "nothing"  # a backslash before the closing quote: likewise
    return f"{name} {op} {quoted(draw, value)}"


def comparison(draw, run_ids):
    kind = draw.randrange(9)
    if kind < 3:
        value = draw.choice(["0", "0.5", "-1.25", "1e-9", "30000000", "7"])
        op = draw.choice(["=", "!=", ">", ">=", "<", "<="])
        return f"{key_text(draw, ['metrics', 'metric'], draw.choice(METRICS))} {op} {value}"
    if kind < 5:
        key = draw.choice([*PARAMS, "missing"])
        return text_comparison(draw, key_text(draw, ["params", "param", "parameter"], key), PARAMS.get(key, ["x"]), True)
    if kind == 5:
        key = draw.choice([*TAGS])
        return text_comparison(draw, key_text(draw, ["tags", "tag"], key), TAGS[key], True)
    if kind == 6:
        field = draw.choice(["name", "digest", "context"])
        values = sorted({str(row[["name", "digest", "context"].index(field)]) for row in DATASETS})
        return text_comparison(draw, f"{draw.choice(['dataset', 'datasets'])}.{field}", values, lists=True)
    if kind == 7:
        field = draw.choice(["start_time", "end_time", "created", "attributes.start_time"])
        value = 1_700_000_000_000 + draw.choice([0, 20, 100_004])
        return f"{field} {draw.choice(['=', '!=', '>', '>=', '<', '<='])} {value}"
    field, values, lists = draw.choice(
        [
            ("status", ["RUNNING", "FINISHED", "FAILED"], False),
            ("attributes.run_name", NAMES, False),
            ("attr.user_id", ["ann", "Bob"], False),
            ("run_id", draw.sample(run_ids, 5), True),
        ]
    )
    return text_comparison(draw, field, values, lists=lists)


def order(draw):
    names = [f"metrics.`{key}`" for key in METRICS] + [f"params.`{key}`" for key in PARAMS]
    names += [f"tags.`{key}`" for key in TAGS] + ["start_time", "end_time", "run_name", "status", "attributes.user_id"]
    return [name + draw.choice(["", " ASC", " DESC", " desc"]) for name in draw.sample(names, draw.choice([0, 1, 1, 2, 3]))]


def search(store, experiments, filter_string, view, order_by, page_size):
    found, token = [], None
    while True:
        page = store.search_runs(experiments, filter_string, view, page_size, order_by, token)
        found += [run.info.run_id for run in page]
        token = page.token
        if not token:
            return found


@pytest.mark.parametrize("chunk", range(8))
def test_generated_searches_find_the_same_runs_in_the_same_order(both, chunk):
    theirs, ours, experiments, run_ids, _ = both
    draw = random.Random(SEED + chunk)
    hits = 0
    for _ in range(75):
        filter_string = " AND ".join(comparison(draw, run_ids) for _ in range(draw.choice([0, 1, 1, 2, 2, 3])))
        order_by = order(draw)
        view = draw.choice([ViewType.ACTIVE_ONLY] * 3 + [ViewType.DELETED_ONLY, ViewType.ALL])
        where = draw.choice([experiments, experiments[:1], experiments[1:]])
        wanted = search(theirs, where, filter_string, view, order_by, 1000)
        got = search(ours, where, filter_string, view, order_by, draw.choice([1000, 13, 4]))
        assert got == wanted, f"filter {filter_string!r} order {order_by} view {view} chunk {chunk}"
        hits += bool(wanted)
    assert hits > 25  # the generator finds something often enough to be worth it


def test_every_run_reads_the_same(both):
    theirs, ours, _, run_ids, _ = both
    for run_id in run_ids:
        a, b = theirs.get_run(run_id), ours.get_run(run_id)
        assert repr(sorted(a.data.metrics.items())) == repr(sorted(b.data.metrics.items()))
        assert a.data.params == b.data.params
        assert a.data.tags == b.data.tags
        assert (a.info.status, a.info.end_time, a.info.run_name) == (b.info.status, b.info.end_time, b.info.run_name)
        seen = [
            sorted((i.dataset.name, i.dataset.digest, tuple((t.key, t.value) for t in i.tags)) for i in run.inputs.dataset_inputs)
            for run in (a, b)
        ]
        assert seen[0] == seen[1]


def points(metrics):
    return [(m.timestamp, m.step, repr(m.value)) for m in metrics]


def test_histories_and_their_samples_are_the_same(both):
    theirs, ours, _, run_ids, url = both
    some = [run_id for run_id in run_ids if theirs.get_run(run_id).info.lifecycle_stage == LifecycleStage.ACTIVE][:3]
    draw = random.Random(SEED)
    for run_id in some:
        batch = [Metric("curve", draw.choice(VALUES[:5] + [NAN]), draw.randrange(400), draw.randrange(-5, 300)) for _ in range(900)]
        for store in (theirs, ours):
            store.log_batch(run_id, batch, [], [])
        wanted = theirs.get_metric_history(run_id, "curve")
        assert points(ours.get_metric_history(run_id, "curve")) == points(wanted)
    for most, steps in [(320, None), (7, None), (1, None), (2500, None), (10, (5, 40)), (3, (290, 290))]:
        first, last = steps or (None, None)
        wanted = theirs.get_metric_history_bulk_interval(some, "curve", most, first, last)
        query = {"run_ids": some, "metric_key": "curve", "max_results": most}
        if steps:
            query |= {"start_step": first, "end_step": last}
        answer = requests.get(f"{url}/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval", query, timeout=30)
        assert answer.status_code == 200, answer.text
        got = [(m["run_id"], m["timestamp"], m["step"], repr(float(m["value"]))) for m in answer.json()["metrics"]]
        assert got == [(m.run_id, m.timestamp, m.step, repr(m.value)) for m in wanted]
    wanted = theirs.get_metric_history_bulk(some, "curve", 1200)
    answer = requests.get(
        f"{url}/ajax-api/2.0/mlflow/metrics/get-history-bulk",
        {"run_id": some, "metric_key": "curve", "max_results": 1200},
        timeout=30,
    )
    got = [(m["run_id"], m["timestamp"], m["step"], repr(float(m["value"]))) for m in answer.json()["metrics"]]
    assert got == [(m.run_id, m.timestamp, m.step, repr(m.value)) for m in wanted]


REFUSED = [
    "metrics.auc = 'x'",
    "metrics.auc LIKE 'x'",
    "metrics.auc IS NULL",
    "params.depth = 1",
    "params.depth > '1'",
    "attributes.nothing = 'x'",
    "status = 1",
    "status > 'A'",
    "start_time = 'x'",
    "dataset.profile = 'x'",
    "dataset.name > 'x'",
    "bogus.x = 'y'",
    "metrics.auc > 1 OR metrics.auc < 0",
    "metrics.auc",
    "metrics.auc >",
    "= 1",
    "params.depth = 'x",
    "run_id IN ()",
    "run_id IN 'x'",
    "(metrics.auc > 1)",
    "metrics.auc > 1; DROP TABLE runs",
]


@pytest.mark.parametrize("filter_string", REFUSED)
def test_what_mlflow_refuses_is_refused(both, filter_string):
    theirs, ours, experiments, _, _ = both
    for store in (theirs, ours):
        with pytest.raises(MlflowException) as refused:
            store.search_runs(experiments, filter_string, ViewType.ALL, 10, [], None)
        assert refused.value.error_code in ("INVALID_PARAMETER_VALUE", "INTERNAL_ERROR")


@pytest.mark.parametrize("order_by", [["metrics.auc", "metrics.auc DESC"], ["nothing"], ["metrics.auc UP"], ["dataset.name"]])
def test_orders_that_mlflow_refuses_are_refused(both, order_by):
    theirs, ours, experiments, _, _ = both
    for store in (theirs, ours):
        with pytest.raises(MlflowException):
            store.search_runs(experiments, "", ViewType.ALL, 10, order_by, None)


def test_experiments_are_found_alike(both):
    theirs, ours, experiments, _, _ = both
    from mlflow.entities import ExperimentTag

    for store in (theirs, ours):
        for name, team in [("three", "ops"), ("Four", "Ops"), ("five%", None)]:
            store.create_experiment(name, tags=[ExperimentTag("team", team)] if team else None)
        store.delete_experiment(store.get_experiment_by_name("three").experiment_id)
    filters = [
        "", "name = 'one'", "name LIKE '%o%'", "name ILIKE '%O%'", "name != 'one'", "tags.team = 'ops'",
        "tags.team != 'ops'", "tags.team ILIKE 'OPS'", "tags.team IS NULL", "tags.team IS NOT NULL",
        f"experiment_id = '{experiments[0]}'", f"experiment_id IN ('{experiments[0]}', '0')",
        f"experiment_id NOT IN ('{experiments[0]}')", "name LIKE 'five%' AND tags.`team` IS NULL",
    ]  # fmt: skip
    for filter_string in filters:
        for order_by in (["name"], ["name DESC"], ["experiment_id DESC"], ["attribute.experiment_id"]):
            for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
                names = [
                    [e.name for e in store.search_experiments(view, 100, filter_string, order_by)]
                    for store in (theirs, ours)
                ]
                assert names[0] == names[1], f"{filter_string!r} {order_by} {view}"


class TestLongAndOddFilters:
    @pytest.fixture
    def experiment(self, both):
        return both[2][0]

    def post(self, both, body):
        return requests.post(f"{both[4]}/api/2.0/mlflow/runs/search", json=body, timeout=30)

    @pytest.mark.parametrize(
        "filter_string",
        [
            "params.depth = '" + "x" * 100_000 + "'",
            " AND ".join(["metrics.auc > 0"] * 10_000),
            "metrics.auc > 0 " * 5_000,
            "(" * 100_000,
            "params.note LIKE '" + "%a" * 2_000 + "'",
            "run_id IN (" + ",".join(["'x'"] * 20_000) + ")",
        ],
    )
    def test_are_refused_at_once(self, both, experiment, filter_string):
        answer = self.post(both, {"experiment_ids": [experiment], "filter": filter_string})
        assert answer.status_code == 400
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
        assert len(answer.text) < 2_000
        assert answer.elapsed.total_seconds() < 2

    def test_values_are_never_sql(self, both, experiment):
        for value in ("'; DROP TABLE runs; --", "\" OR 1=1 --", "%' OR '1'='1", "\x00", ") UNION SELECT 1"):
            mark = '"' if "'" in value else "'"
            answer = self.post(
                both, {"experiment_ids": [experiment], "filter": f"params.note = {mark}{value}{mark}"}
            )
            assert answer.status_code in (200, 400)
            assert not answer.json().get("runs")
        assert self.post(both, {"experiment_ids": [experiment]}).json()["runs"]

    def test_a_token_belongs_to_its_search(self, both, experiment):
        first = self.post(both, {"experiment_ids": [experiment], "max_results": 3}).json()
        other = {"experiment_ids": [experiment], "max_results": 3, "filter": "metrics.auc > 0"}
        assert self.post(both, other | {"page_token": first["next_page_token"]}).status_code == 400
        assert self.post(both, other | {"page_token": "AAAA"}).status_code == 400
