# shellcheck shell=bash
# What a figure is worth nothing without: the machine, and how busy it was. Sourced by the scripts.

machine_cpu() { sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1; }
machine_memory_gib() { awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo; }
machine_load() { cut -d ' ' -f 1-3 /proc/loadavg; }

# At most this share of the time of all cores goes to others on a quiet machine, in percent.
quiet_max=10
# For so many seconds wait_until_quiet waits.
quiet_wait=60
# What measure_busy measured last, in percent.
busy=''

# Clock ticks of all cores since the start of the system: those that were busy, and all. Time that the
# host gave to other virtual machines (the eighth figure) is busy, too; time that waited for a disk is not.
machine_ticks() { awk '/^cpu / { for (i = 2; i <= 9; i++) all += $i; print all - $5 - $6, all }' /proc/stat; }

# Measures for two seconds how busy the machine is. The load average does not show it: for minutes after a
# build has ended, it still counts the build.
measure_busy() {
  local busy_before all_before busy_after all_after
  read -r busy_before all_before < <(machine_ticks)
  sleep 2
  read -r busy_after all_after < <(machine_ticks)
  busy=$((100 * (busy_after - busy_before) / (all_after - all_before)))
}

is_quiet() { [ "$busy" -le "$quiet_max" ]; }

# Waits until nothing else keeps the machine busy, but not for ever. What was measured last stays in
# $busy, and marks the figures.
wait_until_quiet() {
  local start=$SECONDS
  measure_busy
  is_quiet && return
  echo "waiting for a quiet machine: other work takes $busy % of all cores, wanted are at most $quiet_max %" >&2
  echo "after $quiet_wait s the measurement begins anyway, and its figures are marked as taken on a busy machine" >&2
  while ! is_quiet && [ $((SECONDS - start)) -lt "$quiet_wait" ]; do measure_busy; done
  if is_quiet; then
    echo "quiet after $((SECONDS - start)) s: other work takes $busy % of all cores" >&2
  else
    echo "still $busy % after $((SECONDS - start)) s: the measurement begins on a busy machine" >&2
  fi
}

machine_markdown() {
  [ -n "$busy" ] || measure_busy
  echo "* CPU: $(machine_cpu), $(nproc) cores"
  echo "* memory: $(machine_memory_gib) GiB; kernel: $(uname -sr)"
  echo "* $(rustc --version); load average at the start: $(machine_load)"
  echo "* other work took $busy % of all cores in the two seconds before the start"
  if ! is_quiet; then
    echo "* **taken on a busy machine**: the figures show its scheduler too"
  fi
}

machine_json() {
  [ -n "$busy" ] || measure_busy
  printf '{"machine":{"cpu":"%s","cores":%d,"memory_gib":%d,"kernel":"%s","rustc":"%s","load":"%s","busy_percent":%d,"busy":%s}}\n' \
    "$(machine_cpu)" "$(nproc)" "$(machine_memory_gib)" "$(uname -sr)" "$(rustc --version)" "$(machine_load)" \
    "$busy" "$(is_quiet && echo false || echo true)"
}
