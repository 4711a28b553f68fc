//! Looks at all registers.

use super::session::{Session, Trouble};
use super::talker::Talker;
use super::{LOOK, PARTS_MAX, TICKET, parts_of, registers_of};
use crate::branch::Token;
use crate::features::Feature;
use crate::history::{Deed, Outcome, Read, Seen, View};
use crate::plan::Answered;
use crate::rare::Rare;
use sqlstate::SqlState;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait for a token.
const TOKEN_MAX_MS: u64 = 1000;

impl Talker {
    /// A session for a look at the primary, or `anywhere`, and what is seen by it.
    pub(super) async fn take_to_look(&mut self, anywhere: bool) -> Option<(usize, Session, View)> {
        let (node, session) = if anywhere {
            let node = self.rng.usize(..self.run.nodes.len());
            (node, self.take(node).await?)
        } else {
            self.take_primary().await?
        };
        let view = match (session.is_standby(), self.at_times(Feature::ConfirmedReads, 2)) {
            (false, _) => View::Primary,
            (true, true) => View::Confirmed,
            (true, false) => View::Replayed,
        };
        Some((node, session, view))
    }

    /// One look at some node.
    pub(super) async fn read(&mut self) {
        let anywhere = self.has(Feature::StandbyReads) && self.rng.u8(..4) > 0;
        let Some((node, mut session, view)) = self.take_to_look(anywhere).await else { return };
        let is_standby = view != View::Primary;
        let after = if self.at_times(Feature::Tokens, 2) { self.token.clone() } else { None };
        let kind = match (view, &after) {
            (View::Primary, None) => "read of a primary",
            (View::Primary, Some(_)) => "read of a primary after a token",
            (View::Replayed, None) => "read of a standby",
            (View::Replayed, Some(_)) => "read of a standby after a token",
            (View::Confirmed, None) => "confirmed read",
            (View::Confirmed, Some(_)) => "confirmed read after a token",
        };
        let holds_ms = self.at_times(Feature::HeldSnapshots, 4).then(|| self.rng.u64(100..2500));
        let is_whole = holds_ms.is_some() || self.rng.u8(..3) == 0;
        let by_wait = self.rng.bool();
        let pending = self.begin(node, kind, Deed::Read(Read { view, after: after.clone(), seen: None }));
        let order = Order { view, after: after.as_ref().map(|token| (token, by_wait)), is_whole, holds_ms };
        match look(&mut session, order).await {
            Ok(Some((seen, again))) if session.is_standby() == is_standby => {
                self.saw(node, view, &seen, after.is_some());
                let outcome = Outcome::Acked { token: Some(seen.at.clone()), warnings: session.warnings() };
                self.end(pending, outcome, |deed| {
                    if let Deed::Read(read) = deed {
                        read.seen = Some(seen);
                    }
                });
                if let Some(again) = again {
                    self.saw_again(node, view, again);
                }
                if view == View::Primary {
                    self.run.witness.hears(Answered::Read);
                }
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

    /// Notes what a snapshot that was held has shown in the end.
    fn saw_again(&self, node: usize, view: View, seen: Seen) {
        let token = Some(seen.at.clone());
        let deed = Deed::Read(Read { view, after: None, seen: Some(seen) });
        let pending = self.begin(node, "read of a held snapshot", deed);
        self.end(pending, Outcome::Acked { token, warnings: Vec::new() }, |_| ());
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

/// How to look.
struct Order<'t> {
    view: View,
    /// A token to follow, and whether by WAIT FOR.
    after: Option<(&'t Token, bool)>,
    /// Whether the parts of some of the transactions that wrote the registers are looked at, too.
    is_whole: bool,
    /// For how long the snapshot is held before a second look.
    holds_ms: Option<u64>,
}

/// Looks at the registers, and once more if the snapshot is held. None if the server names no snapshot.
async fn look(session: &mut Session, order: Order<'_>) -> Result<Option<(Seen, Option<Seen>)>, Trouble> {
    let reads = if order.view == View::Confirmed { "confirmed" } else { "replayed" };
    let mut settings = format!("SET plimsoll.standby_reads = {reads}; ");
    match order.after {
        Some((token, false)) => settings.push_str(&format!("SET plimsoll.read_after = '{token}'")),
        _ => settings.push_str("RESET plimsoll.read_after"),
    }
    session.ask(&settings).await?;
    if let Some((token, true)) = order.after {
        session.ask(&format!("WAIT FOR LSN '{token}' TIMEOUT {TOKEN_MAX_MS}")).await?;
    }
    if order.is_whole {
        session.ask("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    }
    let registers = session.ask(LOOK).await?;
    let Some(registers) = registers.last() else { return Ok(None) };
    let (values, writers) = registers_of(registers);
    let Some(at) = session.snapshot_token() else { return Ok(None) };
    let mut seen = Seen { at, values, writers, parts: BTreeMap::new() };
    let mut again = None;
    if let Some(ms) = order.holds_ms {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let registers = session.ask(LOOK).await?;
        let Some(registers) = registers.last() else { return Ok(None) };
        let (values, writers) = registers_of(registers);
        again = Some(Seen { at: seen.at.clone(), values, writers, parts: BTreeMap::new() });
    }
    if order.is_whole {
        for tx in writers.iter().filter(|tx| **tx != 0).take(3) {
            let (from, to) = (tx * PARTS_MAX, (tx + 1) * PARTS_MAX);
            let rows = format!(
                "SELECT tx, part FROM parts WHERE id >= {from} AND id < {to} \
                 UNION ALL SELECT tx, {TICKET} FROM tickets WHERE tx = {tx}"
            );
            let rows = session.ask(&rows).await?;
            let found = rows.last().map(parts_of).unwrap_or_default();
            seen.parts.insert(*tx, found.get(tx).cloned().unwrap_or_default());
        }
        session.ask("COMMIT").await?;
    }
    Ok(Some((seen, again)))
}
