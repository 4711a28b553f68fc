#!/usr/bin/env bash
# Fetches PostgreSQL 15's own tests of replication, pg_ctl and initdb, and the statements of its regression tests (Debian's source package; the original archive is enough) into the
# folder named as the first argument, once. Nothing of it is kept in this project.
set -euo pipefail

target=$1
[ -e "$target/complete-2" ] && exit 0
mkdir -p "$target"
cd "$target"

# Apt lists of our own beside the system's, with the source entries that those leave out.
state=$PWD/apt
mkdir -p "$state/lists/partial" "$state/sources"
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -e "$file" ] && sed -n 's/^deb /deb-src /p' "$file" >> "$state/sources/all.list"
done
for file in /etc/apt/sources.list.d/*.sources; do
    [ -e "$file" ] && sed 's/^Types:.*/Types: deb-src/' "$file" > "$state/sources/$(basename "$file")"
done
options=(-o "Dir::State::lists=$state/lists" -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$state/sources"
    -o APT::Sandbox::User=root -qq)
apt-get "${options[@]}" update
# A mirror may name a version that it no longer or not yet holds: take the newest that comes.
versions=$(apt-cache "${options[@]}" showsrc postgresql-15 | sed -n 's/^Version: //p' | sort -Vru)
for version in $versions; do
    if apt-get "${options[@]}" source --download-only "postgresql-15=$version" 2>/dev/null; then break; fi
done
archive=$(ls postgresql-15_*.orig.tar.bz2)
tar -xjf "$archive" --strip-components=1 --wildcards '*/src/test/recovery/t/*' '*/src/bin/pg_ctl/t/*' '*/src/bin/initdb/t/*' '*/src/test/regress/sql/*'
rm -rf "$archive" ./*.dsc ./*.debian.tar.xz "$state"
touch complete-2
