//! A client: which node it asks, what it remembers, what it does next.

use super::Workload;
use super::session::{STATEMENT_MAX_MS, Session, Trouble};
use super::tables::Table;
use crate::branch::Token;
use crate::features::Feature;
use crate::history::{Deed, History, Level, Outcome, Pending};
use crate::rare::Rare;
use fastrand::Rng;
use parking_lot::MutexGuard;
use sqlstate::SqlState;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One of so many operations is a turn, where clients take turns.
const TURNS: u8 = 4;

/// A client.
pub(super) struct Talker {
    pub(super) run: Arc<Workload>,
    pub(super) number: u32,
    pub(super) rng: Rng,
    /// How long the server may spend on a statement.
    pub(super) statement_ms: u64,
    sessions: Vec<Option<Session>>,
    /// The node that it takes for the primary.
    primary: usize,
    /// The newest token that it was given.
    pub(super) token: Option<Token>,
    /// Goes up whenever it forgets its token.
    pub(super) session: u32,
    pub(super) next_tx: u64,
    pub(super) tables: Vec<Table>,
    pub(super) next_table: u32,
    /// The newest replayed snapshot that it saw on each standby.
    pub(super) replayed: BTreeMap<usize, Token>,
}

impl Talker {
    pub(super) fn new(run: Arc<Workload>, number: u32) -> Self {
        let mut rng = Rng::with_seed(run.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number)));
        let is_patient = !run.features.has(Feature::Timeouts) || rng.bool();
        let statement_ms = if is_patient { STATEMENT_MAX_MS } else { rng.u64(200..STATEMENT_MAX_MS) };
        let sessions = run.nodes.iter().map(|_| None).collect();
        Self {
            run,
            number,
            rng,
            statement_ms,
            sessions,
            primary: 0,
            token: None,
            session: 0,
            next_tx: (u64::from(number) + 1) << 24,
            tables: Vec::new(),
            next_table: 0,
            replayed: BTreeMap::new(),
        }
    }

    /// Works until the operations are done, or it is told to stop.
    pub(super) async fn work(mut self) {
        for _ in 0..self.run.operations_max {
            if self.run.stop.load(Ordering::SeqCst) {
                break;
            }
            while self.run.clock.now_ms() < self.run.rests_until_ms.load(Ordering::SeqCst) {
                self.pause(5, 20).await;
            }
            if self.at_times(Feature::Turns, TURNS) {
                self.take_turn().await;
                self.pause(1, 30).await;
                continue;
            }
            match self.rng.u8(..100) {
                0..=59 => self.write().await,
                60..=69 if self.has(Feature::Ddl) => self.change_tables().await,
                70 if self.has(Feature::Deadlocks) => self.cross().await,
                71..=73 if self.has(Feature::Collisions) => self.collide().await,
                74..=81 if self.has(Feature::Numbers) => self.take_numbers().await,
                82..=89 if self.has(Feature::TableReads) => self.look_at_tables().await,
                90..=96 if self.has(Feature::Peeks) => self.peek().await,
                _ => self.read().await,
            }
            self.pause(1, 30).await;
        }
        for session in self.sessions.into_iter().flatten() {
            session.client.close().await;
        }
    }

    pub(super) fn has(&self, feature: Feature) -> bool {
        self.run.features.has(feature)
    }

    /// Whether a feature is switched on, and it is its turn: once in `times`.
    pub(super) fn at_times(&mut self, feature: Feature, times: u8) -> bool {
        self.has(feature) && self.rng.u8(..times) == 0
    }

    pub(super) fn some_level(&mut self) -> Level {
        if self.rng.u8(..4) == 0 {
            return Level::On;
        }
        let levels = if self.has(Feature::WeakLevels) { &Level::ALL[..] } else { &Level::ALL[2..] };
        levels[self.rng.usize(..levels.len())]
    }

    pub(super) async fn pause(&mut self, from_ms: u64, to_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.rng.u64(from_ms..to_ms))).await;
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.run.history.lock()
    }

    pub(super) fn begin(&self, node: usize, kind: &'static str, deed: Deed) -> Pending {
        self.history().begin((self.number, self.session), node, kind, self.run.clock.now_ms(), deed)
    }

    pub(super) fn end(&self, pending: Pending, outcome: Outcome, change: impl FnOnce(&mut Deed)) {
        self.history().end(pending, self.run.clock.now_ms(), outcome, change);
    }

    pub(super) fn hit(&self, rare: Rare) {
        self.history().hit(rare);
    }

    /// A session on a node; None if the node takes none.
    pub(super) async fn take(&mut self, node: usize) -> Option<Session> {
        if let Some(session) = self.sessions.get_mut(node).and_then(Option::take) {
            return Some(session);
        }
        match Session::open(self.run.nodes.get(node)?, self.statement_ms).await {
            Ok(session) => Some(session),
            Err(trouble) => {
                self.note(&trouble);
                None
            }
        }
    }

    /// Keeps a session for later.
    pub(super) async fn keep(&mut self, node: usize, mut session: Session) {
        if session.roll_back().await.is_ok()
            && let Some(place) = self.sessions.get_mut(node)
        {
            *place = Some(session);
        }
    }

    /// A node that takes writes, with a session; None if none was found in one round.
    pub(super) async fn take_primary(&mut self) -> Option<(usize, Session)> {
        let count = self.run.nodes.len();
        // Of two that take writes the other one is found at times.
        let first = if self.rng.u8(..16) == 0 { self.rng.usize(..count) } else { self.primary };
        for step in 0..count {
            let node = (first + step) % count;
            let Some(mut session) = self.take(node).await else { continue };
            // A session of before a promotion hears of it with its next answer.
            if session.is_standby() && session.ask("SHOW in_hot_standby").await.is_err() {
                continue;
            }
            if !session.is_standby() {
                self.primary = node;
                return Some((node, session));
            }
            self.keep(node, session).await;
        }
        self.pause(10, 80).await;
        None
    }

    /// Looks for the primary elsewhere next time.
    pub(super) fn leave(&mut self, node: usize) {
        self.primary = (node + 1) % self.run.nodes.len().max(1);
    }

    /// Keeps the session if it is still of use, and looks elsewhere for the primary if this was none.
    pub(super) async fn keep_after(&mut self, node: usize, session: Session, trouble: &Trouble) {
        self.note(trouble);
        let is_read_only = trouble.code() == Some(SqlState::READ_ONLY_SQL_TRANSACTION);
        if trouble.ends_session() || is_read_only {
            self.leave(node);
        }
        if !trouble.ends_session() {
            self.keep(node, session).await;
        }
        if trouble.ends_session() || is_read_only {
            self.pause(5, 60).await;
        }
    }

    fn note(&self, trouble: &Trouble) {
        if trouble.text().contains("fenced") {
            self.hit(Rare::RefusedByFence);
        }
        if trouble.code() == Some(SqlState::DISK_FULL) {
            self.hit(Rare::DiskFullAtCommit);
        }
        if trouble.text().contains("conflict with recovery") {
            self.hit(Rare::ConflictWithReplay);
        }
    }

    /// Remembers a token if it is newer. That of another branch begins a session of its own: what was seen on
    /// the one that it leaves may be lost.
    pub(super) fn remember(&mut self, token: &Token) {
        match &self.token {
            Some(known) if known.branch == token.branch && known.at >= token.at => {}
            Some(known) if known.branch == token.branch => self.token = Some(token.clone()),
            Some(known) if known.branch.timeline() > token.branch.timeline() => {}
            known => {
                self.session += u32::from(known.is_some());
                self.token = Some(token.clone());
            }
        }
    }

    /// Forgets the token, which no node will have any more.
    pub(super) fn forget(&mut self) {
        self.token = None;
        self.session += 1;
    }
}
