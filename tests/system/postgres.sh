#!/bin/sh
# A Postgres of its own, to be thrown away: everything lies in one folder, and it listens on 127.0.0.1 alone.
#
#   postgres.sh start FOLDER PORT   installs Postgres where it is missing (Debian's package, as root), makes a cluster,
#                                   starts it as a user who is not root, and prints its address as the last line
#   postgres.sh stop FOLDER         ends it; the folder stays, for its log
set -eu

folder=${2:?a folder}
user=${ARC_POSTGRES_USER:-nobody}

programs() {
  ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1
}

as_user() { # Postgres refuses to run as root
  if [ "$(id -u)" = 0 ]; then setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups "$@"; else "$@"; fi
}

case ${1:?start or stop} in
  start)
    port=${3:?a port}
    if [ -z "$(programs)" ]; then
      [ "$(id -u)" = 0 ] || { echo "Postgres is not installed. Remedy: apt-get install postgresql" >&2; exit 2; }
      apt-get update >&2
      DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql >&2
    fi
    bin=$(programs)
    mkdir -p "$folder"
    if [ "$(id -u)" = 0 ]; then chown "$user" "$folder"; fi
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    umask 077
    printf '%s\n' "$password" > "$folder/password"
    if [ "$(id -u)" = 0 ]; then chown "$user" "$folder/password"; fi
    as_user "$bin/initdb" --pgdata "$folder/data" --username arc --pwfile "$folder/password" \
      --auth scram-sha-256 --encoding UTF8 --locale C --no-sync >&2
    # No sync to disk: what is thrown away need not survive a power cut.
    as_user "$bin/pg_ctl" --pgdata "$folder/data" --log "$folder/log" --wait --timeout 120 start \
      --options "-p $port -h 127.0.0.1 -k $folder -c fsync=off -c synchronous_commit=off -c full_page_writes=off" >&2
    PGPASSWORD=$password "$bin/createdb" --host 127.0.0.1 --port "$port" --username arc prefect >&2
    echo "postgresql://arc:$password@127.0.0.1:$port/prefect"
    ;;
  stop)
    as_user "$(programs)/pg_ctl" --pgdata "$folder/data" --wait --timeout 60 --mode fast stop >&2
    ;;
  *)
    echo "Unknown: $1. Expected: start or stop" >&2
    exit 2
    ;;
esac
