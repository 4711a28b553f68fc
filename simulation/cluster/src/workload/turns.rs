//! Turns that are taken one after the other, under a lock on a row or a table that nobody writes or an
//! advisory one: each finds what the one before it has left.

use super::talker::Talker;

/// The rows of `gates`; the gates behind them are the table itself and an advisory lock.
pub(super) const ROWS: u32 = 2;
const TABLE: u32 = ROWS;
const ADVISORY: u32 = ROWS + 1;

impl Talker {
    /// The next turn at some gate.
    pub(super) async fn take_turn(&mut self) {
        let Some((node, mut session)) = self.take_primary().await else { return };
        let gate = self.rng.u32(..=ADVISORY);
        let lock = match gate {
            TABLE => "LOCK TABLE gates IN EXCLUSIVE MODE".to_owned(),
            ADVISORY => "SELECT pg_advisory_xact_lock(1)".to_owned(),
            row => format!("SELECT k FROM gates WHERE k = {row} FOR UPDATE"),
        };
        let level = self.some_level();
        let turn = format!(
            "BEGIN; SET LOCAL synchronous_commit = {}; {lock}; INSERT INTO turns \
             SELECT {gate}, coalesce(max(n), 0) + 1 FROM turns WHERE gate = {gate}; COMMIT",
            level.name()
        );
        match session.ask(&turn).await {
            Ok(_) => self.keep(node, session).await,
            Err(trouble) => self.keep_after(node, session, &trouble).await,
        }
    }
}
