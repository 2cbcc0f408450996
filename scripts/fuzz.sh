#!/usr/bin/env bash
# Fuzzes each target for some seconds, from the corpus that is checked in.
#
#   scripts/fuzz.sh [SECONDS [TARGET...]]
#
#   SECONDS  how long each target runs; 60 by default
#   TARGET   a file of fuzz/fuzz_targets, without `.rs`; all by default
#
# New inputs are collected under fuzz/target, not in the corpus. Copy what is worth keeping to the corpus
# by hand, under a name that describes it. An input that crashes a target is left in fuzz/artifacts, and
# the script ends.
#
# Needs a nightly compiler; cargo-fuzz is installed if it is missing. Exit codes: 0 no target crashed,
# 1 one did, 2 the command line is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/usage.sh
refuse_options "$@"

seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  mapfile -t targets < <(basename -s .rs -a fuzz/fuzz_targets/*.rs)
fi

cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked

for target in "${targets[@]}"; do
  echo "== $target, $seconds s"
  found=fuzz/target/corpus/$target
  mkdir -p "$found"
  log=$found.log
  # A single input over 5 seconds or 1 GiB counts as a crash.
  if ! cargo +nightly fuzz run "$target" "$found" "fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 >"$log" 2>&1; then
    tail -n 40 "$log"
    exit 1
  fi
  grep -E '^(stat::number_of_executed_units|stat::average_exec_per_sec|stat::peak_rss_mb)' "$log"
done
