#!/usr/bin/env bash
# Installs the Debian packages slipway builds with and fills .deps/. Quick when all is there. Called by ./dev.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/lib.sh

missing_packages() {
  local installed package probe
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
  while read -r package probe; do
    [[ -z $package || $package == \#* ]] && continue
    grep -qxF "$package" <<<"$installed" && continue
    [[ -n $probe ]] && sh -c "$probe" >/dev/null 2>&1 && continue
    echo "$package"
  done <tools/debian-packages.txt
}

install_packages() {
  local missing log=.deps/apt.log started=$SECONDS
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]})) || return 0
  local command="apt-get install -y --no-install-recommends ${missing[*]}"
  if ((EUID != 0)); then
    die "these Debian packages are missing, and installing them needs root. Run:
    apt-get update && $command"
  fi
  heading "Installing ${#missing[@]} Debian packages"
  say "${missing[*]}"
  { apt-get -q update && $command; } >"$log" 2>&1 </dev/null || {
    tail -20 "$log" >&2
    die "apt-get failed; all it said is in $log"
  }
  say "installed in $((SECONDS - started)) s"
}

command -v dpkg-query >/dev/null || die "this is no Debian system; slipway is set up on Debian 12"
[[ $(uname -m) == x86_64 ]] || die "the pinned libraries are for x86_64, and this machine is $(uname -m)"
mkdir -p .deps
exec 9>.deps/.lock
flock -n 9 || {
  say "waiting for another ./dev setup in this checkout"
  flock 9
}
install_packages
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "Python 3.11 or newer is needed, and python3 is $(python3 --version)"
python3 tools/fetch_deps.py
