//! CREATE VIEW and DROP VIEW, and what keeps tables from changing under views.

use super::SqlSession;
use super::names::wrong_kind;
use super::naming::still_needed;
use super::rights::not_owner;
use sql_catalogue::grants;
use sql_catalogue::names::SearchPath;
use sql_catalogue::rights::ObjectKind;
use sql_catalogue::store::{self, Base};
use sql_catalogue::{Relation, View, ViewColumn};
use sql_interface::{CommandTag, Result, ResultColumn, SqlError};
use sql_language::parse::{DropTarget, OwnedKind, Parsed, ViewChange};
use sql_language::plan::Defined;
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;

impl SqlSession {
    /// CREATE VIEW.
    pub(super) async fn create_view(
        &mut self,
        parsed: &Parsed,
        name: &ast::ObjectName,
        (columns, or_replace, options): (&[String], bool, &[String]),
        (query, text): (&Parsed, &str),
    ) -> Result<CommandTag> {
        const DONE: CommandTag = CommandTag::Words("CREATE VIEW");
        if or_replace {
            // It keeps the owner and the rights of the one that was there.
            self.begin_role_change("CREATE VIEW").await?;
        } else {
            self.refuse_in_read_only(true, "CREATE VIEW")?;
            self.begin_statement().await?;
        }
        let name = self.name_for_new(parsed, name).await?;
        let catalogue = self.catalogue().await?;
        self.require_create()?;
        self.hold_role(self.role.oid).await?;
        let before = catalogue.view_named(&name).cloned();
        let replaces = or_replace && before.is_some();
        if !replaces && self.is_name_taken(&name).await? {
            let other = wrong_kind(&name, "a view");
            return if or_replace { Err(other) } else { self.name_is_taken(&name, false, "CREATE VIEW") };
        }
        let (found, uses) = self.held_view_query(query).await?;
        if self.facts.path.searched().ne(SearchPath::of_catalogue().searched()) {
            // The view is kept as its text, whose names are looked up along that path later.
            let later = self.view_query(query, Some(SearchPath::of_catalogue()));
            if !later.is_ok_and(|later| later == (found.clone(), uses.clone())) {
                return Err(SqlError::unsupported(
                    "CREATE VIEW along a search_path by which names stand for other tables than in public",
                ));
            }
        }
        if columns.len() > found.len() {
            return Err(SqlError::syntax("CREATE VIEW specifies more column names than columns"));
        }
        let mut view_columns: Vec<ViewColumn> = Vec::with_capacity(found.len());
        for (at, column) in found.iter().enumerate() {
            let shown = columns.get(at).unwrap_or(&column.name).clone();
            if view_columns.iter().any(|known| known.name == shown) {
                let message = format!("column \"{shown}\" specified more than once");
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
            }
            view_columns.push(ViewColumn { name: shown, inner: column.name.clone(), ty: column.ty });
        }
        let oid = match &before {
            Some(before) => {
                self.require_same_columns(before, &view_columns)?;
                before.oid
            }
            None => self.engine.database().allocate_number()?,
        };
        let owner = before.as_ref().map_or(self.role.oid, |before| before.owner);
        let text = self.holding(|session| session.kept_query(query, text)).await?;
        let seen = self.facts.catalogue.clone();
        let reach = uses.iter().map(|oid| seen.last_column(*oid)).collect();
        let view = View { oid, name, owner, query: text, columns: view_columns, uses, reach };
        store::put_view(self.transaction()?, &view).await?;
        if !options.is_empty() || catalogue.options.contains_key(&oid) {
            grants::put_options(self.transaction()?, oid, options).await?;
        }
        if before.is_none() {
            grants::begin_relation(self.transaction()?, &catalogue, oid, ('r', owner)).await?;
        }
        self.catalogue_changed();
        Ok(DONE)
    }

