//! What one name or function in a FROM clause stands for: a table, a generated table, a view, a CTE, a
//! function.

use super::analyzer::{Analyzer, Cte};
use super::from::{FromItem, plain_item, table_item};
use super::node::{DeferredValues, FunctionPlan, GeneratedPlan, GeneratedSource, Node, ProjectPlan};
use crate::expr::{self, Expr, FunctionArgument};
use sql_catalogue::names::{Found, MadeUp, MadeUpBy};
use sql_catalogue::rights::{Object, Privileges};
use sql_catalogue::schema::Schema;
use sql_catalogue::{View, system};
use sql_interface::{Result, SqlError};
use sql_types::cast::CastContext;
use sql_types::{Datum, Type, TypeId};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::TableLockMode;

/// Views over functions that not everybody may execute: whoever reads them runs those.
const OF_FUNCTIONS: [(&str, &str); 5] = [
    ("pg_backend_memory_contexts", "pg_get_backend_memory_contexts()"),
    ("pg_file_settings", "pg_show_all_file_settings()"),
    ("pg_hba_file_rules", "pg_hba_file_rules()"),
    ("pg_ident_file_mappings", "pg_ident_file_mappings()"),
    ("pg_shmem_allocations", "pg_get_shmem_allocations()"),
];

/// Those functions, as grants name them.
pub fn functions_of_views() -> impl Iterator<Item = &'static str> {
    OF_FUNCTIONS.iter().map(|(_, function)| *function)
}

