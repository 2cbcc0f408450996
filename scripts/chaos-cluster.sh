#!/usr/bin/env bash
# A cluster whose hosts are network namespaces, in trouble: what it writes exactly once is checked in the end.
#
#   scripts/chaos-cluster.sh [--rounds 30] [--churn 100] [--away 30] [--seed N] [--only KIND] [--program FILE]
#
#   --rounds N     how many faults
#   --churn N      how many topologies are submitted and killed after that, to see what is left behind
#   --away N       seconds for which ZooKeeper is away in the round `zookeeper`
#   --seed N       which faults, in which order; otherwise random, and printed
#   --only KIND    nimbus, supervisor, worker, master, stop, cut, cut-one-way, host, member, zookeeper,
#                  rebalance or all
#   --program FILE squall itself; otherwise it is built here, in release mode
#
# An ensemble of three ZooKeepers, two nimbuses and three supervisors, each in a namespace of its own, at a bridge in
# another one. A topology that is exactly-once writes numbers to files, from before the first fault to after the last.
# After each fault it must go on within two minutes. In the end it is drained, and its files must have each number once.
# Then nothing may be left: no process, no directory, no node, no descriptor, no control group. Processes have limits, by
# control groups if this system has them.
#
# Needs root, and the packages zookeeper, nftables and iproute2. Reads no stdin. Exit codes: 0 all held, 1 something did
# not, 2 the command line is wrong. What failed leaves all logs in target/chaos-cluster.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null
. scripts/usage.sh

rounds=30
churn=100
away=30
seed=$((RANDOM * 32768 + RANDOM))
only=''
program=''
while [ $# -gt 0 ]; do
  case $1 in
    --rounds | --churn | --away | --seed | --only | --program)
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
kinds=(nimbus supervisor worker master stop cut cut-one-way host member zookeeper rebalance all)
if [ -n "$only" ]; then
  [[ " ${kinds[*]} " = *" $only "* ]] || wrong_usage
  kinds=("$only")
fi

jar=/usr/share/java/zookeeper.jar
[ "$(id -u)" = 0 ] || { echo "network namespaces need root" >&2; exit 1; }
for needed in java nft ip; do
  command -v "$needed" >/dev/null || { echo "there is no $needed: apt-get install zookeeper nftables iproute2" >&2; exit 1; }
done
[ -e "$jar" ] || { echo "there is no $jar: apt-get install zookeeper" >&2; exit 1; }
if [ -z "$program" ]; then
  cargo build --release --locked --quiet
  program=target/release/squall
fi
squall=$(realpath "$program")

RANDOM=$seed
place=$(mktemp -d)
prefix=squall-$$
zoos=(z1 z2 z3)
nimbuses=(n1 n2)
hosts=(s1 s2 s3)
declare -A address=([z1]=10.77.0.1 [z2]=10.77.0.2 [z3]=10.77.0.3 [n1]=10.77.0.11 [n2]=10.77.0.12
  [s1]=10.77.0.21 [s2]=10.77.0.22 [s3]=10.77.0.23)
# The process of each daemon.
declare -A daemon=()

inside() {
  local name=$1
  shift
  ip netns exec "$prefix-$name" "$@"
}
processes_of() { ip netns pids "$prefix-$1" 2>/dev/null || true; }

# The control groups of processes, and then those that they are below.
groups() { find /sys/fs/cgroup -depth -type d -path "*/$prefix*" 2>/dev/null || true; }