    /// The columns of a view's query, and the OIDs of the tables and views that it reads.
    fn view_query(
        &self,
        query: &Parsed,
        path: Option<&'static SearchPath>,
    ) -> Result<(Vec<ResultColumn>, Vec<u32>)> {
        let catalogue = self.facts.catalogue.clone();
        self.analysing(query, Vec::new(), &catalogue, |analyzer| {
            analyzer.parameters_max = 0;
            analyzer.own_path = path;
            analyzer.is_kept = true;
            let mut plan = sql_language::plan::plan(analyzer, &query.command)?;
            let mut uses: Vec<u32> = plan.tables.iter().map(|used| used.relation.oid).collect();
            uses.append(&mut analyzer.views);
            uses.sort_unstable();
            uses.dedup();
            Ok((plan.columns.take().unwrap_or_default(), uses))
        })
    }

    /// The text of a view's query as it means the same in every session.
    fn kept_query(&self, query: &Parsed, text: &str) -> Result<Defined<String>> {
        let catalogue = self.facts.catalogue.clone();
        self.analysing(query, Vec::new(), &catalogue, |analyzer| {
            analyzer.parameters_max = 0;
            analyzer.defined_view(text)
        })
    }

    /// The columns and OIDs, with all that the query reads kept from being dropped until the transaction
    /// ends.
    async fn held_view_query(&mut self, query: &Parsed) -> Result<(Vec<ResultColumn>, Vec<u32>)> {
        let look = |session: &Self| {
            let (columns, uses) = session.view_query(query, None)?;
            Ok(Defined { names: uses.clone(), kept: (columns, uses) })
        };
        self.holding(look).await
    }

    /// ALTER VIEW ... SET and RESET of options.
    pub(super) async fn alter_view(
        &mut self,
        parsed: &Parsed,
        (name, if_exists): (&ast::ObjectName, bool),
        change: &ViewChange,
    ) -> Result<CommandTag> {
        const DONE: CommandTag = CommandTag::Words("ALTER VIEW");
        self.begin_role_change("ALTER VIEW").await?;
        let catalogue = self.facts.catalogue.clone();
        let Some(oid) = self.owned_named(parsed, name, (OwnedKind::View, if_exists))? else {
            return Ok(DONE);
        };
        if let Some((kind, owner, name)) = catalogue.owned_relation(oid) {
            self.require_owner_of(kind, name, owner)?;
        }
        let mut options = catalogue.options.get(&oid).cloned().unwrap_or_default();
        let name_of = |option: &str| option.split('=').next().unwrap_or_default().to_owned();
        let gone: Vec<String> = match change {
            ViewChange::Set(set) => set.iter().map(|option| name_of(option)).collect(),
            ViewChange::Reset(names) => names.clone(),
        };
        options.retain(|option| !gone.contains(&name_of(option)));
        if let ViewChange::Set(set) = change {
            options.extend(set.iter().cloned());
        }
        if !options.is_empty() || catalogue.options.contains_key(&oid) {
            grants::put_options(self.transaction()?, oid, &options).await?;
            self.catalogue_changed();
        }
        Ok(DONE)
    }

