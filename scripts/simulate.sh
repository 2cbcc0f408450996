#!/bin/sh
# Runs many seeds of the simulation in release mode.
#
#   scripts/simulate.sh [count=100000] [start=1000000] [seeds|cluster::seeds]
#
# `seeds`: topologies in one process. `cluster::seeds`: in several workers, over a network that fails.
# In chunks, with progress; ends with 1 at the first chunk in which a seed fails, after showing the
# seed and the command that repeats it.
set -eu
cd "$(dirname "$0")/.."

count=${1:-100000}
start=${2:-1000000}
what=${3:-seeds}
chunk=5000
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# The tests' executable, so that sources may change meanwhile.
simulation=$(cargo test --release --test simulation --no-run --message-format=json |
    sed -n 's/.*"name":"simulation".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
done=0
while [ "$done" -lt "$count" ]; do
    left=$((count - done))
    size=$((left < chunk ? left : chunk))
    first=$((start + done))
    if ! SQUALL_SEED=$first SQUALL_SEEDS=$size \
        "$simulation" --quiet --exact "$what" --nocapture >"$log" 2>&1; then
        cat "$log"
        exit 1
    fi
    done=$((done + size))
    echo "$done of $count seeds, up to $((first + size - 1)): $(grep -o 'seeds in .*' "$log")"
done