finish() {
  local code=$? name
  trap - EXIT INT TERM
  if [ "$code" != 0 ] && [ "$code" != 2 ]; then
    rm -rf target/chaos-cluster
    mkdir -p target/chaos-cluster
    cp "$place"/*.log "$place"/*.toml target/chaos-cluster/ 2>/dev/null || true
    (cd "$place" && find . -name worker.log -o -name output -o -name 'order.json' -o -name report.json) |
      while read -r file; do
        mkdir -p "target/chaos-cluster/$(dirname "$file")"
        cp "$place/$file" "target/chaos-cluster/$file" || true
      done
    echo "logs: target/chaos-cluster; again: scripts/chaos-cluster.sh --seed $seed --rounds $rounds${only:+ --only $only}"
  fi
  for name in "${zoos[@]}" "${nimbuses[@]}" "${hosts[@]}"; do
    # shellcheck disable=SC2046
    kill -9 $(processes_of "$name") 2>/dev/null || true
    ip netns del "$prefix-$name" 2>/dev/null || true
  done
  ip netns del "$prefix-switch" 2>/dev/null || true
  groups | while read -r group; do rmdir "$group" 2>/dev/null || true; done
  rm -rf "$place"
  exit "$code"
}
trap finish EXIT
trap 'exit 1' INT TERM

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

ip netns add "$prefix-switch"
inside switch ip link add bridge type bridge
inside switch ip link set bridge up
for name in "${!address[@]}"; do
  ip netns add "$prefix-$name"
  ip link add eth0 netns "$prefix-$name" type veth peer name "to-$name" netns "$prefix-switch"
  inside switch ip link set "to-$name" master bridge up
  inside "$name" ip link set lo up
  inside "$name" ip addr add "${address[$name]}/24" dev eth0
  inside "$name" ip link set eth0 up
  inside "$name" nft add table inet squall
done

start_zoo() {
  local name=$1
  mkdir -p "$place/$name"
  echo "${name#z}" >"$place/$name/myid"
  cat >"$place/$name.cfg" <<END
tickTime=500
initLimit=40
syncLimit=20
dataDir=$place/$name
clientPort=2181
admin.enableServer=false
4lw.commands.whitelist=srvr
server.1=${address[z1]}:2888:3888
server.2=${address[z2]}:2888:3888
server.3=${address[z3]}:2888:3888
END
  (cd "$place" && exec ip netns exec "$prefix-$name" java -Xmx128m -cp "$jar" \
    org.apache.zookeeper.server.quorum.QuorumPeerMain "$name.cfg" >>"$name.log" 2>&1) &
  # Otherwise the shell reports each death.
  disown "$!"
  daemon[$name]=$!
}

start_daemon() {
  local name=$1 kind=$2
  {
    echo "[zookeeper]"
    echo "servers = [\"${address[z1]}:2181\", \"${address[z2]}:2181\", \"${address[z3]}:2181\"]"
    echo "insecure = true"
    echo "session_timeout = \"4s\""
    echo "[cluster]"
    echo "blobs = \"$place/blobs\""
    echo "key_file = \"$place/cluster.key\""
    echo "[net]"
    echo "listen = \"${address[$name]}:0\""
    echo "insecure = true"
    echo "[$kind]"
    echo "id = \"$name\""
    echo "directory = \"$place/$name\""
    if [ "$kind" = nimbus ]; then
      echo "supervisor_timeout = \"6s\""
      echo "listen = \"127.0.0.1:7070\""
    else
      echo "limits = { by = \"auto\", group = \"/$prefix\" }"
    fi
  } >"$place/$name.toml"
  # `ip netns exec` would hide /sys/fs/cgroup.
  nsenter --net="/run/netns/$prefix-$name" "$squall" "$kind" --config "$place/$name.toml" >>"$place/$name.log" 2>&1 &
  disown "$!"
  daemon[$name]=$!
}

start_all() {
  local name
  for name in "${zoos[@]}"; do start_zoo "$name"; done
  for name in "${nimbuses[@]}"; do start_daemon "$name" nimbus; done
  # The first nimbus makes the key of the cluster, and no supervisor begins without it.
  until_true 120 "the key of the cluster" test -e "$place/cluster.key"
  for name in "${hosts[@]}"; do start_daemon "$name" supervisor; done
}

# ask COMMAND...: by whichever nimbus leads. Each listens on the loopback of its own host.
ask() {
  local code=4 name
  for name in "${nimbuses[@]}"; do
    code=0
    timeout 200 ip netns exec "$prefix-$name" "$squall" "$@" --nimbus 127.0.0.1:7070 2>>"$place/asked.log" || code=$?
    [ "$code" = 4 ] || break
  done
  return "$code"
}

# have COMMAND...: the same, again for up to a minute while nobody leads.
have() {
  local code end=$((SECONDS + 60))
  while :; do
    code=0
    ask "$@" || code=$?
    [ "$code" = 4 ] && [ "$SECONDS" -lt "$end" ] || return "$code"
    sleep 0.5
  done
}

# until_true SECONDS WHAT COMMAND...
until_true() {
  local seconds=$1 what=$2 end=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || fail "in vain waited $seconds s for: $what"
    sleep 0.2
  done
}

# A file may get its final name meanwhile.
written() { { cat "$place"/out/* 2>/dev/null || true; } | wc -l; }
phase_is() { [ "$(ask status numbers -o json | sed -n 's/.*"phase": *"\([a-z]*\)".*/\1/p' | head -n 1)" = "$1" ]; }
has_more_than() { [ "$(written)" -gt "$1" ]; }
# It goes on: it has written more than it had, and more than that a while later.
goes_on() {
  local before
  before=$(written)
  until_true 120 "numbers after $1" has_more_than "$((before + 1))"
  until_true 120 "more numbers after $1" has_more_than "$(($(written) + 100))"
}

pick() {
  local all=("$@")
  echo "${all[RANDOM % ${#all[@]}]}"
}
# A process of the topology of this role, on any host.
one_of() {
  local role=$1 pid found=()
  for pid in $(for name in "${hosts[@]}"; do processes_of "$name"; done); do
    if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q " $role --directory"; then found+=("$pid"); fi
  done
  [ ${#found[@]} -gt 0 ] && pick "${found[@]}"
}
cut() {
  local name=$1 hooks=$2 hook
  for hook in $hooks; do
    inside "$name" nft "add chain inet squall $hook { type filter hook $hook priority 0; policy drop; }"
    inside "$name" nft "add rule inet squall $hook iifname lo accept" 2>/dev/null || true
    inside "$name" nft "add rule inet squall $hook oifname lo accept" 2>/dev/null || true
  done
}
heal() { inside "$1" nft flush table inet squall && inside "$1" nft delete table inet squall && inside "$1" nft add table inet squall; }
restart() {
  case $1 in
    z*) start_zoo "$1" ;;
    n*) start_daemon "$1" nimbus ;;
    s*) start_daemon "$1" supervisor ;;
  esac
}
kill_daemon() {
  kill -9 "${daemon[$1]}" 2>/dev/null || true
  gone "${daemon[$1]}"
}
# Waits until these processes are gone.
gone() {
  local pid
  for pid in "$@"; do
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  done
}

