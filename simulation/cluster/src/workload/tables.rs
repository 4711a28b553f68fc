//! Tables, indexes and columns that come and go. Each client has tables of its own, with names that are never
//! used again.

use super::OBJECTS;
use super::session::{Session, Trouble};
use super::talker::Talker;
use super::writes::was_committed;
use crate::features::Feature;
use crate::history::{Ddl, Deed, Listed, Listing, Outcome, View};
use protocol::client::QueryResult;
use sqlstate::SqlState;
use std::collections::BTreeSet;

/// Tables that a client has at once.
const TABLES_MAX: usize = 3;

/// A table that a client takes for there.
#[derive(Debug, Clone)]
pub(super) struct Table {
    name: String,
    /// Its indexes and columns.
    parts: Vec<String>,
}

impl Talker {
    /// One change in one transaction.
    pub(super) async fn change_tables(&mut self) {
        let Some((node, mut session)) = self.take_primary().await else { return };
        let place = self.rng.usize(..TABLES_MAX);
        let (sql, changes) = self.some_change(place);
        let level = self.some_level();
        let pending = self.begin(node, "ddl", Deed::Ddl(Ddl { level, changes: changes.clone() }));
        session.warnings();
        let sql = format!("BEGIN; SET LOCAL synchronous_commit = {}; {sql}; COMMIT", level.name());
        match session.ask(&sql).await.and_then(|results| was_committed(&results)) {
            Ok(()) => {
                let outcome = self.acked(&mut session);
                self.end(pending, outcome, |_| ());
                self.changed(place, &changes);
                self.keep(node, session).await;
            }
            Err(trouble) => {
                let outcome = trouble.outcome(true);
                if matches!(outcome, Outcome::Unknown(_)) {
                    self.changed(place, &changes);
                }
                self.end(pending, outcome, |_| ());
                if trouble.code() == Some(SqlState::UNDEFINED_TABLE) && place < self.tables.len() {
                    self.tables.remove(place);
                }
                self.keep_after(node, session, &trouble).await;
            }
        }
    }

    /// A statement, and what is there after it.
    fn some_change(&mut self, place: usize) -> (String, Vec<(String, bool)>) {
        let Some(Table { name, parts }) = self.tables.get(place).cloned() else {
            let name = format!("o_{}_{}", self.number, self.next_table);
            self.next_table += 1;
            return (
                format!(
                    "CREATE TABLE {name} (id bigint PRIMARY KEY, v int); INSERT INTO {name} VALUES (1, 1)"
                ),
                vec![(name, true)],
            );
        };
        self.next_table += 1;
        let next = self.next_table;
        match self.rng.u8(..3) {
            0 => {
                let index = format!("{name}_i{next}");
                (format!("CREATE INDEX {index} ON {name} (v)"), vec![(index, true)])
            }
            1 => {
                let sql = format!("ALTER TABLE {name} ADD COLUMN c{next} int");
                (sql, vec![(format!("{name}.c{next}"), true)])
            }
            _ => {
                let sql = format!("DROP TABLE {name}");
                (sql, std::iter::once(name).chain(parts).map(|object| (object, false)).collect())
            }
        }
    }

    /// What was done, or may have been.
    fn changed(&mut self, place: usize, changes: &[(String, bool)]) {
        for (object, is_there) in changes {
            match self.tables.get_mut(place) {
                None => self.tables.push(Table { name: object.clone(), parts: Vec::new() }),
                Some(_) if !is_there => return drop(self.tables.remove(place)),
                Some(table) => table.parts.push(object.clone()),
            }
        }
    }

    /// A look at the tables and indexes there are, or into the table that was made last, on some node.
    pub(super) async fn look_at_tables(&mut self) {
        let anywhere = self.has(Feature::StandbyReads) && self.rng.bool();
        let Some((node, mut session, view)) = self.take_to_look(anywhere).await else { return };
        let is_standby = view != View::Primary;
        let by_name = self.rng.bool();
        let name = self.history().last_table().filter(|_| by_name).map(str::to_owned);
        let pending = self.begin(node, "look at tables", Deed::List(Listing { view, seen: None }));
        match list(&mut session, view, name).await {
            Ok(Some(seen)) if session.is_standby() == is_standby => {
                let outcome = Outcome::Acked { token: Some(seen.at.clone()), warnings: session.warnings() };
                self.end(pending, outcome, |deed| *deed = Deed::List(Listing { view, seen: Some(seen) }));
                self.keep(node, session).await;
            }
            Ok(_) => {
                // It was promoted meanwhile, so nobody knows as what it answered; or it named no snapshot.
                self.end(pending, Outcome::Failed("no snapshot of one kind".to_owned()), |_| ());
                self.keep(node, session).await;
            }
            Err(trouble) => {
                self.end(pending, trouble.outcome(false), |_| ());
                if is_standby && !trouble.ends_session() {
                    return self.keep(node, session).await;
                }
                self.keep_after(node, session, &trouble).await;
            }
        }
    }
}

/// Asks which tables and indexes there are, or whether this table is. None if the server names no snapshot.
async fn list(session: &mut Session, view: View, name: Option<String>) -> Result<Option<Listed>, Trouble> {
    let reads = if view == View::Confirmed { "confirmed" } else { "replayed" };
    session.ask(&format!("SET plimsoll.standby_reads = {reads}; RESET plimsoll.read_after")).await?;
    let sql = match &name {
        // Its row came with it.
        Some(name) => format!("SELECT '{name}' FROM {name} WHERE id = 1"),
        None => OBJECTS.to_owned(),
    };
    let results = session.ask(&sql).await?;
    let names = results.last().map(names_of).unwrap_or_default();
    let is_all = name.is_none();
    Ok(session.snapshot_token().map(|at| Listed { at, names, is_all }))
}

fn names_of(result: &QueryResult) -> BTreeSet<String> {
    (0..result.rows.len()).filter_map(|row| result.text(row, 0)).map(str::to_owned).collect()
}
