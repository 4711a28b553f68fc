//! A few sessions of an administrator's write while clients rest, and fibers stand still at many locks
//! meanwhile. Whoever is forgotten by the one that should wake him is woken by nobody else's work, and
//! answers late; a commit that does not wait is made durable by nobody else's.

use super::admin::{PATIENCE, ask};
use super::clients::WAL_WRITER_DELAY_MS;
use super::{Shared, lazy, machine_of, peace};
use crate::branch::Token;
use crate::cluster::conninfo;
use crate::features::Feature;
use fastrand::Rng;
use protocol::Client;
use simulated::Schedule;
use std::sync::Arc;
use std::time::Duration;

/// What clients are at when they shall rest is over by then.
const REST_MS: u64 = 400;
/// How long an answer may take when nothing keeps it.
const ANSWER_MS: u64 = 700;
/// How the order of fibers is shuffled meanwhile.
const SCHEDULE: Schedule = Schedule { put_off: 2000, at_locks: 4000, stalls: 3000 };
/// After this and three times wal_writer_delay a commit that does not wait is durable.
const LAZY_SLACK_MS: u64 = 100;
/// A flush that nobody waits for any more is over by then.
const QUIET_MS: u64 = 80;
/// Levels that wait, those first that do not wait for redo.
const LEVELS: [&str; 4] = ["local", "remote_write", "on", "remote_apply"];

/// Fibers stand still at many locks while there is one of these.
struct Stalls(Arc<Shared>);

impl Stalls {
    fn begin(shared: &Arc<Shared>) -> Self {
        let mut stalls = shared.stalls.lock();
        stalls.0 += 1;
        if stalls.0 == 1 {
            let world = shared.cluster.lock().world();
            stalls.1 = Some(world.schedule());
            world.set_schedule(SCHEDULE);
        }
        Self(shared.clone())
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        let mut stalls = self.0.stalls.lock();
        stalls.0 -= 1;
        if stalls.0 == 0
            && let Some(before) = stalls.1.take()
        {
            self.0.cluster.lock().world().set_schedule(before);
        }
    }
}

/// Has them do so for a time.
pub(super) async fn stall(shared: Arc<Shared>, ms: u64) {
    let _stalls = Stalls::begin(&shared);
    pause(ms).await;
}

/// One of the sessions.
#[derive(Clone)]
struct Session {
    node: usize,
    /// The table, and its row.
    table: String,
    row: u64,
    until_ms: u64,
}

impl Session {
    fn update(&self, level: &str) -> String {
        let Self { table, row, .. } = self;
        let update = format!("update {table} set n = n + 1 where id = {row}");
        format!("begin; set local synchronous_commit = {level}; {update}; commit")
    }
}

fn pause(ms: u64) -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_millis(ms))
}

/// Has so many sessions write on a node. Whatever does not work is left.
pub(super) async fn write(shared: Arc<Shared>, (node, sessions): (usize, u64), ms: u64) {
    let lazy_ms = 3 * WAL_WRITER_DELAY_MS + LAZY_SLACK_MS;
    let from_ms = shared.now_ms();
    let until_ms = from_ms + ms;
    {
        let mut rests = shared.rests_until_ms.lock();
        *rests = (*rests).max(until_ms + ANSWER_MS + lazy_ms + QUIET_MS);
    }
    pause(REST_MS).await;
    let table = format!("alone_{from_ms}");
    let made = format!(
        "create table {table} (id int primary key, n bigint); \
         insert into {table} select g, 0 from generate_series(1, {sessions}) g"
    );
    if let Err(why) = ask(machine_of(node), &made, PATIENCE).await {
        return shared.tell(&format!("nobody writes alone on node {node}: {why}"));
    }
    let stalls = Stalls::begin(&shared);
    let one = |row| Session { node, table: table.clone(), row, until_ms };
    let tasks: Vec<_> = (1..=sessions).map(|row| shared.admin(commits(shared.clone(), one(row)))).collect();
    for task in tasks {
        let done = task.await;
        shared.tell(&format!("who wrote alone on node {node} ends: {done:?}"));
    }
    drop(stalls);
    let is_durable = commits_lazily(&shared, &one(1), lazy_ms).await;
    shared.tell(&format!("a commit that did not wait on node {node} is durable: {is_durable:?}"));
}

