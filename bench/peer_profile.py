"""A profile of every column by the peers' means; prints counts, nulls, distinct values and medians.

    peer_profile.py duckdb|polars|whylogs|ydata ROWS.parquet
"""

import json
import sys


def by_duckdb(rows):
    """SUMMARIZE, and SQL for what it lacks: top values, histograms, correlations."""
    import duckdb

    db = duckdb.connect()
    db.execute("SET threads = 2")
    summary = db.execute(f"SUMMARIZE FROM '{rows}'").fetchall()
    names = [row[0] for row in summary]
    kinds = {row[0]: row[1] for row in summary}
    count = summary[0][10]
    numbers = [name for name in names if kinds[name] in ("BIGINT", "DOUBLE")]
    counted = db.execute("SELECT " + ", ".join(f"count({name}), approx_top_k({name}, 10)" for name in names)
                         + f" FROM '{rows}'").fetchone()
    nulls = {name: count - present for name, present in zip(names, counted[::2])}
    ends = {row[0]: (float(row[2]), float(row[3])) for row in summary if row[0] in numbers}
    bars = ", ".join(f"histogram({name}, equi_width_bins({low}::DOUBLE, {high}::DOUBLE + 1e-9, 24, false))"
                     for name, (low, high) in ends.items())
    db.execute(f"SELECT {bars} FROM '{rows}'").fetchall()
    pairs = [(a, b) for i, a in enumerate(numbers) for b in numbers[i + 1:]]
    db.execute("SELECT " + ", ".join(f"corr({a}, {b})" for a, b in pairs) + f" FROM '{rows}'").fetchall()
    return {row[0]: {"rows": count, "nulls": nulls[row[0]], "distinct": row[4],
                     "median": float(row[8]) if row[0] in numbers else None} for row in summary}


def by_polars(rows):
    import polars as pl

    frame = pl.read_parquet(rows)
    found = {}
    numbers = [name for name, kind in frame.schema.items() if kind.is_numeric()]
    for name in frame.columns:
        column = frame[name]
        found[name] = {"rows": column.len(), "nulls": column.null_count(), "distinct": column.drop_nulls().n_unique(),
                       "median": column.quantile(0.5, "lower") if name in numbers else None}
        column.value_counts(sort=True).head(10)
        if name in numbers:
            column.hist(bin_count=24)
            [column.quantile(q) for q in (0.01, 0.05, 0.25, 0.75, 0.95, 0.99)]
            column.mean(), column.std(), column.min(), column.max()
    pairs = [(a, b) for i, a in enumerate(numbers) for b in numbers[i + 1:]]
    frame.select(pl.corr(a, b).alias(f"{a} {b}") for a, b in pairs)
    return found


def by_whylogs(rows):
    import pandas as pd
    import whylogs

    frame = pd.read_parquet(rows)
    view = whylogs.log(frame).view()
    table = view.to_pandas().fillna(0)
    return {name: {"rows": int(row["counts/n"]), "nulls": int(row["counts/null"]),
                   "distinct": round(row["cardinality/est"]), "median": None} for name, row in table.iterrows()}


def by_ydata(rows):
    import pandas as pd
    from ydata_profiling import ProfileReport

    frame = pd.read_parquet(rows)
    report = ProfileReport(frame, minimal=True, progress_bar=False)
    report.to_html()
    described = report.get_description().variables
    return {name: {"rows": int(one["n"]), "nulls": int(one["n_missing"]), "distinct": int(one["n_distinct"]), "median": None}
            for name, one in described.items()}


if __name__ == "__main__":
    engine, path = sys.argv[1:]
    json.dump({"duckdb": by_duckdb, "polars": by_polars, "whylogs": by_whylogs, "ydata": by_ydata}[engine](path), sys.stdout)
