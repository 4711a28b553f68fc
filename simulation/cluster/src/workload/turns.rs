//! Turns that are taken one after the other, under a lock on a row or a table that nobody writes: each finds
//! what the one before it has left.

use super::talker::Talker;

/// The rows of `gates`; the gate behind them is the table itself.
pub(super) const ROWS: u32 = 2;

impl Talker {
    /// The next turn at some gate.
    pub(super) async fn take_turn(&mut self) {
        let Some((node, mut session)) = self.take_primary().await else { return };
        let gate = self.rng.u32(..=ROWS);
        let lock = match gate {
            ROWS => "LOCK TABLE gates IN EXCLUSIVE MODE".to_owned(),
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
