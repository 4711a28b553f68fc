//! What PostgreSQL 15 answers to the statements of golden/*.sql, and we too (golden/make.sh made the
//! answers).

use crate::common::{Collected, Node};
use sql_interface::{Fetch, PortalKind, SqlError};
use sql_session::SqlSession;
use std::fmt::Write as _;

/// A message's answers as psql -A prints them with terse errors.
async fn transcript(session: &mut SqlSession, sql: &str) -> String {
    let mut out = String::new();
    let result = answers(session, sql, &mut out).await;
    let synced = session.sync().await;
    notices(session, &mut out);
    for error in [result, synced].into_iter().filter_map(Result::err) {
        let _ = write!(out, "ERROR:  {}", error.message());
        if let Some(position) = error.fields().position {
            let _ = write!(out, " at character {position}");
        }
        out.push('\n');
    }
    out
}

fn notices(session: &mut SqlSession, out: &mut String) {
    for notice in session.take_notices() {
        let _ = writeln!(out, "{}:  {}", notice.fields().severity.as_str(), notice.message());
    }
}

async fn answers(session: &mut SqlSession, sql: &str, out: &mut String) -> Result<(), SqlError> {
    for statement in session.start_simple(sql)? {
        let prepared = session.prepare_statement(&statement, &[]).await?;
        let mut portal = session.open(prepared, Vec::new()).await?;
        let names: Option<Vec<String>> =
            portal.columns().map(|columns| columns.iter().map(|column| column.name.clone()).collect());
        let has_rows = portal.kind() == PortalKind::Rows;
        let mut collected = Collected::default();
        let tag = loop {
            if let Fetch::Complete(tag) = session.fetch(&mut portal, 0, &mut collected).await? {
                break tag.to_string();
            }
        };
        notices(session, out);
        if let Some(names) = names.filter(|_| has_rows) {
            let _ = writeln!(out, "{}", names.join("|"));
            for row in &collected.rows {
                let texts: Vec<&str> = row.iter().map(|value| value.as_deref().unwrap_or_default()).collect();
                let _ = writeln!(out, "{}", texts.join("|"));
            }
            let count = collected.rows.len();
            let _ = writeln!(out, "({count} row{})", if count == 1 { "" } else { "s" });
            if !["INSERT", "UPDATE", "DELETE"].iter().any(|verb| tag.starts_with(verb)) {
                continue;
            }
        }
        let _ = writeln!(out, "{tag}");
    }
    Ok(())
}

/// Positions of errors inside of literals are not known here.
fn without_position(text: &str) -> String {
    let lines = text.lines().map(|line| line.split(" at character ").next().unwrap_or_default());
    lines.map(|line| format!("{line}\n")).collect()
}

/// Goes through the statements of a file in one database, each in a session of its own as with psql -c.
async fn compare(expected: &str, statements_min: usize, positions_missing_max: usize) {
    let node = Node::new().await;
    let mut failures = String::new();
    let (mut count, mut positions_missing) = (0, 0);
    for block in expected.split("=> ").skip(1) {
        let (sql, wanted) = block.split_once('\n').unwrap();
        let mut client = node.client().await;
        let found = transcript(&mut client.session, sql).await;
        count += 1;
        if found == wanted {
            continue;
        }
        if !found.contains(" at character ") && found == without_position(wanted) {
            positions_missing += 1;
            continue;
        }
        let _ = writeln!(failures, "{sql}\n--- PostgreSQL\n{wanted}--- here\n{found}");
    }
    assert!(count >= statements_min, "only {count} statements");
    assert!(failures.is_empty(), "{failures}");
    assert!(positions_missing <= positions_missing_max, "{positions_missing} errors without their positions");
}

#[tokio::test]
async fn statements_answer_as_postgresql_15_does() {
    compare(include_str!("../golden/statements.out"), 280, 24).await;
}

#[tokio::test]
async fn indexes_answer_as_postgresql_15_does() {
    compare(include_str!("../golden/indexes.out"), 100, 12).await;
}

#[tokio::test]
async fn sequences_answer_as_postgresql_15_does() {
    compare(include_str!("../golden/sequences.out"), 100, 20).await;
}

#[tokio::test]
async fn views_answer_as_postgresql_15_does() {
    compare(include_str!("../golden/views.out"), 35, 10).await;
}
