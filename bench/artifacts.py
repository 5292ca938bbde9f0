#!/usr/bin/env python3
"""Files through the artifact proxy: slipway and `mlflow server` in turn, beside what one process needs for the same bytes.

    bench/artifacts.py                  # slipway and mlflow server
    bench/artifacts.py --no-peer        # slipway alone
    bench/artifacts.py --size 1024      # MiB a file; --rounds, --json

  up, down   one file over one connection, from and to memory; the bytes differ in every round, so that nothing is
             known already, and what comes down is compared with what went up
  floor      one process: SHA-256 of the same bytes and a durable write of them (up); a read and SHA-256 (down)
  4 kB       PUT and GET on one keep-alive connection by a raw socket. slipway answers a PUT when file, folder and
             metadata are durable, which is three waits for the disk; mlflow server makes no file durable

The bar: up and down within 1.5 times of the floor. Medians; the client and the floor are Python with OpenSSL, whose
SHA-256 is the server's. The server's memory is its peak over the whole run (VmHWM), less than a few MiB above idle
whatever the size.
"""

import argparse
import hashlib
import http.client
import json
import os
import pathlib
import socket
import statistics
import sys
import tempfile
import time

import peer_mlflow
from peer_mlflow import Server

PROXY = "/api/2.0/mlflow-artifacts/artifacts/0/bench/"
MIB = 1024 * 1024
SMALL = 4096


def noise(size: int) -> bytearray:
    """Different in every block, without drawing every byte anew."""
    block = os.urandom(MIB)
    data = bytearray(block * (size // MIB))
    for at in range(0, size, MIB):
        data[at : at + 16] = os.urandom(16)
    return data


def floor_up(folder: pathlib.Path, data) -> float:
    begun = time.perf_counter()
    digest = hashlib.sha256()
    view = memoryview(data)
    with open(folder / "floor", "wb", buffering=0) as file:
        for at in range(0, len(data), MIB):
            digest.update(view[at : at + MIB])
            file.write(view[at : at + MIB])
        os.fsync(file.fileno())
    return time.perf_counter() - begun


def floor_down(folder: pathlib.Path) -> float:
    begun = time.perf_counter()
    digest = hashlib.sha256()
    buffer = bytearray(MIB)
    with open(folder / "floor", "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return time.perf_counter() - begun


def up(server: Server, path: str, data) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600, blocksize=MIB)
    begun = time.perf_counter()
    connection.request("PUT", path, body=memoryview(data), headers={"Content-Length": str(len(data))})
    answer = connection.getresponse()
    answer.read()
    took = time.perf_counter() - begun
    connection.close()
    if answer.status != 200:
        sys.exit(f"{server.name}: PUT was answered {answer.status}")
    return took


def down(server: Server, path: str, data) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    buffer = bytearray(len(data))
    view = memoryview(buffer)
    begun = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    have = 0
    while count := answer.readinto(view[have:]):
        have += count
    took = time.perf_counter() - begun
    connection.close()
    if answer.status != 200 or buffer != data:
        sys.exit(f"{server.name}: what came down is not what went up")
    return took


def small(server: Server, method: str, seconds: float) -> dict:
    """A closed loop on one connection."""
    body = os.urandom(SMALL)
    times = []
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = connection.makefile("rb")
        before = server.cpu_seconds()
        until = time.perf_counter() + seconds
        number = 0
        while time.perf_counter() < until:
            number += 1
            head = f"{method} {PROXY}small/{number % 100} HTTP/1.1\r\nHost: localhost\r\n"
            request = head.encode() + b"\r\n"
            if method == "PUT":
                fresh = number.to_bytes(8, "big") + body[8:]
                request = head.encode() + b"Content-Length: %d\r\n\r\n" % SMALL + fresh
            begun = time.perf_counter()
            connection.sendall(request)
            status = reader.readline().split()[1]
            length = 0
            while (line := reader.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            reader.read(length)
            times.append((time.perf_counter() - begun) * 1000)
            if status != b"200":
                sys.exit(f"{server.name}: {method} of 4 kB was answered {status.decode()}")
        cpu = server.cpu_seconds() - before
    return {
        "rate": len(times) / sum(times) * 1000,
        "p50": statistics.median(times),
        "p99": sorted(times)[int(len(times) * 0.99)],
        "cpu_us": cpu / len(times) * 1e6,
    }


def peak_mib(server: Server) -> float:
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def measure(options, servers: list[Server], folder: pathlib.Path) -> dict:
    size = options.size * MIB
    times = {name: {"up": [], "down": []} for name in ["floor"] + [server.name for server in servers]}
    for number in range(options.rounds):
        data = noise(size)
        times["floor"]["up"].append(floor_up(folder, data))
        times["floor"]["down"].append(floor_down(folder))
        for server in servers:
            path = f"{PROXY}large{number}"
            times[server.name]["up"].append(up(server, path, data))
            times[server.name]["down"].append(down(server, path, data))
    result = {
        name: {way: statistics.median(values) for way, values in ways.items()} for name, ways in times.items()
    }
    for server in servers:
        result[server.name]["put"] = small(server, "PUT", options.seconds)
        result[server.name]["get"] = small(server, "GET", options.seconds)
    return result


def report(options, servers: list[Server], result: dict, idle: float) -> None:
    names = [server.name for server in servers]
    print(f"one file of {options.size} MiB, median of {options.rounds}; load {os.getloadavg()[0]:.1f}")
    for way in ("up", "down"):
        floor = result["floor"][way]
        line = f"{way:5} floor {options.size / floor:7.0f} MiB/s"
        for name in names:
            line += f" | {name} {options.size / result[name][way]:7.0f} MiB/s, {result[name][way] / floor:.2f}x the floor's time"
        ours = result["slipway"][way]
        line += f" | bar 1.5x: {'met' if ours <= 1.5 * floor else 'NOT met'}"
        if "mlflow" in result:
            line += f", {result['mlflow'][way] / ours:.1f}x mlflow's rate"
        print(line)
    for way in ("put", "get"):
        line = f"4 kB {way.upper()}"
        for name in names:
            r = result[name][way]
            line += f" | {name} {r['rate']:7,.0f}/s p50 {r['p50']:.2f} p99 {r['p99']:.2f} ms cpu {r['cpu_us']:,.0f} us"
        if "mlflow" in result:
            line += f" | {result['slipway'][way]['rate'] / result['mlflow'][way]['rate']:.1f}x the rate"
        print(line)
    print(f"slipway's memory: {idle:.0f} MiB idle, {peak_mib(servers[0]):.0f} MiB at its peak")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100, help="MiB of the large file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each 4 kB loop")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--folder", help="where the servers keep their files; default: a temporary folder")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slipway-bench-", dir=options.folder) as name:
        folder = pathlib.Path(name)
        for sub in ("slipway", "mlflow"):
            (folder / sub).mkdir()
        with peer_mlflow.start_slipway(folder / "slipway") as slipway:
            servers = [slipway]
            idle = peak_mib(slipway)
            peer = None if options.no_peer else peer_mlflow.start(folder / "mlflow")
            if peer is not None:
                servers.append(peer)
            elif not options.no_peer:
                print("mlflow server is not installed: slipway alone (./dev bench installs it)")
            try:
                result = measure(options, servers, folder)
                if options.json:
                    print(json.dumps(result))
                else:
                    report(options, servers, result, idle)
            finally:
                if peer is not None:
                    peer.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
