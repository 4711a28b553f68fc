//! One connection: answers, tokens, warnings, and what an error means.

use crate::branch::Token;
use crate::history::Outcome;
use protocol::client::QueryResult;
use protocol::{Client, ClientError, Severity};
use sqlstate::SqlState;
use std::time::Duration;
use tokio::time::timeout;

/// A client gives up an answer after this time. Longer than a statement may run.
const ANSWER_MAX: Duration = Duration::from_millis(2500);
const CONNECT_MAX: Duration = Duration::from_millis(250);
/// Longest time that the server may spend on a statement.
pub(super) const STATEMENT_MAX_MS: u64 = 1500;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server refused it.
    Refused {
        /// With this code.
        code: SqlState,
        /// And these words.
        text: String,
        /// And closed the session.
        fatal: bool,
    },
    /// The connection is gone.
    Gone(String),
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Server(report) => Self::Refused {
                code: report.code,
                text: format!("{} {}", report.code.as_str(), report.message),
                fatal: report.severity >= Severity::Fatal,
            },
            other => Self::Gone(other.to_string()),
        }
    }
}

impl Trouble {
    /// What it means for an operation. `sent` says whether its COMMIT was on the way.
    pub(super) fn outcome(&self, sent: bool) -> Outcome {
        let (text, is_sure) = match self {
            Self::Refused { code, text, fatal } => (text, !fatal && was_undone(*code)),
            Self::Gone(text) => (text, false),
        };
        if is_sure || !sent { Outcome::Failed(text.clone()) } else { Outcome::Unknown(text.clone()) }
    }

    /// The server's code; None if the connection is gone.
    pub(super) fn code(&self) -> Option<SqlState> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Gone(_) => None,
        }
    }

    /// Whether the session is of no more use.
    pub(super) fn ends_session(&self) -> bool {
        match self {
            Self::Refused { fatal, .. } => *fatal,
            Self::Gone(_) => true,
        }
    }

    /// What was said.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Refused { text, .. } | Self::Gone(text) => text,
        }
    }
}

/// Whether an error with this code, also one that answers a COMMIT, says that nothing was committed. A fence,
/// the end of a session and faults of the server may come after the commit record.
fn was_undone(code: SqlState) -> bool {
    let undone =
        [SqlState::QUERY_CANCELED, SqlState::IN_FAILED_SQL_TRANSACTION, SqlState::LOCK_NOT_AVAILABLE];
    undone.contains(&code) || ["22", "23", "40", "42", "53", "54"].contains(&&code.as_str()[..2])
}

/// A connection to a node.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    /// The token that the last commit reported.
    commit: Option<String>,
}

impl Session {
    /// `statement_ms`: how long the server may spend on a statement.
    pub(super) async fn open(conninfo: &str, statement_ms: u64) -> Result<Self, Trouble> {
        let connect = timeout(CONNECT_MAX, Client::connect_to(conninfo)).await;
        let client = connect.map_err(|_| Trouble::Gone("no answer to a login".to_owned()))??;
        let mut session = Self { client, commit: None };
        let settings = format!("SET plimsoll.report_commit_lsn = on; SET statement_timeout = {statement_ms}");
        session.ask(&settings).await?;
        Ok(session)
    }

    /// Whether the node says that it is a standby.
    pub(super) fn is_standby(&self) -> bool {
        self.client.parameter("in_hot_standby") == Some("on")
    }

    /// Runs statements. Who is answered too late has no connection any more.
    pub(super) async fn ask(&mut self, sql: &str) -> Result<Vec<QueryResult>, Trouble> {
        let answer = timeout(ANSWER_MAX, self.client.simple_query(sql)).await;
        Ok(answer.map_err(|_| Trouble::Gone(format!("no answer to {sql}")))??)
    }

