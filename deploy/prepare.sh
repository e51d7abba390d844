#!/bin/sh
# What has to be before the first server starts: tables, and a key for each program of the house, in the folder given.
# Safe at every start, also of two at once: what is there stays.
set -eu
keys=$1
exec 9<"$keys" && flock 9
python manage.py migrate --no-input

key() { # NAME SCOPES
    [ -s "$keys/$1" ] && return
    # names of keys are unique: one whose file was lost gets a successor
    python manage.py create_api_key "$1 $(date +%Y%m%d%H%M%S)" --scopes "$2" >"$keys/$1.new"
    chmod 0444 "$keys/$1.new"
    mv "$keys/$1.new" "$keys/$1"
}
key demo agent
key demo-groups operate
key prometheus read
