//! Tables that are dropped while somebody may read them. Redo of a drop waits for who reads on the standby,
//! and who follows the drop's token waits for redo. On the primary the file stays for an old snapshot, and
//! nothing of it comes into the log any more, though it is due to be swept.

use super::admin::PATIENCE;
use super::{Shared, machine_of};
use crate::cluster::conninfo;
use crate::rare::Rare;
use protocol::{Client, ClientError};
use std::sync::Arc;
use std::time::Duration;

/// How long the reader holds its snapshot once the table is dropped.
const HOLDS: Duration = Duration::from_millis(400);

/// Drops a table on the primary `node` while `on` reads it. Whatever does not work is left.
pub(super) async fn drop_read(shared: Arc<Shared>, node: usize, on: usize) {
    let name = format!("dropped_{}", shared.now_ms());
    let told = tokio::time::timeout(PATIENCE * 2, follow(node, on, &name)).await;
    if let Ok(Some((token, true))) = told {
        shared.fail(format!("Token: node {on} shows {name} to who follows {token}, which has dropped it"));
    }
}

/// Drops a table on the primary `node`, most of whose row versions are dead, while a snapshot of before is
/// there for so long. Whatever does not work is left.
pub(super) async fn drop_kept(shared: Arc<Shared>, node: usize, ms: u64) {
    let (name, time) = (format!("kept_{}", shared.now_ms()), Duration::from_millis(ms));
    match tokio::time::timeout(PATIENCE * 2 + time, keep(node, &name, time)).await {
        Ok(Ok(())) => shared.hit(Rare::ReadAfterDrop),
        Ok(Err(why)) => shared.tell(&format!("{name} was not dropped beside a snapshot: {why}")),
        Err(_) => shared.tell(&format!("{name} was not dropped in time")),
    }
}

async fn keep(node: usize, name: &str, time: Duration) -> Result<(), ClientError> {
    let mut writer = Client::connect_to(&conninfo(machine_of(node))).await?;
    let mut reader = Client::connect_to(&conninfo(machine_of(node))).await?;
    let made = format!(
        "set statement_timeout = 1500; create table {name} (id int primary key, v int); \
         insert into {name} select g, 0 from generate_series(1, 300) g"
    );
    writer.simple_query(&made).await?;
    writer.simple_query(&format!("update {name} set v = 1")).await?;
    // A snapshot without a lock on the table, for which the drop would wait.
    reader.simple_query("begin isolation level repeatable read; select count(*) from pg_class").await?;
    writer.simple_query(&format!("drop table {name}")).await?;
    tokio::time::sleep(time).await;
    Ok(())
}

/// The drop's token, and whether who follows it still sees the table. None if something does not work.
async fn follow(node: usize, on: usize, name: &str) -> Option<(String, bool)> {
    let mut writer = Client::connect_to(&conninfo(machine_of(node))).await.ok()?;
    writer.simple_query("set plimsoll.report_commit_lsn = on; set statement_timeout = 1500").await.ok()?;
    let made = write(&mut writer, &format!("create table {name} (id int primary key)")).await?;
    let mut reader = reader(on, &made).await?;
    let begin = format!("begin isolation level repeatable read; select count(*) from {name}");
    reader.simple_query(&begin).await.ok()?;
    let dropped = write(&mut writer, &format!("drop table {name}")).await?;
    let held = async {
        tokio::time::sleep(HOLDS).await;
        drop(reader);
    };
    let (sees, ()) = tokio::join!(sees(on, name, &dropped), held);
    Some((dropped, sees?))
}

/// A session that reads what has a token.
async fn reader(on: usize, token: &str) -> Option<Client> {
    let mut client = Client::connect_to(&conninfo(machine_of(on))).await.ok()?;
    let settings = format!("set statement_timeout = 1500; set plimsoll.read_after = '{token}'");
    client.simple_query(&settings).await.ok()?;
    Some(client)
}

/// Runs a statement; the token of its commit.
async fn write(client: &mut Client, sql: &str) -> Option<String> {
    client.simple_query(sql).await.ok()?;
    client.parameter("plimsoll.commit_lsn").map(str::to_owned)
}

async fn sees(on: usize, name: &str, token: &str) -> Option<bool> {
    let sql = format!("select count(*) from pg_class where relname = '{name}'");
    let results = reader(on, token).await?.simple_query(&sql).await.ok()?;
    Some(results.last()?.text(0, 0)? != "0")
}
