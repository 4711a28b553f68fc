//! full_page_writes that is switched off on a primary: what its log says of that, and which backups its
//! standby refuses, beside a PostgreSQL in the same story.

use scenarios::wire::{Wire, WireError};
use scenarios::{Node, PostgreSql, pg_tool, run, run_ok, wait_until};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// A primary and a standby that follows it, as sockets, and the primary's log.
struct Pair {
    primary: PathBuf,
    standby: PathBuf,
    pg_wal: PathBuf,
}

/// What is said of a backup: nothing, or a SQLSTATE.
fn verdict(answer: Result<scenarios::wire::Answer, WireError>) -> String {
    match answer {
        Ok(_) => "taken".to_owned(),
        Err(WireError::Refused(state, _)) => state,
        Err(gone @ WireError::Gone(_)) => panic!("{gone:?}"),
    }
}

const BACKUP: &str = "BASE_BACKUP (LABEL 'of a standby', CHECKPOINT 'fast', WAIT false)";

/// What the log of a server says of full_page_writes from `start` on.
fn said(server: &mut Wire<UnixStream>, pg_wal: &Path, start: &str) -> Vec<String> {
    let mut value = |sql: &str| server.value(sql).expect("an answer");
    let end = value("SELECT pg_current_wal_lsn()");
    // By their names: the first file that is there may be one that is not begun.
    let files = [start, &end].map(|at| value(&format!("SELECT pg_walfile_name('{at}')")));
    let mut dump = pg_tool("pg_waldump");
    dump.arg("-p").arg(pg_wal).args(["-s", start, "-e", &end, "-r", "XLOG"]).args(files);
    let dump = run_ok(&mut dump);
    let changes = dump.lines().filter_map(|line| line.split_once("FPW_CHANGE "));
    changes.map(|(_, on)| on.trim().to_owned()).collect()
}

impl Pair {
    fn sql(&self) -> Wire<UnixStream> {
        Wire::unix(&self.primary).expect("a session")
    }

    /// Has the standby replay all that there is.
    fn catch_up(&self) {
        let end = self.sql().value("SELECT pg_current_wal_lsn()").expect("a position");
        let mut standby = Wire::unix(&self.standby).expect("a session");
        wait_until("the standby replays", LIMIT, || {
            let replayed = standby.value(&format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn"));
            if replayed.expect("an answer") == "t" { Ok(()) } else { Err(end.clone()) }
        });
    }

    /// What the log says of full_page_writes from `start` on.
    fn said(&self, start: &str) -> Vec<String> {
        said(&mut self.sql(), &self.pg_wal, start)
    }

    /// Switches the setting and waits until the log has it, `count` switches after `start`.
    fn switch(&self, on: &str, start: &str, count: usize) {
        self.sql().alter(&format!("SET full_page_writes = {on}")).expect("a reload");
        wait_until("the switch is logged", LIMIT, || {
            // Has the log written.
            self.sql().query("INSERT INTO t VALUES ('')").expect("a row");
            let said = self.said(start);
            if said.len() == count { Ok(()) } else { Err(format!("{said:?}")) }
        });
        self.catch_up();
    }

    fn checkpoint(&self) {
        self.sql().query("CHECKPOINT").expect("a checkpoint");
        self.catch_up();
    }

    fn backup(&self, of: &Path) -> String {
        verdict(Wire::replication(of).expect("a session").query(BACKUP))
    }

    /// What becomes of backups at each turn, and what the log says in the end.
    fn story(&self) -> (Vec<String>, Vec<String>) {
        self.sql().query("CREATE TABLE t (x text)").expect("a table");
        // More than lies on the way of a backup that nobody reads.
        let filler = "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 4000)";
        self.sql().query(filler).expect("rows");
        self.checkpoint();
        let start = self.sql().value("SELECT pg_current_wal_lsn()").expect("a position");
        let mut told = vec![self.backup(&self.standby)];
        self.switch("off", &start, 1);
        told.push(self.backup(&self.standby));
        told.push(self.backup(&self.primary));
        self.checkpoint();
        told.push(self.backup(&self.standby));
        self.switch("on", &start, 2);
        told.push(self.backup(&self.standby));
        self.checkpoint();
        told.push(self.backup(&self.standby));
        let mut running = Wire::replication(&self.standby).expect("a session");
        running.begin(BACKUP).expect("a question");
        running.until_answer().expect("its begin");
        self.switch("off", &start, 3);
        told.push(verdict(running.until_ready()));
        (told, self.said(&start))
    }
}

fn socket_in(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    let is_socket = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(".s.PGSQL.") && !name.ends_with(".lock")
    };
    paths.find(is_socket).expect("a socket")
}

#[test]
fn a_standby_refuses_backups_that_page_images_do_not_mend_as_postgresql_does() {
    let primary = Node::builder().setting("wal_keep_size", "1GB").start();
    let standby = Node::builder().clone_from(&primary);
    let pair =
        Pair { primary: primary.socket(), standby: standby.socket(), pg_wal: primary.data().join("pg_wal") };
    let ours = pair.story();
    let refused = "55000";
    let told = ["taken", refused, "taken", refused, refused, "taken", refused];
    assert_eq!(ours.0, told);
    assert_eq!(ours.1, ["false", "true", "false"]);

    let copy = Node::unprepared();
    let tool = run(standby.tool("pg_basebackup").args(["-c", "fast", "-D"]).arg(copy.data()));
    assert!(tool.code == 1 && tool.stderr.contains("WAL without page images"), "{tool:?}");
    assert!(tool.stderr.contains("HINT:  Pages in this backup may be torn"), "{tool:?}");

    let primary = PostgreSql::start(&[("wal_keep_size", "1GB")]);
    let standby = PostgreSql::standby_of(&primary, &[]);
    let pair = Pair {
        primary: socket_in(primary.folder()),
        standby: socket_in(standby.folder()),
        pg_wal: primary.folder().join("data/pg_wal"),
    };
    assert_eq!(pair.story(), ours);
}

#[test]
fn a_promoted_standby_says_in_its_log_that_its_own_setting_is_another() {
    let primary = Node::builder().start();
    let standby = Node::builder().setting("full_page_writes", "off").clone_from(&primary);
    primary.sql("CREATE TABLE t (x text)");
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    standby.alter("SET full_page_writes = on");
    standby.alter("SET full_page_writes = off");
    let fork = standby.sql("SELECT pg_last_wal_replay_lsn()");
    primary.kill_9();
    standby.sql("SELECT pg_promote()");
    standby.wait_for("SELECT pg_is_in_recovery()", "f");
    standby.sql("CHECKPOINT");
    assert_eq!(standby.sql("SELECT full_page_writes FROM pg_control_checkpoint()"), "f");
    let mut session = Wire::unix(&standby.socket()).expect("a session");
    assert_eq!(said(&mut session, &standby.data().join("pg_wal"), &fork), ["false"]);
}
