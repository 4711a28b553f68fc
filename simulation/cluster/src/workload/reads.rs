//! Looks at all registers.

use super::session::{Session, Trouble};
use super::talker::Talker;
use super::{LOOK, PARTS_MAX, TICKET, parts_of, registers_of};
use crate::branch::Token;
use crate::features::Feature;
use crate::history::{Deed, Outcome, Read, Seen, View};
use crate::rare::Rare;
use sqlstate::SqlState;
use std::collections::BTreeMap;

/// Longest wait for a token.
const TOKEN_MAX_MS: u64 = 1000;

impl Talker {
    /// One look at some node.
    pub(super) async fn read(&mut self) {
        let count = self.run.nodes.len();
        let anywhere = self.has(Feature::StandbyReads) && self.rng.u8(..4) > 0;
        let (node, mut session) = if anywhere {
            let node = self.rng.usize(..count);
            let Some(session) = self.take(node).await else { return };
            (node, session)
        } else {
            let Some(found) = self.take_primary().await else { return };
            found
        };
        let is_standby = session.is_standby();
        let view = match (is_standby, self.at_times(Feature::ConfirmedReads, 2)) {
            (false, _) => View::Primary,
            (true, true) => View::Confirmed,
            (true, false) => View::Replayed,
        };
        let after = if self.at_times(Feature::Tokens, 2) { self.token.clone() } else { None };
        let kind = match (view, &after) {
            (View::Primary, None) => "read of a primary",
            (View::Primary, Some(_)) => "read of a primary after a token",
            (View::Replayed, None) => "read of a standby",
            (View::Replayed, Some(_)) => "read of a standby after a token",
            (View::Confirmed, None) => "confirmed read",
            (View::Confirmed, Some(_)) => "confirmed read after a token",
        };
        let is_whole = self.rng.u8(..3) == 0;
        let by_wait = self.rng.bool();
        let pending = self.begin(node, kind, Deed::Read(Read { view, after: after.clone(), seen: None }));
        match look(&mut session, view, after.as_ref().map(|token| (token, by_wait)), is_whole).await {
            Ok(Some(seen)) if session.is_standby() == is_standby => {
                self.saw(node, view, &seen, after.is_some());
                let outcome = Outcome::Acked { token: Some(seen.at.clone()), warnings: session.warnings() };
                self.end(pending, outcome, |deed| {
                    if let Deed::Read(read) = deed {
                        read.seen = Some(seen);
                    }
                });
                self.keep(node, session).await;
            }
            Ok(_) => {
                // It was promoted meanwhile, so nobody knows as what it answered; or it named no snapshot.
                self.end(pending, Outcome::Failed("no snapshot of one kind".to_owned()), |_| ());
                self.keep(node, session).await;
            }
            Err(trouble) => {
                self.end(pending, trouble.outcome(false), |_| ());
                let is_refused = trouble.code() == Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
                if is_refused && after.is_some() {
                    self.hit(Rare::TokenRefused);
                    self.forget();
                }
                if is_standby && !trouble.ends_session() {
                    return self.keep(node, session).await;
                }
                self.keep_after(node, session, &trouble).await;
            }
        }
    }

    fn saw(&mut self, node: usize, view: View, seen: &Seen, followed: bool) {
        match view {
            View::Replayed => drop(self.replayed.insert(node, seen.at.clone())),
            View::Confirmed => {
                let is_behind = self
                    .replayed
                    .get(&node)
                    .is_some_and(|replayed| replayed.branch == seen.at.branch && seen.at.at < replayed.at);
                if is_behind {
                    self.hit(Rare::ConfirmedBehind);
                }
            }
            View::Primary => {}
        }
        if followed || view == View::Primary {
            self.remember(&seen.at);
        }
    }
}

/// Looks at the registers, and at the parts of some of the transactions that wrote them. None if the server
/// names no snapshot.
async fn look(
    session: &mut Session,
    view: View,
    after: Option<(&Token, bool)>,
    is_whole: bool,
) -> Result<Option<Seen>, Trouble> {
    let reads = if view == View::Confirmed { "confirmed" } else { "replayed" };
    let mut settings = format!("SET plimsoll.standby_reads = {reads}; ");
    match after {
        Some((token, false)) => settings.push_str(&format!("SET plimsoll.read_after = '{token}'")),
        _ => settings.push_str("RESET plimsoll.read_after"),
    }
    session.ask(&settings).await?;
    if let Some((token, true)) = after {
        session.ask(&format!("WAIT FOR LSN '{token}' TIMEOUT {TOKEN_MAX_MS}")).await?;
    }
    if is_whole {
        session.ask("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    }
    let registers = session.ask(LOOK).await?;
    let Some(registers) = registers.last() else { return Ok(None) };
    let (values, writers) = registers_of(registers);
    let Some(at) = session.snapshot_token() else { return Ok(None) };
    let mut parts = BTreeMap::new();
    if is_whole {
        for tx in writers.iter().filter(|tx| **tx != 0).take(3) {
            let (from, to) = (tx * PARTS_MAX, (tx + 1) * PARTS_MAX);
            let rows = format!(
                "SELECT tx, part FROM parts WHERE id >= {from} AND id < {to} \
                 UNION ALL SELECT tx, {TICKET} FROM tickets WHERE tx = {tx}"
            );
            let rows = session.ask(&rows).await?;
            let found = rows.last().map(parts_of).unwrap_or_default();
            parts.insert(*tx, found.get(tx).cloned().unwrap_or_default());
        }
        session.ask("COMMIT").await?;
    }
    Ok(Some(Seen { at, values, writers, parts }))
}
