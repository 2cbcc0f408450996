#!/usr/bin/env bash
# Real worker processes in trouble, in release mode: kills, stops, resets, bad networks, starvation.
#
#   scripts/chaos.sh [--kills 200] [--rounds 10] [--workers 3] [--seed N] [--only KIND]
#   scripts/chaos.sh recovery [--kills 100] [--workers 3] [--seed N]
#   scripts/chaos.sh exactly-once [--kills 200] [--seed N]
#   scripts/chaos.sh cluster [OPTION]...
#
#   --kills N     how many workers are killed (of `recovery`: 100 by default)
#   --rounds N    how many rounds of everything else
#   --seed N      where seeds begin; otherwise random, and printed
#   --only KIND   kill, drain, many, stop, reset, proxy, swarm, cgroup, stall, orphans, recovery or
#                 exactly-once
#
# `exactly-once` also strikes a PostgreSQL server that a run writes to, if Debian's packages of it are there:
# `scripts/test-servers.sh` installs them. Each round starts a server of its own, in a temporary directory on a free
# port of the loopback interface, as the user `postgres` if the script runs as root, and stops it. Without the
# packages this part is skipped, and the table says so.
#
# `cluster` is scripts/chaos-cluster.sh, with its options: a whole cluster in network namespaces.
#
# `many` has as many workers as `squall run` allows, 64, whatever --workers is.
#
# Each test adds up its rounds; a table at the end shows which held. A round that fails prints its
# seed, and leaves what its processes wrote in target/chaos/. Figures are in target/chaos/*.jsonl.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/bench/machine.sh
. scripts/usage.sh

if [ "${1:-}" = cluster ]; then
  shift
  exec scripts/chaos-cluster.sh "$@"
fi
kills=''
rounds=10
workers=3
seed=$((RANDOM * 32768 + RANDOM))
only=''
while [ $# -gt 0 ]; do
  case $1 in
    recovery | exactly-once) only=$1 ;;
    --kills | --rounds | --workers | --seed | --only)
      [ $# -ge 2 ] || wrong_usage
      declare "${1#--}=$2"
      shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) wrong_usage ;;
  esac
  shift
done

# Tests by what they are about; each runs by itself, so that one that fails does not hide the next.
declare -A tests=(
  [kill]='kills kills_near_the_end' [drain]='kills_while_draining' [many]='many_workers' [stop]='stops' [reset]='resets' [proxy]='bad_network' [swarm]='swarm' [cgroup]='starved'
  [stall]='stalled_sink' [recovery]='recovery' [exactly-once]='exactly_once::an_exactly_once_run_is_killed_and_continued exactly_once::exactly_once_workers_are_killed_and_continued'
  [orphans]='leaks orphans_after_the_parent_was_killed an_interrupted_family_ends_in_order a_parent_that_stood_still_replaces_nobody'
)
order=(kill drain many stop reset proxy swarm cgroup stall orphans recovery exactly-once)
if [ -n "$only" ]; then
  [ -n "${tests[$only]:-}" ] || wrong_usage
  order=("$only")
fi

features=()
skipped_rows=()
if [[ " ${order[*]} " = *" exactly-once "* ]]; then
  postgres_test=exactly_once_postgres::an_exactly_once_run_and_its_server_are_struck
  if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && command -v psql >/dev/null; then
    features=(--features server-tests)
    tests[exactly-once]+=" $postgres_test"
  else
    echo "SKIPPED $postgres_test: there is no PostgreSQL: scripts/test-servers.sh installs it"
    skipped_rows=("$postgres_test")
  fi
fi

export SQUALL_CHAOS_SEED=$seed SQUALL_CHAOS_ROUNDS=$rounds SQUALL_CHAOS_WORKERS=$workers
export SQUALL_CHAOS_MANY=64
export SQUALL_CHAOS_KILLS=${kills:-200} SQUALL_CHAOS_RECOVERIES=${kills:-100}

# The tests' executable, so that cargo runs beside nothing, and sources may change meanwhile.
chaos=$(cargo test --release "${features[@]}" --test chaos --no-run --message-format=json |
  sed -n 's/.*"name":"chaos".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
machine_markdown
echo "* seed $seed, $workers workers, ${kills:-200} kills, $rounds rounds of everything else"

logs=target/chaos/logs
mkdir -p "$logs"
table=()
failed=0
for test in "${skipped_rows[@]}"; do
  table+=("$(printf '| %-46s | %-22s | %5d s |' "$test" 'skipped' 0)")
done
for kind in "${order[@]}"; do
  for test in ${tests[$kind]}; do
    echo
    echo "== $kind: $test"
    start=$SECONDS
    log=$logs/$test.log
    if "$chaos" --quiet --exact "$test" --include-ignored --nocapture 2>&1 | tee "$log" | grep -v '^$'; then
      verdict=held
    else
      verdict=FAILED
      failed=1
    fi
    skipped=$(grep -c 'SKIPPED .* root\|SKIPPED .* there is no\|SKIPPED .* this kernel' "$log" || true)
    [ "$skipped" = 0 ] || verdict="$verdict, parts skipped"
    table+=("$(printf '| %-46s | %-22s | %5d s |' "$test" "$verdict" $((SECONDS - start)))")
  done
done

echo
printf '| %-46s | %-22s | %7s |\n|%s|%s|%s|\n' test verdict time \
  "$(printf -- '-%.0s' {1..48})" "$(printf -- '-%.0s' {1..24})" "$(printf -- '-%.0s' {1..9})"
printf '%s\n' "${table[@]}"
echo
echo "again: scripts/chaos.sh --seed $seed --workers $workers --rounds $rounds${kills:+ --kills $kills}${only:+ --only $only}"
exit "$failed"
