#!/usr/bin/env bash
# What is quick to check before a commit: format, lints, unit tests, and the rules of tests/tidy.rs.
#
#   scripts/check.sh
#
# The steps run in the order of that list. The script ends at the first step that fails, and prints
# what to do. At the end it prints how many seconds each step took, and their sum. On two cores this is less
# than half a minute if nothing was changed, and one to two and a half if squall is built again; the
# first time dependencies are built as well, which takes several minutes. `.ci/run` checks everything, also
# integration tests, the simulation, documentation and examples. The lints see all features, the unit tests
# run without any.
#
# Needs Rust by rustup, with rustfmt and clippy. Reads no stdin. Exit codes: 0 all is well, 1 a step
# failed, 2 the command line is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

. scripts/usage.sh
refuse_options "$@"
[ $# -eq 0 ] || wrong_usage

if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
  echo "Install Rust with rustup (https://rustup.rs), then run \`rustup component add rustfmt clippy\`." >&2
  exit 1
fi

summary=() total=0

# step NAME ADVICE COMMAND...: runs the command; if it fails, prints the advice and ends the script.
step() {
  local name=$1 advice=$2 start=$SECONDS took
  shift 2
  echo
  echo "== $name: $*"
  if ! "$@"; then
    echo >&2
    echo "$name: failed after $((SECONDS - start)) s. $advice" >&2
    exit 1
  fi
  took=$((SECONDS - start))
  total=$((total + took))
  summary+=("$(printf '%5d s  %s' "$took" "$name")")
}

step "format" "Run \`cargo fmt\`, then this script again." \
  cargo fmt --check
step "lints" "Change the code as clippy advises above; a lint that is wrong here is allowed with its reason." \
  cargo clippy --all-targets --locked --features server-tests -- -D warnings
step "unit tests" "Repair what the failed tests describe; \`cargo test --lib NAME\` runs one of them alone." \
  cargo test --lib --locked
step "tidy" "Do what each finding above says; tests/tidy.rs has the rules and their reasons." \
  cargo test --test tidy --locked

echo
printf '%s\n' "${summary[@]}"
echo "all well in $total s"
