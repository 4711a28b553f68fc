//! ALTER TABLE of what is no table, as far as PostgreSQL takes it, and RENAME of views and indexes.

use super::SqlSession;
use super::names::{kind_of, unsupported_for, wrong_kind};
use sql_catalogue::{Index, PrimaryKey, View, store};
use sql_interface::{CommandTag, Result, SqlError};
use sql_language::parse::{DropKind, Parsed, Renaming, SequenceChange, fold};
use sql_language::plan::Renamed;
use sql_types::TypeId;
use sqlparser::ast::{self, AlterTableOperation};
use sqlstate::SqlState;

/// Something that an ALTER names.
struct Named {
    kind: DropKind,
    oid: u32,
    name: String,
}

/// How errors call what an operation does; None for one that is absent for tables, too.
fn action(operation: &AlterTableOperation) -> Option<&'static str> {
    use ast::AlterColumnOperation as Op;
    Some(match operation {
        AlterTableOperation::AddColumn { .. } => "ADD COLUMN",
        AlterTableOperation::DropColumn { .. } => "DROP COLUMN",
        AlterTableOperation::AlterColumn { op, .. } => match op {
            Op::SetDefault { .. } | Op::DropDefault => "ALTER COLUMN ... SET DEFAULT",
            Op::SetNotNull => "ALTER COLUMN ... SET NOT NULL",
            Op::DropNotNull => "ALTER COLUMN ... DROP NOT NULL",
            Op::SetDataType { .. } => "ALTER COLUMN ... SET DATA TYPE",
            Op::AddGenerated { .. } => "ALTER COLUMN ... ADD IDENTITY",
            Op::GenericOptions { .. } => return None,
        },
        AlterTableOperation::AddConstraint { .. } => "ADD CONSTRAINT",
        AlterTableOperation::DropConstraint { .. } => "DROP CONSTRAINT",
        AlterTableOperation::ValidateConstraint { .. } => "VALIDATE CONSTRAINT",
        AlterTableOperation::EnableRowLevelSecurity => "ENABLE ROW SECURITY",
        AlterTableOperation::DisableRowLevelSecurity => "DISABLE ROW SECURITY",
        AlterTableOperation::ReplicaIdentity { .. } => "REPLICA IDENTITY",
        _ => return None,
    })
}

impl SqlSession {
    /// What an ALTER names, if somebody made it.
    async fn altered(&mut self, parsed: &Parsed, name: &ast::ObjectName) -> Result<Option<Named>> {
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let analyzer = self.analyzer(parsed, Vec::new(), &catalogue);
        let (schema, name, _) = analyzer.table_name(name)?;
        let found = analyzer.find(schema.as_deref(), &name)?;
        Ok(found.and_then(|found| Some(Named { kind: kind_of(&found)?, oid: found.oid(), name })))
    }

    /// ALTER TABLE of a view, a sequence or an index; false for anything else.
    pub(super) async fn alter_other(
        &mut self,
        parsed: &Parsed,
        name: &ast::ObjectName,
        operations: &[&AlterTableOperation],
    ) -> Result<bool> {
        let Some(found) = self.altered(parsed, name).await? else { return Ok(false) };
        if found.kind == DropKind::Table {
            return Ok(false);
        }
        for operation in operations {
            self.require_owner_of_named(&found)?;
            self.alter_other_once(parsed, (name, &found), operation).await?;
        }
        Ok(true)
    }

    fn require_owner_of_named(&self, found: &Named) -> Result<()> {
        let catalogue = &self.facts.catalogue;
        let known = catalogue.owned_relation(found.oid);
        known.map_or(Ok(()), |(kind, owner, name)| self.require_owner_of(kind, name, owner))
    }