async fn writer(node: usize) -> Option<Client> {
    let mut client = Client::connect_to(&conninfo(machine_of(node))).await.ok()?;
    client.simple_query("set plimsoll.report_commit_lsn = on").await.ok()?;
    Some(client)
}

/// One commit after the other, and waits for some of them on a standby. How many; an error if something does
/// not work.
async fn commits(shared: Arc<Shared>, session: Session) -> Result<u32, u32> {
    let mut done = 0;
    match commits_until(&shared, &session, &mut done).await {
        Some(()) => Ok(done),
        None => Err(done),
    }
}

async fn commits_until(shared: &Shared, session: &Session, done: &mut u32) -> Option<()> {
    let mut rng = Rng::with_seed(shared.plan.seed.wrapping_mul(1_000_003).wrapping_add(session.row));
    // Who reads may hold redo up.
    let with_redo = !shared.plan.features.has(Feature::HeldSnapshots);
    let levels = if with_redo { &LEVELS[..] } else { &LEVELS[..3] };
    let mut on_primary = writer(session.node).await?;
    let standbys: Vec<usize> = shared.nodes().filter(|node| *node != session.node).collect();
    let standby = *standbys.get(rng.usize(..standbys.len().max(1)))?;
    let mut on_standby = Client::connect_to(&conninfo(machine_of(standby))).await.ok()?;
    while shared.now_ms() < session.until_ms {
        // What is soon there may be there before the one who waits for it does so.
        let level = if rng.u8(..3) > 0 { "remote_write" } else { levels[rng.usize(..levels.len())] };
        in_time(shared, session.node, &mut on_primary, &session.update(level)).await?;
        *done += 1;
        if with_redo && rng.u8(..3) == 0 {
            let token = on_primary.parameter("plimsoll.commit_lsn")?.to_owned();
            let wait = format!("WAIT FOR LSN '{token}' TIMEOUT 2000");
            in_time(shared, standby, &mut on_standby, &wait).await?;
        }
    }
    Some(())
}

/// Asks for something that has to be answered in time. None if it is not, or refused.
async fn in_time(shared: &Shared, node: usize, client: &mut Client, sql: &str) -> Option<()> {
    let from_ms = shared.now_ms();
    let answer = client.simple_query(sql);
    match tokio::time::timeout(Duration::from_millis(ANSWER_MS), answer).await {
        Ok(answer) => answer.ok().map(drop),
        Err(_) => {
            if peace::reigns(shared) {
                shared.fail(format!(
                    "Timely: nothing keeps node {node}, and \"{sql}\" of {from_ms} ms is not answered within \
                     {ANSWER_MS} ms"
                ));
            }
            None
        }
    }
}

/// A commit that does not wait, while nobody else does anything: it is durable after a while.
async fn commits_lazily(shared: &Shared, session: &Session, lazy_ms: u64) -> Option<bool> {
    let mut client = writer(session.node).await?;
    client.simple_query(&session.update("local")).await.ok()?;
    // Whoever flushed that is asleep again.
    pause(QUIET_MS).await;
    client.simple_query(&session.update("off")).await.ok()?;
    let token: Token = client.parameter("plimsoll.commit_lsn")?.parse().ok()?;
    let told_ms = shared.now_ms();
    pause(lazy_ms).await;
    let is_durable = lazy::is_durable(shared, session.node, &token)?;
    if !is_durable && peace::reigns(shared) {
        let node = session.node;
        shared.fail(format!(
            "Durable: node {node} has told of {token} at {told_ms} ms, and it is not durable yet"
        ));
    }
    Some(is_durable)
}
