//! A real PostgreSQL as a peer.

use std::path::PathBuf;
use std::process::Stdio;

/// A real PostgreSQL 15 in a temporary folder, on a socket there.
pub struct Postgres {
    pub dir: tempfile::TempDir,
    port: u16,
}

/// A folder that programs of PostgreSQL may write into.
pub fn postgres_folder() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    if nix::unistd::geteuid().is_root() {
        let postgres = nix::unistd::User::from_name("postgres").unwrap().unwrap();
        nix::unistd::chown(dir.path(), Some(postgres.uid), Some(postgres.gid)).unwrap();
    }
    let path = dir.path().display().to_string();
    (dir, path)
}

/// Sends SIGINT to a program that [`postgres_program`] has started.
pub fn interrupt(child: &std::process::Child) {
    let pid = child.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let target = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
    let target = nix::unistd::Pid::from_raw(target.unwrap_or(pid as i32));
    nix::sys::signal::kill(target, nix::sys::signal::Signal::SIGINT).unwrap();
}

/// A program of PostgreSQL, run as a user that it accepts.
pub fn postgres_program(program: &str, args: &[&str]) -> std::process::Command {
    let path = format!("/usr/lib/postgresql/15/bin/{program}");
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = std::process::Command::new("runuser");
        command.args(["-u", "postgres", "--", &path]);
        command
    } else {
        std::process::Command::new(&path)
    };
    command.args(args).current_dir("/tmp");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Postgres {
    fn launch(dir: tempfile::TempDir, port: u16) -> Self {
        let path = dir.path().display().to_string();
        let options = format!("-k {path} -p {port} -c listen_addresses= -c fsync=off -c wal_keep_size=64MB");
        let log = format!("{path}/log");
        let data = format!("{path}/data");
        let args = ["start", "-w", "-s", "-D", &data, "-l", &log, "-o", &options];
        assert!(postgres_program("pg_ctl", &args).status().unwrap().success());
        Self { dir, port }
    }
    pub fn start() -> Self {
        let (dir, path) = postgres_folder();
        let data = format!("{path}/data");
        let args = ["-N", "-A", "trust", "-U", "postgres", "--wal-segsize=1", "-D", &data];
        assert!(postgres_program("initdb", &args).status().unwrap().success());
        Self::launch(dir, 5432)
    }
    /// A standby of this one.
    pub fn standby(&self) -> Self {
        let (dir, path) = postgres_folder();
        let socket = self.dir.path().display().to_string();
        let data = format!("{path}/data");
        let args = ["-h", &socket, "-U", "postgres", "-R", "-c", "fast", "-D", &data];
        assert!(postgres_program("pg_basebackup", &args).status().unwrap().success());
        Self::launch(dir, 5432)
    }
    pub fn promote(&self) {
        let args = ["promote", "-w", "-s", "-D", &format!("{}/data", self.dir.path().display())];
        assert!(postgres_program("pg_ctl", &args).status().unwrap().success());
    }
    pub fn conninfo(&self) -> String {
        format!("host={} port={} user=postgres dbname=postgres", self.dir.path().display(), self.port)
    }
    pub fn pg_wal(&self) -> PathBuf {
        self.dir.path().join("data/pg_wal")
    }
    pub async fn sql(&self, sql: &str) -> String {
        let mut client = protocol::Client::connect_to(&self.conninfo()).await.unwrap();
        let result = client.query(sql).await.unwrap();
        result.text(0, 0).unwrap_or_default().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = format!("{}/data", self.dir.path().display());
        let _ = postgres_program("pg_ctl", &["stop", "-s", "-m", "immediate", "-D", &data]).status();
    }
}
