//! PostgreSQL's own tests of replication, pg_ctl and initdb, unmodified, with Plimsoll's initdb, pg_ctl and
//! postgres first in PATH.

use scenarios::{plimsoll, run, run_ok, scratch_dir};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// PGXS of Debian's postgresql-server-dev-15: the Perl harness and pg_regress.
const PGXS: &str = "/usr/lib/postgresql/15/lib/pgxs";

/// The folder of the fetched tests, shared by the tests of this file; fetched under a lock by whoever comes
/// first.
fn fetched() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("postgresql-tap");
    std::fs::create_dir_all(&folder).expect("a folder for the fetched tests");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tap/fetch.sh");
    run_ok(Command::new("flock").arg(folder.join("lock")).arg(script).arg(folder.join("source")));
    folder.join("source/src")
}

/// Lets the user postgres, who may not read our build folder, have a copy of a file or folder.
fn copy(from: &Path, to: &Path) {
    run_ok(Command::new("cp").args(["-r", "--dereference", "--reflink=auto"]).arg(from).arg(to));
}

/// Runs one test file of a folder of PostgreSQL's sources with prove, in a folder of its own. As root, it
/// runs as the user postgres, because some of PostgreSQL's programs refuse root.
fn prove(part: &str, name: &str) {
    let folder = scratch_dir();
    let tests = folder.path().join("tests");
    copy(&fetched().join(part), &tests);
    let links = folder.path().join("bin");
    std::fs::create_dir(&links).expect("a folder of links");
    let binary = folder.path().join("plimsoll");
    copy(&PathBuf::from(plimsoll().get_program()), &binary);
    for program in ["initdb", "pg_ctl", "postgres"] {
        symlink(&binary, links.join(program)).expect("a link");
    }
    let path = format!(
        "{}:/usr/lib/postgresql/15/bin:{}",
        links.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut command = if nix::unistd::geteuid().is_root() {
        run_ok(Command::new("chown").args(["-R", "postgres"]).arg(folder.path()));
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--preserve-environment", "--", "prove"]);
        command
    } else {
        Command::new("prove")
    };
    let outcome = run(command
        .args(["--verbose", &format!("t/{name}.pl")])
        .current_dir(&tests)
        .env("PATH", path)
        .env("PERL5LIB", format!("{PGXS}/src/test/perl:{}", tests.display()))
        .env("PG_REGRESS", format!("{PGXS}/src/test/regress/pg_regress"))
        .env("TESTDIR", folder.path())
        .env("TESTDATADIR", folder.path().join("data"))
        .env("TESTLOGDIR", folder.path().join("log"))
        .env("TMPDIR", folder.path())
        .env("HOME", folder.path())
        .env("LC_ALL", "C"));
    if outcome.code != 0 {
        let logs = std::fs::read_dir(folder.path().join("tmp_check/log")).into_iter().flatten().flatten();
        for entry in logs {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(40).collect();
            eprintln!("-- {}", entry.path().display());
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
    assert_eq!(outcome.code, 0, "{}\n{}", outcome.stdout, outcome.stderr);
}

#[test]
fn timeline_switch_004() {
    prove("test/recovery", "004_timeline_switch");
}

#[test]
fn replay_delay_005() {
    prove("test/recovery", "005_replay_delay");
}

#[test]
fn sync_rep_007() {
    prove("test/recovery", "007_sync_rep");
}

#[test]
fn archiving_002() {
    prove("test/recovery", "002_archiving");
}

#[test]
fn recovery_targets_003() {
    prove("test/recovery", "003_recovery_targets");
}

#[test]
fn pg_ctl_start_stop_001() {
    prove("bin/pg_ctl", "001_start_stop");
}

#[test]
fn pg_ctl_status_002() {
    prove("bin/pg_ctl", "002_status");
}

#[test]
fn pg_ctl_promote_003() {
    prove("bin/pg_ctl", "003_promote");
}

#[test]
fn pg_ctl_logrotate_004() {
    prove("bin/pg_ctl", "004_logrotate");
}

#[test]
fn initdb_001() {
    prove("bin/initdb", "001_initdb");
}
