//! A primary and its follower in one process, synchronous, then a failover: `cargo run -p plimsoll --example
//! replica`.

use plimsoll::{Error, Options, Result, SyncLevel, TransactionOptions};
use std::net::TcpListener;
use std::path::Path;

/// A loopback port that is free now.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::abort)?;
    Ok(listener.local_addr().map_err(Error::abort)?.port())
}

/// Writes on the primary, reads on the follower, promotes it; the lines that it would print.
pub async fn run(dir: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let primary = Options::new(dir.join("primary"))
        .create_if_missing()
        .listen("127.0.0.1", free_port()?)
        .setting("synchronous_standby_names", "boat")
        .open()
        .await?;
    let primary_conninfo = format!("{} user=postgres", primary.conninfo());

    // A missing directory is cloned from the primary; the name is how the primary knows it.
    let follower = Options::new(dir.join("follower"))
        .follow(&primary_conninfo)
        .listen("127.0.0.1", free_port()?)
        .setting("cluster_name", "boat")
        .open()
        .await?;
    let ships = &primary.table::<i64, String>("ships").await?;
    primary.put(ships, &1, &"Argo".to_owned()).await?;

    // Acknowledged only when the follower shows it.
    let applied = TransactionOptions::default().sync(SyncLevel::RemoteApply);
    let committed = primary
        .transaction_with(&applied, |mut tx| async move { tx.put(ships, &2, &"Beagle".to_owned()).await })
        .await?;
    let there = follower.table::<i64, String>("ships").await?;
    lines.push(format!("the follower reads {:?}", follower.get(&there, &2).await?));

    // At any level, a reader can wait for what it knows of.
    if let Some((_, lsn)) = committed.position {
        follower.wait_replayed(lsn).await?;
    }
    let refused = follower.put(&there, &3, &"Cutty Sark".to_owned()).await;
    lines.push(format!(
        "a write there: {}",
        refused.map_or_else(|error| error.to_string(), |()| "taken".into())
    ));

    primary.close().await?;
    follower.promote().await?;
    follower.put(&there, &3, &"Cutty Sark".to_owned()).await?;
    let count = follower.sql("SELECT count(*) FROM ships", &[]).await?;
    lines.push(format!("after the failover: {:?}, follower: {}", count[0], follower.is_follower()));
    follower.close().await?;
    Ok(lines)
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(Error::abort)?;
    for line in run(folder.path()).await? {
        println!("{line}");
    }
    Ok(())
}
