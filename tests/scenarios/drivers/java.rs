//! PostgreSQL's driver of Java, as Debian packs it.

use crate::toolbox::{Servers, Way, script};
use std::process::Command;

const DRIVER: &str = "/usr/share/java/postgresql.jar";

#[test]
fn jdbc_works() {
    let servers = Servers::start();
    for way in [Way::Trusted, Way::Encrypted] {
        servers.compare(way, |port| {
            let mut command = Command::new("java");
            command.args(["-XX:TieredStopAtLevel=1", "-cp", DRIVER]).arg(script("Jdbc.java"));
            let root = servers.pki.path("root.crt");
            let tls = match way {
                Way::Trusted => String::new(),
                Way::Encrypted => format!("?sslmode=verify-full&sslrootcert={}", root.display()),
            };
            command.arg(format!("jdbc:postgresql://127.0.0.1:{port}/postgres{tls}"));
            command
        });
    }
}
