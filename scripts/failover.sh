#!/usr/bin/env bash
# Measures how soon another nimbus leads when the one that leads is killed, or ended in order.
#
#   scripts/failover.sh [ROUNDS]
#
# Starts a ZooKeeper of Debian's package and two nimbuses of a release build on loopback, in a temporary directory. In
# each of ROUNDS rounds (10) the leading nimbus is killed by SIGKILL and started again, and then the leading one is ended
# by SIGTERM and started again. Prints the times from the signal until the other one logs that it leads, with the options
# that decide them. scripts/test-servers.sh installs the server. Takes about 20 s a round after the build.
#
# Reads no stdin. Exit codes: 0 done, 1 something did not start or lead, 2 the command line is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

. scripts/usage.sh
refuse_options "$@"
rounds=${1:-10}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || wrong_usage

jar=/usr/share/java/zookeeper.jar
[ -e "$jar" ] || { echo "there is no $jar: run scripts/test-servers.sh once, or install the package zookeeper" >&2; exit 1; }
cargo build --release --locked --quiet
squall=$PWD/target/release/squall

place=$(mktemp -d)
declare -A pid=()
finish() {
  local process
  for process in "${pid[@]}"; do kill -9 "$process" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$place"
}
trap finish EXIT
cd "$place"

port=$((20000 + RANDOM % 20000))
cat >zoo.cfg <<END
tickTime=500
dataDir=$place/data
clientPort=$port
clientPortAddress=127.0.0.1
admin.enableServer=false
END
java -Xmx128m -cp "$jar" org.apache.zookeeper.server.quorum.QuorumPeerMain zoo.cfg >zookeeper.log 2>&1 &
pid[zookeeper]=$!

start() {
  printf '[zookeeper]\nservers = ["127.0.0.1:%s"]\n[nimbus]\nid = "%s"\ndirectory = "%s"\n' "$port" "$1" "$1" >"$1.toml"
  "$squall" nimbus --config "$1.toml" 2>>"$1.log" &
  pid[$1]=$!
  disown
}

# How often a nimbus has logged this.
logged() { grep -c "this nimbus $2" "$1.log" 2>/dev/null || true; }

# Waits until a nimbus has logged this more often.
wait_for() {
  local waited=0
  while [ "$(logged "$1" "$2")" -le "$3" ]; do
    sleep 0.01
    waited=$((waited + 1))
    [ "$waited" -lt 12000 ] || { echo "nimbus $1 does not log that it $2" >&2; exit 1; }
  done
}

# Sends a signal to the leading nimbus, and prints how many milliseconds later the other one leads.
replace() {
  local leads before begun
  leads=$(logged "$other" leads)
  begun=$(date +%s%N)
  kill "$1" "${pid[$leader]}"
  wait_for "$other" leads "$leads"
  echo "$2 $((($(date +%s%N) - begun) / 1000000))" >>times
  before=$(logged "$leader" "stands by")
  start "$leader"
  wait_for "$leader" "stands by" "$before"
  # Its session is older than a step of the other one.
  sleep 2
  read -r leader other <<<"$other $leader"
}

touch x.log y.log
start x
wait_for x leads 0
start y
wait_for y "stands by" 0
leader=x other=y
for ((round = 1; round <= rounds; round++)); do
  replace -KILL killed
  replace -TERM ended
  echo "round $round of $rounds" >&2
done

echo "another nimbus leads after: (session_timeout 6s, the default)"
for kind in killed ended; do
  sed -n "s/^$kind //p" times | sort -n | awk -v kind="$kind" '
    { all[NR] = $1 }
    END { printf "  %-6s  p50 %5d ms, least %5d ms, most %5d ms, %d times\n", kind, all[int((NR + 1) / 2)], all[1], all[NR], NR }'
done
