//! What meets on purpose: two transactions that wait for each other, a key that somebody else has just taken,
//! and a row in the moment at which it becomes free.

use super::script::lock;
use super::session::{Session, Trouble};
use super::talker::Talker;
use super::{CROSSINGS, DEADLOCK_MS, PARTS_MAX, TICKET, number};
use crate::checks::COLLISION;
use crate::history::{Deed, Level, Outcome, Write};
use sqlstate::SqlState;
use std::collections::BTreeSet;

/// How many times a row is asked for.
const PEEKS: u32 = 60;

impl Talker {
    /// A transaction that leaves nothing.
    fn empty(&mut self) -> Deed {
        self.next_tx += 1;
        Deed::Write(Write::new(self.next_tx, Level::On, BTreeSet::new(), BTreeSet::new()))
    }

    /// Two transactions lock two rows, which are this client's, in opposite orders: one of them is told.
    pub(super) async fn cross(&mut self) {
        let Some((node, mut one)) = self.take_primary().await else { return };
        let Some(conninfo) = self.run.nodes.get(node).cloned() else { return };
        let Ok(mut other) = Session::open(&conninfo, self.statement_ms).await else {
            return self.keep(node, one).await;
        };
        let first = self.number * 2 % CROSSINGS;
        let updates = self.rng.bool();
        let lock = |row| match updates {
            true => format!("UPDATE crossings SET v = v + 1 WHERE k = {row}"),
            false => format!("SELECT v FROM crossings WHERE k = {row} FOR UPDATE"),
        };
        let (left, right) = (lock(first), lock(first + 1));
        let deed = self.empty();
        let pending = self.begin(node, "deadlock", deed);
        let begun = async {
            one.ask(&format!("BEGIN; {left}")).await?;
            other.ask(&format!("BEGIN; {right}")).await
        };
        if let Err(trouble) = begun.await {
            self.end(pending, trouble.outcome(false), |_| ());
            return self.keep_after(node, one, &trouble).await;
        }
        let now_ms = self.run.clock.now_ms();
        self.history().commits(pending, now_ms, now_ms + DEADLOCK_MS);
        let (ours, theirs) = tokio::join!(one.ask(&right), other.ask(&left));
        let text = |answer: &Result<_, Trouble>| match answer {
            Ok(_) => "locked".to_owned(),
            Err(trouble) => trouble.text().to_owned(),
        };
        let outcome = Outcome::Failed(format!("rolled back: {}; {}", text(&ours), text(&theirs)));
        self.end(pending, outcome, |_| ());
        if other.roll_back().await.is_ok() {
            other.client.close().await;
        }
        match ours {
            Ok(_) => self.keep(node, one).await,
            Err(trouble) => self.keep_after(node, one, &trouble).await,
        }
    }

    /// Asks for a row that a large transaction may have written, again and again, without waiting for it.
    pub(super) async fn peek(&mut self) {
        let Some((node, mut session)) = self.take_primary().await else { return };
        let found = self.history().open_large(node).and_then(|write| write.adds.first().copied());
        let Some(register) = found else { return self.keep(node, session).await };
        let deed = self.empty();
        let pending = self.begin(node, "row asked for", deed);
        let sql = format!("BEGIN; {} SKIP LOCKED; ROLLBACK", lock(register));
        for _ in 0..PEEKS {
            match session.ask(&sql).await {
                Ok(results) => {
                    if let Some(found) = results.iter().find(|result| !result.rows.is_empty()) {
                        self.history().meets(pending, number(found, 0, 1), self.run.clock.now_ms());
                    }
                }
                Err(trouble) => {
                    self.end(pending, trouble.outcome(false), |_| ());
                    return self.keep_after(node, session, &trouble).await;
                }
            }
            self.pause(0, 4).await;
        }
        self.end(pending, Outcome::Failed("rolled back".to_owned()), |_| ());
        self.keep(node, session).await;
    }

    /// Inserts a row whose key a transaction has that may wait for its commit, and hears that it is there.
    pub(super) async fn collide(&mut self) {
        let Some((node, mut session)) = self.take_primary().await else { return };
        let found = self.history().last_commit(node).and_then(|write| {
            let part = write.kept.first().copied().filter(|part| *part != TICKET)?;
            Some((write.tx, part))
        });
        let Some((theirs, part)) = found else { return self.keep(node, session).await };
        let deed = self.empty();
        let pending = self.begin(node, COLLISION, deed);
        let id = theirs * PARTS_MAX + u64::from(part);
        // Should it be free, nobody but this transaction sees that it is taken.
        let insert = format!("BEGIN; INSERT INTO parts VALUES ({id}, {}, {part}, '')", self.next_tx);
        match session.ask(&insert).await {
            Ok(_) => {
                self.end(pending, Outcome::Failed("rolled back".to_owned()), |_| ());
                self.keep(node, session).await;
            }
            Err(trouble) => {
                if trouble.code() == Some(SqlState::UNIQUE_VIOLATION) {
                    self.history().meets(pending, theirs, self.run.clock.now_ms());
                }
                self.end(pending, trouble.outcome(false), |_| ());
                self.keep_after(node, session, &trouble).await;
            }
        }
    }
}
