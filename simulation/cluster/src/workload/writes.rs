//! Transactions.

use super::script::{Script, Step, Traits, add, lock};
use super::session::{Session, Trouble};
use super::talker::Talker;
use super::{LOOK, number, registers_of};
use crate::features::Feature;
use crate::history::{Deed, Level, Outcome, Pending, Write};
use crate::plan::Answered;
use crate::rare::Rare;
use protocol::client::QueryResult;
use std::time::Duration;

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Commit,
    /// The commit's wait is cancelled after so many milliseconds.
    Cancel(u64),
    /// Statements may run for so many milliseconds only, COMMIT among them.
    Timeout(u64),
    RollBack,
    GoBefore,
    GoWithCommit,
}

impl Ending {
    /// What kind of operation it makes of one of this kind.
    fn kind(self, of: &'static str) -> &'static str {
        match self {
            Self::Commit => of,
            Self::Cancel(_) => "cancelled wait",
            Self::Timeout(_) => "timeout",
            Self::RollBack => "rolled back",
            Self::GoBefore => "gone before commit",
            Self::GoWithCommit => "gone in commit",
        }
    }
}

impl Talker {
    fn some_ending(&mut self) -> Ending {
        if self.at_times(Feature::CancelledWaits, 10) {
            return Ending::Cancel(self.rng.u64(..60));
        }
        if self.at_times(Feature::Timeouts, 12) {
            return Ending::Timeout(self.rng.u64(1..80));
        }
        if self.at_times(Feature::Disappear, 14) {
            return if self.rng.bool() { Ending::GoBefore } else { Ending::GoWithCommit };
        }
        if self.at_times(Feature::Savepoints, 20) { Ending::RollBack } else { Ending::Commit }
    }

    /// One transaction of rows.
    pub(super) async fn write(&mut self) {
        let Some((node, mut session)) = self.take_primary().await else { return };
        let traits = Traits::random(&mut self.rng, &self.run.features);
        let ending = self.some_ending();
        self.next_tx += 1;
        let script = Script::random(&mut self.rng, self.next_tx, traits);
        let level = self.some_level();
        let deed = Deed::Write(Write::new(script.tx, level, script.kept.clone(), script.adds.clone()));
        let repeats = self.rng.u8(..6) == 0;
        let isolation = if repeats { "REPEATABLE READ" } else { "READ COMMITTED" };
        let mut begin =
            format!("BEGIN ISOLATION LEVEL {isolation}; SET LOCAL synchronous_commit = {}", level.name());
        if let Ending::Timeout(ms) = ending {
            begin.push_str(&format!("; SET LOCAL statement_timeout = {ms}"));
        }
        let at_once = ending == Ending::Commit && script.fits_one_message() && self.rng.bool();
        session.warnings();
        let pending = self.begin(node, ending.kind(traits.kind()), deed);
        if at_once {
            let answer = session.ask(&one_message(&begin, &script)).await;
            let answer =
                answer.map(|results| values_in(&script, &results)).map_err(|trouble| (trouble, true));
            return self.finish(node, session, pending, answer).await;
        }
        let prepared = self.rng.u8(..3) == 0;
        let meets = |tx| self.history().meets(pending, tx, self.run.clock.now_ms());
        let begun = self.begin_transaction(&mut session, &begin, repeats.then_some(pending)).await;
        let wrote = match begun {
            Ok(()) => run(&mut session, &script, prepared, meets).await,
            Err(trouble) => Err(trouble),
        };
        let wrote = match wrote {
            Ok(wrote) => wrote,
            Err(trouble) => return self.finish(node, session, pending, Err((trouble, false))).await,
        };
        let limit_ms = match ending {
            Ending::Timeout(ms) | Ending::Cancel(ms) => Some(ms),
            Ending::Commit => Some(self.statement_ms),
            Ending::RollBack | Ending::GoBefore | Ending::GoWithCommit => None,
        };
        if let Some(ms) = limit_ms {
            let now_ms = self.run.clock.now_ms();
            self.history().commits(pending, now_ms, now_ms + ms);
        }
        let answer = match ending {
            Ending::Commit | Ending::Timeout(_) => session.ask("COMMIT").await,
            Ending::Cancel(ms) => session.ask_and_cancel("COMMIT", Duration::from_millis(ms)).await,
            Ending::RollBack => {
                let outcome = Outcome::Failed("rolled back".to_owned());
                self.end(pending, outcome, |_| ());
                return self.keep(node, session).await;
            }
            Ending::GoBefore => return self.end(pending, Outcome::Failed("went away".to_owned()), |_| ()),
            Ending::GoWithCommit => {
                session.send_and_go("COMMIT").await;
                self.hit(Rare::GoneInCommit);
                return self.end(pending, Outcome::Unknown("went away".to_owned()), |_| ());
            }
        };
        let answer = answer.and_then(|results| was_committed(&results)).map(|()| wrote);
        self.finish(node, session, pending, answer.map_err(|trouble| (trouble, true))).await;
    }

