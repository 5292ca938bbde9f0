#!/usr/bin/env bash
# ./dev test PRESET [PART...] [FILTER]: builds what each part needs, runs it, and counts. See help_test in ./dev.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
source tools/lib.sh

all_parts=(unit postgres asan tsan api compat e2e fault)
# Without a part, all but `unit`: `asan` is the same tests, so the release build compiles the program alone.
default_parts=(asan postgres tsan api compat e2e fault)
# Where threads share state: the part tsan.
threaded_modules='base|db|blob|jobs|audit|access|webhooks|tracking|pipeline|server'
# What keeps its rows in the database: the part postgres, where they are PostgreSQL's.
stored_modules='db|jobs|audit|access|webhooks|data|tracking|tracing|registry|serving|monitoring|feedback|governance|transfer|pipeline|api|cli'
preset=$1
shift

parts=() filter=''
while (($#)); do
  if [[ $1 == --only ]]; then
    filter=${2:?--only wants a filter}
    shift
  elif [[ $1 == -* ]]; then
    die "no option '$1'; see ./dev test --help"
  elif [[ " ${all_parts[*]} " == *" $1 "* ]]; then
    parts+=("$1")
  else
    filter=$1
  fi
  shift
done
((${#parts[@]})) || parts=("${default_parts[@]}")

results=$PWD/build/test-results
rm -rf "$results"
mkdir -p "$results"

# GCC 12's sanitizers fail at start where the kernel randomizes addresses over a wider range than they know.
fixed_addresses=()
if setarch -R true 2>/dev/null; then fixed_addresses=(setarch -R); fi
export ASAN_OPTIONS="detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1"
export LSAN_OPTIONS="suppressions=$PWD/tools/sanitizers/lsan.supp:print_suppressions=0"
export UBSAN_OPTIONS="print_stacktrace=1"
export TSAN_OPTIONS="suppressions=$PWD/tools/sanitizers/tsan.supp:ignore_noninstrumented_modules=1:second_deadlock_stack=1:die_after_fork=0"

# run_unit PRESET MODULES [WRAPPER...]: builds and runs the unit tests of the modules that both the regular expression
# MODULES and the filter name; a report a module goes to $results.
run_unit() {
  local preset=$1 modules=$2 report=$results/$part targets
  shift 2
  configure "$preset"
  ninja -C "build/$preset" build.ninja >/dev/null || return # learns of new test files first
  mapfile -t targets < <(
    ninja -C "build/$preset" -t targets all | sed -nE "s/^($modules)_test: phony$/\1/p" | grep -E -- "${filter:-.}"
  )
  if ((${#targets[@]} == 0)); then
    say "no module has such tests"
    return
  fi
  compile "$preset" "${targets[@]/%/_test}" || return
  mkdir -p "$report"
  GTEST_OUTPUT="json:$report/" "$@" ctest --test-dir "build/$preset" --output-on-failure -j "${SLIPWAY_JOBS:-$cores}" \
    -R "^($(IFS='|' && echo "${targets[*]}"))\$" --output-junit "$report/ctest.xml"
}

part_unit() { run_unit "$preset" '[a-z]+'; }
part_asan() { run_unit asan '[a-z]+' "${fixed_addresses[@]}"; }
# With the sanitized programs, when those are there: nothing is built twice.
part_postgres() {
  local built=$preset
  if [[ " ${parts[*]} " == *' asan '* ]]; then built=asan; fi
  run_unit "$built" "$stored_modules" "${fixed_addresses[@]}" python3 tests/support/postgres_server.py
}
part_tsan() { run_unit tsan "$threaded_modules" "${fixed_addresses[@]}"; }

# The parts that drive the built program with pytest: tests/<part>.
run_pytest() {
  if [[ ! -d tests/$part || -z $(find "tests/$part" -name 'test_*.py') ]]; then
    say "tests/$part has no tests"
    return
  fi
  configure "$preset"
  compile "$preset" slipway || return
  python_env test-venv tests/requirements.txt
  mkdir -p "$results/$part"
  SLIPWAY_BIN=$PWD/build/$preset/bin/slipway .deps/test-venv/bin/python -m pytest "tests/$part" -p no:cacheprovider \
    --junitxml="$results/$part/pytest.xml" ${filter:+-k "$filter"}
  local status=$?
  ((status != 5)) && return "$status" # 5: the filter left no test
  return 0
}
part_api() { run_pytest; }
part_compat() { run_pytest; }
part_e2e() { run_pytest; }
part_fault() { run_pytest; }

trap 'say interrupted; exit 130' INT TERM
failed_parts=0 table=''
for part in "${parts[@]}"; do
  heading "Test part $part"
  part_started=$SECONDS
  (set -e -o pipefail; "part_$part")
  status=$?
  read -r passed failed < <(python3 tools/count_tests.py "$results/$part" "$status")
  verdict=ok
  if ((status || failed)); then
    verdict=FAILED
    failed_parts=$((failed_parts + 1))
  fi
  took=$((SECONDS - part_started))
  say "$part: $passed passed, $failed failed, $took s"
  table+=$(printf '    %-8s %8d %8d %6d s  %s' "$part" "$passed" "$failed" "$took" "$verdict")$'\n'
  all_passed=$((${all_passed:-0} + passed))
  all_failed=$((${all_failed:-0} + failed))
done

heading "Results"
printf '    %-8s %8s %8s %8s\n' part passed failed time
printf '%s' "$table"
say "in all $SECONDS s"
if [[ -n $filter ]] && ((all_passed + all_failed == 0)); then
  say "${red}no test matches '$filter'${plain}"
  failed_parts=1
fi
printf '%d passed, %d failed\n' "$all_passed" "$all_failed"
((failed_parts == 0))
