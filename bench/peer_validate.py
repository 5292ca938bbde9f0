"""The sixteen rules of data_validate.py by the peers' means; prints what each counted.

    peer_validate.py duckdb|polars|pandera|great_expectations ROWS.parquet BEFORE.parquet
"""

import json
import sys

KEY = ["time_hour", "carrier", "flight", "origin"]
NOT_NULL = ["time_hour", "carrier", "flight", "origin", "dest"]
DECILES = [0.1 * i for i in range(1, 10)]


def psi(then, now):
    import math

    shares = lambda counts: [max(count / sum(counts), 1e-4) for count in counts]
    return sum((a - e) * math.log(a / e) for e, a in zip(shares(then), shares(now)))


def by_duckdb(rows, before):
    """As somebody would write it who knows DuckDB: one scan for the rules of rows, one group-by for the key."""
    import duckdb

    db = duckdb.connect()
    db.execute("SET threads = 2")
    edges = db.execute(f"SELECT quantile_disc(distance, {DECILES}) FROM '{before}'").fetchone()[0]
    edges = sorted(set(edges))
    bins = ", ".join(f"count(*) FILTER (distance <= {edge})" for edge in edges)
    then = db.execute(f"SELECT count(distance), {bins} FROM '{before}'").fetchone()
    scanned = db.execute(f"""
        SELECT count(*), count(*) FILTER ({' OR '.join(f'{name} IS NULL' for name in NOT_NULL)}),
          count(*) FILTER (origin NOT IN ('EWR', 'JFK', 'LGA')),
          count(*) FILTER (NOT regexp_full_match(carrier, '[0-9A-Z]{{2}}')),
          count(*) FILTER (NOT regexp_full_match(tailnum, 'N[0-9A-Z]+')),
          count(*) FILTER (distance < 0 OR distance > 6000), count(*) FILTER (hour < 0 OR hour > 23),
          count(*) FILTER (sched_dep_time <> hour * 100 + minute),
          avg((tailnum IS NULL)::INT), avg(air_time), stddev_samp(dep_delay), max(arr_delay), count(DISTINCT dest),
          max(time_hour), count(distance), {bins} FROM '{rows}'""").fetchone()
    duplicates = db.execute(f"""SELECT coalesce(sum(n), 0)::BIGINT FROM (
        SELECT count(*) AS n FROM '{rows}' GROUP BY {', '.join(KEY)} HAVING count(*) > 1)""").fetchone()[0]
    schema = dict(db.execute(f"SELECT column_name, column_type FROM (DESCRIBE FROM '{rows}')").fetchall())

    def per_bin(cumulative):
        total, *below = cumulative
        ends = [0, *below, total]
        return [b - a for a, b in zip(ends, ends[1:])]

    return {
        "schema": int(schema["dep_delay"] != "BIGINT"), "rows": scanned[0], "nulls": scanned[1], "origin": scanned[2],
        "carrier": scanned[3], "tailnum": scanned[4], "distance": scanned[5], "hour": scanned[6], "row": scanned[7],
        "null_share": scanned[8], "mean": scanned[9], "stddev": scanned[10], "max": scanned[11], "dests": scanned[12],
        "newest": scanned[13].isoformat(), "key": duplicates, "psi": psi(per_bin(then), per_bin(scanned[14:])),
    }


def by_polars(rows, before):
    import polars as pl

    edges = sorted(set(pl.scan_parquet(before).select(
        [pl.col("distance").quantile(q, "lower").alias(str(q)) for q in DECILES]).collect().row(0)))

    def counts(frame):
        values = frame.select([(pl.col("distance") <= edge).sum().alias(str(i)) for i, edge in enumerate(edges)]
                              + [pl.col("distance").count().alias("n")]).collect().row(0)
        ends = [0, *values]
        return [b - a for a, b in zip(ends, ends[1:])]

    frame = pl.scan_parquet(rows)
    found = frame.select(
        rows=pl.len(), nulls=pl.any_horizontal(pl.col(NOT_NULL).is_null()).sum(),
        origin=(~pl.col("origin").is_in(["EWR", "JFK", "LGA"])).sum(),
        carrier=(~pl.col("carrier").str.contains("^[0-9A-Z]{2}$")).sum(),
        tailnum=(~pl.col("tailnum").str.contains("^N[0-9A-Z]+$")).sum(),
        distance=(~pl.col("distance").is_between(0, 6000)).sum(), hour=(~pl.col("hour").is_between(0, 23)).sum(),
        row=(pl.col("sched_dep_time") != pl.col("hour") * 100 + pl.col("minute")).sum(),
        null_share=pl.col("tailnum").is_null().mean(), mean=pl.col("air_time").mean(),
        stddev=pl.col("dep_delay").std(), max=pl.col("arr_delay").max(), dests=pl.col("dest").n_unique(),
        newest=pl.col("time_hour").max(), key=pl.struct(KEY).is_duplicated().sum(),
    ).collect().row(0, named=True)
    found["newest"] = found["newest"].isoformat()
    found["schema"] = int(frame.collect_schema()["dep_delay"] != pl.Int64)
    found["psi"] = psi(counts(pl.scan_parquet(before)), counts(frame))
    return found


