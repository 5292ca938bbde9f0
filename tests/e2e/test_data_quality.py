"""`slipway data profile | infer | validate | diff` on files, and `validate` with other datasets and learned bands in pipelines."""

import html.parser
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support import flights

def slipway(*args, home="none"):
    return flights.slipway(home, *args, check=False)


EVIL = "</td><script>alert(1)</script>"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A CSV file: ids, airports of which one is hostile, numbers with NA, a code with leading zeros."""
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    rng = random.Random(2013)
    lines = ["id,origin,delay,code,day,late"]
    for i in range(3000):
        delay = "NA" if i % 20 == 0 else str(rng.randint(-20, 180))
        origin = EVIL if i == 77 else ("JFK", "EWR", "LGA")[i % 3]
        late = int(delay != "NA" and int(delay) > 15)
        lines.append(f"r{i},{origin},{delay},{i % 90:03d},2013-01-{1 + i % 28:02d},{late}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.seen = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)


def no_script(file):
    text = file.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    tags = Tags(text).seen
    assert "script" not in tags and "table" in tags
    assert "<script" not in text
    assert "src=" not in text and "href=" not in text
    return text


def test_a_profile_says_what_is_suspicious_and_is_a_page_of_its_own(rows, tmp_path):
    page = tmp_path / "profile.html"
    run = slipway("data", "profile", rows, "--null", "NA", "--target", "late", "--html", page, "--json")
    assert run.returncode == 0, run.stderr
    profile = json.loads(run.stdout)
    columns = {column["name"]: column for column in profile["columns"]}
    assert columns["delay"]["nulls"] == 150
    assert columns["id"]["distinct"] == 3000
    assert any("tells the target 'late'" in note for note in columns["delay"]["notes"])
    assert any("identifier" in note for note in columns["id"]["notes"])
    assert EVIL.replace("<", "&lt;").replace(">", "&gt;") in no_script(page)


def test_inferred_rules_hold_on_their_data_and_may_be_edited(rows, tmp_path):
    rules = tmp_path / "rules.yaml"
    run = slipway("data", "infer", rows, "--null", "NA", "--out", rules)
    assert run.returncode == 0, run.stderr
    assert "unique, column: id" in rules.read_text(encoding="utf-8")
    run = slipway("data", "validate", rows, "--null", "NA", "--expectations", rules)
    assert run.returncode == 0, run.stdout
    run = slipway("data", "infer", rows, "--null", "NA", "--out", rules)
    assert run.returncode == 4 and "edited" in run.stderr, "an edited file is not overwritten"


def test_validation_sets_rows_aside_with_their_reasons(rows, tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text("""
expectations:
  - {check: exists_in, column: origin, relation: airports, to: [faa], on_fail: quarantine, name: known airport}
  - {check: range, column: delay, max: 170, on_fail: quarantine, name: sane delay}
  - {check: unique, column: id}
  - {check: drift, column: delay, relation: before, measure: ks, max: 0.2}