    /// OR REPLACE may add columns at the end and nothing else.
    fn require_same_columns(&self, before: &View, after: &[ViewColumn]) -> Result<()> {
        let refused = |message: String| SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message);
        self.require_owner_of(ObjectKind::View, &before.name, before.owner)?;
        if after.len() < before.columns.len() {
            return Err(refused("cannot drop columns from view".to_owned()));
        }
        for (old, new) in before.columns.iter().zip(after) {
            if old.name != new.name {
                return Err(refused(format!(
                    "cannot change name of view column \"{}\" to \"{}\"",
                    old.name, new.name
                ))
                .with_hint("Use ALTER VIEW ... RENAME COLUMN ... to change name of view column instead."));
            }
            if old.ty != new.ty {
                return Err(refused(format!(
                    "cannot change data type of view column \"{}\" from {} to {}",
                    old.name,
                    old.ty.id.sql_name(),
                    new.ty.id.sql_name()
                )));
            }
        }
        Ok(())
    }

    /// DROP VIEW.
    pub(super) async fn drop_views(&mut self, parsed: &Parsed, target: &DropTarget) -> Result<CommandTag> {
        self.refuse_in_read_only(true, "DROP VIEW")?;
        let mut views: Vec<Arc<View>> = Vec::with_capacity(target.names.len());
        for name in &target.names {
            let Some(name) = self.dropped(parsed, name, target).await? else { continue };
            let catalogue = self.catalogue().await?;
            let Some(view) = catalogue.view_named(&name).cloned() else {
                return Err(SqlError::internal("a view was found and is gone"));
            };
            if !self.may_drop(view.owner) {
                return Err(not_owner(ObjectKind::View, &name));
            }
            if views.iter().all(|known| known.oid != view.oid) {
                views.push(view);
            }
        }
        // Those that read others of them go first.
        while !views.is_empty() {
            self.begin_statement().await?;
            let catalogue = self.catalogue().await?;
            let is_read = |view: &Arc<View>| {
                let readers = catalogue.views_of(view.oid);
                readers.iter().any(|reader| views.iter().any(|other| other.oid == reader.oid))
            };
            let at = views.iter().position(|view| !is_read(view)).unwrap_or(0);
            let view = views.remove(at);
            // Whoever makes a view that reads it is waited for, and seen.
            store::lock(self.transaction()?, Base::View(view.oid)).await?;
            self.begin_statement().await?;
            // With CASCADE it may have gone with another.
            if !self.catalogue().await?.views.contains_key(&view.oid) {
                continue;
            }
            self.drop_views_of(view.oid, &format!("view {}", view.name), target.cascade).await?;
            self.forget_rights_of(view.oid).await?;
            store::delete_view(self.transaction()?, &view).await?;
            self.catalogue_changed();
        }
        Ok(CommandTag::Words("DROP VIEW"))
    }

    /// Before a table, view or sequence goes: the views that read it go with CASCADE, and else keep it from
    /// going.
    pub(super) async fn drop_views_of(&mut self, oid: u32, what: &str, cascade: bool) -> Result<()> {
        let catalogue = self.catalogue().await?;
        // Those that read these come first, however deep.
        let mut found: Vec<Arc<View>> = Vec::new();
        let mut next = vec![oid];
        let mut details = Vec::new();
        while let Some(used) = next.pop() {
            let used_name = catalogue
                .views
                .get(&used)
                .map_or_else(|| what.to_owned(), |view| format!("view {}", view.name));
            for view in catalogue.views_of(used) {
                if found.iter().any(|known| known.oid == view.oid) {
                    continue;
                }
                details.push(format!("view {} depends on {used_name}", view.name));
                next.push(view.oid);
                found.push(view.clone());
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        if !cascade {
            return Err(still_needed(what, &details));
        }
        for view in &found {
            self.forget_rights_of(view.oid).await?;
            store::delete_view(self.transaction()?, view).await?;
        }
        if let Some(first) = found.first() {
            self.tell_cascade(&format!("view {}", first.name), found.len());
        }
        self.catalogue_changed();
        Ok(())
    }

    /// Refuses a change of a table's columns that views which read it would not survive.
    pub(super) async fn refuse_under_views(&mut self, relation: &Relation, what: &str) -> Result<()> {
        self.refuse_under_views_of(("table", relation.oid, &relation.name), what).await
    }

    /// The same of a sequence.
    pub(super) async fn refuse_under_views_of(
        &mut self,
        (kind, oid, name): (&str, u32, &str),
        what: &str,
    ) -> Result<()> {
        let catalogue = self.catalogue().await?;
        match catalogue.views_of(oid).first() {
            None => Ok(()),
            Some(view) => Err(SqlError::unsupported(format!("{what} of a {kind} that a view reads"))
                .with_detail(format!("view {} depends on {kind} {name}", view.name))
                .with_hint("Drop the view, and create it again afterwards.")),
        }
    }
}
