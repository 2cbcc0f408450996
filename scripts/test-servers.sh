#!/usr/bin/env bash
# Runs the tests that need a server of another project: PostgreSQL.
#
#   scripts/test-servers.sh [TEST]...
#
# Installs the server by apt if it is missing, as root or with sudo. Each test starts a server of its own in a temporary
# directory, on a free port of the loopback interface, as the user `postgres` if the tests run as root, and stops it.
# No server of the system is used, started or changed. TESTs are names, or parts of names, of the tests to run.
#
# Takes about a minute after the build. Reads no stdin. Exit codes: those of cargo, 2 the command line is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

. scripts/usage.sh
refuse_options "$@"

# Debian's package of the server also starts one, unless it is told not to make a cluster.
if ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || ! command -v psql >/dev/null; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql
fi

cargo test --locked --features server-tests --test postgres -- "$@"