def by_pandera(rows, before):
    import pandera.polars as pa
    import polars as pl

    frame = pl.read_parquet(rows)
    column = lambda *checks, kind=pl.Int64, nullable=True: pa.Column(kind, list(checks), nullable=nullable)
    schema = pa.DataFrameSchema(
        {
            "time_hour": column(kind=pl.Datetime("us"), nullable=False), "flight": column(nullable=False),
            "carrier": column(pa.Check.str_matches("^[0-9A-Z]{2}$"), kind=pl.String, nullable=False),
            "origin": column(pa.Check.isin(["EWR", "JFK", "LGA"]), kind=pl.String, nullable=False),
            "tailnum": column(pa.Check.str_matches("^N[0-9A-Z]+$"), kind=pl.String),
            "dest": column(kind=pl.String, nullable=False), "distance": column(pa.Check.in_range(0, 6000)),
            "hour": column(pa.Check.in_range(0, 23)), "dep_delay": column(),
        },
        checks=[
            pa.Check(lambda data: data.lazyframe.select(pl.col("sched_dep_time") == pl.col("hour") * 100 + pl.col("minute"))),
            pa.Check(lambda data: data.lazyframe.select(pl.len() > 1000)),
            pa.Check(lambda data: data.lazyframe.select(pl.col("air_time").mean().is_between(100, 200))),
            pa.Check(lambda data: data.lazyframe.select(pl.col("dest").n_unique().is_between(90, 120))),
        ],
        unique=KEY,
    )
    counted = {}
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as failed:
        cases = failed.failure_cases
        for name in ("carrier", "distance", "tailnum"):
            counted[name] = cases.filter((pl.col("column") == name) & pl.col("check").str.contains("range|match")).height
    return counted


def by_great_expectations(rows, before):
    import great_expectations as gx
    import great_expectations.expectations as gxe
    import pandas as pd

    frame = pd.read_parquet(rows)
    frame["row"] = frame["hour"] * 100 + frame["minute"]
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batch = context.data_sources.add_pandas("rows").add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    rules = {
        "rows": gxe.ExpectTableRowCountToBeBetween(min_value=1000),
        "key": gxe.ExpectCompoundColumnsToBeUnique(column_list=KEY),
        "origin": gxe.ExpectColumnValuesToBeInSet(column="origin", value_set=["EWR", "JFK", "LGA"]),
        "carrier": gxe.ExpectColumnValuesToMatchRegex(column="carrier", regex="^[0-9A-Z]{2}$"),
        "tailnum": gxe.ExpectColumnValuesToMatchRegex(column="tailnum", regex="^N[0-9A-Z]+$"),
        "distance": gxe.ExpectColumnValuesToBeBetween(column="distance", min_value=0, max_value=6000),
        "hour": gxe.ExpectColumnValuesToBeBetween(column="hour", min_value=0, max_value=23),
        "row": gxe.ExpectColumnPairValuesToBeEqual(column_A="sched_dep_time", column_B="row"),
        "null_share": gxe.ExpectColumnProportionOfNonNullValuesToBeBetween(column="tailnum", min_value=0.98),
        "mean": gxe.ExpectColumnMeanToBeBetween(column="air_time", min_value=100, max_value=200),
        "stddev": gxe.ExpectColumnStdevToBeBetween(column="dep_delay", min_value=1, max_value=100),
        "max": gxe.ExpectColumnMaxToBeBetween(column="arr_delay", max_value=2000),
        "dests": gxe.ExpectColumnUniqueValueCountToBeBetween(column="dest", min_value=90, max_value=120),
        "newest": gxe.ExpectColumnMaxToBeBetween(column="time_hour", min_value=pd.Timestamp("2020-01-01")),
        "schema": gxe.ExpectColumnToExist(column="dep_delay"),
    }
    for name in NOT_NULL:
        rules[f"nulls {name}"] = gxe.ExpectColumnValuesToNotBeNull(column=name)
    suite = context.suites.add(gx.ExpectationSuite(name="all", expectations=list(rules.values())))
    result = batch.get_batch({"dataframe": frame}).validate(suite)
    by_rule = {}
    for one in result.results:
        found = one.result.get("unexpected_count")
        if found:
            kind = one.expectation_config.type
            by_rule["key" if "compound" in kind else one.expectation_config.kwargs.get("column", "row")] = found
    return {"carrier": by_rule.get("carrier"), "distance": by_rule.get("distance"), "key": by_rule.get("key"),
            "row": by_rule.get("row")}


if __name__ == "__main__":
    engine, rows, before = sys.argv[1:]
    json.dump({"duckdb": by_duckdb, "polars": by_polars, "pandera": by_pandera,
               "great_expectations": by_great_expectations}[engine](rows, before), sys.stdout)
