//! Replication slots: they survive a failover on the standbys that copy them, say when they will be lost, and
//! are given up loudly.

use scenarios::wire::parse_lsn;
use scenarios::{Node, plimsoll, run, run_ok, wait_until};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

fn primary() -> Node {
    let primary = Node::builder()
        .init_option("--wal-segsize=1")
        .setting("plimsoll.heartbeat_interval", "100ms")
        .setting("min_wal_size", "2MB")
        .setting("max_wal_size", "4MB")
        .start();
    primary.sql("CREATE TABLE t (id int PRIMARY KEY, filler text)");
    primary
}

fn reserve(node: &Node, name: &str) {
    node.sql(&format!("SELECT pg_create_physical_replication_slot('{name}', true)"));
}

/// Writes some megabytes of log.
fn write(node: &Node, round: u32) {
    let from = round * 2000;
    node.sql(&format!(
        "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series({from}, {}) AS s (i)",
        from + 1999
    ));
}

fn copying_standby(primary: &Node, name: &str, slot: &str) -> Node {
    Node::builder()
        .setting("cluster_name", name)
        .setting("primary_slot_name", slot)
        .setting("plimsoll.sync_replication_slots", "on")
        .setting("wal_retrieve_retry_interval", "100ms")
        .clone_from(primary)
}

const COPIES: &str = "SELECT slot_name, restart_lsn FROM plimsoll_replication_slots WHERE copied ORDER BY 1";
const SLOTS: &str =
    "SELECT slot_name, restart_lsn FROM pg_replication_slots WHERE slot_name <> 's1' ORDER BY 1";

#[test]
fn a_receiver_finds_its_slot_and_all_its_wal_on_the_standby_that_is_promoted() {
    let primary = primary();
    for name in ["s1", "s2", "archive"] {
        reserve(&primary, name);
    }
    let first = copying_standby(&primary, "first", "s1");
    let second = copying_standby(&primary, "second", "s2");
    first.wait_for("SELECT count(*) FROM plimsoll_replication_slots WHERE copied", "2");

    // What the slot of a receiver that is away keeps, the copy keeps too, through checkpoints and a restart.
    for round in 0..4 {
        write(&primary, round);
        primary.sql("CHECKPOINT");
        first.wait_replayed(&primary.sql("SELECT pg_current_wal_flush_lsn()"));
        first.sql("CHECKPOINT");
    }
    wait_until("the positions are the same", LIMIT, || {
        let (ours, theirs) = (first.sql(COPIES), primary.sql(SLOTS));
        if ours == theirs { Ok(()) } else { Err(format!("{ours} / {theirs}")) }
    });
    let refused = first.try_sql("SELECT pg_drop_replication_slot('archive')");
    assert!(
        refused.stderr.contains("replication slot \"archive\" is a copy of the upstream server's"),
        "{refused:?}"
    );
    first.stop();
    primary.sql("SELECT pg_create_physical_replication_slot('new')");
    first.start();
    first.wait_for(
        "SELECT string_agg(slot_name, ' ') FROM plimsoll_replication_slots WHERE copied",
        "archive new s2",
    );
    primary.sql("SELECT pg_drop_replication_slot('new')");
    first.wait_for(
        "SELECT string_agg(slot_name, ' ') FROM plimsoll_replication_slots WHERE copied",
        "archive s2",
    );
    // The line comes behind what it tells of.
    wait_until("the log tells of it", LIMIT, || match first.log() {
        log if log.contains("dropped the copy of replication slot \"new\"") => Ok(()),
        log => Err(log),
    });

    let archive_from =
        primary.sql("SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'archive'");
    first.wait_replayed(&primary.sql("SELECT pg_current_wal_flush_lsn()"));
    primary.kill_9();
    run_ok(plimsoll().arg("promote").arg("-D").arg(first.data()));
    first.wait_for("SELECT count(*) FROM plimsoll_replication_slots WHERE copied", "0");
    second.alter(&format!("SET primary_conninfo = '{}'", first.conninfo()));
    first.wait_for("SELECT application_name FROM pg_stat_replication", "second");
    first.wait_for("SELECT active FROM pg_replication_slots WHERE slot_name = 's2'", "t");
    let end = first.sql("SELECT pg_current_wal_flush_lsn()");
    write(&first, 4);
    second.wait_replayed(&first.sql("SELECT pg_current_wal_flush_lsn()"));

    // The receiver that was away all the time gets everything from where it stood.
    let folder = first.folder().join("received");
    std::fs::create_dir(&folder).expect("a folder");
    let mut receive = first.tool("pg_receivewal");
    receive.arg("-D").arg(&folder).args(["--slot=archive", "--no-loop", &format!("--endpos={end}")]);
    run_ok(&mut receive);
    let oldest = std::fs::read_dir(&folder).expect("a folder").flatten().map(|entry| entry.file_name()).min();
    let wanted = first.sql(&format!("SELECT substr(pg_walfile_name('{archive_from}'), 9)"));
    let oldest = oldest.expect("segments").to_string_lossy().into_owned();
    assert_eq!(oldest[8..], wanted, "the first segment received is the one of {archive_from}");
}

