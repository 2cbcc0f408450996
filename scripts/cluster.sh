#!/usr/bin/env bash
# Runs a cluster of separate processes on this machine: a ZooKeeper ensemble of three, two nimbuses, three supervisors.
#
#   scripts/cluster.sh [DIRECTORY]
#
# The ensemble is of Debian's package; scripts/test-servers.sh installs it. Everything is on loopback, on ports from
# SQUALL_CLUSTER_PORT (21810) on, and keeps its data, logs and engine's files in DIRECTORY (a temporary one, which is
# removed at the end). Prints how to submit a topology, and the process id of each daemon, so that any of them can be
# killed. What was killed is not started again. Ctrl-C ends everything, with the workers and masters of topologies.
#
# Reads no stdin. Exit codes: 0 it was ended, 1 something did not start, 2 the command line is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

. scripts/usage.sh
refuse_options "$@"
[ $# -le 1 ] || wrong_usage

jar=/usr/share/java/zookeeper.jar
[ -e "$jar" ] || { echo "there is no $jar: run scripts/test-servers.sh once, or install the package zookeeper" >&2; exit 1; }
cargo build --release --locked --quiet
squall=$PWD/target/release/squall

base=${SQUALL_CLUSTER_PORT:-21810}
if [ $# -eq 1 ]; then
  mkdir -p "$1"
  place=$(cd "$1" && pwd)
  remove=false
else
  place=$(mktemp -d)
  remove=true
fi
pids=()
# Masters and workers outlive their supervisors, so they are ended by the directories that they have.
finish() {
  trap - EXIT INT TERM
  local process
  for process in "${pids[@]}"; do kill -9 "$process" 2>/dev/null || true; done
  pkill -9 -f -- "--directory $place/" 2>/dev/null || true
  wait 2>/dev/null || true
  if $remove; then rm -rf "$place"; fi
}
trap finish EXIT
trap 'exit 0' INT TERM

for member in 1 2 3; do
  mkdir -p "$place/zoo$member"
  echo "$member" >"$place/zoo$member/myid"
  cat >"$place/zoo$member.cfg" <<END
tickTime=500
initLimit=20
syncLimit=10
dataDir=$place/zoo$member
clientPort=$((base + member))
clientPortAddress=127.0.0.1
admin.enableServer=false
server.1=127.0.0.1:$((base + 11)):$((base + 21))
server.2=127.0.0.1:$((base + 12)):$((base + 22))
server.3=127.0.0.1:$((base + 13)):$((base + 23))
END
  (cd "$place" && exec java -Xmx128m -cp "$jar" org.apache.zookeeper.server.quorum.QuorumPeerMain "zoo$member.cfg" \
    >"zoo$member.log" 2>&1) &
  pids+=($!)
  echo "ZooKeeper $member: process $!"
done

# start DAEMON NAME LINE...: a daemon with these lines in its engine's file.
start() {
  local daemon=$1 name=$2
  shift 2
  {
    echo "[zookeeper]"
    echo "servers = [\"127.0.0.1:$((base + 1))\", \"127.0.0.1:$((base + 2))\", \"127.0.0.1:$((base + 3))\"]"
    echo "[cluster]"
    echo "blobs = \"$place/blobs\""
    echo "key_file = \"$place/cluster.key\""
    echo "[$daemon]"
    echo "id = \"$name\""
    echo "directory = \"$place/$name\""
    printf '%s\n' "$@"
  } >"$place/$name.toml"
  "$squall" "$daemon" --config "$place/$name.toml" 2>>"$place/$name.log" &
  pids+=($!)
  echo "$name: process $!, log $place/$name.log"
}

start nimbus nimbus-1 "listen = \"127.0.0.1:$((base + 31))\""
for _ in $(seq 300); do [ -e "$place/cluster.key" ] && break || sleep 0.1; done
start nimbus nimbus-2 "listen = \"127.0.0.1:$((base + 32))\""
for host in 1 2 3; do start supervisor "supervisor-$host" "slots = 4"; done

nimbuses=127.0.0.1:$((base + 31)),127.0.0.1:$((base + 32))
for waited in $(seq 600); do
  "$squall" list --nimbus "$nimbuses" >/dev/null 2>&1 && break || sleep 0.1
  [ "$waited" -lt 600 ] || { echo "no nimbus leads after a minute: see the logs in $place" >&2; exit 1; }
done
cat <<END
The cluster runs. In another terminal:
  export SQUALL_NIMBUS=$nimbuses
  $squall submit topologies/word_count.toml
  $squall cluster --servers 127.0.0.1:$((base + 1))
Ctrl-C ends everything.
END
while :; do sleep 1; done
