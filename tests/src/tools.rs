//! Running programs: ours, and those of PostgreSQL 15.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a program left when it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A number that the environment sets: a seed, a count, whether the long form runs (PLIMSOLL_LONG_TESTS).
pub fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The project's root folder.
pub fn project_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The program `plimsoll` of the build that this test belongs to.
pub fn plimsoll() -> Command {
    let mut path = std::env::current_exe().expect("the test has a path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("plimsoll");
    assert!(path.exists(), "{} is missing: run `cargo build` first", path.display());
    Command::new(path)
}

/// A program of Debian's postgresql-15, by name.
pub fn pg_tool(name: &str) -> Command {
    let path = PathBuf::from("/usr/lib/postgresql/15/bin").join(name);
    assert!(path.exists(), "{} is missing: run ./test.sh, which installs it", path.display());
    let mut command = Command::new(path);
    command
        .env("LC_ALL", "C")
        .env_remove("PGHOST")
        .env_remove("PGPORT")
        .env_remove("PGUSER")
        .env("PGCONNECT_TIMEOUT", "20");
    command
}

/// Runs a program to its end with no standard input and returns what it said.
pub fn run(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a program that must exit with 0; returns its standard output.
pub fn run_ok(command: &mut Command) -> String {
    let outcome = run(command);
    let mut report = String::new();
    let _ =
        write!(report, "{command:?} exited with {}\n{}\n{}", outcome.code, outcome.stdout, outcome.stderr);
    assert_eq!(outcome.code, 0, "{report}");
    outcome.stdout
}

/// Polls until `probe` gives Ok; fails after `limit` with the last Err.
pub fn wait_until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(last) if start.elapsed() > limit => panic!("{what}: not within {limit:?}; last seen: {last}"),
            // A poll interval, not a synchronisation: the loop ends by the condition alone.
            Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
        }
    }
}
