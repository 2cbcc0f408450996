#!/usr/bin/env bash
# Builds the peers that squall's benchmarks are compared with, and runs one of them.
#   run.sh list
#   run.sh build [handwritten|timely|storm|flink]
#   run.sh PEER WORKLOAD [--flag value]...
# The figures go to stdout, a JSON line per measured interval; all else to stderr.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
native=$here/native/target/release/native

# Both JVM peers alike: a heap that is never resized, and the collector that measured best.
jvm_flags=(-Xms4g -Xmx4g -XX:+UseParallelGC
  --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.util=ALL-UNNAMED)

usage() {
  sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

build() {
  case $1 in
    handwritten | timely) cargo build --release --locked --manifest-path "$here/native/Cargo.toml" ;;
    storm | flink) mvn -q -B -f "$here/$1/pom.xml" package ;;
    *) usage ;;
  esac >&2
}

# Whether what a peer is made of is newer than what it was built into.
stale() {
  local built sources
  case $1 in
    handwritten | timely) built=$native sources=("$here/native/src" "$here/native/Cargo.toml") ;;
    *) built=$here/$1/target/peer.jar sources=("$here/$1/src" "$here/$1/pom.xml" "$here/jvm") ;;
  esac
  [[ ! -e $built ]] || [[ -n $(find "${sources[@]}" -newer "$built" -print -quit) ]]
}

peer=${1:-}
case $peer in
  list)
    printf '%s\n' handwritten timely storm flink
    ;;
  build)
    if [[ $# -gt 1 ]]; then
      build "$2"
    else
      for each in handwritten storm flink; do build "$each"; done
    fi
    ;;
  handwritten | timely)
    if stale "$peer"; then build "$peer"; fi
    exec "$native" "$@"
    ;;
  storm | flink)
    if stale "$peer"; then build "$peer"; fi
    exec java "${jvm_flags[@]}" -cp "$here/$peer/target/peer.jar:$here/$peer/target/lib/*" \
      "peer.$peer.Main" "${@:2}"
    ;;
  *)
    usage
    ;;
esac
