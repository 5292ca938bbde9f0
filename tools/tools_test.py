#!/usr/bin/env python3
"""Tests of the scripts in this folder; ./dev lint runs them."""

import importlib.machinery
import importlib.util
import json
import pathlib
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent


def load(name):
    loader = importlib.machinery.SourceFileLoader(name.removesuffix(".py"), str(TOOLS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


check_layers = load("check_layers")
check_docs = load("check_docs")
count_tests = load("count_tests.py")


class CheckLayers(unittest.TestCase):
    def test_includes_go_left_and_only_to_public_headers(self):
        rows = [
            ("own public header", "db", "pool.cpp", "db/pool.h", True),
            ("own private header", "db", "pool.cpp", "db/sqlite_internal.h", True),
            ("own generated header", "audit", "log.cpp", "audit/migrations.h", True),
            ("public header to the left", "registry", "registry.h", "db/pool.h", True),
            ("private header to the left", "registry", "registry.cpp", "db/sqlite_internal.h", False),
            ("generated header to the left", "registry", "registry.cpp", "db/queries.h", False),
            ("to the right", "db", "pool.cpp", "registry/registry.h", False),
            ("to the right from a test", "db", "pool_test.cpp", "registry/registry.h", False),
            ("another library", "server", "http.cpp", "boost/asio.hpp", True),
            ("the standard library", "base", "clock.h", "chrono", True),
            ("test support from a test", "db", "pool_test.cpp", "support/support.h", True),
            ("test support from a header of tests", "db", "db_test_internal.h", "support/support.h", True),
            ("a header of tests from a test", "db", "pool_test.cpp", "db/test_home_internal.h", True),
            ("a header of tests from the product", "db", "pool.cpp", "db/test_home_internal.h", False),
            ("test support from the product", "db", "pool.cpp", "support/support.h", False),
        ]
        for why, folder, name, included, allowed in rows:
            with self.subTest(why):
                text = f'// A comment.\n#include "{included}"\n'
                found = list(check_layers.faults_of_file(folder, name, text))
                self.assertEqual([number for number, _ in found], [] if allowed else [2])

    def test_clock_and_chance_are_read_only_in_base(self):
        rows = [
            ("in base", "base", "clock.cpp", "std::chrono::system_clock::now();", True),
            ("outside", "jobs", "queue.cpp", "auto t = std::chrono::system_clock::now();", False),
            ("random device", "tuning", "tpe.cpp", "std::random_device seed;", False),
            ("monotonic time", "jobs", "queue.cpp", "std::chrono::steady_clock::now();", True),
            ("in a test", "jobs", "queue_test.cpp", "std::random_device seed;", True),
            ("in a comment", "jobs", "queue.cpp", "// never system_clock::now()", True),
            ("in a string", "jobs", "queue.cpp", 'log("random_device");', True),
            ("in a raw string", "jobs", "queue.cpp", 'auto s = R"(\nrandom_device\n)";', True),
        ]
        for why, folder, name, text, allowed in rows:
            with self.subTest(why):
                self.assertEqual(list(check_layers.faults_of_file(folder, name, text)) == [], allowed)

    def test_a_folder_without_a_place_is_a_fault(self):
        with tempfile.TemporaryDirectory() as temporary:
            src = pathlib.Path(temporary)
            (src / "extra").mkdir()
            (src / "extra" / "x.h").write_text("#pragma once\n")
            self.assertEqual(len(list(check_layers.faults(src))), 1)


class CheckDocs(unittest.TestCase):
    def test_commands_are_read_up_to_their_arguments(self):
        rows = [
            ("slipway up --port 5000", ["slipway", "up"]),
            ("$ slipway audit verify", ["slipway", "audit", "verify"]),
            ("slipway run examples/flights/pipeline.yaml", ["slipway", "run"]),
            ("slipway lineage MODEL", ["slipway", "lineage"]),
            ("build/release/bin/slipway models ls | head", ["slipway", "models", "ls"]),
            ("./dev test unit", ["./dev", "test"]),
            ("./dev test   # every test", ["./dev", "test"]),
            ("curl localhost:5000/health", None),
            ("slipway up | runs | models", ["slipway", "up"]),
        ]
        for line, want in rows:
            with self.subTest(line):
                self.assertEqual(check_docs.command_in(line), want)

    def test_anchors_are_named_as_on_the_web(self):
        self.assertEqual(check_docs.anchor("What `slipway up` does, step by step"), "what-slipway-up-does-step-by-step")


class CountTests(unittest.TestCase):
    def write_module(self, folder, status, cases):
        (folder / "ctest.xml").write_text(f'<testsuite><testcase name="db" status="{status}"/></testsuite>')
        if cases is not None:
            (folder / "db_test.json").write_text(json.dumps({"testsuites": [{"testsuite": cases}]}))

    def test_modules_and_cases(self):
        good = {"result": "COMPLETED"}
        bad = {"result": "COMPLETED", "failures": [{}]}
        skipped = {"result": "SKIPPED"}
        rows = [
            ("all pass", "run", [good, good, skipped], 0, (2, 0)),
            ("one fails", "fail", [good, bad], 8, (1, 1)),
            ("fails after its cases passed", "fail", [good], 8, (1, 1)),
            ("crashes before its report", "fail", None, 8, (0, 1)),
        ]
        for why, status, cases, exit_status, want in rows:
            with self.subTest(why), tempfile.TemporaryDirectory() as temporary:
                folder = pathlib.Path(temporary)
                self.write_module(folder, status, cases)
                self.assertEqual(count_tests.count(folder, exit_status), want)

    def test_a_part_that_does_not_build_is_one_failure(self):
        with tempfile.TemporaryDirectory() as temporary:
            self.assertEqual(count_tests.count(pathlib.Path(temporary), 1), (0, 1))

    def test_pytest_report(self):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            (folder / "pytest.xml").write_text(
                '<testsuites><testsuite tests="7" failures="1" errors="1" skipped="2"/></testsuites>'
            )
            self.assertEqual(count_tests.count(folder, 1), (3, 2))


if __name__ == "__main__":
    unittest.main()
