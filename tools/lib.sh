# shellcheck shell=bash
# Words the scripts under tools/ and ./dev share. Sourced, from the repository's root.

cores=$(nproc)
export DEBIAN_FRONTEND=noninteractive
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros}  # what ccache needs to store precompiled headers
export PYTHONDONTWRITEBYTECODE=1

if [[ -t 1 ]]; then
  bold=$'\e[1m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' red='' plain=''
fi

heading() { printf '%s==> %s%s\n' "$bold" "$*" "$plain"; }
say() { printf '    %s\n' "$*"; }
die() {
  printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2
  exit 1
}

# check_preset NAME: ends with an error when there is no such preset.
check_preset() {
  case $1 in
    release | debug | asan | tsan) ;;
    *) die "no preset '$1'; there are release, debug, asan and tsan" ;;
  esac
}

# configure PRESET [CMAKE OPTION...]: runs CMake when it has not run with these presets and options yet.
# (Ninja runs it again by itself when a CMake file changes.)
configure() {
  local preset=$1 dir=build/$1 key
  shift
  key="$(sha256sum CMakePresets.json) $*"
  if [[ -f $dir/build.ninja && -f $dir/.configured && $(<"$dir/.configured") == "$key" ]]; then
    return
  fi
  heading "Configuring build/$preset"
  mkdir -p "$dir"
  cmake --preset "$preset" "$@" >"$dir/configure.log" 2>&1 || {
    tail -30 "$dir/configure.log" >&2
    die "cmake failed; all it said is in $dir/configure.log"
  }
  printf '%s' "$key" >"$dir/.configured"
}

# compile PRESET [TARGET...]: builds with all cores; the default is everything.
compile() {
  local preset=$1 started=$SECONDS
  shift
  heading "Building $preset${*:+: $*}"
  ninja -C "build/$preset" -j "${SLIPWAY_JOBS:-$cores}" "$@" || return
  say "built in $((SECONDS - started)) s"
}

# python_env NAME REQUIREMENTS: makes .deps/NAME, a Python environment with these packages, unless it is there.
python_env() {
  local dir=.deps/$1 requirements=$2 started=$SECONDS key
  key=$(sha256sum <"$requirements")
  if [[ -x $dir/bin/python && -f $dir/stamp && $(<"$dir/stamp") == "$key" ]]; then
    return
  fi
  heading "Installing $requirements into $dir"
  rm -rf "$dir"
  python3 -m venv "$dir"
  PIP_DISABLE_PIP_VERSION_CHECK=1 "$dir/bin/pip" install --quiet -r "$requirements" || die "pip could not install $requirements"
  printf '%s' "$key" >"$dir/stamp"
  say "installed in $((SECONDS - started)) s"
}

# cpp_files: our C++ files, a line each; new ones not yet in git too.
cpp_files() { git ls-files --cached --others --exclude-standard 'src/*.h' 'src/*.cpp' 'tests/*.h' 'tests/*.cpp' | sort -u; }
