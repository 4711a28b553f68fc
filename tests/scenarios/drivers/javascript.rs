//! Drivers of JavaScript.

use crate::toolbox::{Servers, Way, node_js, script};

fn compare(name: &str) {
    let servers = Servers::start();
    for way in [Way::Trusted, Way::Encrypted] {
        servers.compare(way, |_| {
            let mut command = node_js();
            command.arg(script(name));
            command
        });
    }
}

#[test]
fn node_postgres_works() {
    compare("node_postgres.js");
}

#[test]
fn sequelize_works() {
    compare("sequelize_script.js");
}
