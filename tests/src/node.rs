//! One Plimsoll server of a scenario.

use crate::network::Host;
use crate::tools::{Outcome, pg_tool, plimsoll, run, run_ok, wait_until};
use crate::wire::Wire;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A port that the kernel gives to nobody else: a socket is bound to it that does not listen, beside which a
/// server may (both with SO_REUSEADDR).
#[derive(Debug)]
struct HeldPort {
    number: u16,
    _socket: Socket,
}

impl HeldPort {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("the kernel has a socket");
        socket.set_reuse_address(true).expect("the kernel has the option");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any.into()).expect("the kernel has a port");
        let bound = socket.local_addr().expect("a bound socket has an address");
        Self { number: bound.as_socket().expect("of IP").port(), _socket: socket }
    }
}

/// A loopback port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the kernel has a port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// `plimsoll promote` of a standby, by its directory. It asks the standby as the user postgres.
pub fn promote(options: &[&str], node: &Node) -> Command {
    let mut command = plimsoll();
    command.env("PGUSER", "postgres").arg("promote").args(options).arg("-D").arg(node.data());
    command
}

/// A temporary folder with a short path (Unix socket paths are limited to 107 bytes), removed on drop.
pub fn scratch_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("plim").tempdir_in("/tmp").expect("a temporary folder")
}

/// How a node is made.
#[derive(Debug)]
pub struct NodeBuilder {
    init_options: Vec<String>,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    host: Option<Arc<Host>>,
}

impl NodeBuilder {
    /// Starts the server with a variable in its environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts the node on a host of its own; it listens on all of its addresses.
    pub fn on_host(mut self, host: &Arc<Host>) -> Self {
        self.host = Some(Arc::clone(host));
        self
    }

    /// Adds an option of `plimsoll init`.
    pub fn init_option(mut self, option: &str) -> Self {
        self.init_options.push(option.to_owned());
        self
    }

    /// Adds a line to postgresql.conf.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Initialises a primary and leaves it stopped.
    pub fn init(self) -> Node {
        let node = Node::on(self.host, self.environment);
        run_ok(
            plimsoll()
                .arg("init")
                .arg("-D")
                .arg(node.data())
                .args(["-U", "postgres"])
                .args(&self.init_options),
        );
        node.append_settings(&self.settings);
        if node.host.is_some() {
            use std::io::Write as _;
            let hba = fs::OpenOptions::new().append(true).open(node.data().join("pg_hba.conf"));
            writeln!(hba.expect("pg_hba.conf"), "host all,replication all 10.0.0.0/8 trust").expect("a line");
        }
        node
    }

    /// Initialises and starts a primary.
    pub fn start(self) -> Node {
        let node = self.init();
        node.start();
        node
    }

    /// Clones a standby from a running node with `plimsoll clone`, and starts it.
    pub fn clone_from(self, primary: &Node) -> Node {
        self.clone_over(&primary.conninfo(), &[])
    }

    /// Clones a standby from the running node at `conninfo`, with more options of `plimsoll clone`, and
    /// starts it.
    pub fn clone_over(self, conninfo: &str, options: &[&str]) -> Node {
        let node = Node::on(self.host, self.environment);
        let mut clone = plimsoll();
        clone.args(["clone", "--from", conninfo]).args(options).arg("-D").arg(node.data());
        run_ok(&mut node.on_its_host(clone));
        node.append_settings(&self.settings);
        node.start();
        node
    }
}

/// A server with its data folder, socket folder and port; ended and removed on drop.
#[derive(Debug)]
pub struct Node {
    folder: tempfile::TempDir,
    port: Arc<HeldPort>,
    environment: Vec<(String, String)>,
    host: Option<Arc<Host>>,
}

impl Node {
    /// Begins to describe a node.
    pub fn builder() -> NodeBuilder {
        NodeBuilder { init_options: Vec::new(), settings: Vec::new(), environment: Vec::new(), host: None }
    }

