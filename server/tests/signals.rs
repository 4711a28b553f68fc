//! Signals that come to a server by mistake, as any program may send them.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, stop};
use server::{Server, ServerOptions, StopMode};

/// What PostgreSQL's postmaster outlives without doing anything visible: tried with release 15.
const HARMLESS: [&str; 9] = ["USR1", "USR2", "ALRM", "PIPE", "XFSZ", "WINCH", "CONT", "TTIN", "TTOU"];

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_mean_nothing_neither_end_nor_stop_the_server() {
    let place = Place::new().await;
    let options = ServerOptions { signals: true, ..place.options(&[]) };
    let server = Server::start(options).await.unwrap();
    server.wait_ready().await;
    let own = std::process::id().to_string();
    for name in HARMLESS {
        let sent = std::process::Command::new("kill").args(["-s", name, &own]).status().unwrap();
        assert!(sent.success(), "{name}");
        assert_eq!(place.psql("select 1").await, "1", "after SIG{name}");
    }
    stop(server, StopMode::Fast).await;
}
