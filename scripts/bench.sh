#!/usr/bin/env bash
# Measures squall, and squall beside its peers, and prints what each figure was taken on.
#
#   scripts/bench.sh core     [--json] [--no-wait] [--quick] [--rounds N] [--seconds S]
#   scripts/bench.sh latency  [--json] [--no-wait] [--quick] [--rounds N] [--seconds S] [--rate WORDS_PER_S]
#   scripts/bench.sh peers    [--json] [--no-wait] [quick]   [--rounds N] [--seconds S]
#   scripts/bench.sh idle     [--json] [--no-wait] [--seconds S]
#   scripts/bench.sh tracking [--json]
#   scripts/bench.sh wire     [--json] [--no-wait] [--quick] [--rounds N] [--seconds S]
#   scripts/bench.sh state    [--json] [--no-wait] [--quick] [--rounds N] [--seconds S] [--only PART]
#   scripts/bench.sh windows  [--json] [--no-wait] [--quick] [--rounds N] [--seconds S]
#
# core      spout→null, spout→identity→null and word count, at most once and at least once
# latency   from the scheduled emit of a line to the count of its words, at half of the saturated rate
# peers     the same work by others (benches/peers), and the ratios that squall promises
# idle      the CPU of a topology that waits for input
# tracking  bytes in the acker for each tree in flight
# wire      100-byte tuples from one worker process to another beside bare framing, words counted by
#           several workers, latency across two, and what quiet workers cost
# state     state and exactly-once: words counted with a checkpoint each second beside the same without
#           state, by hand and by Flink; sizes, pauses and memory of 10 million keys; recovery after a
#           kill with a million keys; rows into PostgreSQL beside a plain loop. PART is words, keys,
#           memory, recovery or postgres
#
# windows   windows of a minute over a million keys: tumbling, one each second, sessions, with a checkpoint each
#           second, and beside all of them a bolt written by hand without state
#
# All cases run once per round, in turn (A B C A B C …), so that whatever else the machine does hits
# all alike. After its own builds and before the first case, the script waits until other work takes at
# most a tenth of all cores. It waits a minute at most; then it measures all the same, and marks the
# figures as taken on a busy machine. --no-wait measures at once, and marks them in the same way.
# `tracking` counts bytes, which do not depend on other work, so it never waits.
#
# Results go to stdout as Markdown, or one JSON object per line; talk goes to stderr.
# Needs Rust; the JVM peers need Java 17 and Maven besides, and are left out, aloud, without them. So is
# PostgreSQL without its server, which scripts/test-servers.sh installs. `state` needs 4 GiB of memory and
# half an hour, with --quick a few minutes, after its builds.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/bench/machine.sh

. scripts/usage.sh

log() { echo "$*" >&2; }

what=${1:-}
[ $# -gt 0 ] && shift
format=markdown rounds='' seconds='' quick='' rate='' wait=yes only=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) what=--help ;;
    --json) format=json ;;
    --no-wait) wait='' ;;
    --quick | quick) quick=yes ;;
    --rounds) rounds=${2:?} && shift ;;
    --seconds) seconds=${2:?} && shift ;;
    --rate) rate=${2:?} && shift ;;
    --only) only=${2:?} && shift ;;
    *) wrong_usage ;;
  esac
  shift
done
warmup=2
if [ -n "$quick" ]; then
  : "${rounds:=2}" "${seconds:=1}"
  warmup=0.5
fi
: "${rounds:=5}" "${seconds:=4}"

text=topologies/data/founding_documents.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
results=$work/results ratios=$work/ratios
: >"$results" && : >"$ratios"

