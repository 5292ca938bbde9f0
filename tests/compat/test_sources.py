"""Sources that need a server: S3 that misbehaves, HTTP, PostgreSQL that goes away, and secrets that must not show."""

import functools
import http.server
import json
import os
import sqlite3
import subprocess
import threading

import boto3
import psycopg2
import pytest
from support.postgres_server import PostgresServer
from support.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, FaultyProxy, S3Server
from support.slipway_server import binary

ROWS = "id,v\n" + "".join(f"{i},{i * 7919 % 1000}\n" for i in range(20_000))
SECRET = "s3cret-of-the-test"


def run(folder, sources, environment=(), extra="", name="p.yaml"):
    """Runs one ingest step; the finished process, its output and log in one text."""
    (folder / name).write_text(
        "name: p\nsteps:\n  load:\n    ingest:\n      dataset: rows\n      sources:\n"
        + "".join(f"        {line}\n" for line in sources) + extra)
    done = subprocess.run([str(binary()), "--home", str(folder / "home"), "run", str(folder / name)], capture_output=True,
                          text=True, timeout=60, env={**os.environ, **dict(environment)}, check=False)
    done.text = done.stdout + done.stderr
    return done


def shown(folder, *arguments):
    done = subprocess.run([str(binary()), "--home", str(folder / "home"), *arguments, "--json"], capture_output=True, text=True,
                          check=True, timeout=30)
    return json.loads(done.stdout)


def everything_written(folder):
    """All bytes below the home: what a secret must not be in."""
    return b"".join(path.read_bytes() for path in (folder / "home").rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with S3Server(tmp_path_factory.mktemp("s3") / "objects") as server:
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.port}", aws_access_key_id=ACCESS_KEY,
                              aws_secret_access_key=SECRET_KEY, region_name="us-east-1")
        for part in ("a", "b"):
            client.put_object(Bucket=BUCKET, Key=f"raw/{part}.csv", Body=ROWS.encode())
        server.client = client
        yield server


def s3_source(port, path="raw/*.csv", options=""):
    return ["rows:", f"  path: s3://{BUCKET}/{path}", "  credentials: {key_id: env:TEST_KEY, secret: env:TEST_SECRET}",
            f"  options: {{endpoint: \"http://127.0.0.1:{port}\", region: us-east-1{options}}}"]


KEYS = {"TEST_KEY": ACCESS_KEY, "TEST_SECRET": SECRET_KEY}


def test_objects_are_read_by_pattern_with_their_etags_as_lineage(s3, tmp_path):
    done = run(tmp_path, s3_source(s3.port), KEYS)
    assert done.returncode == 0, done.text
    version = shown(tmp_path, "data", "show", "rows")
    assert version["rows"] == 40_000
    files = version["provenance"]["files"]["rows"]
    assert [file["path"] for file in files] == [f"s3://{BUCKET}/raw/a.csv", f"s3://{BUCKET}/raw/b.csv"]
    assert all(file["etag"] and file["size"] == len(ROWS) for file in files)
    assert SECRET_KEY.encode() not in everything_written(tmp_path)
    again = run(tmp_path, s3_source(s3.port), KEYS)
    assert "cached" in again.text, "the same etags are the same work"


def test_new_objects_alone_are_loaded(s3, tmp_path):
    rule = "      incremental: {source: rows, by: files}\n"
    empty = run(tmp_path, s3_source(s3.port, "grow/*.csv"), KEYS, rule)
    assert empty.returncode == 1 and "no object matches" in empty.text, empty.text
    for number in (1, 2):
        s3.client.put_object(Bucket=BUCKET, Key=f"grow/{number}.csv", Body=f"id,v\n{number},0\n".encode())
        done = run(tmp_path, s3_source(s3.port, "grow/*.csv"), KEYS, rule)
        assert "1 rows new" in done.text, done.text
    assert shown(tmp_path, "data", "show", "rows")["rows"] == 2


def test_a_server_that_is_busy_or_cuts_answers_is_asked_again(s3, tmp_path):
    for fault in ("503", "cut"):
        with FaultyProxy(s3.port) as proxy:
            proxy.faults = [("GET", fault)]
            done = run(tmp_path, s3_source(proxy.port, "raw/a.csv"), KEYS, name=f"{fault}.yaml")
            assert done.returncode == 0, (fault, done.text)
            assert not proxy.faults


def test_a_server_that_stays_busy_or_stalls_is_an_error_in_time(s3, tmp_path):
    for fault in ("503", "stall"):
        with FaultyProxy(s3.port, stall_s=4) as proxy:
            proxy.always = fault
            done = run(tmp_path, s3_source(proxy.port, "raw/a.csv", ", timeout: 1, retries: 1"), KEYS, name=f"{fault}.yaml")
            assert done.returncode == 1 and "a.csv" in done.text, (fault, done.text)
            assert SECRET_KEY not in done.text


