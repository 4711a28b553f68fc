//! CREATE, ALTER and DROP SEQUENCE, and the sequences of serial and identity columns.

use super::naming::{Dropped, Going};
use super::rights::not_owner;
use super::{SqlEngine, SqlSession};
use sql_catalogue::grants;
use sql_catalogue::rights::ObjectKind;
use sql_catalogue::sequences::{have_same_rules, settled};
use sql_catalogue::{Catalogue, Column, Identity, Relation, Sequence, store};
use sql_interface::{CommandTag, Result, SqlError};
use sql_language::expr;
use sql_language::parse::{DropKind, DropTarget, Parsed, SequenceChange, SequenceOptions};
use sql_language::plan::{Defined, Renamed};
use sql_types::TypeId;
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::{TableLockMode, TreeId};

/// A column whose values come from a sequence of its own.
#[derive(Clone, Debug)]
pub(super) struct OwnSequence {
    /// The column's place.
    pub(super) at: usize,
    /// None for serial.
    pub(super) identity: Option<Identity>,
    pub(super) options: SequenceOptions,
}

/// DEFAULT of a serial column.
pub(crate) fn next_value_call(sequence: &str) -> String {
    format!("nextval('{}'::regclass)", identifier::quote(sequence).replace('\'', "''"))
}

impl SqlEngine {
    /// Removes the states of sequences that no sequence has any more: what a transaction leaves that makes a
    /// sequence, takes numbers of it and is rolled back, since numbers are taken beside the transaction.
    /// Returns how many.
    ///
    /// # Errors
    ///
    /// What storage fails with.
    pub async fn remove_forsaken_states(&self) -> Result<usize> {
        sql_catalogue::sequences::remove_forsaken(self.database()).await
    }

    /// Stores where the sequences truly stand, before a clean stop: the next start goes on there.
    ///
    /// # Errors
    ///
    /// What storage fails with; numbers that were reserved are lost then, as in a crash.
    pub async fn store_sequence_positions(&self) -> Result<()> {
        self.sequences().store_positions(self.database()).await
    }
}

impl SqlSession {
    /// CREATE SEQUENCE.
    pub(super) async fn create_sequence(
        &mut self,
        parsed: &Parsed,
        name: &ast::ObjectName,
        if_not_exists: bool,
        options: &SequenceOptions,
    ) -> Result<CommandTag> {
        self.refuse_in_read_only(true, "CREATE SEQUENCE")?;
        self.begin_statement().await?;
        let name = self.name_for_new(parsed, name).await?;
        self.require_create()?;
        self.hold_role(self.role.oid).await?;
        if self.is_name_taken(&name).await? {
            return self.name_is_taken(&name, if_not_exists, "CREATE SEQUENCE");
        }
        let mut sequence = self.new_sequence(name, TypeId::Int8)?;
        options.data_type.as_ref().map_or(Ok(()), |ty| self.require_type(ty))?;
        define(&mut sequence, options, true)?;
        if let Some(owner) = &options.owned_by {
            sequence.owned_by = self.owning_column(parsed, owner.as_ref(), sequence.owner).await?;
        }
        self.put_new_sequence(&sequence).await?;
        Ok(CommandTag::Words("CREATE SEQUENCE"))
    }

    /// Writes a sequence that is new, with the rights that it begins with.
    async fn put_new_sequence(&mut self, sequence: &Sequence) -> Result<()> {
        let known = self.facts.catalogue.clone();
        let transaction = self.transaction()?;
        store::put_sequence(transaction, sequence).await?;
        grants::begin_relation(transaction, &known, sequence.oid, ('S', sequence.owner)).await?;
        self.engine.sequences().forget_gone(&known);
        self.catalogue_changed();
        Ok(())
    }

    fn new_sequence(&self, name: String, ty: TypeId) -> Result<Sequence> {
        let database = self.engine.database();
        Ok(Sequence {
            oid: database.allocate_number()?,
            name,
            owner: self.role.oid,
            state: database.allocate_number()?,
            from: 1,
            ty,
            start: 1,
            increment: 1,
            min: 1,
            max: i64::MAX,
            cache: 1,
            cycle: false,
            owned_by: None,
            identity: false,
        })
    }

    /// The sequence of a serial or identity column of a table that is being made or altered.
    pub(super) async fn add_own_sequence(
        &mut self,
        relation: &mut Relation,
        own: &OwnSequence,
    ) -> Result<()> {
        let Some(column) = relation.columns.get(own.at).cloned() else {
            return Err(SqlError::internal("no such column"));
        };
        let name = self.choose_name(&relation.name, &column.name, "seq").await?;
        let mut sequence = self.new_sequence(name, column.ty.id)?;
        define(&mut sequence, &own.options, true)?;
        sequence.owned_by = Some((relation.oid, column.number));
        sequence.identity = own.identity.is_some();
        // Whoever adds a column to a table of another role makes its sequence for that one.
        sequence.owner = relation.owner;
        self.put_new_sequence(&sequence).await?;
        if let Some(column) = relation.columns.get_mut(own.at) {
            column.identity = own.identity;
            if own.identity.is_none() {
                column.default = Some(next_value_call(&sequence.name));
            }
        }
        Ok(())
    }

