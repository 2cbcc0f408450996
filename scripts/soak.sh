#!/usr/bin/env bash
# Counts words at full speed for a while, and fails if resident memory is not flat.
#
#   scripts/soak.sh [MINUTES]
#
#   MINUTES  how long; 10 by default, fractions are fine
#
# Flat: the mean of the last third of the samples is at most 2 % and 4 MiB above that of the middle
# third. The first third is for caches and queues to fill.
#
# Needs Rust. Exit codes: 0 memory is flat, 1 it is not, or the run itself failed, 2 the command line is
# wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/bench/machine.sh
. scripts/usage.sh
refuse_options "$@"

minutes=${1:-10}
period=5
seconds=$(awk -v m="$minutes" 'BEGIN { printf "%d", m * 60 }')
if [ "$seconds" -lt $((9 * period)) ]; then
  period=1
fi

core=$(cargo bench --bench core --no-run --message-format=json |
  sed -n 's/.*"name":"core".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
work=$(mktemp -d)
machine_markdown
"$core" wordcount --tasks 1/2/2 --delivery at-least-once --warmup 1 --seconds "$seconds" >"$work/rate" &
pid=$!
trap 'kill -9 $pid 2>/dev/null || true; rm -rf "$work"' EXIT

echo "* word count 1/2/2, at least once, $seconds s, a sample each $period s"
start=$SECONDS
while [ $((SECONDS - start)) -lt "$seconds" ]; do
  sleep "$period"
  rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status" 2>/dev/null) || rss=''
  [ -n "$rss" ] || break
  printf '%d\t%d\n' $((SECONDS - start)) "$rss" >>"$work/samples"
done
if ! wait "$pid"; then
  echo "the run itself failed" >&2
  exit 1
fi
trap 'rm -rf "$work"' EXIT

sed -n 's/.*"rate":\([0-9.eE+]*\).*/\1/p' "$work/rate" | awk '{ printf "* %.1f million words per second\n", $1 / 1e6 }'
awk '
  { t[NR] = $1 / 60; rss[NR] = $2; st += t[NR]; sr += $2; stt += t[NR] * t[NR]; str += t[NR] * $2 }
  function mean(from, to,    i, sum) { for (i = from; i <= to; i++) sum += rss[i]; return sum / (to - from + 1) }
  END {
    if (NR < 6) { print "too few samples to judge"; exit 1 }
    third = int(NR / 3)
    first = mean(1, third); middle = mean(third + 1, 2 * third); last = mean(2 * third + 1, NR)
    slope = (NR * str - st * sr) / (NR * stt - st * st)
    growth = last - middle
    allowed = middle * 0.02 + 4096
    printf "\n| resident memory, MiB | first third | middle third | last third | slope per minute |\n|---|--:|--:|--:|--:|\n"
    printf "| mean | %.1f | %.1f | %.1f | %+.2f |\n", first / 1024, middle / 1024, last / 1024, slope / 1024
    verdict = growth <= allowed ? "flat" : "NOT FLAT"
    printf "\n%s: %+.1f MiB from the middle to the last third, %.1f allowed\n", verdict, growth / 1024, allowed / 1024
    exit growth > allowed
  }' "$work/samples"
