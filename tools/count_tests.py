#!/usr/bin/env python3
"""Prints "PASSED FAILED" for one part of ./dev test: count_tests.py FOLDER EXIT_STATUS.

FOLDER holds pytest.xml, or ctest.xml (a test a module) with a GoogleTest JSON report a module beside it. A module
that failed though no case of its report did (it crashed, or leaked) counts as one failure more; so does a part
that ended with a failure before it could write a report.
"""

import json
import pathlib
import sys
import xml.etree.ElementTree as xml


def count_pytest(path):
    passed = failed = 0
    for suite in xml.parse(path).getroot().iter("testsuite"):
        wrong = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        failed += wrong
        passed += int(suite.get("tests", 0)) - wrong - int(suite.get("skipped", 0))
    return passed, failed


def count_gtest(path):
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError):  # the program ended before it wrote all of it
        return 0, 0
    cases = [case for suite in report["testsuites"] for case in suite["testsuite"]]
    failed = sum("failures" in case for case in cases)
    passed = sum(case["result"] == "COMPLETED" and "failures" not in case for case in cases)
    return passed, failed


def count_ctest(path):
    passed = failed = 0
    for module in xml.parse(path).getroot().iter("testcase"):
        module_passed, module_failed = count_gtest(path.with_name(f"{module.get('name')}_test.json"))
        if module.get("status") == "fail" and module_failed == 0:
            module_failed = 1
        passed += module_passed
        failed += module_failed
    return passed, failed


def count(folder, status):
    passed = failed = 0
    for name, counter in (("pytest.xml", count_pytest), ("ctest.xml", count_ctest)):
        if (folder / name).exists():
            more_passed, more_failed = counter(folder / name)
            passed += more_passed
            failed += more_failed
    if status != 0 and failed == 0:
        failed = 1
    return passed, failed


if __name__ == "__main__":
    print(*count(pathlib.Path(sys.argv[1]), int(sys.argv[2])))
