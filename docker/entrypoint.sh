#!/bin/sh
# Gives libpq the database's password from the file that PGPASSWORD_FILE names, so that it is in no URL; then runs the command.
set -eu
if [ -n "${PGPASSWORD_FILE:-}" ]; then
    PGPASSWORD=$(cat "$PGPASSWORD_FILE")
    export PGPASSWORD
fi
exec "$@"
