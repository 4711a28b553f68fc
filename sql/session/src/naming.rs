//! Literals in texts of the catalogue that name something there: `nextval('s')`, `'t'::regclass`. RENAME
//! changes them, and what they name is not dropped from under them.

use super::SqlSession;
use sql_catalogue::store::{self, Base};
use sql_catalogue::{Check, Column, Relation, View};
use sql_interface::{Result, SqlError};
use sql_language::parse::Parsed;
use sql_language::plan::{Defined, Renamed};
use sql_types::TypeId;
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::TableLockMode;

/// What has such a literal, as it is with another name in it.
enum Naming {
    Default(Arc<Relation>, Column),
    Check(Arc<Relation>, Check),
    View(View),
}

impl Naming {
    /// What messages call it.
    fn text(&self) -> String {
        match self {
            Self::Default(relation, column) => {
                format!("default value for column {} of table {}", column.name, relation.name)
            }
            Self::Check(relation, check) => {
                format!("constraint {} on table {}", check.name, relation.name)
            }
            Self::View(view) => format!("view {}", view.name),
        }
    }

    fn is_of(&self, going: Going<'_>) -> bool {
        match self {
            Self::Default(relation, column) => {
                going.tables.contains(&relation.oid) || going.column == Some((relation.oid, column.number))
            }
            Self::Check(relation, _) => going.tables.contains(&relation.oid),
            Self::View(_) => false,
        }
    }
}

/// What a statement drops, with the texts in it.
#[derive(Clone, Copy, Default)]
pub(super) struct Going<'a> {
    /// OIDs.
    pub(super) tables: &'a [u32],
    /// A column of a table.
    pub(super) column: Option<(u32, i16)>,
}

/// 2BP01: what is to be dropped is needed by others, of which `details` has a line each.
pub(super) fn still_needed(what: &str, details: &[String]) -> SqlError {
    SqlError::new(
        SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
        format!("cannot drop {what} because other objects depend on it"),
    )
    .with_detail(details.join("\n"))
    .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
}

/// A relation that is dropped.
pub(super) struct Dropped<'a> {
    /// "table" or "sequence".
    pub(super) kind: &'static str,
    pub(super) name: &'a str,
    pub(super) oid: u32,
}

impl SqlSession {
    /// What a statement writes for the catalogue, with the relations that it names kept from being dropped or
    /// renamed until the transaction ends. It is looked at again once these were waited for.
    pub(super) async fn holding<T>(
        &mut self,
        look: impl Fn(&Self) -> Result<Defined<T>> + Send,
    ) -> Result<T> {
        let mut held = Vec::new();
        loop {
            let found = look(self)?;
            if found.names == held {
                return Ok(found.kept);
            }
            self.hold_relations(&found.names).await?;
            held = found.names;
        }
    }

    /// Keeps relations with these OIDs from being dropped or renamed until the transaction ends. The
    /// statement goes on with the catalogue as it is then: some may be gone.
    pub(super) async fn hold_relations(&mut self, oids: &[u32]) -> Result<()> {
        const MODE: TableLockMode = TableLockMode::AccessShare;
        let catalogue = self.facts.catalogue.clone();
        for oid in oids {
            if let Some(relation) = catalogue.relations.get(oid) {
                self.hold_tree(relation.tree, MODE).await?;
            } else if catalogue.sequences.contains_key(oid) {
                self.hold_sequence(*oid, MODE).await?;
            } else if catalogue.views.contains_key(oid) {
                store::hold(self.transaction()?, Base::View(*oid)).await?;
            }
        }
        self.begin_statement().await?;
        self.catalogue().await?;
        Ok(())
    }