    /// A node with a folder and a port, whose data folder does not exist yet.
    pub fn unprepared() -> Self {
        Self::on(None, Vec::new())
    }

    /// A copy of a node that does not run, with a folder and a port of its own, not started.
    pub fn copy_of(stopped: &Self) -> Self {
        let node = Self::unprepared();
        run_ok(Command::new("cp").arg("-a").arg(stopped.data()).arg(node.data()));
        node
    }

    fn on(host: Option<Arc<Host>>, environment: Vec<(String, String)>) -> Self {
        Self { folder: scratch_dir(), port: Arc::new(HeldPort::new()), environment, host }
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder of the socket, the log and whatever the scenario puts there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// This node, with the port of another one, which does not run.
    pub fn in_place_of(mut self, other: &Self) -> Self {
        self.port = other.port.clone();
        self
    }

    /// The TCP port, and the one in the socket's name.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// What connects to this node over its Unix socket.
    pub fn conninfo(&self) -> String {
        format!("host={} port={} user=postgres dbname=postgres", self.folder.path().display(), self.port())
    }

    /// Appends lines to postgresql.conf.
    pub fn append_settings(&self, settings: &[(String, String)]) {
        self.append_to("postgresql.conf", settings);
    }

    fn append_to(&self, file: &str, settings: &[(String, String)]) {
        use std::io::Write as _;
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(self.data().join(file))
            .expect("the file is there after init");
        for (name, value) in settings {
            writeln!(file, "{name} = '{}'", value.replace('\'', "''")).expect("the file takes a line");
        }
    }

    /// Appends one line to postgresql.conf.
    pub fn set(&self, name: &str, value: &str) {
        self.append_settings(&[(name.to_owned(), value.to_owned())]);
    }

    /// Appends one line to postgresql.auto.conf, where a clone has its primary_conninfo and ALTER SYSTEM
    /// writes.
    pub fn alter_while_stopped(&self, name: &str, value: &str) {
        self.append_to("postgresql.auto.conf", &[(name.to_owned(), value.to_owned())]);
    }

    /// Starts the server and returns once it accepts connections.
    pub fn start(&self) {
        let outcome = self.try_start();
        assert_eq!(outcome.code, 0, "start failed: {}{}\n{}", outcome.stdout, outcome.stderr, self.log());
    }

    /// Starts the server and says how that went.
    pub fn try_start(&self) -> Outcome {
        run(self.start_command().arg("-l").arg(self.log_path()))
    }

    /// Starts a server that cannot take sessions yet.
    pub fn start_without_waiting(&self) {
        // That it does not accept connections within no time is no failure.
        let _ = run(self.start_command().args(["-t", "0", "-l"]).arg(self.log_path()));
    }

    fn start_command(&self) -> Command {
        let mut command = plimsoll();
        command
            .arg("start")
            .arg("-D")
            .arg(self.data())
            .arg("-d")
            .args(["-p", &self.port().to_string()])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", self.folder.path().display()))
            .args([
                "-c",
                if self.host.is_some() { "listen_addresses=*" } else { "listen_addresses=127.0.0.1" },
            ]);
        let mut command = self.on_its_host(command);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A program that runs on this node's host.
    pub fn on_its_host(&self, command: Command) -> Command {
        self.host.as_ref().map(|host| host.command(&command)).unwrap_or(command)
    }

    /// The server's Unix socket, which is reached from every network namespace.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(format!(".s.PGSQL.{}", self.port()))
    }

    /// The server's log file.
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The server's process, while it runs.
    pub fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?);
        kill(pid, None).is_ok().then_some(pid)
    }

    /// Halts the server where it is, and returns once all of its threads stand still: one that is just being
    /// carried out goes on for a moment, and may answer.
    pub fn freeze(&self) {
        let pid = self.pid().expect("it runs");
        kill(pid, Signal::SIGSTOP).expect("it can be frozen");
        let tasks = PathBuf::from(format!("/proc/{pid}/task"));
        wait_until("all threads stand still", Duration::from_secs(60), || {
            let moving = |task: &fs::DirEntry| {
                let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                // Behind the name, which may hold anything.
                stat.rsplit(')').next().is_some_and(|rest| !rest.starts_with(" T"))
            };
            let left = fs::read_dir(&tasks).expect("it is there").flatten().filter(moving).count();
            if left == 0 { Ok(()) } else { Err(format!("{left} do not")) }
        });
    }

    /// Has a frozen server go on.
    pub fn thaw(&self) {
        kill(self.pid().expect("it runs"), Signal::SIGCONT).expect("it can go on");
    }

    /// Stops the server in fast mode.
    pub fn stop(&self) {
        run_ok(plimsoll().arg("stop").arg("-D").arg(self.data()));
    }

    /// Ends the server with SIGKILL and returns when the process is gone.
    pub fn kill_9(&self) {
        let Some(pid) = self.pid() else { return };
        let _ = kill(pid, Signal::SIGKILL);
        wait_until("the killed server is gone", Duration::from_secs(20), || {
            // A zombie that waits for its reaper holds no files any more, once its other threads are gone
            // too.
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
            if state.is_empty() || state.contains(") Z ") && threads <= 1 { Ok(()) } else { Err(state) }
        });
    }

    /// A session over the Unix socket; waits until the server takes one.
    pub fn session(&self) -> Wire<UnixStream> {
        wait_until("the server takes a session", Duration::from_secs(60), || {
            Wire::unix(&self.socket()).map_err(|error| format!("{error:?}"))
        })
    }

    /// psql against this node, quiet and unaligned, stopping at the first error.
    pub fn psql(&self) -> Command {
        let mut command = pg_tool("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"]).arg(self.conninfo());
        command
    }

    /// Runs SQL that must work; returns the rows as psql prints them, without the last line end.
    pub fn sql(&self, sql: &str) -> String {
        run_ok(self.psql().args(["-c", sql])).trim_end().to_owned()
    }

    /// Runs SQL and says how that went.
    pub fn try_sql(&self, sql: &str) -> Outcome {
        run(self.psql().args(["-c", sql]))
    }

    /// Changes a setting for good and has it read (`SET name = value`, `RESET name`).
    pub fn alter(&self, change: &str) {
        self.sql(&format!("ALTER SYSTEM {change}"));
        let told = self.try_sql("SELECT pg_reload_conf()");
        // A standby that rewinds itself at once, since it follows another primary, ends its sessions.
        let ends = told.stderr.contains("terminating connection due to administrator command");
        assert!(told.code == 0 || ends, "{told:?}");
    }

    /// Waits until a query answers this; also while the server is not there.
    pub fn wait_for(&self, sql: &str, wanted: &str) {
        wait_until(&format!("{sql} = {wanted}"), Duration::from_secs(60), || {
            let outcome = self.try_sql(sql);
            if outcome.stdout.trim() == wanted { Ok(()) } else { Err(format!("{outcome:?}")) }
        });
    }

    /// A program of PostgreSQL that takes its connection from the environment, pointed at this node.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = pg_tool(name);
        command
            .env("PGHOST", self.folder.path())
            .env("PGPORT", self.port().to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "postgres");
        command
    }

    /// RssAnon of the server in bytes.
    pub fn rss_anon_bytes(&self) -> u64 {
        let pid = self.pid().expect("the server runs");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process has a status");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("status names RssAnon");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|field| field.parse().ok()).expect("kB");
        kib * 1024
    }

    /// Waits until this standby has replayed `lsn` (in pg_lsn's text form).
    pub fn wait_replayed(&self, lsn: &str) {
        wait_until("the standby replays", Duration::from_secs(60), || {
            let outcome = self.try_sql(&format!("SELECT pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn"));
            if outcome.stdout.trim() == "t" { Ok(()) } else { Err(format!("{outcome:?}")) }
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill_9();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("-- last log lines of the server in {}:", self.folder.path().display());
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}