# The benchmark's executable, so that cargo does not run beside what is measured. Arguments are cargo's.
core_executable() {
  log "building benches/core.rs"
  cargo bench --bench core "$@" --no-run --message-format=json |
    sed -n 's/.*"name":"core".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

# The value of a key of a one-line JSON object, its configuration left out; numbers only.
number() { sed -n "s/\"config\":{[^}]*}//; s/.*\"$1\":\(-\{0,1\}[0-9.eE+-]*\).*/\1/p"; }

squall() { "$core" --text "$text" --warmup "$warmup" --seconds "$seconds" "$@"; }

# The peers are a project of their own, and build beside their sources.
peers() { env -u CARGO_TARGET_DIR benches/peers/run.sh "$@"; }

# peer NAME WARMUP ARGS...
peer() { peers "$1" "${@:3}" --warmup "$2" --seconds "$seconds"; }

cases=()
# A case: its name, then the command that prints a result line.
add() { cases+=("$1"$'\t'"$2"); }

# ratio NAME OF TO min|max|- TARGET
ratio() { printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$ratios"; }

# Runs all cases in turn and notes the value of KEY.
run_rounds() {
  local key round each name command line
  key=$1
  for ((round = 1; round <= rounds; round++)); do
    for each in "${cases[@]}"; do
      name=${each%%$'\t'*} command=${each#*$'\t'}
      log "round $round of $rounds: $name"
      # Commands are made of our own words above; they are split at spaces.
      # shellcheck disable=SC2086
      line=$($command | tail -n 1)
      echo "$line" >>"$work/lines"
      for one in $key; do
        printf '%d\t%s%s\t%s\n' "$round" "$name" "${suffix[$one]:-}" "$(number "$one" <<<"$line")" >>"$results"
      done
    done
  done
}
declare -A suffix=([cpu_ns_per_tuple]=", processor" [memory_kib_max]=", memory" [p50_us]=", p50" [p99_us]=", p99" [p999_us]=", p99.9" [p50]=", p50" [p90]=", p90" [p99]=", p99" [p999]=", p99.9" [max]=", max"
  [barrier_us]=", at a barrier" [barrier_processor_us]=", at a barrier, processor" [longest_us]=", longest" [longest_processor_us]=", longest, processor"
  [full_bytes_per_key]=", full" [process_bytes_per_key]=", memory" [delta_percent]=", after 1 % has changed" [p50_ms]=", p50" [p99_ms]=", p99" [squall_rate]=" by squall" [loop_rate]=" by a loop")

# Waits for a quiet machine, unless --no-wait; sets $busy.
quiet_down() { if [ -n "$wait" ]; then wait_until_quiet; else measure_busy; fi; }

show_machine() { if [ "$format" = json ]; then machine_json; else machine_markdown && echo; fi; }

# show UNIT SCALE
show() { awk -v format="$format" -v unit="$1" -v scale="$2" -f scripts/bench/stats.awk "$ratios" "$results"; }

# What is compared stands side by side.
add_core_cases() {
  local delivery tasks
  for delivery in at-most-once at-least-once; do add "null, $delivery" "squall null --delivery $delivery"; done
  for delivery in at-most-once at-least-once; do add "identity, $delivery" "squall identity --delivery $delivery"; done
  for tasks in 1/1/1 1/2/2; do
    for delivery in at-most-once at-least-once; do
      add "word count $tasks, $delivery" "squall wordcount --tasks $tasks --delivery $delivery"
    done
  done
}

tracking_ratios() {
  ratio "tracking, null" "null, at-least-once" "null, at-most-once" min 0.75
  ratio "tracking, word count" "word count 1/1/1, at-least-once" "word count 1/1/1, at-most-once" min 0.85
  ratio "tracking, word count" "word count 1/2/2, at-least-once" "word count 1/2/2, at-most-once" min 0.85
}

bench_core() {
  core=$(core_executable)
  quiet_down
  show_machine
  add_core_cases
  tracking_ratios
  ratio "tracking, identity" "identity, at-least-once" "identity, at-most-once" - 0
  run_rounds rate
  show "M/s" 1e-6
}

# Half of what word count reaches, at least once.
half_rate() {
  squall wordcount --tasks 1/1/1 --delivery at-least-once | tail -n 1 | number rate |
    awk '{ printf "%d", $1 / 2 }'
}

bench_latency() {
  core=$(core_executable)
  quiet_down
  show_machine
  [ -n "$rate" ] || rate=$(half_rate)
  add "$rate words/s, at-least-once" "squall latency --rate $rate --delivery at-least-once"
  add "$rate words/s, at-most-once" "squall latency --rate $rate --delivery at-most-once"
  run_rounds "p50 p90 p99 p999 max"
  show "µs" 1
}

have_jvm() { command -v java >/dev/null && command -v mvn >/dev/null; }

bench_peers() {
  local jvm_warmup=10 native=2 jvm='' hand_half
  [ -n "$quick" ] && jvm_warmup=4 native=0.5
  core=$(core_executable)
  log "building the peers"
  peers build handwritten
  if have_jvm; then
    peers build storm && peers build flink && jvm=yes
  fi
  [ -n "$jvm" ] || log "Storm and Flink are left out: they need Java 17 and Maven, and a network for their first build"
  quiet_down
  show_machine

  add_core_cases
  # Next to squall's word count, which they are compared with.
  add "handwritten 1/1/1" "peer handwritten $native wordcount --tasks 1/1/1 --text $text"
  add "handwritten 1/2/2" "peer handwritten $native wordcount --tasks 1/2/2 --text $text"
  add "timely, 1 worker" "peer timely $native wordcount --workers 1 --text $text"
  add "timely, 2 workers" "peer timely $native wordcount --workers 2 --text $text"
  if [ -n "$jvm" ]; then
    add "storm, acked" "peer storm $jvm_warmup wordcount --ackers 1 --text $text"
    add "storm, not acked" "peer storm $jvm_warmup wordcount --ackers 0 --text $text"
    add "storm null, not acked" "peer storm $jvm_warmup null --ackers 0"
    add "flink 1/1/1, at-least-once" "peer flink $jvm_warmup wordcount --tasks 1/1/1 --delivery at-least-once --text $text"
    add "flink 1/2/2, at-least-once" "peer flink $jvm_warmup wordcount --tasks 1/2/2 --delivery at-least-once --text $text"
    add "flink null, unchained" "peer flink $jvm_warmup null --chaining off"
    add "flink null, chained" "peer flink $jvm_warmup null --chaining on"
  fi
  local ours="word count 1/1/1, at-least-once;word count 1/2/2, at-least-once"
  ratio "to hand-written" "$ours" "handwritten 1/1/1;handwritten 1/2/2" min 0.55
  ratio "to timely" "$ours" "timely, 2 workers" min 1
  ratio "to Flink" "$ours" "flink 1/1/1, at-least-once;flink 1/2/2, at-least-once" min 1.3
  ratio "to Storm" "$ours" "storm, acked" min 15
  ratio "null to Storm" "null, at-most-once" "storm null, not acked" min 3
  ratio "null to Flink" "null, at-most-once" "flink null, unchained" min 1.3
  ratio "null to Flink, fused" "null, at-most-once" "flink null, chained" - 0
  tracking_ratios
  run_rounds rate
  show "M/s" 1e-6

  hand_half=$(half_rate)
  : >"$results" && : >"$ratios"
  cases=()
  local at="at $hand_half/s" slow="at 100000/s"
  add "squall $at" "squall latency --rate $hand_half"
  add "handwritten $at" "peer handwritten $native latency --rate $hand_half --text $text"
  add "squall $slow" "squall latency --rate 100000"
  add "handwritten $slow" "peer handwritten $native latency --rate 100000 --text $text"
  if [ -n "$jvm" ]; then
    add "storm $slow" "peer storm $jvm_warmup latency --rate 100000 --ackers 1 --wait progressive --text $text"
    add "flink $slow" "peer flink $jvm_warmup latency --rate 100000 --delivery at-least-once --text $text"
  fi
  ratio "p50 to hand-written" "squall $at, p50" "handwritten $at, p50" max 1.5
  ratio "p99 to hand-written" "squall $at, p99" "handwritten $at, p99" max 2
  ratio "p50, µs" "squall $slow, p50" 1 max 150
  run_rounds "p50 p99"
  [ "$format" = json ] || echo
  show "µs" 1
}

# Clock ticks that a process has used, of all its threads, user and system.
cpu_ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

bench_idle() {
  local before after percent met='not met'
  [ -n "$quick" ] || [ "$seconds" != 4 ] || seconds=10
  log "building squall"
  cargo build --release --quiet
  quiet_down
  show_machine
  : >"$work/quiet.txt"
  IDLE_FILE=$work/quiet.txt cargo run --release --quiet -- validate scripts/bench/idle.toml >&2
  IDLE_FILE=$work/quiet.txt "${CARGO_TARGET_DIR:-target}/release/squall" run scripts/bench/idle.toml >/dev/null 2>&1 &
  idle=$!
  trap 'kill -9 "$idle" 2>/dev/null || true; rm -rf "$work"' EXIT
  sleep 2
  before=$(cpu_ticks "$idle")
  sleep "$seconds"
  after=$(cpu_ticks "$idle")
  percent=$(awk -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" -v s="$seconds" 'BEGIN { printf "%.2f", ticks / hz / s * 100 }')
  awk -v p="$percent" 'BEGIN { exit !(p < 1) }' && met=met
  if [ "$format" = json ]; then
    echo "{\"case\":\"idle\",\"cpu_percent_of_a_core\":$percent,\"seconds\":$seconds,\"target\":\"< 1\",\"met\":$([ "$met" = met ] && echo true || echo false)}"
  else
    echo "| case | CPU, % of a core | over | target | |"
    echo "|---|--:|--:|--:|---|"
    echo "| idle topology | $percent | $seconds s | < 1 | $met |"
  fi
}

bench_tracking() {
  core=$(core_executable)
  local line bytes met='not met'
  line=$("$core" tracking | tail -n 1)
  bytes=$(number bytes_per_tree <<<"$line" | awk "{ printf \"%.2f\", \$1 }")
  awk -v b="$bytes" 'BEGIN { exit !(b <= 32) }' && met=met
  if [ "$format" = json ]; then
    echo "$line"
  else
    echo "| case | bytes in the acker per tree in flight | target | |"
    echo "|---|--:|--:|---|"
    echo "| $(number trees <<<"$line") trees | $bytes | ≤ 32 | $met |"
  fi
}

# The benchmark of the wire; it starts itself again as sender and as workers.
wire_executable() {
  log "building benches/wire"
  cargo bench --bench wire --no-run --message-format=json |
    sed -n 's/.*"name":"wire".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

wire() { "$wire" "$@" --warmup "$warmup" --seconds "$seconds"; }

bench_wire() {
  local at share saturated workers
  wire=$(wire_executable)
  quiet_down
  show_machine
  add "bare framing, decoded" "wire bare --mode decoded"
  add "wire, at-most-once" "wire topology --delivery at-most-once"
  add "wire, at-least-once" "wire topology --delivery at-least-once"
  add "words, one process" "wire topology --words --delivery at-least-once --workers 0"
  for workers in 1 2 4; do
    add "words, $workers workers" "wire topology --words --delivery at-least-once --workers $workers"
  done
  if have_jvm; then
    log "building Storm's peer"
    peers build storm
    local storm
    storm="peer storm $([ -n "$quick" ] && echo 4 || echo 10) wordcount --tasks 1/2/2 --ackers 2 --text $text"
    add "storm, 1 worker" "$storm --workers 1"
    # Two workers of one JVM; Storm's own transport lies between them.
    add "storm, 2 workers" "$storm --workers 2"
    ratio "words to Storm" "words, 2 workers" "storm, 2 workers" min 15
    ratio "words to Storm, one process" "words, one process" "storm, 1 worker" - 0
  else
    log "Storm is left out: it needs Java 17 and Maven, and a network for its first build"
  fi
  ratio "to bare framing" "wire, at-most-once" "bare framing, decoded" min 0.5
  ratio "tracking" "wire, at-least-once" "wire, at-most-once" min 0.85
  ratio "words, 2 workers" "words, 2 workers" "words, one process" min 0.6
  ratio "words, 4 workers" "words, 4 workers" "words, one process" - 0
  run_rounds "rate cpu_ns_per_tuple memory_kib_max"
  mv "$results" "$work/all"
  show_of '' "M/s" 1e-6
  : >"$ratios"
  ratio "to bare framing" "bare framing, decoded, processor" "wire, at-most-once, processor" min 0.5
  ratio "words, 2 workers" "words, one process, processor" "words, 2 workers, processor" - 0
  show_of ', processor' "ns of processor time a tuple" 1
  : >"$ratios"
  show_of ', memory' "MiB of the largest process" 0.0009765625

  # What tuples with times on them reach when they are always late: taking the times costs, too.
  saturated=$(wire topology --delivery at-least-once --rate 1000000000 | tail -n 1 | number rate)
  cases=()
  : >"$results"
  for share in 10 50 90; do
    at=$(awk -v rate="$saturated" -v share=$share 'BEGIN { printf "%d", rate * share / 100 }')
    add "$share % of the most, $at/s" "wire topology --delivery at-least-once --rate $at"
  done
  run_rounds "p50_us p99_us p999_us"
  [ "$format" = json ] || echo
  show "µs" 1
  bench_quiet_workers
}

# Shows those of all results whose names end like this; '' is those without an end of their own.
show_of() {
  [ "$format" = json ] || echo
  awk -F '\t' -v end="$1" '
    $3 == "" { next }
    end == "" { if ($2 !~ /, (processor|memory)$/) print; next }
    substr($2, length($2) - length(end) + 1) == end' "$work/all" >"$results"
  show "$2" "$3"
}

# The processor time of worker processes that wait for input.
bench_quiet_workers() {
  local before after pids percent marked=''
  log "building squall"
  cargo build --release --quiet
  quiet_down
  is_quiet || marked=' **Taken on a busy machine.**'
  : >"$work/quiet.txt"
  IDLE_FILE=$work/quiet.txt "${CARGO_TARGET_DIR:-target}/release/squall" run scripts/bench/idle.toml --workers 2 >/dev/null 2>&1 &
  idle=$!
  trap 'kill "$idle" 2>/dev/null || true; rm -rf "$work"' EXIT
  sleep 2
  pids=$(cat "/proc/$idle/task/"*/children)
  ticks_of_all() { for pid in $pids; do cpu_ticks "$pid"; done | awk '{ sum += $1 } END { print sum }'; }
  before=$(ticks_of_all)
  sleep 10
  after=$(ticks_of_all)
  kill "$idle" 2>/dev/null || true
  percent=$(awk -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" -v n="$(wc -w <<<"$pids")" 'BEGIN { printf "%.2f", ticks / hz / 10 / n * 100 }')
  if [ "$format" = json ]; then
    echo "{\"case\":\"quiet worker\",\"cpu_percent_of_a_core\":$percent,\"target\":\"< 1\",\"busy_percent\":$busy}"
  else
    echo
    echo "A worker of a quiet topology takes $percent % of a core (wanted: under 1).$marked"
  fi
}

state_executable() {
  log "building benches/state"
  cargo bench --bench state "$@" --no-run --message-format=json |
    sed -n 's/.*"name":"state".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

state() { "$state" "$@"; }

have_postgres() { ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && command -v psql >/dev/null; }

# Whether a part of `state` is wanted.
wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

# Begins the next part, with no cases, results and ratios; and with a head over its tables.
begin_part() {
  cases=()
  : >"$results" && : >"$ratios"
  [ "$format" = json ] || printf '\n**%s**\n' "$1"
}

# show_part UNIT SCALE: the only table of a part.
show_part() {
  [ "$format" = json ] || echo
  show "$@"
}

bench_state() {
  local jvm='' with_postgres=()
  case $only in '' | words | keys | memory | recovery | postgres) ;; *) wrong_usage ;; esac
  # Both with the same features, so that squall is compiled once.
  if have_postgres; then with_postgres=(--features postgres); fi
  if wanted words; then
    core=$(core_executable "${with_postgres[@]}")
    log "building the peers"
    peers build handwritten
    if have_jvm; then peers build flink && jvm=yes; fi
    [ -n "$jvm" ] || log "Flink is left out: it needs Java 17 and Maven, and a network for its first build"
  fi
  [ "$only" = words ] || state=$(state_executable "${with_postgres[@]}")
  quiet_down
  show_machine
  if wanted words; then bench_state_words; fi
  if wanted keys; then bench_state_keys; fi
  if wanted memory; then bench_state_memory; fi
  if wanted recovery; then bench_state_recovery; fi
  if wanted postgres; then
    if have_postgres; then
      bench_state_postgres
    else
      log "PostgreSQL is left out: scripts/test-servers.sh installs its server"
    fi
  fi
}

bench_state_words() {
  local tasks backend native=2 jvm_warmup=10 ours='' redb='' plain='' hand='' hashmap='' rocksdb=''
  [ -n "$quick" ] && native=0.5 jvm_warmup=4
  begin_part "Words, exactly once with a checkpoint each second"
  for tasks in 1/1/1 1/2/2; do
    add "$tasks, a map without state" "squall wordcount --tasks $tasks --delivery at-most-once"
    add "$tasks, exactly-once" "squall wordcount --tasks $tasks --delivery exactly-once --checkpoint-ms 1000"
    add "$tasks, exactly-once, redb" "squall wordcount --tasks $tasks --delivery exactly-once --checkpoint-ms 1000 --backend redb"
    add "$tasks, handwritten" "peer handwritten $native wordcount --tasks $tasks --text $text"
    redb+="$tasks, exactly-once, redb;"
    plain+="$tasks, a map without state;" ours+="$tasks, exactly-once;" hand+="$tasks, handwritten;"
  done
  add "no checkpoint" "squall wordcount --delivery exactly-once --checkpoint-ms 3600000"
  add "each 100 ms" "squall wordcount --delivery exactly-once --checkpoint-ms 100"
  if [ -n "$jvm" ]; then
    for backend in hashmap rocksdb map; do
      for tasks in 1/1/1 1/2/2; do
        add "$tasks, flink $backend" "peer flink $jvm_warmup wordcount --tasks $tasks --delivery exactly-once --state $backend --text $text"
      done
    done
    hashmap="1/1/1, flink hashmap;1/2/2, flink hashmap" rocksdb="1/1/1, flink rocksdb;1/2/2, flink rocksdb"
  fi
  plain=${plain%;} ours=${ours%;} redb=${redb%;} hand=${hand%;}
  ratio "to a map without state" "$ours" "$plain" min 0.9
  ratio "to hand-written" "$ours" "$hand" - 0
  if [ -n "$jvm" ]; then
    ratio "to Flink, hash map" "$ours" "$hashmap" min 1.5
    ratio "redb to Flink, RocksDB" "$redb" "$rocksdb" min 2
    ratio "to Flink, a map of its own" "$ours" "1/1/1, flink map;1/2/2, flink map" - 0
  fi
  ratio "each 100 ms" "each 100 ms" "no checkpoint" min 0.9
  run_rounds "rate cpu_ns_per_tuple"
  mv "$results" "$work/all"
  show_of '' "M/s" 1e-6
  : >"$ratios"
  # Of processor time less is better, so it is the other way round. Both have the same tasks.
  for tasks in 1/1/1 1/2/2; do
    ratio "$tasks, to a map without state" "$tasks, a map without state, processor" "$tasks, exactly-once, processor" min 0.9
    ratio "$tasks, to hand-written" "$tasks, handwritten, processor" "$tasks, exactly-once, processor" - 0
    [ -z "$jvm" ] || ratio "$tasks, to Flink, hash map" "$tasks, flink hashmap, processor" "$tasks, exactly-once, processor" min 1.5
  done
  ratio "each 100 ms" "no checkpoint, processor" "each 100 ms, processor" min 0.9
  show_of ', processor' "ns of processor time a word" 1
}

# Large cases take minutes, so there are at most three rounds of them.
few_rounds() { [ "$rounds" -le 3 ] || rounds=3; }

bench_state_keys() {
  local keys=10000000 barriers=200 interval=250
  [ -n "$quick" ] && keys=200000 barriers=20 interval=50
  local of="--keys $keys --barriers $barriers --interval-ms $interval" rounds=$rounds
  few_rounds
  begin_part "A task with $keys keys, a checkpoint each $interval ms, p99 of $barriers"
  add "exactly-once" "state keys --delivery exactly-once $of"
  add "without checkpoints" "state keys --delivery at-most-once $of"
  run_rounds "barrier_us barrier_processor_us longest_us longest_processor_us full_bytes_per_key delta_percent"
  # Without checkpoints there are no barriers.
  grep -v 'without checkpoints, at a barrier' "$results" >"$work/all"
  ratio "at a barrier, µs" "exactly-once, at a barrier" 1 max 5000
  ratio "at a barrier, µs of processor time" "exactly-once, at a barrier, processor" 1 max 5000
  ratio "anywhere, µs" "exactly-once, longest" 1 max 5000
  ratio "anywhere, µs of processor time" "exactly-once, longest, processor" 1 max 5000
  grep -v 'full\|has changed' "$work/all" >"$results"
  show_part "µs" 1
  : >"$ratios"
  show_of ', full' "bytes a key" 1
  ratio "of the full size, %" "exactly-once, after 1 % has changed" 1 max 3
  show_of ', after 1 % has changed' "% of the full size" 1
}

bench_state_memory() {
  local keys=10000000 rounds=$rounds of texts
  [ -n "$quick" ] && keys=200000
  few_rounds
  begin_part "Memory of $keys keys with a count"
  for of in map state snapshots; do
    for texts in '' --texts; do
      # So that the allocator keeps nothing of what was freed.
      add "$of, $([ -n "$texts" ] && echo texts || echo numbers)" "env MIMALLOC_PURGE_DELAY=0 $state memory --of $of $texts --keys $keys"
    done
  done
  ratio "texts, to a map" "snapshots, texts" "map, texts" max 1.5
  ratio "numbers, to a map" "snapshots, numbers" "map, numbers" max 1.5
  run_rounds bytes_per_key
  show_part "bytes a key" 1
}

bench_state_recovery() {
  local keys=1000000 kills=20 rounds=$rounds
  [ -n "$quick" ] && keys=50000 kills=3
  few_rounds
  begin_part "From a kill to 90 % of the rate, $keys keys, 3 workers, $kills kills a round"
  add "recovery" "state recovery --keys $keys --kills $kills"
  ratio "p50, ms" "recovery, p50" 1 max 1000
  ratio "p99, ms" "recovery, p99" 1 max 2000
  run_rounds "p50_ms p99_ms"
  show_part "ms" 1
}

bench_state_postgres() {
  local for=10 rounds=$rounds
  [ -n "$quick" ] && for=3
  few_rounds
  begin_part "Rows into PostgreSQL"
  add "rows" "state postgres --seconds $for"
  ratio "to a plain loop" "rows by squall" "rows by a loop" min 0.9
  run_rounds "squall_rate loop_rate"
  show_part "thousand rows/s" 1e-3
}

bench_windows() {
  local keys=1000000 before=10 windows of
  [ -n "$quick" ] && keys=100000 before=2
  log "building benches/windows.rs"
  windows=$(cargo bench --bench windows --no-run --message-format=json |
    sed -n 's/.*"name":"windows".*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
  quiet_down
  show_machine
  # Each key comes once a second of event time.
  of="--keys $keys --per-second $keys --warmup $before --seconds $seconds"
  add "hand" "$windows hand $of"
  add "tumbling" "$windows tumbling $of"
  add "sliding" "$windows sliding $of"
  add "session" "$windows session $of"
  add "tumbling, exactly-once" "$windows tumbling --delivery exactly-once $of"
  ratio "sliding to tumbling" "sliding" "tumbling" min 0.5
  ratio "a checkpoint each second" "tumbling, exactly-once" "tumbling" min 0.7
  ratio "to hand-written" "tumbling" "hand" - 0
  run_rounds "rate process_bytes_per_key"
  mv "$results" "$work/all"
  show_of '' "M/s" 1e-6
  : >"$ratios"
  show_of ', memory' "bytes of the process for each key" 1
}

case $what in
  core | latency | peers | idle | tracking | wire | state | windows) "bench_$what" ;;
  -h | --help) usage ;;
  *) wrong_usage ;;
esac