    /// Runs one statement with the extended protocol.
    pub(super) async fn ask_prepared(&mut self, sql: &str) -> Result<QueryResult, Trouble> {
        let run = async {
            let statement = self.client.prepare("", sql, &[]).await?;
            self.client.execute(&statement, &[]).await
        };
        let answer = timeout(ANSWER_MAX, run).await;
        Ok(answer.map_err(|_| Trouble::Gone(format!("no answer to {sql}")))??)
    }

    /// Runs statements and asks another connection to cancel them after a while.
    pub(super) async fn ask_and_cancel(
        &mut self,
        sql: &str,
        after: Duration,
    ) -> Result<Vec<QueryResult>, Trouble> {
        let token = self.client.cancel_token();
        let cancel = async {
            tokio::time::sleep(after).await;
            // Whether it came in time or at all shows in the answer.
            drop(timeout(CONNECT_MAX, token.cancel()).await);
        };
        let (answer, ()) = tokio::join!(self.ask(sql), cancel);
        answer
    }

    /// Copies lines into a table.
    pub(super) async fn copy(&mut self, sql: &str, lines: &str) -> Result<(), Trouble> {
        let copy = async {
            let mut copy = self.client.copy_in(sql).await?;
            for chunk in lines.as_bytes().chunks(4 << 10) {
                copy.send(chunk).await?;
            }
            copy.finish().await
        };
        let answer = timeout(ANSWER_MAX, copy).await;
        answer.map_err(|_| Trouble::Gone(format!("no answer to {sql}")))??;
        Ok(())
    }

    /// Sends statements and goes away.
    pub(super) async fn send_and_go(mut self, sql: &str) {
        self.client.queue(|out| protocol::frontend::query(out, sql));
        drop(timeout(CONNECT_MAX, self.client.flush()).await);
    }

    /// Ends a transaction that an error has left open.
    pub(super) async fn roll_back(&mut self) -> Result<(), Trouble> {
        if self.client.transaction_status() != protocol::TransactionStatus::Idle {
            self.ask("ROLLBACK").await?;
        }
        Ok(())
    }

    /// The token of the commit that was just acknowledged: one that was not reported before.
    pub(super) fn commit_token(&mut self) -> Option<Token> {
        let reported = self.client.parameter("plimsoll.commit_lsn").map(str::to_owned);
        if reported == self.commit {
            return None;
        }
        self.commit = reported;
        self.commit.as_deref().and_then(|text| text.parse().ok())
    }

    /// The token of the last snapshot.
    pub(super) fn snapshot_token(&self) -> Option<Token> {
        self.client.parameter("plimsoll.snapshot_lsn").and_then(|text| text.parse().ok())
    }

    /// The warnings since this was last asked.
    pub(super) fn warnings(&mut self) -> Vec<String> {
        let reports = self.client.take_notices();
        reports
            .into_iter()
            .filter(|report| report.severity == Severity::Warning)
            .map(|report| report.message)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: SqlState, fatal: bool) -> Trouble {
        Trouble::Refused { code, text: String::new(), fatal }
    }

    #[test]
    fn only_what_was_undone_for_certain_has_failed() {
        let failed = |trouble: &Trouble, sent| matches!(trouble.outcome(sent), Outcome::Failed(_));
        for (code, fatal, is_sure) in [
            (SqlState::SERIALIZATION_FAILURE, false, true),
            (SqlState::DISK_FULL, false, true),
            (SqlState::QUERY_CANCELED, false, true),
            (SqlState::QUERY_CANCELED, true, false),
            (SqlState::READ_ONLY_SQL_TRANSACTION, false, false),
            (SqlState::ADMIN_SHUTDOWN, true, false),
        ] {
            assert_eq!(failed(&refused(code, fatal), true), is_sure, "{code:?}");
            assert!(failed(&refused(code, fatal), false), "no COMMIT was sent");
        }
        let gone = Trouble::Gone(String::new());
        assert!(!failed(&gone, true) && failed(&gone, false));
    }
}
