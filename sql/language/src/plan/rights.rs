//! What a plan must be allowed to do: collected while a statement is analysed, checked once for the role that
//! runs it, and again only when the catalogue's version or that role is another.
//!
//! As in PostgreSQL a table is checked as a whole first, and then by the columns that are named
//! (ExecCheckRTPerms of execMain.c). Tables below a view are read with the rights of the view's owner.

use super::analyzer::Analyzer;
use sql_catalogue::rights::{Object, ObjectKind, Privileges};
use sql_catalogue::{Catalogue, PUBLIC_OID, Relation};
use sql_interface::{Result, SqlError};
use sqlstate::SqlState;

/// A set of columns by their numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns(Vec<u64>);

impl Columns {
    fn add(&mut self, number: i16) {
        let number = usize::from(number.unsigned_abs());
        let (word, bit) = (number / 64, 1 << (number % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn numbers(&self) -> impl Iterator<Item = i16> {
        let all = 0..i16::try_from(self.0.len() * 64).unwrap_or(i16::MAX);
        all.filter(|number| {
            let number = usize::from(number.unsigned_abs());
            self.0.get(number / 64).is_some_and(|word| word & 1 << (number % 64) != 0)
        })
    }
}

/// What must be allowed with one object.
#[derive(Clone, Debug)]
pub struct Requirement {
    object: Object,
    /// Whose rights count; None for whoever runs the statement.
    of: Option<u32>,
    /// All of these.
    needed: Privileges,
    /// One of these, if any.
    any_of: Privileges,
    /// Columns that are looked at, given a value by INSERT, and changed.
    read: Columns,
    inserted: Columns,
    updated: Columns,
}

impl Requirement {
    /// The sequence of which a number is taken or set, or the last one told.
    pub fn sequence(&self) -> Option<u32> {
        match self.object {
            Object::Relation(oid) if !self.any_of.is_empty() => Some(oid),
            _ => None,
        }
    }

    fn is_met(&self, catalogue: &Catalogue, runner: u32) -> bool {
        let role = self.of.unwrap_or(runner);
        if !self.any_of.is_empty() && catalogue.privileges(role, &self.object, self.any_of).is_empty() {
            return false;
        }
        let missing = self.needed.without(catalogue.privileges(role, &self.object, self.needed));
        if missing.is_empty() {
            return true;
        }
        let (Object::Relation(relation) | Object::MadeUp(relation, _)) = self.object else { return false };
        let by_column = [
            (Privileges::SELECT, &self.read),
            (Privileges::INSERT, &self.inserted),
            (Privileges::UPDATE, &self.updated),
        ];
        let mut left = missing;
        for (one, columns) in by_column.into_iter().filter(|(one, _)| missing.has(*one)) {
            left = left.without(one);
            let allowed = if columns.is_empty() {
                catalogue.may_any_column(role, relation, one)
            } else {
                columns.numbers().all(|number| catalogue.may_column(role, relation, number, one))
            };
            if !allowed {
                return false;
            }
        }
        left.is_empty()
    }

    fn refusal(&self, catalogue: &Catalogue) -> SqlError {
        permission_denied(catalogue, &self.object)
    }
}

/// 42501 for an object, with its kind and name.
pub fn permission_denied(catalogue: &Catalogue, object: &Object) -> SqlError {
    let (kind, _) = catalogue.kind_and_owner(object);
    let schema = |oid: u32| {
        let known = sql_catalogue::system::schemas().into_iter().find(|(known, _)| *known == oid);
        known.map_or_else(|| oid.to_string(), |(_, name)| name.to_owned())
    };
    let (word, name) = match object {
        Object::Relation(oid) | Object::Column(oid, _) => match catalogue.owned_relation(*oid) {
            Some((kind, _, name)) => (kind.word(), name.to_owned()),
            None => (ObjectKind::Table.word(), oid.to_string()),
        },
        // The made-up tables that are tables in PostgreSQL have OIDs below those of its views.
        Object::MadeUp(oid, name) => {
            let kind = if *oid < 12000 { ObjectKind::Table } else { ObjectKind::View };
            (kind.word(), (*name).to_owned())
        }
        Object::Schema(oid) => (kind.word(), schema(*oid)),
        Object::Database(oid) => {
            let found = catalogue.databases.iter().find(|entry| entry.oid == *oid);
            (kind.word(), found.map_or_else(|| oid.to_string(), |entry| entry.name.clone()))
        }
        Object::Function(signature) => {
            (kind.word(), signature.split('(').next().unwrap_or_default().to_owned())
        }
    };
    SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("permission denied for {word} {name}"))
}

/// Whether a role may do all of this: schemas are asked first, then tables, then functions.
///
/// # Errors
///
/// 42501 for the first that it may not.
pub fn check(requirements: &[Requirement], catalogue: &Catalogue, role: u32) -> Result<()> {
    let turn = |requirement: &Requirement| match requirement.object {
        Object::Schema(_) => 0,
        Object::Function(_) => 2,
        _ => 1,
    };
    for now in 0..=2 {
        let mut those = requirements.iter().filter(|requirement| turn(requirement) == now);
        if let Some(missing) = those.find(|requirement| !requirement.is_met(catalogue, role)) {
            return Err(missing.refusal(catalogue));
        }
    }
    Ok(())
}

impl Analyzer<'_> {
    /// What was collected since the last call.
    pub fn take_rights(&mut self) -> Vec<Requirement> {
        std::mem::take(&mut self.rights)
    }

    /// The requirement of an object for the role that counts here.
    fn requirement(&mut self, object: &Object, of: Option<u32>) -> &mut Requirement {
        let known = self.rights.iter().position(|known| known.of == of && known.object == *object);
        let at = known.unwrap_or_else(|| {
            self.rights.push(Requirement {
                object: object.clone(),
                of,
                needed: Privileges::NONE,
                any_of: Privileges::NONE,
                read: Columns::default(),
                inserted: Columns::default(),
                updated: Columns::default(),
            });
            self.rights.len() - 1
        });
        &mut self.rights[at]
    }

    /// The statement does this with an object.
    pub(crate) fn require(&mut self, object: &Object, needed: Privileges) {
        let of = self.acting;
        self.requirement(object, of).needed |= needed;
    }

    /// The statement calls a function or takes a number of a sequence: as whoever runs it, also in a view.
    pub(crate) fn require_of_runner(&mut self, object: &Object, any_of: Privileges) {
        self.requirement(object, None).any_of |= any_of;
    }

    /// The statement names something in schema public. What a view names was found when it was made.
    pub(crate) fn require_public(&mut self) {
        if self.acting.is_none() {
            self.require_of_runner(&Object::Schema(PUBLIC_OID), Privileges::USAGE);
        }
    }

    /// The statement looks at a column. It comes from a table that is there already.
    pub(crate) fn note_read(&mut self, origin: Option<(u32, i16)>) {
        let Some((oid, number)) = origin.filter(|_| !self.reads_unnoted) else { return };
        let of = self.acting;
        let is_it = |object: &Object| matches!(object, Object::Relation(known) | Object::MadeUp(known, _) if *known == oid);
        let found = self.rights.iter_mut().find(|known| known.of == of && is_it(&known.object));
        if let Some(requirement) = found {
            requirement.needed |= Privileges::SELECT;
            requirement.read.add(number);
        }
    }

    /// INSERT gives these columns values, or UPDATE changes them.
    pub(crate) fn note_written(
        &mut self,
        relation: &Relation,
        columns: impl Iterator<Item = usize>,
        how: Privileges,
    ) {
        let numbers: Vec<i16> =
            columns.filter_map(|at| relation.columns.get(at)).map(|column| column.number).collect();
        let of = self.acting;
        let requirement = self.requirement(&Object::Relation(relation.oid), of);
        requirement.needed |= how;
        let written =
            if how == Privileges::INSERT { &mut requirement.inserted } else { &mut requirement.updated };
        numbers.into_iter().for_each(|number| written.add(number));
    }

    /// COPY FROM gives these columns values.
    pub fn writes_columns(&mut self, relation: &Relation, columns: &[usize]) {
        self.note_written(relation, columns.iter().copied(), Privileges::INSERT);
    }

    /// Works over what the catalogue keeps of a table (CHECK constraints), whose columns need no rights.
    pub(crate) fn unnoted<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.reads_unnoted, true);
        let result = work(self);
        self.reads_unnoted = before;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_columns_has_those_that_were_added() {
        let mut columns = Columns::default();
        assert!(columns.is_empty());
        [1, 63, 64, 1600].into_iter().for_each(|number| columns.add(number));
        assert_eq!(columns.numbers().collect::<Vec<_>>(), [1, 63, 64, 1600]);
    }
}
