"""The work of bench/data_load.py in the peers: python peer_load.py polars|duckdb|pandas FOLDER OUT [MEMORY_MB]."""

import json
import pathlib
import sys

SQL = """
SELECT f.year, f.month, f.day, f.dep_time, f.sched_dep_time, f.dep_delay, f.arr_delay, f.carrier, f.flight, f.tailnum, f.origin,
       f.dest, f.distance, f.time_hour, f.arr_delay > 15 AS late, f.distance / f.air_time * 60 AS speed, w.temp, w.dewp, w.humid,
       w.wind_speed, w.precip, w.pressure, w.visib, p.year AS plane_year, p.seats, p.engine, p.manufacturer
FROM flights f
LEFT JOIN weather w ON w.origin = f.origin AND w.time_hour = f.time_hour
LEFT JOIN planes p ON p.tailnum = f.tailnum
WHERE f.dep_time IS NOT NULL
"""
FLIGHTS = ["year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_delay", "carrier", "flight", "tailnum",
           "origin", "dest", "distance", "time_hour"]
WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]


def with_polars(folder, out, _):
    import polars as pl
    read = lambda name: pl.scan_csv(folder / f"{name}.csv", null_values=["NA"], infer_schema_length=100_000)
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us")
    weather = read("weather").select("origin", hour, *WEATHER)
    planes = read("planes").select("tailnum", "seats", "engine", "manufacturer", plane_year="year")
    rows = read("flights").filter(pl.col("dep_time").is_not_null()).select(
        *(name for name in FLIGHTS if name != "time_hour"), hour, late=pl.col("arr_delay") > 15,
        speed=pl.col("distance") / pl.col("air_time") * 60)
    rows = rows.join(weather, on=["origin", "time_hour"], how="left").join(planes, on="tailnum", how="left")
    rows.select(*FLIGHTS, "late", "speed", *WEATHER, "plane_year", "seats", "engine", "manufacturer").sink_parquet(
        out, compression="zstd")


def with_duckdb(folder, out, memory):
    import duckdb
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    if memory:
        connection.execute(f"SET memory_limit = '{memory}MiB'")
    for name in ("flights", "weather", "planes"):
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_csv('{folder / name}.csv', nullstr = ['NA'])")
    connection.execute(f"COPY ({SQL}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")


def with_pandas(folder, out, _):
    import pandas as pd
    read = lambda name: pd.read_csv(folder / f"{name}.csv", na_values=["NA"], engine="pyarrow")
    weather = read("weather")[["origin", "time_hour", *WEATHER]]
    planes = read("planes")[["tailnum", "year", "seats", "engine", "manufacturer"]].rename(columns={"year": "plane_year"})
    rows = read("flights")
    rows = rows[rows["dep_time"].notna()]
    rows["late"] = (rows["arr_delay"] > 15).astype("boolean").mask(rows["arr_delay"].isna())
    rows["speed"] = rows["distance"] / rows["air_time"] * 60
    rows = rows[[*FLIGHTS, "late", "speed"]].merge(weather, on=["origin", "time_hour"], how="left")
    rows.merge(planes, on="tailnum", how="left").to_parquet(out, compression="zstd", index=False)


if __name__ == "__main__":
    peer, source, target = sys.argv[1:4]
    limit = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    {"polars": with_polars, "duckdb": with_duckdb, "pandas": with_pandas}[peer](pathlib.Path(source), target, limit)
    print(json.dumps({"file": target}))
