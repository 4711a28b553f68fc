//! log_lock_waits: the log is told of sessions that wait for a lock longer than deadlock_timeout.
//!
//! The locks know nothing of it. While the setting is on, the waits are looked at from time to time, a few
//! times in deadlock_timeout.

use crate::connection::registry::SessionHandle;
use crate::node::Node;
use host::Instant;
use protocol::{Report, Severity, SqlState};
use sql_interface::AdvisoryKey;
use sql_session::SqlEngine;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::{LockInfo, LockTarget};

/// Bounds of the time between two looks.
const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(250);

/// Session, transaction, and what is waited for.
type Key = (i32, u64, String);

struct Wait {
    since: Instant,
    mode: &'static str,
    is_told: bool,
}

/// Looks while the database is open.
pub(crate) fn start(node: &Arc<Node>) {
    node.tasks.spawn_writer(watch(node.clone()));
}

async fn watch(node: Arc<Node>) {
    let mut reloads = node.ground.reloads();
    let mut waits: BTreeMap<Key, Wait> = BTreeMap::new();
    loop {
        let config = node.ground.config();
        if !config.log_lock_waits {
            waits.clear();
            match reloads.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        }
        let limit = config.deadlock_timeout;
        tokio::time::sleep((limit / 4).clamp(LOOK_MIN, LOOK_MAX)).await;
        if let Some(engine) = node.engine() {
            look(&node, engine, &mut waits, limit);
        }
    }
}

/// A lock that a session holds or waits for, of storage's or an advisory one.
struct Seen {
    session: i32,
    transaction: u64,
    target: String,
    mode: &'static str,
    granted: bool,
}

fn seen(engine: &SqlEngine) -> Vec<Seen> {
    let stored = engine.database().locks().into_iter().map(|lock| {
        let LockInfo { session, transaction, mode, granted, .. } = lock;
        Seen { session, transaction, target: shown(engine, &lock.target), mode, granted }
    });
    let advisory = engine.advisory().list().into_iter().map(|lock| {
        let AdvisoryKey { class, object, pair } = lock.key;
        let (database, kind) = (sql_catalogue::POSTGRES_DATABASE, if pair { 2 } else { 1 });
        Seen {
            session: lock.session,
            transaction: 0,
            target: format!("advisory lock [{database},{class},{object},{kind}]"),
            mode: crate::views::advisory_mode(lock.shared),
            granted: lock.granted,
        }
    });
    stored.chain(advisory).collect()
}

fn look(node: &Node, engine: &SqlEngine, waits: &mut BTreeMap<Key, Wait>, limit: Duration) {
    let sessions = node.sessions.list();
    let waits_for_lock = |session: &Arc<SessionHandle>| session.waits_since().is_some();
    let is_waited = sessions.iter().any(waits_for_lock);
    if !is_waited && waits.is_empty() {
        return;
    }
    let locks = if is_waited { seen(engine) } else { Vec::new() };
    let now = Instant::now();
    for lock in locks.iter().filter(|lock| !lock.granted && lock.session != 0) {
        let key = (lock.session, lock.transaction, lock.target.clone());
        let session = sessions.iter().find(|session| session.key.pid == lock.session);
        let since = session.and_then(|session| session.waits_since()).unwrap_or(now);
        let wait = waits.entry(key.clone()).or_insert(Wait { since, mode: lock.mode, is_told: false });
        let waited = now.duration_since(wait.since);
        if !wait.is_told && waited >= limit {
            wait.is_told = true;
            let what = format!("still waiting for {} on {} after {}", wait.mode, key.2, ms(waited));
            tell(node, &sessions, lock.session, &what, Some(queue(&locks, lock)));
        }
    }
    waits.retain(|(session, transaction, target), wait| {
        let is_same = |lock: &&Seen| {
            lock.session == *session && lock.transaction == *transaction && lock.target == *target
        };
        if locks.iter().any(|lock| is_same(&lock) && !lock.granted) {
            return true;
        }
        if wait.is_told {
            let has_it = locks.iter().any(|lock| is_same(&lock) && lock.granted);
            let how = if has_it { "acquired" } else { "no longer waits for" };
            let what =
                format!("{how} {} on {target} after {}", wait.mode, ms(now.duration_since(wait.since)));
            tell(node, &sessions, *session, &what, None);
        }
        false
    });
}

fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

fn shown(engine: &SqlEngine, target: &LockTarget) -> String {
    match *target {
        LockTarget::Table(tree) => {
            format!("relation {} of database {}", engine.relation_of(tree), tree.database)
        }
        LockTarget::Row(tree, hash) => {
            let relation = engine.relation_of(tree);
            format!("tuple {hash:016x} of relation {relation} of database {}", tree.database)
        }
    }
}

/// Who holds what this one waits for, and who waits for the same.
fn queue(locks: &[Seen], waiter: &Seen) -> String {
    let of = |granted: bool| {
        let same = locks.iter().filter(|lock| lock.target == waiter.target && lock.granted == granted);
        same.map(|lock| lock.session.to_string()).collect::<Vec<_>>()
    };
    let (holders, waiting) = (of(true), of(false));
    let word = if holders.len() == 1 { "Process" } else { "Processes" };
    format!("{word} holding the lock: {}. Wait queue: {}.", holders.join(", "), waiting.join(", "))
}

fn tell(node: &Node, sessions: &[Arc<SessionHandle>], pid: i32, what: &str, detail: Option<String>) {
    let message = format!("process {pid} {what}");
    let report = Report { detail, ..Report::new(Severity::Log, SqlState::SUCCESSFUL_COMPLETION, message) };
    let session = sessions.iter().find(|session| session.key.pid == pid);
    let context = session.map(|session| session.log_context());
    let statement = session.map(|session| session.statement());
    node.ground.log.write(context.as_ref(), &report, statement.as_ref().map(|statement| statement.text()));
}