strike() {
  local kind=$1 name pid seconds
  case $kind in
    nimbus | supervisor | member)
      case $kind in
        nimbus) name=$(pick "${nimbuses[@]}") ;;
        supervisor) name=$(pick "${hosts[@]}") ;;
        member) name=$(pick "${zoos[@]}") ;;
      esac
      echo "  $name is killed"
      kill_daemon "$name"
      sleep "$((RANDOM % 9))"
      restart "$name"
      ;;
    worker | master)
      pid=$(one_of "$kind" || true)
      echo "  $kind, process ${pid:-(none)}, is killed"
      [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
      ;;
    stop)
      name=$(pick "${!daemon[@]}" worker master)
      pid=${daemon[$name]:-$(one_of "$name" || true)}
      seconds=$((1 + RANDOM % 9))
      echo "  $name, process ${pid:-(none)}, stands still for $seconds s"
      if [ -n "$pid" ]; then
        kill -STOP "$pid" 2>/dev/null || true
        sleep "$seconds"
        kill -CONT "$pid" 2>/dev/null || true
      fi
      ;;
    cut | cut-one-way)
      name=$(pick "${!address[@]}")
      seconds=$((2 + RANDOM % 14))
      hooks='input output'
      [ "$kind" = cut ] || hooks=$(pick input output)
      echo "  $name is cut off ($hooks) for $seconds s"
      cut "$name" "$hooks"
      sleep "$seconds"
      heal "$name"
      ;;
    host)
      name=$(pick "${hosts[@]}")
      echo "  host $name is lost, and is back after 12 s"
      # shellcheck disable=SC2046
      kill -9 $(processes_of "$name") 2>/dev/null || true
      gone "${daemon[$name]}"
      sleep 12
      restart "$name"
      ;;
    zookeeper)
      echo "  ZooKeeper is away for $away s, and a worker dies meanwhile"
      for name in "${zoos[@]}"; do kill_daemon "$name"; done
      sleep "$((away / 2))"
      pid=$(one_of worker || true)
      [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
      goes_on "the death of a worker without a ZooKeeper"
      sleep "$((away / 2))"
      for name in "${zoos[@]}"; do start_zoo "$name"; done
      ;;
    rebalance)
      name=$(pick "${hosts[@]}")
      echo "  $name is emptied and used again, and workers are spread over the hosts"
      have supervisor drain "$name" --timeout 120s >/dev/null || fail "$name is not emptied"
      have supervisor undrain "$name" >/dev/null || fail "$name is not used again"
      have rebalance numbers --timeout 120s >/dev/null || fail "it is not rebalanced"
      ;;
    all)
      echo "  everything is killed, and started again"
      for name in "${!address[@]}"; do
        # shellcheck disable=SC2046
        kill -9 $(processes_of "$name") 2>/dev/null || true
      done
      gone "${daemon[@]}"
      start_all
      ;;
  esac
}