impl Analyzer<'_> {
    pub(super) fn named_item(&mut self, name: &ast::ObjectName, emit_keys: bool) -> Result<FromItem> {
        let (schema, table, position) = self.table_name(name)?;
        if schema.is_none()
            && let Some(at) = self.ctes.iter().rposition(|cte| cte.name == table)
        {
            return self.cte_item(at);
        }
        match self.find(schema.as_deref(), &table)? {
            Some(Found::MadeUp(found)) => self.generated_item(&table, found),
            Some(Found::Sequence(sequence)) => {
                let oid = sequence.oid;
                self.views.push(oid);
                self.require_public();
                self.require(&Object::Relation(oid), Privileges::SELECT);
                let plan = GeneratedPlan {
                    source: GeneratedSource::Sequence(oid),
                    alias: Arc::from(table.as_str()),
                };
                let columns = system::SEQUENCE_COLUMNS
                    .iter()
                    .map(|(name, id)| ((*name).to_owned(), Type::of(*id)))
                    .collect();
                self.reads_catalogue = true;
                let node = Node::Generated(Arc::new(plan));
                Ok(plain_item(node, &table, Some(Schema::PUBLIC.name()), Some(oid), columns))
            }
            Some(Found::View(_)) if emit_keys => Err(SqlError::unsupported("FOR UPDATE of a view")),
            Some(Found::View(view)) => self.view_item(view),
            _ => {
                let relation = self.find_table(name).map_err(|error| error.at(position))?;
                let mode = if emit_keys { TableLockMode::RowShare } else { TableLockMode::AccessShare };
                self.use_table(&relation, mode, Privileges::SELECT);
                Ok(self.as_seen(relation.oid, table_item(&relation, emit_keys)))
            }
        }
    }

    /// A table that the node or the catalogue makes up.
    fn generated_item(&mut self, name: &str, found: MadeUp) -> Result<FromItem> {
        let (source, made_up, columns): (_, &'static str, Vec<(String, Type)>) = match found.by {
            MadeUpBy::Node(at) => {
                let table = self.environment.node_tables().get(at);
                let table = table.ok_or_else(|| SqlError::internal("a table of the node is gone"))?;
                let columns = table.columns.iter().map(|(name, ty)| ((*name).to_owned(), *ty)).collect();
                (GeneratedSource::Node(at), table.name, columns)
            }
            MadeUpBy::Catalogue(at) => {
                let table = system::TABLES.get(at);
                let table = table.ok_or_else(|| SqlError::internal("a system table is gone"))?;
                self.reads_catalogue = true;
                self.reads_session |= system::is_of_session(at);
                let column = |(name, id): &(&str, TypeId)| ((*name).to_owned(), Type::of(*id));
                (GeneratedSource::System(at), table.name, table.columns.iter().map(column).collect())
            }
        };
        self.require(&Object::MadeUp(found.oid, made_up), Privileges::SELECT);
        if let Some((_, function)) = OF_FUNCTIONS.iter().find(|(view, _)| *view == made_up) {
            self.require_of_runner(&Object::Function((*function).to_owned()), Privileges::EXECUTE);
        }
        let node = Node::Generated(Arc::new(GeneratedPlan { source, alias: Arc::from(name) }));
        let item = plain_item(node, name, Some(found.schema.name()), Some(found.oid), columns);
        Ok(if system::is_table(name) { item } else { without_table(item) })
    }

    /// A view: its query in its place, with the rights of its owner.
    pub(super) fn view_item(&mut self, view: &View) -> Result<FromItem> {
        let elsewhere = |mut error: SqlError| {
            error.fields_mut().position = None;
            error
        };
        let query = crate::parse::parse_view(&view.query).map_err(elsewhere)?;
        self.require_public();
        self.require(&Object::Relation(view.oid), Privileges::SELECT);
        let ctes = std::mem::take(&mut self.ctes);
        let (acting, within) = (self.acting, std::mem::replace(&mut self.within, view.sees()));
        // An invoker's view is read by whoever runs the statement, also below another view.
        self.acting = (!self.catalogue.is_of_invoker(view.oid)).then_some(view.owner);
        let inner = self.over_text(query.tokens, |analyzer| {
            analyzer.sibling(|analyzer| analyzer.query_in_level(query.tree()?))
        });
        (self.acting, self.within, self.ctes) = (acting, within, ctes);
        let mut select = inner.map_err(elsewhere)?;
        select.settle_unknowns(self)?;
        self.views.push(view.oid);
        let mut exprs = Vec::with_capacity(view.columns.len());
        for (index, stored) in view.columns.iter().enumerate() {
            let found = select
                .columns
                .get(index)
                .filter(|found| (&found.name, found.ty) == (&stored.inner, stored.ty));
            if found.is_none() {
                return Err(SqlError::new(
                    SqlState::INVALID_TABLE_DEFINITION,
                    format!("view \"{}\" no longer fits the tables that it reads", view.name),
                ));
            }
            exprs.push(Expr::Column { index, ty: stored.ty });
        }
        let plan = ProjectPlan { input: select.node, exprs, deferred: DeferredValues::default() };
        let columns = view.columns.iter().map(|column| (column.name.clone(), column.ty)).collect();
        let node = Node::Project(Arc::new(plan));
        let item = without_table(plain_item(node, &view.name, Some("public"), Some(view.oid), columns));
        Ok(self.as_seen(view.oid, item))
    }

    /// A table or a view as the view around sees it: without the columns that came since that was made.
    fn as_seen(&self, oid: u32, mut item: FromItem) -> FromItem {
        if let Some((_, last)) = self.within.iter().find(|(seen, _)| *seen == oid) {
            item.columns.retain(|column| column.origin.is_none_or(|(_, number)| number <= *last));
        }
        item
    }

    pub(super) fn cte_item(&mut self, at: usize) -> Result<FromItem> {
        let Some(cte) = self.ctes.get_mut(at) else {
            return Err(SqlError::internal("a WITH query is gone"));
        };
        cte.reads += 1;
        let Cte { name, columns, query, sees, volatile, reads } = cte.clone();
        if volatile && reads > 1 {
            // Both readers would have to see the same rows.
            return Err(SqlError::unsupported("a WITH query with a volatile function that is read twice"));
        }
        let later = self.ctes.split_off(sees.min(self.ctes.len()));
        let result = self.derived(&mut FromItem::unit(), false, &query);
        self.ctes.truncate(sees);
        self.ctes.extend(later);
        let mut item = result?;
        item.rename(&name, &columns)?;
        Ok(item)
    }

    /// What is wrong with a query of a WITH clause is told whether or not something reads it. One that
    /// nothing reads does nothing, and so needs no rights.
    pub(super) fn analyse_unread(&mut self, from: usize) -> Result<()> {
        if self.ctes.iter().skip(from).all(|cte| cte.reads > 0) {
            return Ok(());
        }
        let (known, rights) = (self.ctes.clone(), self.rights.clone());
        let (writes, refused) = (self.writes, self.full_joins_refused);
        self.ctes.iter_mut().for_each(|cte| cte.volatile = false);
        // The last ones first: what they read has been analysed with them.
        for at in (from..self.ctes.len()).rev() {
            if self.ctes.get(at).is_some_and(|cte| cte.reads == 0) {
                match self.cte_item(at) {
                    // What is absent here is not missed where it does not run.
                    Err(error) if error.code() != SqlState::FEATURE_NOT_SUPPORTED => return Err(error),
                    _ => {}
                }
            }
        }
        (self.ctes, self.rights) = (known, rights);
        (self.writes, self.full_joins_refused) = (writes, refused);
        self.lateral_pending = false;
        Ok(())
    }

    /// A function in FROM, which may look at the tables before it.
    pub(super) fn function_item(
        &mut self,
        left: &mut FromItem,
        name: &ast::ObjectName,
        arguments: &[ast::FunctionArg],
        ordinality: bool,
        alias: Option<String>,
    ) -> Result<FromItem> {
        let function = self.function_name(name)?.ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {name} does not exist"))
        })?;
        let outcome = self.with_shown(left, |analyzer| {
            analyzer.push_level();
            let position = name.0.last().and_then(|part| analyzer.at(part.as_ident()?));
            let result = analyzer.function_source(name, &function, arguments);
            let result = result.map_err(|error| error.at(position));
            let depth = analyzer.levels.len() - 1;
            let uses_left = depth > 0 && analyzer.levels.last().is_some_and(|level| level.outermost < depth);
            let deferred = analyzer.take_deferred();
            analyzer.pop_level();
            Ok((result?, uses_left, deferred))
        });
        let ((source, mut columns), uses_left, deferred) = outcome?;
        if ordinality {
            columns.push(("ordinality".to_owned(), Type::of(TypeId::Int8)));
        }
        // The one column of a function is called by the alias.
        if let ([(column, _)], Some(alias)) = (columns.as_mut_slice(), &alias)
            && matches!(&source, FunctionSource::Scalar(_) | FunctionSource::Set(_))
        {
            column.clone_from(alias);
        }
        let node = match source {
            FunctionSource::Set(call) => {
                let alias = Arc::from(alias.as_deref().unwrap_or(&function));
                Node::Function(Arc::new(FunctionPlan { call, alias, deferred, ordinality }))
            }
            FunctionSource::Scalar(value) => {
                let number = ordinality.then(|| Expr::constant(Datum::Int8(1), Type::of(TypeId::Int8)));
                let exprs = std::iter::once(value).chain(number).collect();
                Node::Project(Arc::new(ProjectPlan { input: Node::Unit, exprs, deferred }))
            }
        };
        self.lateral_pending = uses_left;
        Ok(plain_item(node, alias.as_deref().unwrap_or(&function), None, None, columns))
    }

    fn function_source(
        &mut self,
        name: &ast::ObjectName,
        function: &str,
        arguments: &[ast::FunctionArg],
    ) -> Result<(FunctionSource, Vec<(String, Type)>)> {
        let names = expr::argument_names(function, arguments, self)?;
        let mut compiled = Vec::with_capacity(arguments.len());
        for (argument, name) in arguments.iter().zip(names) {
            let (ast::FunctionArg::Named { arg, .. }
            | ast::FunctionArg::Unnamed(arg)
            | ast::FunctionArg::ExprNamed { arg, .. }) = argument;
            let ast::FunctionArgExpr::Expr(value) = arg else {
                return Err(SqlError::syntax("* is no argument of a function in FROM"));
            };
            compiled.push(FunctionArgument { name, value: self.compile_in("functions in FROM", value)? });
        }
        expr::require_names(function, &compiled)?;
        if let Some((call, columns)) = self.set_function(function, &compiled)? {
            return Ok((FunctionSource::Set(call), columns));
        }
        let call = ast::Expr::Function(ast::Function {
            name: name.clone(),
            uses_odbc_syntax: false,
            parameters: ast::FunctionArguments::None,
            args: ast::FunctionArguments::List(ast::FunctionArgumentList {
                duplicate_treatment: None,
                args: arguments.to_vec(),
                clauses: Vec::new(),
            }),
            within_group: Vec::new(),
            filter: None,
            null_treatment: None,
            over: None,
        });
        self.take_deferred();
        let value = self.compile_in("functions in FROM", &call)?;
        let value = if value.ty().id == TypeId::Unknown {
            expr::coerce(value, Type::of(TypeId::Text), CastContext::Implicit, self)?
        } else {
            value
        };
        let ty = value.ty();
        Ok((FunctionSource::Scalar(value), vec![(function.to_owned(), ty)]))
    }
}

/// A view's rows are of no table: they have no system columns.
fn without_table(mut item: FromItem) -> FromItem {
    item.tables.iter_mut().for_each(|table| table.oid = None);
    item
}

/// What a function in FROM is made of.
enum FunctionSource {
    Set(super::node::SetCall),
    Scalar(Expr),
}