#[test]
fn a_copy_that_the_disk_did_not_take_comes_later_and_its_loss_is_on_record_on_the_standby_too() {
    let primary = primary();
    reserve(&primary, "own");
    let standby = copying_standby(&primary, "standby", "own");
    // Nothing can be made under this name before it has gone.
    let in_its_way = standby.data().join("pg_replslot/kept.tmp");
    std::fs::write(&in_its_way, "").expect("a file");
    reserve(&primary, "kept");
    wait_until("the copy fails", LIMIT, || {
        let log = standby.log();
        if log.contains("could not copy the upstream's replication slots") { Ok(()) } else { Err(log) }
    });
    std::fs::remove_file(&in_its_way).expect("it was there");
    standby.wait_for(
        COPIES,
        &primary.sql("SELECT 'kept', restart_lsn FROM pg_replication_slots WHERE slot_name = 'kept'"),
    );
    write(&primary, 0);
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_flush_lsn()"));
    primary.alter("SET max_slot_wal_keep_size = '1MB'");
    primary.sql("CHECKPOINT");
    // The line comes after the entry.
    wait_until("the loss is told", LIMIT, || {
        let log = standby.log();
        let told = log.contains("invalidating slot \"kept\" because that of the upstream");
        if told { Ok(()) } else { Err(log) }
    });
    let ledger = std::fs::read_to_string(standby.data().join("plimsoll/ledger")).expect("a ledger");
    assert!(
        ledger.contains(" slot_lost ") && ledger.contains("replication slot \"kept\": that of"),
        "{ledger}"
    );
}

#[test]
fn a_slot_says_when_it_will_be_lost_and_its_loss_is_on_record() {
    let primary = primary();
    reserve(&primary, "left_behind");
    primary.alter("SET max_slot_wal_keep_size = '64MB'");
    let forecast = "SELECT lost_by, lost_in_seconds > 0, safe_wal_size > 0, falls_behind_rate > 0 FROM plimsoll_replication_slots";
    let mut rows = 0;
    let mut write = |count: u32| {
        primary.sql(&format!(
            "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series({}, {}) AS s (i)",
            rows + 1,
            rows + count
        ));
        rows += count;
    };
    wait_until("a forecast", LIMIT, || {
        write(50);
        let shown = primary.sql(forecast);
        if shown == "max_slot_wal_keep_size|t|t|t" { Ok(()) } else { Err(shown) }
    });
    let promised = primary.sql(
        "SELECT abs(lost_in_seconds * falls_behind_rate - safe_wal_size) < 0.2 * safe_wal_size FROM plimsoll_replication_slots",
    );
    assert_eq!(promised, "t");
    while primary.sql("SELECT wal_status FROM pg_replication_slots") != "lost" {
        write(4000);
        primary.sql("CHECKPOINT");
    }
    assert_eq!(
        primary.sql(
            "SELECT wal_status, lost_in_seconds, lost_at_lsn IS NOT NULL FROM plimsoll_replication_slots"
        ),
        "lost||t"
    );
    let log = primary.log();
    assert!(log.contains("invalidating slot \"left_behind\" because its restart_lsn "), "{log}");
    let ledger = std::fs::read_to_string(primary.data().join("plimsoll/ledger")).expect("a ledger");
    assert!(ledger.contains(" slot_lost ") && ledger.contains("\"left_behind\""), "{ledger}");
}

#[test]
fn one_checkpoint_gives_up_the_log_that_a_slot_needs_no_longer() {
    let primary = primary();
    primary.alter("SET max_wal_size = '1GB'");
    reserve(&primary, "used");
    let standby = Node::builder().setting("primary_slot_name", "used").clone_from(&primary);
    primary.wait_for("SELECT active FROM pg_replication_slots", "t");
    primary.sql("CHECKPOINT");
    (0..5).for_each(|round| write(&primary, round));
    let end = primary.sql("SELECT pg_current_wal_flush_lsn()");
    primary.wait_for(&format!("SELECT restart_lsn >= '{end}' FROM pg_replication_slots"), "t");
    let segments = || -> u32 {
        let names = std::fs::read_dir(primary.data().join("pg_wal")).expect("a folder").flatten();
        names.map(|entry| u32::from(entry.file_name().len() == 24)).sum()
    };
    assert!(segments() > 8, "{}", segments());
    primary.sql("CHECKPOINT");
    assert!(segments() <= 4, "{}", segments());
    drop(standby);
}