    /// Begins a transaction; what `repeats` looks at its snapshot first.
    async fn begin_transaction(
        &self,
        session: &mut Session,
        begin: &str,
        repeats: Option<Pending>,
    ) -> Result<(), Trouble> {
        session.ask(begin).await?;
        if let Some(pending) = repeats {
            let registers = session.ask(LOOK).await?;
            if let Some(registers) = registers.last() {
                self.history().looks(pending, registers_of(registers).0);
            }
        }
        Ok(())
    }

    /// Notes what a transaction came to.
    async fn finish(
        &mut self,
        node: usize,
        mut session: Session,
        pending: Pending,
        answer: Result<Vec<(u8, u32)>, (Trouble, bool)>,
    ) {
        match answer {
            Ok(values) => {
                let outcome = self.acked(&mut session);
                let waited = matches!(&outcome, Outcome::Acked { warnings, .. } if warnings.is_empty());
                let mut level = Level::Off;
                self.end(pending, outcome, |deed| {
                    if let Deed::Write(write) = deed {
                        write.wrote = values;
                        level = write.level;
                    }
                });
                if waited && level == Level::On {
                    self.run.witness.hears(Answered::Commit);
                }
                self.keep(node, session).await;
            }
            Err((trouble, sent)) => {
                self.end(pending, trouble.outcome(sent), |_| ());
                self.keep_after(node, session, &trouble).await;
            }
        }
    }

    /// What an acknowledged commit was told.
    pub(super) fn acked(&mut self, session: &mut Session) -> Outcome {
        let token = session.commit_token();
        if let Some(token) = &token {
            self.remember(token);
        }
        let warnings = session.warnings();
        if warnings.iter().any(|warning| warning.contains("canceling wait")) {
            self.hit(Rare::CancelledWait);
        }
        Outcome::Acked { token, warnings }
    }
}

/// A COMMIT of a transaction that had failed rolls it back, and says so in its tag.
pub(super) fn was_committed(results: &[QueryResult]) -> Result<(), Trouble> {
    match results.last() {
        Some(result) if result.tag == "COMMIT" => Ok(()),
        other => Err(Trouble::Refused {
            code: sqlstate::SqlState::IN_FAILED_SQL_TRANSACTION,
            text: format!("COMMIT came to {:?}", other.map(|result| &result.tag)),
            fatal: false,
        }),
    }
}

fn one_message(begin: &str, script: &Script) -> String {
    let mut sql = begin.to_owned();
    for step in &script.steps {
        sql.push_str("; ");
        match step {
            Step::Sql(statement) => sql.push_str(statement),
            Step::Add(register) => sql.push_str(&add(*register, script.tx, script.quiet)),
            Step::Lock(register) => sql.push_str(&lock(*register)),
            Step::Reinsert(_) | Step::Copy(_) | Step::Linger(_) => {}
        }
    }
    sql.push_str("; COMMIT");
    sql
}

/// The values that a message's updates returned, for the registers that stay. That of a register that was
/// taken back comes behind them.
fn values_in(script: &Script, results: &[QueryResult]) -> Vec<(u8, u32)> {
    if script.quiet {
        return Vec::new();
    }
    let returned = results.iter().filter(|result| result.tag.starts_with("UPDATE"));
    script.adds.iter().copied().zip(returned.map(|result| number(result, 0, 0))).collect()
}

/// Runs the steps before COMMIT, with the extended protocol if `prepared`, and tells `meets` which
/// transactions' rows are shown by that. Gives the registers with their new values.
async fn run(
    session: &mut Session,
    script: &Script,
    prepared: bool,
    meets: impl Fn(u64),
) -> Result<Vec<(u8, u32)>, Trouble> {
    let mut wrote = Vec::new();
    for step in &script.steps {
        match step {
            Step::Sql(statement) if prepared && !statement.contains(';') => {
                session.ask_prepared(statement).await?;
            }
            Step::Sql(statement) => drop(session.ask(statement).await?),
            Step::Add(register) => {
                let sql = add(*register, script.tx, script.quiet);
                let result = if prepared {
                    Some(session.ask_prepared(&sql).await?)
                } else {
                    session.ask(&sql).await?.pop()
                };
                let result = result.filter(|_| !script.quiet);
                wrote.extend(result.map(|result| (*register, number(&result, 0, 0))));
            }
            Step::Lock(register) => {
                let results = session.ask(&lock(*register)).await?;
                meets(results.last().map_or(0, |result| number(result, 0, 1)));
            }
            Step::Reinsert(register) => {
                let sql = format!("DELETE FROM registers WHERE k = {register} RETURNING v");
                let results = session.ask(&sql).await?;
                let value: u32 = results.last().map_or(0, |result| number(result, 0, 0)) + 1;
                let tx = script.tx;
                session
                    .ask(&format!("INSERT INTO registers (k, v, tx) VALUES ({register}, {value}, {tx})"))
                    .await?;
                wrote.push((*register, value));
            }
            Step::Linger(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Step::Copy(lines) => session.copy("COPY parts FROM STDIN", lines).await?,
        }
    }
    Ok(wrote)
}
