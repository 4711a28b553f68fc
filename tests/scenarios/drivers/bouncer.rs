//! pgbouncer in front of a server, in each of its modes.

use crate::toolbox::Servers;
use scenarios::{free_port, pg_tool, run, run_ok, wait_until};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Bouncer {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Bouncer {
    fn start(servers: &Servers, mode: &str) -> Self {
        let (folder, port) = (scenarios::scratch_dir(), free_port());
        let users = folder.path().join("users.txt");
        fs::write(&users, "\"app\" \"opensesame\"\n").expect("a file");
        // It is no root, who alone can look into the folder of the others.
        let root = folder.path().join("root.crt");
        fs::copy(servers.pki.path("root.crt"), &root).expect("copied");
        // pgbench opens all its sessions before the first one ends.
        let pool = if mode == "session" { 8 } else { 4 };
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\n\
             default_pool_size = {pool}\nserver_reset_query = DISCARD ALL\nserver_tls_sslmode = verify-ca\n\
             server_tls_ca_file = {}\n",
            servers.node.port(),
            users.display(),
            root.display()
        );
        let file = folder.path().join("pgbouncer.ini");
        fs::write(&file, settings).expect("a file");
        if nix::unistd::geteuid().is_root() {
            run_ok(std::process::Command::new("chown").args(["-R", "postgres"]).arg(folder.path()));
        }
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        // It refuses root.
        let mut command = Command::new("/usr/sbin/pgbouncer");
        if nix::unistd::geteuid().is_root() {
            command.args(["-u", "postgres"]);
        }
        let process = command.arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let bouncer = Self { process: process.expect("pgbouncer starts"), port, _folder: folder };
        wait_until("pgbouncer listens", Duration::from_secs(20), || {
            let asked = run(pg_tool("psql").args(["-XAtc", "select 1", &bouncer.conninfo()]));
            if asked.stdout == "1\n" { Ok(()) } else { Err(asked.stderr) }
        });
        bouncer
    }

    fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user=app password=opensesame dbname=postgres", self.port)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn pgbouncer_pools_in_every_mode() {
    let servers = Servers::start();
    let port = servers.node.port().to_string();
    let arguments = ["-i", "-q", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "postgres"];
    run_ok(pg_tool("pgbench").args(arguments));
    // What is prepared stays with a session, which this pgbouncer gives to others after a transaction.
    let protocols =
        [("session", &["simple", "extended", "prepared"][..]), ("transaction", &["simple", "extended"])];
    for (mode, protocols) in protocols {
        let bouncer = Bouncer::start(&servers, mode);
        let port = bouncer.port.to_string();
        for protocol in protocols {
            let said = run_ok(
                pg_tool("pgbench")
                    .args(["-n", "-c", "8", "-t", "20", "-M", protocol, "-h", "127.0.0.1", "-p", &port])
                    .args(["-U", "app", "postgres"])
                    .env("PGPASSWORD", "opensesame"),
            );
            assert!(said.contains("processed: 160/160"), "{mode}, {protocol}: {said}");
        }
    }
    let bouncer = Bouncer::start(&servers, "statement");
    let counted =
        run_ok(pg_tool("psql").args(["-XAtc", "select count(*) from pgbench_history", &bouncer.conninfo()]));
    assert_eq!(counted, "800\n", "160 transactions in 3 protocols and in 2");
}