def test_wrong_keys_and_missing_objects_are_told_apart(s3, tmp_path):
    missing = run(tmp_path, s3_source(s3.port, "raw/none.csv"), KEYS)
    assert missing.returncode == 1 and "none.csv" in missing.text, missing.text
    unset = run(tmp_path, s3_source(s3.port), {})
    assert unset.returncode == 1 and "TEST_KEY" in unset.text, unset.text
    if s3.checks_signatures:
        wrong = run(tmp_path, s3_source(s3.port, "raw/a.csv"), {"TEST_KEY": ACCESS_KEY, "TEST_SECRET": SECRET})
        assert wrong.returncode == 1 and SECRET not in wrong.text, wrong.text


def test_http_and_parquet_through_ranges(tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web/x.csv").write_text(ROWS)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "web")
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = run(tmp_path, ["rows:", f"  path: http://127.0.0.1:{server.server_address[1]}/x.csv"])
        server.shutdown()
    assert done.returncode == 0, done.text
    assert shown(tmp_path, "data", "show", "rows")["rows"] == 20_000


@pytest.fixture(scope="module")
def postgres():
    with PostgresServer() as server:
        yield server


def test_postgres_tables_and_queries_load_above_a_watermark(postgres, tmp_path):
    url = postgres.create_database("shop")
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE orders(id bigint, code text, price numeric(10,2), updated timestamptz)")
        cursor.execute("INSERT INTO orders SELECT i, lpad(i::text, 5, '0'), i / 4.0, '2013-01-01T00:00:00Z'::timestamptz + "
                       "i * interval '1 hour' FROM generate_series(1, 1000) i")
    source = ["rows: {path: env:SHOP_URL, format: postgres, table: orders}"]
    rule = "      incremental: {source: rows, by: watermark, column: updated, key: [id]}\n"
    done = run(tmp_path, source, {"SHOP_URL": url}, rule)
    assert done.returncode == 0, done.text
    version = shown(tmp_path, "data", "show", "rows")
    assert version["rows"] == 1000
    assert [field["type"] for field in version["schema"]] == ["int64", "text", "float64", "timestamp"]
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (1001, '01001', 1, '2014-01-01T00:00:00Z')")
        cursor.execute("UPDATE orders SET price = 9, updated = '2014-01-02T00:00:00Z' WHERE id = 7")
    done = run(tmp_path, source, {"SHOP_URL": url}, rule)
    assert done.returncode == 0 and "2 rows new" not in done.text, done.text  # one is new, one replaces: all are written
    assert shown(tmp_path, "data", "show", "rows")["rows"] == 1001
    done = run(tmp_path, source, {"SHOP_URL": url}, rule)
    assert "nothing new" in done.text, done.text
    query = run(tmp_path, ["rows: {path: env:SHOP_URL, format: postgres, query: SELECT count(*) AS n FROM orders}"],
                {"SHOP_URL": url}, name="q.yaml")
    assert query.returncode == 0, query.text


def test_a_table_of_an_sqlite_file(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE orders(id INTEGER, code TEXT, price REAL)")
        connection.execute("INSERT INTO orders VALUES (1, '001', 0.5), (2, NULL, 1.5)")
    done = run(tmp_path, ["rows: {path: shop.db, table: orders}"])
    assert done.returncode == 0, done.text
    version = shown(tmp_path, "data", "show", "rows")
    assert version["rows"] == 2
    assert [field["type"] for field in version["schema"]] == ["int64", "text", "float64"]
    missing = run(tmp_path, ["rows: {path: shop.db, table: order}"], name="m.yaml")
    assert missing.returncode == 1 and "order" in missing.text, missing.text


def test_a_database_that_is_not_there_or_goes_away_leaves_nothing(postgres, tmp_path):
    gone = run(tmp_path, ["rows: {path: \"postgres://me@127.0.0.1:1/x\", table: t, credentials: {password: env:PASS}}"],
               {"PASS": SECRET})
    assert gone.returncode == 1 and "127.0.0.1:1" in gone.text, gone.text
    assert SECRET not in gone.text and SECRET.encode() not in everything_written(tmp_path)
    url = postgres.create_database("slow")
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE VIEW endless AS SELECT i, pg_sleep(0.01)::text AS nap FROM generate_series(1, 100000) i")
    stopper = threading.Timer(3, lambda: kill_sessions(url))
    stopper.start()
    dropped = run(tmp_path, ["rows: {path: env:URL, format: postgres, query: \"SELECT i, nap FROM endless\"}"], {"URL": url}, name="d.yaml")
    stopper.cancel()
    assert dropped.returncode == 1 and "the database went away" in dropped.text, dropped.text
    assert shown(tmp_path, "data", "ls") == []


def kill_sessions(url):
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
                       "current_database()")
    connection.close()
