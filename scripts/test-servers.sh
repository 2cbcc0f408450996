#!/usr/bin/env bash
# Runs the tests that need a server of another project: PostgreSQL and ZooKeeper.
#
#   scripts/test-servers.sh [TEST]...
#
# Installs what is missing of the servers by apt, as root or with sudo. Each test starts servers of its own in a
# temporary directory, on the loopback interface, and stops them: PostgreSQL on a free port, as the user `postgres` if
# the tests run as root; ZooKeeper on addresses of 127.0.0.0/8 that nobody else uses. No server of the system is used,
# started or changed. Tests of a full disk mount one in memory, which only the server sees: they need root, or a system
# where users may make user namespaces, and fail without. TESTs are names, or parts of names, of the tests to run.
#
# Takes a few minutes after the build. Reads no stdin. Exit codes: those of cargo, 2 the command line is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

. scripts/usage.sh
refuse_options "$@"

packages=()
# Debian's package of PostgreSQL also starts a server, unless it is told not to make a cluster.
if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || ! command -v psql >/dev/null; then
  packages+=(postgresql)
fi
# ZooKeeper's package starts none. `setpriv` and `unshare` are of util-linux, which every Debian has.
if [ ! -e /usr/share/java/zookeeper.jar ] || ! command -v java >/dev/null; then
  packages+=(zookeeper)
fi
if [ ${#packages[@]} -gt 0 ]; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi

# run TARGET [OPTION]...: its tests. A failure is kept for the end, so that all targets run.
status=0
run() {
  local target=$1
  shift
  cargo test --locked --features server-tests --test "$target" -- "$@" || status=$?
}

run postgres "$@"
# These mostly wait until a session has ended.
run zookeeper --test-threads=6 "$@"
exit "$status"
