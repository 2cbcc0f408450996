# What a figure is worth nothing without: the machine, and how busy it was. Sourced by the scripts.

machine_cpu() { sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1; }
machine_memory_gib() { awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo; }
machine_load() { cut -d ' ' -f 1-3 /proc/loadavg; }

machine_markdown() {
  echo "* CPU: $(machine_cpu), $(nproc) cores"
  echo "* memory: $(machine_memory_gib) GiB; kernel: $(uname -sr)"
  echo "* $(rustc --version); load average at the start: $(machine_load)"
  if awk -v cores="$(nproc)" '{ exit !($1 > cores / 4) }' /proc/loadavg; then
    echo "* **the machine was not idle**: the figures show its scheduler too"
  fi
}

machine_json() {
  printf '{"machine":{"cpu":"%s","cores":%d,"memory_gib":%d,"kernel":"%s","rustc":"%s","load":"%s"}}\n' \
    "$(machine_cpu)" "$(nproc)" "$(machine_memory_gib)" "$(uname -sr)" "$(rustc --version)" "$(machine_load)"
}