#[test]
fn a_slot_that_nobody_uses_is_given_up_after_its_time_and_one_in_use_is_not() {
    let primary = primary();
    reserve(&primary, "used");
    reserve(&primary, "unused");
    let standby = Node::builder().setting("primary_slot_name", "used").clone_from(&primary);
    primary.wait_for("SELECT active FROM pg_replication_slots WHERE slot_name = 'used'", "t");
    primary.alter("SET plimsoll.idle_replication_slot_timeout = 3600");
    assert_eq!(
        primary.sql(
            "SELECT slot_name, lost_by, lost_in_seconds < 3600 FROM plimsoll_replication_slots ORDER BY 1"
        ),
        "unused|plimsoll.idle_replication_slot_timeout|t\nused||"
    );
    primary.alter("SET plimsoll.idle_replication_slot_timeout = 1");
    primary.wait_for("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'unused'", "lost");
    assert_eq!(
        primary.sql("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'used'"),
        "reserved"
    );
    assert!(
        primary.log().contains("invalidating slot \"unused\" because nobody has used it for longer than")
    );
    drop(standby);
}

#[test]
fn what_a_slot_says_of_a_crashed_servers_log_is_heeded_on_every_way_up_and_by_the_preview() {
    let primary = primary();
    reserve(&primary, "receiver");
    let at = primary.sql("SELECT pg_current_wal_lsn()");
    write(&primary, 0);
    // Only the slot's receiver was told of what follows.
    primary.sql("SELECT pg_replication_slot_advance('receiver', pg_current_wal_flush_lsn())");
    primary.kill_9();
    let (at, size) = (parse_lsn(&at).expect("a position"), 1_u64 << 20);
    for entry in std::fs::read_dir(primary.data().join("pg_wal")).expect("a folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(number) = name.get(16..).and_then(|number| u64::from_str_radix(number, 16).ok()) else {
            continue;
        };
        let from = at.saturating_sub(number * size).min(size);
        let file = std::fs::File::options().write(true).open(entry.path()).expect("a segment");
        file.write_all_at(&vec![0; usize::try_from(size - from).expect("small")], from).expect("zeros");
    }
    for way in ["", "standby.signal", "recovery.signal"] {
        let node = Node::copy_of(&primary);
        let _ = std::fs::remove_file(node.data().join("postmaster.pid"));
        if !way.is_empty() {
            std::fs::write(node.data().join(way), "").expect("a file");
            node.set("restore_command", "false");
        }
        let started = node.try_start();
        assert!(
            started.code != 0 && node.log().contains("WAL is damaged"),
            "{way}: {started:?} {}",
            node.log()
        );
        if !way.is_empty() {
            let preview = run(plimsoll().args(["restore", "--preview", "-D"]).arg(node.data()));
            assert!(preview.code == 1 && preview.stderr.contains("WAL is damaged"), "{way}: {preview:?}");
        }
    }
}

/// The standby wants to be heard of, and nobody can be while the server stands still.
#[test]
fn a_server_that_was_frozen_gives_up_no_slot_and_forgets_no_node_for_that() {
    let primary = primary();
    let standby = Node::builder().setting("cluster_name", "away").clone_from(&primary);
    let members = "SELECT count(DISTINCT name) FROM plimsoll_roster WHERE source = 'replication'";
    primary.wait_for(members, "1");
    standby.stop();
    reserve(&primary, "unused");
    primary.alter("SET plimsoll.idle_replication_slot_timeout = '20s'");
    primary.alter("SET plimsoll.roster_forget_after = '20s'");
    primary.freeze();
    let began = Instant::now();
    wait_until("it was frozen for long enough", LIMIT, || {
        if began.elapsed() > Duration::from_secs(22) { Ok(()) } else { Err(format!("{:?}", began.elapsed())) }
    });
    primary.thaw();
    // Not at once, but well before its time.
    let looked = Instant::now();
    wait_until("it has looked at the clock again", LIMIT, || {
        if looked.elapsed() > Duration::from_secs(3) {
            Ok(())
        } else {
            Err(format!("{:?}", looked.elapsed()))
        }
    });
    assert_eq!(primary.sql("SELECT wal_status FROM pg_replication_slots"), "reserved", "{}", primary.log());
    assert_eq!(primary.sql(members), "1", "{}", primary.log());
}
