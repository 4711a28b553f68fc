//! REINDEX.

use super::SqlSession;
use super::names::wrong_kind;
use sql_catalogue::Relation;
use sql_catalogue::rights::{ObjectKind, predefined};
use sql_catalogue::schema::Schema;
use sql_interface::{CommandTag, Result, Severity, SqlError};
use sql_language::parse::{DropKind, Parsed, Reindex, ReindexTarget};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::TableLockMode;

impl SqlSession {
    /// REINDEX. CONCURRENTLY is what it says for whoever waits: here it locks as the plain form does.
    pub(super) async fn reindex(&mut self, parsed: &Parsed, reindex: &Reindex) -> Result<CommandTag> {
        let Reindex { target, verbose, concurrently, tablespace } = reindex;
        if *concurrently {
            self.refuse_in_block("REINDEX CONCURRENTLY")?;
        }
        let whole = match target {
            ReindexTarget::Index(_) | ReindexTarget::Table(_) => None,
            ReindexTarget::Schema(_) => Some("REINDEX SCHEMA"),
            ReindexTarget::Database(_) => Some("REINDEX DATABASE"),
            ReindexTarget::System(_) => Some("REINDEX SYSTEM"),
        };
        if let Some(what) = whole {
            self.refuse_in_block(what)?;
        }
        self.refuse_in_read_only(true, "REINDEX")?;
        check_tablespace(tablespace.as_deref())?;
        match target {
            ReindexTarget::Index(name) => self.reindex_index(parsed, name, *verbose).await?,
            ReindexTarget::Table(name) => self.reindex_table(parsed, name, *verbose).await?,
            ReindexTarget::System(_) if *concurrently => {
                let message = "cannot reindex system catalogs concurrently";
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
            }
            ReindexTarget::Schema(_) | ReindexTarget::Database(_) | ReindexTarget::System(_) => {
                self.reindex_all(parsed, target, *verbose).await?;
            }
        }
        Ok(CommandTag::Words("REINDEX"))
    }

    async fn reindex_index(&mut self, parsed: &Parsed, name: &ast::ObjectName, verbose: bool) -> Result<()> {
        let missing = |name: &str| {
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
        };
        let index = self.named(parsed, name, DropKind::Index).await?;
        let name = index.ok_or_else(|| missing(&name.to_string()))?;
        let (relation, oid) = self.lock_index(&name).await?.ok_or_else(|| missing(&name))?;
        self.require_owner_of(ObjectKind::Index, &name, relation.owner)?;
        // The primary key is the table: there is nothing beside it that could be built anew.
        if let Some(index) = relation.indexes.iter().find(|index| index.oid == oid) {
            self.rebuild_index(&relation, index).await?;
        }
        self.tell_rebuilt(verbose, &name);
        Ok(())
    }

    async fn reindex_table(&mut self, parsed: &Parsed, name: &ast::ObjectName, verbose: bool) -> Result<()> {
        self.refuse_other_kinds(parsed, name, |name, kind| match kind {
            DropKind::Table => None,
            _ => Some(wrong_kind(name, "a table or materialized view")),
        })
        .await?;
        let wait = self.lock_wait();
        let relation = self.lock_relation(parsed, name, TableLockMode::AccessExclusive, wait).await?;
        self.require_owner(&relation)?;
        self.rebuild_indexes(&relation).await?;
        for index in relation.all_indexes() {
            self.tell_rebuilt(verbose, index.name);
        }
        Ok(())
    }

    /// SCHEMA, DATABASE and SYSTEM: all tables of schema public, the system's own, or both. The system's
    /// tables have no indexes beside their trees.
    async fn reindex_all(&mut self, parsed: &Parsed, target: &ReindexTarget, verbose: bool) -> Result<()> {
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        match target {
            ReindexTarget::Schema(schema) => {
                let schema = Schema::required(schema)?;
                let owner = catalogue.schema_owner(schema.oid());
                self.require_owner_of(ObjectKind::Schema, schema.name(), owner)?;
                if schema != Schema::PUBLIC {
                    return Ok(());
                }
            }
            ReindexTarget::Database(database) | ReindexTarget::System(database) => {
                if *database != self.facts.database {
                    let message = "can only reindex the currently open database";
                    return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
                }
                self.require_owner_of(ObjectKind::Database, database, predefined::DATABASE_OWNER)?;
                if matches!(target, ReindexTarget::System(_)) {
                    return Ok(());
                }
            }
            ReindexTarget::Index(_) | ReindexTarget::Table(_) => return Ok(()),
        }
        let mut tables: Vec<Arc<Relation>> = catalogue.relations.values().cloned().collect();
        tables.sort_by_key(|relation| relation.oid);
        for relation in tables {
            let idents = [Schema::PUBLIC.name(), &relation.name];
            let name = idents.map(|part| ast::Ident::with_quote('"', part)).to_vec();
            let wait = self.lock_wait();
            let name = ast::ObjectName::from(name);
            let relation = self.lock_relation(parsed, &name, TableLockMode::AccessExclusive, wait).await?;
            self.rebuild_indexes(&relation).await?;
            if verbose {
                let text = format!("table \"public.{}\" was reindexed", relation.name);
                self.notices.push(SqlError::report(Severity::Info, SqlState::SUCCESSFUL_COMPLETION, text));
            }
        }
        Ok(())
    }

    /// What VERBOSE tells of an index.
    fn tell_rebuilt(&mut self, verbose: bool, index: &str) {
        if verbose {
            let text = format!("index \"{index}\" was reindexed");
            self.notices.push(SqlError::report(Severity::Info, SqlState::SUCCESSFUL_COMPLETION, text));
        }
    }
}

/// There is one tablespace for what is not shared.
fn check_tablespace(name: Option<&str>) -> Result<()> {
    match name {
        None | Some("pg_default") => Ok(()),
        Some("pg_global") => Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "cannot move non-shared relation to tablespace \"pg_global\"",
        )),
        Some(other) => {
            Err(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("tablespace \"{other}\" does not exist")))
        }
    }
}
