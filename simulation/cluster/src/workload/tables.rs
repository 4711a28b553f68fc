//! Tables, indexes and columns that come and go. Each client has tables of its own, with names that are never
//! used again.

use super::talker::Talker;
use super::writes::was_committed;
use crate::history::{Ddl, Deed, Outcome};
use sqlstate::SqlState;

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
}
