//! Numbers that are taken from a sequence: none is given twice, unless what stands for it was lost with its
//! branch.

use super::session::{Session, Trouble};
use super::talker::Talker;
use crate::branch::Token;
use crate::history::{Deed, Numbers, Outcome};
use crate::plan::Answered;
use protocol::client::QueryResult;
use wal::Lsn;

/// So many are taken at once, at most; and what a server reserves at once.
const NUMBERS_MAX: u32 = 50;
const RESERVED: u32 = 33;

impl Talker {
    /// Some numbers, in one statement.
    pub(super) async fn take_numbers(&mut self) {
        let Some((node, mut session)) = self.take_primary().await else { return };
        let count = 1 + self.rng.u32(..NUMBERS_MAX);
        let pending = self.begin(node, "numbers", Deed::Take(Numbers::default()));
        match take(&mut session, count).await {
            Ok(numbers) => {
                let token = session.snapshot_token().map(|begun| Token { at: Lsn::MAX, ..begun });
                let outcome = Outcome::Acked { token, warnings: session.warnings() };
                self.end(pending, outcome, |deed| *deed = Deed::Take(numbers));
                self.run.witness.hears(Answered::Commit);
                match place(&mut session).await {
                    Ok(token) => {
                        self.history().is_placed(pending, token);
                        self.keep(node, session).await;
                    }
                    Err(trouble) => self.keep_after(node, session, &trouble).await,
                }
            }
            Err(trouble) => {
                self.end(pending, trouble.outcome(true), |_| ());
                self.keep_after(node, session, &trouble).await;
            }
        }
    }
}

/// Takes so many.
async fn take(session: &mut Session, count: u32) -> Result<Numbers, Trouble> {
    let mut behind = None;
    if count > RESERVED {
        let end = session.ask("SELECT pg_current_wal_insert_lsn()").await?;
        behind = end.last().and_then(|end| end.text(0, 0)?.parse().ok());
    }
    let taken = session.ask(&format!("SELECT nextval('numbers') FROM generate_series(1, {count})")).await?;
    Ok(Numbers { values: taken.last().map(numbers_of).unwrap_or_default(), behind })
}

fn numbers_of(result: &QueryResult) -> Vec<i64> {
    (0..result.rows.len()).map(|row| super::number(result, row, 0)).collect()
}

/// A position behind all that the session was told before.
async fn place(session: &mut Session) -> Result<Option<Token>, Trouble> {
    session.ask("SELECT v FROM crossings WHERE k = 0").await?;
    Ok(session.snapshot_token())
}
