//! A real PostgreSQL 15, the judge of what ours must do.

use crate::node::{free_port, scratch_dir};
use crate::tools::{pg_tool, run, run_ok};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A PostgreSQL server with its data folder, socket folder and port; ended and removed on drop.
#[derive(Debug)]
pub struct PostgreSql {
    folder: tempfile::TempDir,
    port: u16,
}

/// A program of PostgreSQL that refuses root: run as the user postgres then.
pub fn unprivileged(name: &str) -> Command {
    let program = pg_tool(name);
    if !nix::unistd::geteuid().is_root() {
        return program;
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program.get_program()).env("LC_ALL", "C").current_dir("/tmp");
    command
}

impl PostgreSql {
    fn unprepared() -> Self {
        let folder = scratch_dir();
        if nix::unistd::geteuid().is_root() {
            run_ok(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        Self { folder, port: free_port() }
    }

    /// A new primary with these settings, started.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let server = Self::unprepared();
        // The encoding and the collation that ours has.
        let form = ["-E", "UTF8", "--locale=C"];
        run_ok(
            unprivileged("initdb")
                .args(["-A", "trust", "-N", "-U", "postgres"])
                .args(form)
                .arg("-D")
                .arg(server.data()),
        );
        server.configure(&[("fsync", "off"), ("listen_addresses", "")]);
        server.configure(settings);
        server.start_again();
        server
    }

    /// A standby cloned from another server, started.
    pub fn standby_of(primary: &Self, settings: &[(&str, &str)]) -> Self {
        let server = Self::unprepared();
        run_ok(
            unprivileged("pg_basebackup")
                .args(["-R", "-c", "fast", "-d"])
                .arg(primary.conninfo())
                .arg("-D")
                .arg(server.data()),
        );
        server.configure(settings);
        server.start_again();
        server
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The number in the socket's name, and the TCP port if it listens on an address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Puts a file into the data folder, as the server's own user's.
    pub fn place(&self, name: &str, bytes: &[u8]) {
        let path = self.data().join(name);
        // A new file: one that is there keeps its mode.
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).expect("the data folder takes a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
        if nix::unistd::geteuid().is_root() {
            run_ok(Command::new("chown").arg("postgres:postgres").arg(&path));
        }
    }

    /// Has the files read again.
    pub fn reload(&self) {
        run_ok(unprivileged("pg_ctl").args(["reload", "-s", "-D"]).arg(self.data()));
    }

    /// Runs SQL that must work; returns the rows as psql prints them, without the last line end.
    pub fn sql(&self, sql: &str) -> String {
        let mut psql = pg_tool("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"]).arg(self.conninfo());
        run_ok(psql.args(["-c", sql])).trim_end().to_owned()
    }

    /// The folder of the socket and the log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Appends lines to postgresql.conf.
    pub fn configure(&self, settings: &[(&str, &str)]) {
        let path = self.data().join("postgresql.conf");
        let mut file =
            fs::OpenOptions::new().append(true).open(&path).expect("postgresql.conf is there after initdb");
        for (name, value) in settings {
            writeln!(file, "{name} = '{}'", value.replace('\'', "''")).expect("postgresql.conf takes a line");
        }
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Command {
        let mut command = unprivileged("pg_ctl");
        command.args(arguments).args(["-w", "-s", "-D"]).arg(self.data());
        command
    }

    /// Starts the server, stopped before.
    pub fn start_again(&self) {
        let options = format!("-k {} -p {}", self.folder.path().display(), self.port);
        let log = self.folder.path().join("log");
        run_ok(self.pg_ctl(&["start", "-o", &options]).arg("-l").arg(log));
    }

    /// Stops the server in a mode of pg_ctl.
    pub fn stop(&self, mode: &str) {
        run_ok(&mut self.pg_ctl(&["stop", "-m", mode]));
    }

    /// The server's Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(format!(".s.PGSQL.{}", self.port))
    }

    /// What connects to this server over its Unix socket.
    pub fn conninfo(&self) -> String {
        format!("host={} port={} user=postgres dbname=postgres", self.folder.path().display(), self.port)
    }
}

impl Drop for PostgreSql {
    fn drop(&mut self) {
        // It may be stopped already.
        let _ = run(&mut self.pg_ctl(&["stop", "-m", "immediate"]));
    }
}