""", encoding="utf-8")
    airports = tmp_path / "airports.csv"
    airports.write_text("faa\nJFK\nEWR\nLGA\n", encoding="utf-8")
    files = {name: tmp_path / name for name in ("good.parquet", "bad.parquet", "page.html", "report.json")}
    run = slipway("data", "validate", rows, "--null", "NA", "--expectations", rules, "--with", f"airports={airports}",
                  "--with", f"before={rows}", "--clean", files["good.parquet"], "--quarantine", files["bad.parquet"],
                  "--html", files["page.html"], "--report", files["report.json"])
    assert run.returncode == 0, run.stdout + run.stderr
    bad = pq.read_table(files["bad.parquet"]).to_pylist()
    reasons = {row["id"]: row["quarantine_reasons"] for row in bad}
    assert reasons["r77"].startswith("known airport")
    assert all("sane delay" in reason for row, reason in reasons.items() if row != "r77")
    good = pq.read_table(files["good.parquet"])
    assert good.num_rows + len(bad) == 3000
    report = json.loads(files["report.json"].read_text(encoding="utf-8"))
    assert report["quarantined"] == len(bad)
    no_script(files["page.html"])


def test_a_no_is_exit_code_7_and_mistakes_are_told_with_their_place(rows, tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text("expectations:\n  - {check: in_set, column: origin, values: [JFK]}\n", encoding="utf-8")
    run = slipway("data", "validate", rows, "--expectations", rules)
    assert run.returncode == 7 and "not valid" in run.stdout
    rules.write_text("expectations:\n  - {check: in_set, column: orgin, values: [JFK]}\n", encoding="utf-8")
    run = slipway("data", "validate", rows, "--expectations", rules)
    assert run.returncode == 2 and "origin" in run.stderr
    rules.write_text("expectations:\n  - {check: exists_in, column: origin, relation: airports}\n", encoding="utf-8")
    run = slipway("data", "validate", rows, "--expectations", rules)
    assert run.returncode == 2 and "--with airports=" in run.stderr
    rules.write_text("expectations:\n  - {check: inset, column: origin, values: [JFK]}\n", encoding="utf-8")
    run = slipway("data", "validate", rows, "--expectations", rules)
    assert run.returncode == 2 and "in_set" in run.stderr and "rules.yaml:2" in run.stderr


def test_bands_are_learned_from_earlier_reports(rows, tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text("expectations:\n  - {check: mean, column: delay, learn: {at_least: 3}, name: m}\n", encoding="utf-8")
    for expected, center in ((0, None), (7, 500)):
        history = []
        for i in range(4):
            report = tmp_path / f"report{i}.json"
            run = slipway("data", "validate", rows, "--null", "NA", "--expectations", rules, "--report", report)
            assert run.returncode == 0 and "are needed to learn" in run.stdout
            if center:
                found = json.loads(report.read_text(encoding="utf-8"))
                found["rules"][0]["observed"] = center + i
                report.write_text(json.dumps(found), encoding="utf-8")
            history += ["--history", report]
        run = slipway("data", "validate", rows, "--null", "NA", "--expectations", rules, *history)
        assert run.returncode == expected, run.stdout


def test_a_difference_is_told_by_column_row_and_distribution(rows, tmp_path):
    before, after = tmp_path / "a.parquet", tmp_path / "b.parquet"
    table = pa.table({"id": list(range(2000)), "x": [i % 100 for i in range(2000)], "old": ["a"] * 2000})
    pq.write_table(table, before)
    pq.write_table(pa.table({"id": list(range(5, 2000)), "x": [i % 100 + 30 for i in range(5, 2000)],
                             "new": [1] * 1995}), after)
    run = slipway("data", "diff", before, before, "--key", "id")
    assert run.returncode == 0 and "no difference" in run.stdout
    run = slipway("data", "diff", before, after, "--key", "id", "--json", "--html", tmp_path / "diff.html")
    assert run.returncode == 7, run.stderr
    found = json.loads(run.stdout)
    assert found["rows"] == {"removed": 5, "added": 0, "changed": 1995}
    columns = {column["name"]: column for column in found["columns"]}
    assert columns["old"]["after"] is None and columns["new"]["before"] is None
    assert columns["x"]["shifted"] and abs(columns["x"]["effect"] - 0.3) < 0.05
    no_script(tmp_path / "diff.html")
    run = slipway("data", "diff", before, after, "--key", "x")
    assert run.returncode == 2 and "not unique" in run.stderr


def test_pipelines_compare_with_other_datasets_and_keep_a_page(rows, tmp_path):
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(f"""
name: quality
steps:
  ingest:
    ingest: {{sources: {{rows: {{path: "{rows}", null_values: [NA]}}}}, sql: SELECT * FROM rows, dataset: rows}}
  airports:
    ingest: {{sources: {{rows: {{path: "{rows}"}}}}, sql: "SELECT DISTINCT origin AS faa FROM rows WHERE length(origin) = 3", dataset: airports}}
  validate:
    validate:
      dataset: ${{steps.ingest.dataset}}
      as: clean
      relations: {{airports: "${{steps.airports.dataset}}"}}
      expectations:
        - {{check: exists_in, column: origin, relation: airports, to: [faa], on_fail: quarantine}}
        - {{check: mean, column: delay, learn: {{at_least: 2}}}}
""", encoding="utf-8")
    home = tmp_path / "home"
    for _ in range(2):
        run = slipway("run", pipeline, home=home)
        assert run.returncode == 0, run.stdout + run.stderr
    run = slipway("data", "diff", "rows", "clean", "--key", "id", "--json", home=home)
    assert run.returncode == 7, run.stderr
    assert json.loads(run.stdout)["rows"] == {"removed": 1, "added": 0, "changed": 0}


def test_profiles_of_parts_merge_into_one_of_all(rows, tmp_path):
    lines = rows.read_text(encoding="utf-8").splitlines(keepends=True)
    sketches = []
    for name, part in (("a", lines[1:1000]), ("b", lines[1000:])):
        file = tmp_path / f"{name}.csv"
        file.write_text(lines[0] + "".join(part), encoding="utf-8")
        sketches.append(tmp_path / f"{name}.sketch")
        run = slipway("data", "profile", file, "--null", "NA", "--sketch", sketches[-1])
        assert run.returncode == 0, run.stderr
    run = slipway("data", "merge", *sketches, "--json")
    assert run.returncode == 0, run.stderr
    merged = {column["name"]: column for column in json.loads(run.stdout)["columns"]}
    whole = {column["name"]: column for column in json.loads(
        slipway("data", "profile", rows, "--null", "NA", "--json").stdout)["columns"]}
    for name, column in whole.items():
        assert (merged[name]["rows"], merged[name]["nulls"], merged[name]["distinct"], merged[name]["top"][:3]) == (
            column["rows"], column["nulls"], column["distinct"], column["top"][:3]), name
    sketches[0].write_bytes(sketches[0].read_bytes()[:-100])
    run = slipway("data", "merge", *sketches)
    assert run.returncode == 2 and "sketch" in run.stderr
