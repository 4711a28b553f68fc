#!/usr/bin/env bash
# Makes the golden files of this folder with a real PostgreSQL 15. Run as root: ./make.sh (PostgreSQL itself runs as user postgres).
# pg_wal/          segments of 1 MiB, cut behind their last used page; timelines 1 and 2 with the history file
# waldump.txt      pg_waldump's lines for all of it, timeline 1 up to the switch point, then timeline 2
# pg_control       the control file after the last stop, and controldata.txt, what pg_controldata prints of it
set -euo pipefail
bin=/usr/lib/postgresql/15/bin
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d); chown postgres "$work"; trap 'rm -rf "$work"' EXIT
cat > "$work/run.sh" <<'S'
set -euo pipefail
bin=$1; cd "$2"
$bin/initdb -D d --wal-segsize=1 -k -A trust -E UTF8 --no-locale --no-sync >/dev/null
cat >> d/postgresql.conf <<C
listen_addresses = ''
unix_socket_directories = '$2'
fsync = off
autovacuum = off
wal_keep_size = 200MB
max_prepared_transactions = 4
C
sql() { psql -h "$2" -qAtX -v ON_ERROR_STOP=1 postgres; }
start() { $bin/pg_ctl -D d -w -l log "$@" start >/dev/null || { tail log; exit 1; }; }
stop() { $bin/pg_ctl -D d -w -m fast stop >/dev/null; }
start
sql "" "$2" <<Q >/dev/null
create table t(id int primary key, v text);
create table u(id int, v text);
insert into u select i, repeat('y', 1800) from generate_series(1, 6) i;
alter system set full_page_writes = off;
Q
sql "" "$2" <<Q > first
checkpoint;
select pg_walfile_name(pg_switch_wal() + 1048576);
Q
sql "" "$2" <<Q >/dev/null
select pg_reload_conf();
checkpoint;
insert into t values (1, 'one'), (2, 'two');
begin; savepoint a; insert into t values (3, 'three'); rollback to a; savepoint b; insert into t values (4, 'four'); commit;
update t set v = repeat('x', 300) where id = 1;
select pg_logical_emit_message(true, 'greeting', 'hello');
select pg_logical_emit_message(false, 'long', repeat('z', 17000));
select pg_create_restore_point('here');
begin; insert into t values (9, 'nine'); prepare transaction 'gid one';
commit prepared 'gid one';
begin; insert into t values (10, 'ten'); prepare transaction 'gid two';
rollback prepared 'gid two';
begin; insert into t values (11, 'x'); rollback;
truncate t;
delete from u; vacuum (truncate) u;
drop table u;
alter system set full_page_writes = on;
alter system set max_connections = 101;
Q
sql "" "$2" <<Q >/dev/null
select pg_reload_conf();
select pg_backup_start('golden', true);
select lsn from pg_backup_stop(false);
insert into t values (1, 'image');
Q
stop
touch d/standby.signal
start
$bin/pg_ctl -D d -w promote >/dev/null
sql "" "$2" <<Q >/dev/null
checkpoint;
insert into t values (2, 'on timeline two');
Q
stop
cp d/global/pg_control pg_control
LC_ALL=C TZ=UTC $bin/pg_controldata d > controldata.txt
S
runuser -u postgres -- bash "$work/run.sh" "$bin" "$work"
cd "$work"
first=$(cat first)
mkdir -p "$here/pg_wal"; rm -f "$here"/pg_wal/*
for segment in d/pg_wal/0000000?????????????????; do
  name=$(basename "$segment")
  [[ "$name" < "$first" && "$name" == 00000001* ]] && continue
  # The last page that holds anything but zeros behind its header.
  python3 - "$segment" "$here/pg_wal/$name" <<'P'
import sys
data = open(sys.argv[1], 'rb').read()
name = sys.argv[1].rsplit('/', 1)[1]
base = (int(name[8:16], 16) * 4096 + int(name[16:], 16)) * (1 << 20)
end = 0
for at in range(0, len(data), 8192):
    page = data[at:at + 8192]
    if int.from_bytes(page[8:16], 'little') == base + at and page[24 if at else 40:].strip(b'\0'):
        end = at + 8192
if end:
    open(sys.argv[2], 'wb').write(data[:end])
P
done
cp d/pg_wal/00000002.history "$here/pg_wal/"
cp pg_control controldata.txt "$here/"
switch=$(cut -f2 "$here/pg_wal/00000002.history")
dump() { LC_ALL=C TZ=UTC "$bin/pg_waldump" -p d/pg_wal "$@" 2>>"$work/errors" || true; }
{ dump -t 1 -s "$(printf '0/%X' $((16#${first:16} * 1048576)))" -e "$switch"; dump -t 2 -s "$switch"; } > "$here/waldump.txt"
cat "$work/errors"
chmod 644 "$here"/pg_wal/* "$here"/pg_control "$here"/*.txt
