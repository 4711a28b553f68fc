//! A load that changes a table of keys and values in every way.

use crate::{Node, run_ok};
use std::fs;
use std::process::Stdio;

/// Has pgbench insert, update and delete rows of `kv (k int PRIMARY KEY, v text, ...)` with keys up to
/// `keys`: so many transactions a client.
pub fn change_keys(node: &Node, keys: u32, clients: u32, transactions: u32) {
    let script = node.folder().join("load.sql");
    let text = format!(
        "\\set k random(1, {keys})\n\
         INSERT INTO kv (k, v) VALUES (:k, repeat('x', :k % 200)) ON CONFLICT (k) DO UPDATE SET v = kv.v || 'y';\n\
         \\set d random(1, {keys})\nDELETE FROM kv WHERE k = :d;\n"
    );
    fs::write(&script, text).expect("the script is written");
    let mut pgbench = node.tool("pgbench");
    pgbench.args(["-n", "-M", "prepared", "-c", &clients.to_string(), "-t", &transactions.to_string(), "-f"]);
    run_ok(pgbench.arg(&script).stderr(Stdio::null()));
}
