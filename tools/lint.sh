#!/usr/bin/env bash
# ./dev lint [--all] [FILE...]: every check that is not a test. See help_lint in ./dev.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
source tools/lib.sh

few=30 # with no more C++ files than this, looking at all is quick enough

all=''
files=()
for argument in "$@"; do
  case $argument in
    --all) all=yes ;;
    -*) die "no option '$argument'; see ./dev lint --help" ;;
    *) files+=("$argument") ;;
  esac
done

# What differs from the main branch: commits since we left it, and what is not committed yet.
changed_files() {
  local main base=HEAD
  for main in origin/main main; do
    if git rev-parse --verify --quiet "$main" >/dev/null; then
      base=$(git merge-base HEAD "$main")
      break
    fi
  done
  {
    git diff --name-only --diff-filter=d "$base"
    git ls-files --others --exclude-standard
  } | sort -u
}

mapfile -t everything < <(cpp_files)
if [[ -n $all ]] || { ((${#files[@]} == 0)) && ((${#everything[@]} <= few)); }; then
  files=("${everything[@]}")
elif ((${#files[@]} == 0)); then
  mapfile -t files < <(comm -12 <(changed_files) <(printf '%s\n' "${everything[@]}"))
fi

faults=0
# check WHAT COMMAND...: runs a check and tells how it went.
check() {
  local what=$1 started=$SECONDS
  shift
  heading "$what"
  if ("$@"); then
    say "ok, $((SECONDS - started)) s"
  else
    say "${red}faults found${plain}, $((SECONDS - started)) s"
    faults=$((faults + 1))
  fi
}

# Names each file once; what to change is for clang-format to know.
format() {
  local badly
  badly=$(clang-format-19 --dry-run "${everything[@]}" 2>&1 | grep -oE '^[^:]+:[0-9]+' | cut -d: -f1 | uniq -c)
  [[ -z $badly ]] || printf '%s\n' "$badly" | while read -r count file; do say "$file: $count places"; done
  [[ -z $badly ]]
}

# Reads and compiles without leaving files behind.
python_compiles() {
  git ls-files --cached --others --exclude-standard 'tools/*.py' 'tests/*.py' 'bench/*.py' 'examples/*.py' \
    tools/check_layers tools/check_docs |
    python3 -c 'import sys; [compile(open(name).read(), name, "exec") for name in sys.stdin.read().splitlines()]'
}

shell_scripts() {
  mapfile -t scripts < <(git ls-files --cached --others --exclude-standard 'tools/*.sh' 'tests/*.sh' 'examples/*.sh' dev .ci/run)
  shellcheck -x "${scripts[@]}"
}

# clang-tidy needs the flags without GCC's precompiled header (it reads the header itself), and the headers made
# from SQL.
prepare_tidy() {
  configure tidy -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON
  local generated
  mapfile -t generated < <(ninja -C build/tidy -t targets all | sed -nE 's/^(sql_[a-z]+): phony$/\1/p')
  ((${#generated[@]} == 0)) || ninja -C build/tidy "${generated[@]}" >/dev/null
}

tidy() {
  local sources=() file
  for file in "${files[@]}"; do
    case $file in
      *.cpp) sources+=("$file") ;;
      # A header is looked at through the sources of its folder that include it.
      *.h) mapfile -t -O "${#sources[@]}" sources < <(grep -lF "\"${file#*/}\"" "${file%/*}"/*.cpp 2>/dev/null) ;;
    esac
  done
  # Only what CMake compiles; what is not wired in yet has no flags.
  mapfile -t sources < <(
    printf '%s\n' "${sources[@]}" | sort -u |
      while read -r file; do grep -qF "\"file\": \"$PWD/$file\"" build/tidy/compile_commands.json && echo "$file"; done
  )
  if ((${#sources[@]} == 0)) || [[ -z ${sources[0]} ]]; then
    say "no source to look at; --all looks at every one"
    return 0
  fi
  say "${#sources[@]} files"
  printf '%s\0' "${sources[@]}" |
    xargs -0 -n 1 -P "${SLIPWAY_JOBS:-$cores}" clang-tidy-19 -p build/tidy --quiet --use-color=false \
      --extra-arg=-include --extra-arg="$PWD/src/base/pch.h" \
      --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-ignored-optimization-argument 2>&1 |
    grep -vE '^[0-9]+ warnings? generated|^Suppressed [0-9]+ warnings|^Use -header-filter|^[0-9]+ warnings? treated as error'
  # What is left of the output says nothing about success; xargs does.
  return "${PIPESTATUS[1]}"
}

headers() {
  local own=() file
  for file in "${files[@]}"; do [[ $file == src/*.h ]] && own+=("$file"); done
  if ((${#own[@]} == 0)); then
    say "no header to look at; --all looks at every one"
    return 0
  fi
  tools/check_layers --build build/tidy --headers "${own[@]}"
}

check "Format (./dev format mends it)" format
check "Layers and house rules" tools/check_layers
check "Shell scripts" shell_scripts
check "Python scripts" python_compiles
check "Tests of the tools" python3 tools/tools_test.py --quiet
check "Build description for clang-tidy" prepare_tidy
if [[ -f build/tidy/compile_commands.json ]]; then
  check "Public headers compile on their own" headers
  check "clang-tidy" tidy
fi

heading "Result"
if ((faults)); then die "$faults checks found faults"; fi
say "no faults, $SECONDS s"