    /// OWNED BY table.column.
    async fn owning_column(
        &mut self,
        parsed: &Parsed,
        name: Option<&ast::ObjectName>,
        owner: u32,
    ) -> Result<Option<(u32, i16)>> {
        let Some(name) = name else { return Ok(None) };
        let mut parts = name.0.clone();
        let column = parts.pop();
        let (Some(column), false) =
            (column.as_ref().and_then(ast::ObjectNamePart::as_ident), parts.is_empty())
        else {
            return Err(SqlError::syntax("invalid OWNED BY option")
                .with_hint("Specify OWNED BY table.column or OWNED BY NONE."));
        };
        let table = ast::ObjectName(parts);
        self.catalogue().await?;
        let relation = self
            .holding(|session| {
                let analyzer = session.analyzer(parsed, Vec::new(), &session.facts.catalogue);
                let kept = analyzer.find_defined_table(&table)?;
                Ok(Defined { names: vec![kept.oid], kept })
            })
            .await?;
        if relation.owner != owner {
            let message = "sequence must have same owner as table it is linked to";
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        let at = relation.require_column(&sql_language::parse::fold(column))?;
        Ok(relation.columns.get(at).map(|column| (relation.oid, column.number)))
    }

    /// A sequence by its name, locked like a table; None if there is none. 42501 unless this role `may` do
    /// with one of this owner what is to be done.
    async fn lock_sequence(
        &mut self,
        name: &str,
        mode: TableLockMode,
        may: fn(&Self, u32) -> bool,
    ) -> Result<Option<Arc<Sequence>>> {
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let Some(found) = catalogue.sequence_named(name) else { return Ok(None) };
        if !may(self, found.owner) {
            return Err(not_owner(ObjectKind::Sequence, name));
        }
        self.hold_sequence(found.oid, mode).await?;
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        Ok(catalogue.sequence_named(name).cloned())
    }

    pub(super) async fn hold_sequence(&mut self, oid: u32, mode: TableLockMode) -> Result<()> {
        // Numbers of trees and of sequences come from one supply, so that no table has this lock.
        self.hold_tree(TreeId::new(sql_catalogue::POSTGRES_DATABASE, oid), mode).await
    }

    /// The same for one that goes with its table, as it is under the lock.
    async fn hold_own_sequence(&mut self, known: &Sequence) -> Result<Arc<Sequence>> {
        self.hold_sequence(known.oid, TableLockMode::AccessExclusive).await?;
        let canceller = self.canceller.clone();
        settled(self.transaction()?, known, &canceller).await
    }

    /// ALTER SEQUENCE.
    pub(super) async fn alter_sequence(
        &mut self,
        parsed: &Parsed,
        name: &ast::ObjectName,
        if_exists: bool,
        change: &SequenceChange,
    ) -> Result<CommandTag> {
        const DONE: CommandTag = CommandTag::Words("ALTER SEQUENCE");
        self.refuse_in_read_only(true, "ALTER SEQUENCE")?;
        let sequence = match self.named(parsed, name, DropKind::Sequence).await {
            Err(error) if if_exists && error.code() == SqlState::INVALID_SCHEMA_NAME => None,
            found => found?,
        };
        // Under another name it is no longer what those mean who are about to name it.
        let mode = match change {
            SequenceChange::Rename(_) => TableLockMode::AccessExclusive,
            SequenceChange::Options(_) => TableLockMode::ShareRowExclusive,
        };
        let found = match &sequence {
            Some(name) => self.lock_sequence(name, mode, Self::owns).await?,
            None => None,
        };
        let Some(found) = found else {
            let message = format!("relation \"{name}\" does not exist");
            self.skip_missing(if_exists, SqlState::UNDEFINED_TABLE, message)?;
            return Ok(DONE);
        };
        let mut sequence = Sequence::clone(&found);
        match change {
            SequenceChange::Rename(new) => {
                self.require_create()?;
                self.refuse_under_views_of(("sequence", found.oid, &found.name), "RENAME").await?;
                if self.is_name_taken(new).await? {
                    return self.name_is_taken(new, false, "ALTER SEQUENCE");
                }
                let renamed = Renamed { ty: TypeId::Regclass, oid: found.oid, name: new };
                self.follow_rename(parsed, &found.name, renamed).await?;
                store::delete_name(self.transaction()?, &sequence.name).await?;
                sequence.name.clone_from(new);
            }
            SequenceChange::Options(options) => {
                options.data_type.as_ref().map_or(Ok(()), |ty| self.require_type(ty))?;
                define(&mut sequence, options, false)?;
                if let Some(owner) = &options.owned_by {
                    if found.identity {
                        return Err(SqlError::new(
                            SqlState::FEATURE_NOT_SUPPORTED,
                            "cannot change ownership of identity sequence",
                        ));
                    }
                    sequence.owned_by = self.owning_column(parsed, owner.as_ref(), sequence.owner).await?;
                }
                let restart = options.restart.map(|at| at.unwrap_or(sequence.start));
                if restart.is_some() || !have_same_rules(&found, &sequence) {
                    self.begin_state(&found, &mut sequence, restart).await?;
                }
            }
        }
        self.facts.numbers.lock().keep(sequence.oid, None);
        store::put_sequence(self.transaction()?, &sequence).await?;
        self.catalogue_changed();
        Ok(DONE)
    }

    /// Gives a sequence another state, which a rollback takes away again: one that begins at `restart`, else
    /// where the sequence stands. `changed`: what it is to be.
    async fn begin_state(
        &mut self,
        found: &Sequence,
        changed: &mut Sequence,
        restart: Option<i64>,
    ) -> Result<()> {
        let (engine, canceller) = (self.engine.clone(), self.canceller.clone());
        let level = self.environment.quick().synchronous_commit;
        let inside = |last, changed: &Sequence| require_inside("RESTART", last, changed);
        let of = (engine.database(), level);
        engine.sequences().forget_gone(&self.facts.catalogue);
        let by = (self.transaction()?, &canceller);
        engine.sequences().replace_state(of, by, (found, changed), restart, inside).await
    }

    /// TRUNCATE ... RESTART IDENTITY.
    pub(super) async fn restart_sequences_of(&mut self, relation: &Relation) -> Result<()> {
        let catalogue = self.catalogue().await?;
        for found in catalogue.sequences_of(relation.oid) {
            let found = self.hold_own_sequence(found).await?;
            let mut sequence = Sequence::clone(&found);
            let start = sequence.start;
            self.begin_state(&found, &mut sequence, Some(start)).await?;
            store::put_sequence(self.transaction()?, &sequence).await?;
        }
        self.catalogue_changed();
        Ok(())
    }

    /// The sequences that go with a table, or with one of its columns.
    pub(super) async fn drop_sequences_of(
        &mut self,
        parsed: &Parsed,
        (relation, column): (u32, Option<i16>),
        going: Going<'_>,
        cascade: bool,
    ) -> Result<()> {
        let catalogue = self.catalogue().await?;
        for sequence in catalogue.sequences_of(relation) {
            if column.is_none_or(|column| sequence.owned_by == Some((relation, column))) {
                self.drop_sequence(parsed, sequence, going, cascade).await?;
            }
        }
        Ok(())
    }

    /// A sequence goes, with all that needs it if `cascade`.
    async fn drop_sequence(
        &mut self,
        parsed: &Parsed,
        sequence: &Sequence,
        going: Going<'_>,
        cascade: bool,
    ) -> Result<()> {
        // Who changes it meanwhile has it done before.
        let sequence = self.hold_own_sequence(sequence).await?;
        let Sequence { oid, name, .. } = sequence.as_ref();
        self.drop_naming(parsed, Dropped { kind: "sequence", name, oid: *oid }, going, cascade).await?;
        self.drop_views_of(*oid, &format!("sequence {name}"), cascade).await?;
        self.forget_rights_of(*oid).await?;
        store::delete_sequence(self.transaction()?, &sequence).await?;
        self.catalogue_changed();
        Ok(())
    }

    /// DROP SEQUENCE.
    pub(super) async fn drop_sequences(
        &mut self,
        parsed: &Parsed,
        target: &DropTarget,
    ) -> Result<CommandTag> {
        self.refuse_in_read_only(true, "DROP SEQUENCE")?;
        let mut gone = Vec::with_capacity(target.names.len());
        for name in &target.names {
            if gone.contains(&self.analyzer(parsed, Vec::new(), &self.facts.catalogue).table_name(name)?.1) {
                continue;
            }
            let Some(name) = self.dropped(parsed, name, target).await? else { continue };
            gone.push(name.clone());
            let mode = TableLockMode::AccessExclusive;
            let Some(sequence) = self.lock_sequence(&name, mode, Self::may_drop).await? else {
                let message = format!("sequence \"{name}\" does not exist");
                self.skip_missing(target.if_exists, SqlState::UNDEFINED_TABLE, message)?;
                continue;
            };
            if sequence.identity {
                return Err(self.needed_by_identity(&sequence).await?);
            }
            self.drop_sequence(parsed, &sequence, Going::default(), target.cascade).await?;
        }
        Ok(CommandTag::Words("DROP SEQUENCE"))
    }

    async fn needed_by_identity(&mut self, sequence: &Sequence) -> Result<SqlError> {
        let catalogue = self.catalogue().await?;
        let (relation, number) = sequence.owned_by.unwrap_or_default();
        let relation = catalogue.relations.get(&relation);
        let table = relation.map_or("", |relation| &relation.name);
        let column = relation
            .and_then(|relation| relation.columns.iter().find(|column| column.number == number))
            .map_or("", |column| &column.name);
        let name = &sequence.name;
        Ok(SqlError::new(
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            format!("cannot drop sequence {name} because column {column} of table {table} requires it"),
        )
        .with_hint(format!("You can drop column {column} of table {table} instead.")))
    }
}

/// Whether a column takes its numbers from a sequence of its own that the server has named.
pub(crate) fn has_own_default(catalogue: &Catalogue, relation: &Relation, column: &Column) -> bool {
    let owned = Some((relation.oid, column.number));
    let mut own = catalogue.sequences.values().filter(|sequence| sequence.owned_by == owned);
    own.any(|sequence| column.default.as_ref() == Some(&next_value_call(&sequence.name)))
}

fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn require_inside(word: &str, value: i64, sequence: &Sequence) -> Result<()> {
    let Sequence { min, max, .. } = sequence;
    if value < *min {
        return Err(invalid(format!("{word} value ({value}) cannot be less than MINVALUE ({min})")));
    }
    if value > *max {
        return Err(invalid(format!("{word} value ({value}) cannot be greater than MAXVALUE ({max})")));
    }
    Ok(())
}

/// What a sequence of this type can hold.
fn bounds(ty: TypeId) -> Option<(i64, i64)> {
    match ty {
        TypeId::Int2 => Some((i64::from(i16::MIN), i64::from(i16::MAX))),
        TypeId::Int4 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
        TypeId::Int8 => Some((i64::MIN, i64::MAX)),
        _ => None,
    }
}

/// Brings options into a sequence, new or old, with PostgreSQL's defaults and checks.
fn define(sequence: &mut Sequence, options: &SequenceOptions, is_new: bool) -> Result<()> {
    let old = bounds(sequence.ty);
    if let Some(ty) = &options.data_type {
        sequence.ty = expr::data_type(ty)?.id;
    }
    let Some((lowest, highest)) = bounds(sequence.ty) else {
        return Err(invalid(if sequence.owned_by.is_some() || options.data_type.is_none() {
            "identity column type must be smallint, integer, or bigint".to_owned()
        } else {
            "sequence type must be smallint, integer, or bigint".to_owned()
        }));
    };
    if let Some(increment) = options.increment {
        if increment == 0 {
            return Err(invalid("INCREMENT must not be zero".to_owned()));
        }
        sequence.increment = increment;
    }
    let up = sequence.increment > 0;
    let retyped = options.data_type.is_some();
    let was = |value: i64, end: fn((i64, i64)) -> i64| retyped && old.map(end) == Some(value);
    match options.max {
        Some(Some(max)) => sequence.max = max,
        Some(None) => sequence.max = if up { highest } else { -1 },
        None if is_new || was(sequence.max, |old| old.1) => {
            sequence.max = if up { highest } else { -1 };
        }
        None => {}
    }
    match options.min {
        Some(Some(min)) => sequence.min = min,
        Some(None) => sequence.min = if up { 1 } else { lowest },
        None if is_new || was(sequence.min, |old| old.0) => {
            sequence.min = if up { 1 } else { lowest };
        }
        None => {}
    }
    for (word, value) in [("MAXVALUE", sequence.max), ("MINVALUE", sequence.min)] {
        if value < lowest || value > highest {
            let name = sequence.ty.sql_name();
            return Err(invalid(format!("{word} ({value}) is out of range for sequence data type {name}")));
        }
    }
    if sequence.min >= sequence.max {
        return Err(invalid(format!(
            "MINVALUE ({}) must be less than MAXVALUE ({})",
            sequence.min, sequence.max
        )));
    }
    match options.start {
        Some(start) => sequence.start = start,
        None if is_new => sequence.start = if up { sequence.min } else { sequence.max },
        None => {}
    }
    require_inside("START", sequence.start, sequence)?;
    if is_new {
        sequence.from = sequence.start;
    }
    if let Some(cache) = options.cache {
        if cache <= 0 {
            return Err(invalid(format!("CACHE ({cache}) must be greater than zero")));
        }
        sequence.cache = cache;
    }
    if let Some(cycle) = options.cycle {
        sequence.cycle = cycle;
    }
    Ok(())
}