start_all
until_true 120 "three supervisors" sh -c "[ \$(ls $place | grep -c '^s[123]$') = 3 ]"
until_true 120 "a nimbus that leads" ask list
mkdir "$place/out"
cat >"$place/numbers.toml" <<END
[topology]
name = "numbers"
delivery = "exactly-once"
workers = 3
[topology.checkpoint]
interval = "500ms"
storage = "$place/checkpoints"
[spout.numbers]
type = "generate"
config = { rate = 400, fields = { n = "{seq}" } }
[bolt.same]
type = "map"
parallelism = 3
inputs = [{ from = "numbers", fields = ["n"] }]
config.set = { n = "n" }
[bolt.store]
type = "file"
parallelism = 3
inputs = [{ from = "same", fields = ["n"] }]
config = { path = "$place/out/{task}", format = "text" }
END
have submit "$place/numbers.toml" --timeout 180s >/dev/null || fail "the topology is not up"
goes_on "the start"
echo "seed $seed: $rounds rounds of ${kinds[*]}"
begun=$SECONDS
for round in $(seq "$rounds"); do
  # Each kind comes once before any comes again.
  if [ "$(((round - 1) % ${#kinds[@]}))" = 0 ]; then mapfile -t order < <(printf '%s\n' "${kinds[@]}" | shuf --random-source=<(yes "$seed $round")); fi
  kind=${order[$(((round - 1) % ${#kinds[@]}))]}
  echo "round $round, $((SECONDS - begun)) s, $(written) numbers: $kind"
  strike "$kind"
  goes_on "$kind"
done
until_true 120 "that it is active" phase_is active
until_true 120 "its end" ask stop numbers --cluster --timeout 100s
phase_is ended || fail "it has not ended: $(ask status numbers)"
cat "$place"/out/* | sort -n >"$place/all"
lines=$(wc -l <"$place/all")
distinct=$(uniq "$place/all" | wc -l)
last=$(tail -n 1 "$place/all")
echo "$lines numbers after $((SECONDS - begun)) s, $distinct of them different, the largest is $last"
[ "$lines" = "$distinct" ] || fail "numbers are there twice: $(uniq -d "$place/all" | head -n 5 | tr '\n' ' ')"
[ "$lines" = "$((last + 1))" ] || fail "numbers are missing"
have remove numbers >/dev/null || fail "it cannot be removed"

descriptors() {
  local name
  for name in "${nimbuses[@]}" "${hosts[@]}"; do echo "$name $(ls "/proc/${daemon[$name]}/fd" | wc -l)"; done
}
nodes() { inside n1 "$squall" zk ls -R --config "$place/n1.toml" | grep -c . || true; }
leftovers() {
  local name found=''
  for name in "${hosts[@]}"; do
    [ "$(processes_of "$name" | wc -w)" = 1 ] || found+=" processes of $name: $(processes_of "$name" | tr '\n' ' ')"
    [ -z "$(ls "$place/$name/topologies" 2>/dev/null)" ] || found+=" $name: $(ls "$place/$name/topologies" | tr '\n' ' ')"
  done
  found+=$(groups | grep "/$prefix/" | head -n 5 | tr '\n' ' ')
  [ -z "$found" ] || { echo "left:$found" >&2; return 1; }
}
until_true 60 "that nothing is left of the topology" leftovers
if [ "$churn" -gt 0 ]; then
  sed -e 's/name = "numbers"/name = "brief"/' -e "s|$place/out/|$place/brief-|" -e "s|$place/checkpoints|$place/brief|" \
    "$place/numbers.toml" >"$place/brief.toml"
  descriptors >"$place/before"
  nodes_before=$(nodes)
  for number in $(seq "$churn"); do
    have submit "$place/brief.toml" --discard-checkpoints --timeout 120s >/dev/null || fail "submission $number"
    have kill brief --timeout 120s >/dev/null || fail "kill $number"
    have remove brief >/dev/null || fail "removal $number"
  done
  until_true 60 "that nothing is left of $churn topologies" leftovers
  sleep 12
  descriptors >"$place/after"
  nodes_after=$(nodes)
  paste -d ' ' "$place/before" "$place/after" | while read -r name before _ after; do
    echo "descriptors of $name: $before before, $after after $churn topologies"
    [ "$after" -le "$((before + 4))" ] || fail "$name has more descriptors"
  done
  echo "nodes: $nodes_before before, $nodes_after after"
  [ "$nodes_before" = "$nodes_after" ] || fail "nodes are left"
fi
echo "all held in $((SECONDS - begun)) s: seed $seed"
