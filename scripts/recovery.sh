#!/usr/bin/env bash
# Measures how soon `squall dev` does what it is asked for, and how soon what dies is replaced.
#
#   scripts/recovery.sh
#
# Runs a release build of squall dev with a topology of three workers that writes numbers to three files, kills its
# workers and its master twenty times each, and nimbus and all supervisors once. Prints how long a file did not grow.
# Takes about three minutes after the build.
#
# Reads no stdin. Exit codes: those of cargo, 2 the command line is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

. scripts/usage.sh
refuse_options "$@"
[ $# -eq 0 ] || wrong_usage

cargo test --release --locked --quiet --test cluster_figures -- --ignored --nocapture --test-threads=1