    async fn alter_other_once(
        &mut self,
        parsed: &Parsed,
        (name, found): (&ast::ObjectName, &Named),
        operation: &AlterTableOperation,
    ) -> Result<()> {
        let (kind, bare) = (found.kind, found.name.as_str());
        match operation {
            AlterTableOperation::RenameTable { table_name: ast::RenameTableNameKind::To(new) } => {
                let new = self.analyzer(parsed, Vec::new(), &self.facts.catalogue).bare_name(new)?;
                if kind == DropKind::Sequence {
                    let change = SequenceChange::Rename(new);
                    return self.alter_sequence(parsed, name, false, &change).await.map(drop);
                }
                self.rename_found(parsed, found, &Renaming::Whole(new)).await
            }
            AlterTableOperation::RenameColumn { .. } | AlterTableOperation::RenameConstraint { .. }
                if kind == DropKind::Sequence =>
            {
                Err(unsupported_for("cannot rename columns of relation", bare, kind))
            }
            AlterTableOperation::RenameConstraint { old_name, .. } => {
                let message =
                    format!("constraint \"{}\" for table \"{bare}\" does not exist", fold(old_name));
                Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message))
            }
            AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                let (from, to) = (fold(old_column_name), fold(new_column_name));
                self.rename_found(parsed, found, &Renaming::Column { from, to }).await
            }
            AlterTableOperation::OwnerTo { new_owner } => {
                let new = self.new_owner(new_owner)?;
                if kind == DropKind::Index {
                    return self.keep_owner_of_index(found.oid);
                }
                self.give_relation(found.oid, new).await
            }
            AlterTableOperation::AlterColumn {
                op: ast::AlterColumnOperation::SetDefault { .. } | ast::AlterColumnOperation::DropDefault,
                ..
            } if kind == DropKind::View => Err(SqlError::unsupported("a default of a view's column")),
            other => Err(match action(other) {
                Some(action) => {
                    let what = format!("ALTER action {action} cannot be performed on relation");
                    unsupported_for(&what, bare, kind)
                }
                None => SqlError::unsupported("this form of ALTER TABLE for anything but a table"),
            }),
        }
    }

    /// ALTER VIEW and ALTER INDEX, RENAME. The latter renames whatever has the name, as in PostgreSQL.
    pub(super) async fn rename(
        &mut self,
        parsed: &Parsed,
        (kind, if_exists): (DropKind, bool),
        name: &ast::ObjectName,
        renaming: &Renaming,
    ) -> Result<CommandTag> {
        let words = if kind == DropKind::View { "ALTER VIEW" } else { "ALTER INDEX" };
        self.refuse_in_read_only(true, words)?;
        let Some(found) = self.altered(parsed, name).await? else {
            let message = format!("relation \"{name}\" does not exist");
            self.skip_missing(if_exists, SqlState::UNDEFINED_TABLE, message)?;
            return Ok(CommandTag::Words(words));
        };
        self.require_owner_of_named(&found)?;
        match (kind, found.kind) {
            (DropKind::View, DropKind::View) | (DropKind::Index, DropKind::Index | DropKind::View) => {}
            (DropKind::View, _) => return Err(wrong_kind(&found.name, "a view")),
            _ => return Err(SqlError::unsupported("ALTER INDEX of what is no index")),
        }
        self.rename_found(parsed, &found, renaming).await?;
        Ok(CommandTag::Words(words))
    }

    async fn rename_found(&mut self, parsed: &Parsed, found: &Named, renaming: &Renaming) -> Result<()> {
        if found.kind == DropKind::View {
            // Who is about to name it is waited for.
            store::lock(self.transaction()?, store::Base::View(found.oid)).await?;
            self.begin_statement().await?;
        }
        if let Renaming::Whole(new) = renaming {
            let renamed = Renamed { ty: TypeId::Regclass, oid: found.oid, name: new };
            self.follow_rename(parsed, &found.name, renamed).await?;
        }
        match (found.kind, renaming) {
            (DropKind::View, _) => self.rename_view(found.oid, renaming).await,
            (DropKind::Index, Renaming::Whole(new)) => self.rename_index(&found.name, new).await,
            _ => Err(SqlError::unsupported("RENAME COLUMN of an index")),
        }
    }

    /// 42P07 for a name that something has already.
    async fn require_free_name(&mut self, name: &str) -> Result<()> {
        self.require_create()?;
        if self.is_name_taken(name).await? {
            let message = format!("relation \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_TABLE, message));
        }
        Ok(())
    }

    /// Renames a view or one of its columns, if no other view, which would name it by the old name, reads it.
    async fn rename_view(&mut self, oid: u32, renaming: &Renaming) -> Result<()> {
        let catalogue = self.catalogue().await?;
        let Some(view) = catalogue.views.get(&oid).cloned() else {
            return Err(SqlError::new(SqlState::UNDEFINED_TABLE, "the view was dropped meanwhile"));
        };
        if let Some(reader) = catalogue.views_of(oid).first() {
            return Err(SqlError::unsupported("RENAME of a view that a view reads")
                .with_detail(format!("view {} depends on view {}", reader.name, view.name))
                .with_hint("Drop the view, and create it again afterwards."));
        }
        let mut changed = View::clone(&view);
        match renaming {
            Renaming::Whole(new) => {
                self.require_free_name(new).await?;
                store::delete_name(self.transaction()?, &view.name).await?;
                changed.name.clone_from(new);
            }
            Renaming::Column { from, to } => rename_view_column(&mut changed, from, to)?,
        }
        store::put_view(self.transaction()?, &changed).await?;
        self.catalogue_changed();
        Ok(())
    }

    /// Renames an index, and the constraint that it may be.
    async fn rename_index(&mut self, name: &str, new: &str) -> Result<()> {
        let Some((relation, oid)) = self.lock_index(name).await? else {
            let message = format!("relation \"{name}\" does not exist");
            return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
        };
        self.require_free_name(new).await?;
        let transaction = self.transaction()?;
        store::delete_name(transaction, name).await?;
        // As with any change of the table.
        store::put_relation(transaction, &relation).await?;
        if let Some(index) = relation.indexes.iter().find(|index| index.oid == oid) {
            let changed = Index { name: new.to_owned(), ..index.clone() };
            store::put_index(transaction, relation.oid, &changed, &relation.columns).await?;
        } else if let Some(key) = &relation.primary_key {
            let changed = PrimaryKey { name: new.to_owned(), ..key.clone() };
            store::put_primary_key(transaction, relation.oid, &changed, &relation.columns).await?;
        }
        self.catalogue_changed();
        Ok(())
    }
}

fn rename_view_column(view: &mut View, from: &str, to: &str) -> Result<()> {
    let Some(at) = view.columns.iter().position(|column| column.name == from) else {
        let message = format!("column \"{from}\" does not exist");
        return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
    };
    if view.columns.iter().any(|column| column.name == to) {
        let message = format!("column \"{to}\" of relation \"{}\" already exists", view.name);
        return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
    }
    if let Some(column) = view.columns.get_mut(at) {
        column.name = to.to_owned();
    }
    Ok(())
}