    /// ALTER TABLE ... RENAME TO.
    pub(super) async fn rename_table(
        &mut self,
        parsed: &Parsed,
        relation: &Relation,
        name: &ast::ObjectName,
    ) -> Result<()> {
        self.require_create()?;
        let new = self.analyzer(parsed, Vec::new(), &self.facts.catalogue).bare_name(name)?;
        if store::lock_relation_name(self.transaction()?, &new).await? {
            let message = format!("relation \"{new}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_TABLE, message));
        }
        let renamed = Renamed { ty: TypeId::Regclass, oid: relation.oid, name: &new };
        self.follow_rename(parsed, &relation.name, renamed).await?;
        store::delete_name(self.transaction()?, &relation.name).await?;
        let changed = Relation { name: new, ..relation.clone() };
        store::put_relation(self.transaction()?, &changed).await
    }

    /// Lets the texts of the catalogue name by its new name what is about to get one.
    pub(super) async fn follow_rename(
        &mut self,
        parsed: &Parsed,
        old: &str,
        renamed: Renamed<'_>,
    ) -> Result<()> {
        for naming in self.naming(parsed, old, renamed).await? {
            match naming {
                Naming::Default(relation, column) => {
                    store::put_column(self.transaction()?, relation.oid, &column).await?;
                }
                Naming::Check(relation, check) => {
                    store::put_check(self.transaction()?, relation.oid, &check).await?;
                }
                Naming::View(view) => store::put_view(self.transaction()?, &view).await?,
            }
        }
        Ok(())
    }

    /// Before a relation goes: what names it goes with CASCADE, or else keeps it from going, unless it goes
    /// anyway.
    pub(super) async fn drop_naming(
        &mut self,
        parsed: &Parsed,
        dropped: Dropped<'_>,
        going: Going<'_>,
        cascade: bool,
    ) -> Result<()> {
        let Dropped { kind, name, oid } = dropped;
        let renamed = Renamed { ty: TypeId::Regclass, oid, name };
        let mut found = self.naming(parsed, name, renamed).await?;
        found.retain(|naming| !naming.is_of(going));
        let Some(first) = found.first() else { return Ok(()) };
        if !cascade {
            let details: Vec<String> =
                found.iter().map(|naming| format!("{} depends on {kind} {name}", naming.text())).collect();
            return Err(still_needed(&format!("{kind} {name}"), &details));
        }
        self.tell_cascade(&first.text(), found.len());
        for naming in found {
            match naming {
                Naming::Default(relation, column) => {
                    let column = Column { default: None, ..column };
                    store::put_column(self.transaction()?, relation.oid, &column).await?;
                }
                Naming::Check(relation, check) => {
                    store::delete_constraint(self.transaction()?, relation.oid, check.oid).await?;
                }
                Naming::View(view) => {
                    // It may have gone with another.
                    self.catalogue_changed();
                    self.begin_statement().await?;
                    if self.catalogue().await?.views.contains_key(&view.oid) {
                        self.drop_views_of(view.oid, &format!("view {}", view.name), true).await?;
                        self.forget_rights_of(view.oid).await?;
                        store::delete_view(self.transaction()?, &view).await?;
                    }
                }
            }
        }
        self.catalogue_changed();
        Ok(())
    }

    /// Tells what goes with CASCADE: the one, or how many.
    pub(super) fn tell_cascade(&mut self, first: &str, count: usize) {
        self.notice(match count {
            1 => format!("drop cascades to {first}"),
            count => format!("drop cascades to {count} other objects"),
        });
    }

    /// What names this by a literal, with the new name in it. A text that cannot be analysed any more is left
    /// alone.
    async fn naming(&mut self, parsed: &Parsed, old: &str, renamed: Renamed<'_>) -> Result<Vec<Naming>> {
        let (old, oid) = (old.to_ascii_lowercase(), renamed.oid.to_string());
        // Whatever else may name it: its OID, an escape, a literal in pieces.
        let is_plain = !old.contains(['"', '\'', '\\']);
        let mentions = |text: &str| {
            let text = text.to_ascii_lowercase();
            !is_plain
                || text.contains(&old)
                || text.contains(&oid)
                || text.contains(['\\', '\n', '\r'])
                || text.contains("u&")
        };
        let catalogue = self.catalogue().await?;
        let mut found = Vec::new();
        let mut relations: Vec<&Arc<Relation>> = catalogue.relations.values().collect();
        relations.sort_by_key(|relation| relation.oid);
        for relation in relations {
            for (at, column) in relation.live_columns() {
                let Some(text) = column.default.as_deref().filter(|text| mentions(text)) else { continue };
                let changed = self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
                    analyzer.renamed_in_default((relation, at), text, renamed)
                });
                if let Ok(Some(default)) = changed {
                    let column = Column { default: Some(default), ..column.clone() };
                    found.push(Naming::Default(relation.clone(), column));
                }
            }
            for check in relation.checks.iter().filter(|check| mentions(&check.expression)) {
                let changed = self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
                    analyzer.renamed_in_check(relation, check, renamed)
                });
                if let Ok(Some(expression)) = changed {
                    found.push(Naming::Check(relation.clone(), Check { expression, ..check.clone() }));
                }
            }
        }
        let mut views: Vec<&Arc<View>> = catalogue.views.values().collect();
        views.sort_by_key(|view| view.oid);
        for view in views.into_iter().filter(|view| mentions(&view.query)) {
            let changed = self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
                analyzer.renamed_in_view(&view.query, renamed)
            });
            if let Ok(Some(query)) = changed {
                found.push(Naming::View(View { query, ..View::clone(view) }));
            }
        }
        Ok(found)
    }
}
