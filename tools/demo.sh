#!/usr/bin/env bash
# The flights example from raw files to a promoted challenger, told as it goes. Called by `./dev demo`, which has set up
# and built. --until DATE and --from-scratch are for tests and for trying again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

slipway=${SLIPWAY_BIN:-build/release/bin/slipway}
home=${SLIPWAY_HOME:-.slipway/demo}
until=2014-01-01
trials=8
keep_up=0
while [ $# -gt 0 ]; do
  case $1 in
    --until) until=$2; shift 2 ;;
    --trials) trials=$2; shift 2 ;;
    --home) home=$2; shift 2 ;;
    --stay) keep_up=1; shift ;;
    --help) echo "usage: ./dev demo [--until DATE] [--trials N] [--home DIR] [--stay]
  --until  replay flights before this day only (default $until)
  --trials settings the search tries (default $trials)
  --home   a folder for what the demo stores (default $home); removed first
  --stay   leave the server up at the end, to look around"; exit 0 ;;
    *) echo "demo: unknown option '$1'; see ./dev demo --help" >&2; exit 2 ;;
  esac
done

began=$(date +%s)
say() { printf '\n== %s\n' "$*"; }
rm -rf "$home"
mkdir -p "$home"

say "1-6. Ingest, validate, tune, train, evaluate, gate, register, deploy: slipway run examples/flights/pipeline.yaml"
"$slipway" --home "$home" run examples/flights/pipeline.yaml --param trials="$trials"

say "Again, with nothing changed: no step runs"
"$slipway" --home "$home" run examples/flights/pipeline.yaml --param trials="$trials" | tail -1

say "7. Serve: slipway up"
"$slipway" --home "$home" up --port 0 > "$home/up.out" 2> "$home/up.log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 100); do
  grep -q 'slipway is up' "$home/up.out" && break
  kill -0 "$server" 2>/dev/null || { cat "$home/up.log" >&2; exit 1; }
  sleep 0.05
done
url=$(sed -n 's/^slipway is up at \(http[^ ]*\).*/\1/p' "$home/up.out")
echo "slipway is up at $url"

say "8-10. April to December as live traffic through $url/v2/models/late/infer, labels hours later; monitoring, alerts,
   retraining, challengers in shadow and promotion happen by themselves"
"$slipway" --home "$home" replay late --server "$url" --dataset flights_clean --id flight_id --time sched_dep_time_utc \
  --label late --label-time label_time --from 2013-04-01 --until "$until" --connections 8

say "9. What fired"
"$slipway" --home "$home" alerts ls
say "10. What became of the challengers"
"$slipway" --home "$home" models show late
say "    The champion, month by month, beside the model of March left alone (figures from the prediction log and the labels)"
"$slipway" --home "$home" performance late --by month --shadow baseline

say "11. Govern: the whole story is one log"
"$slipway" --home "$home" audit ls --action alias. --limit 40
"$slipway" --home "$home" audit verify
"$slipway" --home "$home" lineage late@champion
grep -E '^Vm(HWM|RSS)' "/proc/$server/status" | sed 's/^VmHWM/server memory, peak/; s/^VmRSS/server memory, now/'

say "Done in $(( $(date +%s) - began )) s. Where to look:"
cat <<EOF
  $slipway --home $home up          serve it again, then
    $url style addresses: /v2/models/late (Open Inference), /metrics (Prometheus), /api/v1/deployments/late
    MLFLOW_TRACKING_URI=… mlflow experiments search      the runs, in MLflow's own client
  $slipway --home $home deployments show late           every version it served, and why
  examples/flights/README.md                            the story
EOF
if [ "$keep_up" = 1 ]; then
  say "The server stays up at $url until Ctrl-C"
  wait "$server"
fi
