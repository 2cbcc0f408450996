#!/bin/sh
# Runs many seeds of the simulation in release mode.
#
#   scripts/simulate.sh [COUNT [START [TEST]]]
#
#   COUNT   how many seeds; 100000 by default
#   START   the first seed; 1000000 by default
#   TEST    `seeds`: topologies in one process, the default; `cluster::seeds`: topologies of several
#           workers, over a network that fails; `exactly_once::seeds`: topologies that are exactly-once,
#           whose process is killed and continued; `exactly_once_workers::seeds`: the same in workers;
#           `exactly_once::layouts::any_layout`: each of these without faults, in six layouts; or
#           `daemons::seeds`: whole clusters of nimbuses, supervisors, masters and workers
#
# `cargo test` runs the same code with few seeds: 150 of `exactly_once::seeds`, 50 of each of the others,
# and more while something that must occur has not. `.ci/run` runs 1000 of each.
#
# The seeds run in chunks of 5000; after each chunk the script prints how many are done. In each whole
# chunk everything must occur that a seed can draw or meet: the rarest, a bit of a log that a crash flips,
# is missing in some thousands. After the first chunk in which seeds fail, the
# script prints what was wrong, the commands that repeat it and the numbers of the seeds, and ends.
#
# Needs Rust. Exit codes: 0 all seeds passed, 1 a seed failed, 2 the command line is wrong.
set -eu
cd "$(dirname "$0")/.."
. scripts/usage.sh
refuse_options "$@"

count=${1:-100000}
start=${2:-1000000}
what=${3:-seeds}
chunk=5000
for number in "$count" "$start"; do
    case $number in
    '' | *[!0-9]*)
        echo "simulate.sh: \`$number\` is no number: how many seeds, and the first of them" >&2
        exit 2
        ;;
    esac
done
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# The tests' executable, so that sources may change meanwhile.
simulation=$(cargo test --release --test simulation --no-run --message-format=json |
    sed -n 's/.*"name":"simulation".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
if ! "$simulation" --list 2>/dev/null | grep -qx "$what: test"; then
    echo "simulate.sh: there is no test \`$what\`: see the first lines of this file" >&2
    exit 2
fi
done=0
while [ "$done" -lt "$count" ]; do
    left=$((count - done))
    size=$((left < chunk ? left : chunk))
    first=$((start + done))
    if ! SQUALL_SEED=$first SQUALL_SEEDS=$size \
        "$simulation" --quiet --exact "$what" --nocapture >"$log" 2>&1; then
        cat "$log"
        echo "failed: $(sed -n 's/^seed \([0-9]*\):.*/\1/p' "$log" | sort -nu | tr '\n' ' ')" >&2
        exit 1
    fi
    done=$((done + size))
    echo "$done of $count seeds, up to $((first + size - 1)): $(grep -o 'seeds in .*' "$log")"
done
