//! What an administrator does: asks servers by SQL, and changes the files that settings are in.

use crate::cluster::{DATA, conninfo};
use host::Disk;
use protocol::Client;
use simulated::NodeId;
use simulation::VirtualDisk;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an administrator waits for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Asks a server; the first column of the first row of the last answer. An error says why there is no answer.
pub(super) async fn ask(node: NodeId, sql: &str, limit: Duration) -> Result<Option<String>, String> {
    let asked = async {
        let mut client = Client::connect_to(&conninfo(node)).await.map_err(|error| error.to_string())?;
        let results = client.simple_query(sql).await.map_err(|error| error.to_string())?;
        let value = results.last().and_then(|result| result.text(0, 0)).map(str::to_owned);
        client.close().await;
        Ok(value)
    };
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

fn auto_conf() -> PathBuf {
    Path::new(DATA).join("postgresql.auto.conf")
}

/// The largest file of settings that an administrator reads.
const FILE_MAX: u64 = 1 << 20;

/// What a node's postgresql.auto.conf says of a setting.
pub(super) fn in_file(files: &VirtualDisk, name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&files.read(&auto_conf(), FILE_MAX).ok()?).into_owned();
    let mut values =
        text.lines().filter_map(|line| line.split_once('=')).filter(|(key, _)| key.trim() == name);
    values.next_back().map(|(_, value)| value.trim().trim_matches('\'').replace("''", "'"))
}

/// Makes a directory a standby's when it is next started.
pub(super) fn make_standby(files: &VirtualDisk, conninfo: &str) -> std::io::Result<()> {
    set_in_file(files, "primary_conninfo", conninfo)?;
    host::write_file_durably(files, &Path::new(DATA).join("standby.signal"), b"")
}

/// Sets a setting in a node's postgresql.auto.conf, as ALTER SYSTEM does; a reload makes it known. The server
/// may be in the middle of writing it.
pub(super) fn set_in_file(files: &VirtualDisk, name: &str, value: &str) -> std::io::Result<()> {
    let text = String::from_utf8_lossy(&files.read(&auto_conf(), FILE_MAX)?).into_owned();
    let of_others = |line: &&str| line.split('=').next().is_none_or(|key| key.trim() != name);
    let mut kept: String = text.lines().filter(of_others).map(|line| format!("{line}\n")).collect();
    kept.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
    let own = Path::new(DATA).join("administrator.conf");
    host::write_file_durably(files, &own, kept.as_bytes())?;
    files.rename(&own, &auto_conf())?;
    files.sync_dir(Path::new(DATA))
}
