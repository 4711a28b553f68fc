//! Analysis: from a parsed statement and the catalogue to a plan, or to an error with a position.

mod alike;
mod analyzer;
mod calls;
mod chains;
mod conflict;
mod depth;
mod direct;
mod exists;
mod from;
mod full_join;
mod grouping;
mod joins;
mod kept;
mod late;
mod modify;
mod names;
#[expect(missing_docs, reason = "nodes and their fields are named after what SQL calls them")]
mod node;
mod observe;
mod outputs;
mod parts;
mod predicate;
mod prune;
mod query;
mod rechecks;
pub mod rights;
mod scope;
mod select;
mod set_operation;
mod sources;
mod tail;
mod using;

pub use analyzer::Analyzer;
pub use calls::{ACL_COLUMNS, signature};
pub use direct::{Direct, DirectDelete, DirectGet, DirectInsert, DirectUpdate, Output};
pub use kept::{Defined, Renamed};
pub use names::is_system_catalogue;
pub use node::*;
pub use observe::{Figures, Observed, ObservedPlan, observe};
pub use sources::functions_of_views;

use crate::expr::Expr;
use crate::parse::SqlCommand;
use depth::Needs;
use modify::settled;
use query::{OutputColumn, Select};
use sql_interface::{Result, ResultColumn, SqlError, stack};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Rows that operators ask each other for where nobody said how many.
pub const BATCH: usize = 256;

fn result_columns(columns: Vec<OutputColumn>) -> Vec<ResultColumn> {
    columns
        .into_iter()
        .map(|column| {
            let (table_oid, attribute) = column.origin.unwrap_or((0, 0));
            ResultColumn { name: column.name, table_oid, attribute, ty: column.ty }
        })
        .collect()
}

/// Plans a SELECT, INSERT, UPDATE or DELETE.
///
/// # Errors
///
/// What is wrong with the statement, with its position.
pub fn plan(analyzer: &mut Analyzer<'_>, command: &SqlCommand) -> Result<Plan> {
    let (verb, node, columns) = match command {
        SqlCommand::Query(query) => return plan_query(analyzer, query),
        SqlCommand::Insert(insert) => {
            let (node, columns) = analyzer.change(insert, Analyzer::insert)?;
            (Verb::Insert, node, columns)
        }
        SqlCommand::Update(update) => {
            let (node, columns) = analyzer.change(update, Analyzer::update)?;
            (Verb::Update, node, columns)
        }
        SqlCommand::Delete(delete) => {
            let (node, columns) = analyzer.change(delete, Analyzer::delete)?;
            (Verb::Delete, node, columns)
        }
        _ => return Err(SqlError::internal("a statement without a plan")),
    };
    finish(analyzer, verb, node, columns)
}

/// Plans a query.
///
/// # Errors
///
/// What is wrong with the statement, with its position.
pub fn plan_query(analyzer: &mut Analyzer<'_>, query: &ast::Query) -> Result<Plan> {
    let mut select = analyzer.query(query)?;
    select.settle_unknowns(analyzer)?;
    let Select { node, columns } = select;
    finish(analyzer, Verb::Select, node, Some(columns))
}

/// Plans one row of these values, the arguments of EXECUTE.
///
/// # Errors
///
/// 0A000 for a subquery among them.
pub fn plan_arguments(analyzer: &mut Analyzer<'_>, values: Vec<Expr>) -> Result<Plan> {
    let deferred = analyzer.take_deferred();
    if deferred.iter().any(|slot| slot.source.node().is_some()) {
        let message = "cannot use subquery in EXECUTE parameter";
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    let plan = ValuesPlan { rows: vec![values], deferred };
    finish(analyzer, Verb::Select, Node::Values(Arc::new(plan)), None)
}

fn finish(
    analyzer: &mut Analyzer<'_>,
    verb: Verb,
    mut node: Node,
    columns: Option<Vec<OutputColumn>>,
) -> Result<Plan> {
    if analyzer.full_joins_refused && !analyzer.is_kept {
        full_join::check(&node)?;
    }
    prune::prune(&mut node);
    let parameters = settled(&analyzer.parameters, &analyzer.left_open)?;
    let regs: Vec<(usize, sql_types::TypeId)> = columns
        .iter()
        .flatten()
        .enumerate()
        .filter(|(_, column)| {
            let id = column.ty.id;
            id.is_reg() || id.element().is_some_and(sql_types::TypeId::is_reg)
        })
        .map(|(at, column)| (at, column.ty.id))
        .collect();
    let Needs { stack_bytes, join_rows } =
        if analyzer.tokens <= stack::SHALLOW_TOKENS { Needs::default() } else { depth::needs(&node)? };
    let direct = if regs.is_empty() { direct::recognise(&node) } else { None };
    let of_node_alone = analyzer.tables.is_empty() && !analyzer.writes && !analyzer.reads_catalogue;
    Ok(Plan {
        verb,
        node,
        columns: columns.map(result_columns),
        parameters,
        tables: std::mem::take(&mut analyzer.tables),
        rights: analyzer.take_rights(),
        allowed: AtomicU32::new(NOBODY),
        version: analyzer.catalogue.version,
        writes: analyzer.writes,
        of_node_alone,
        reads_session: analyzer.reads_session,
        of_moment: analyzer.of_moment,
        direct,
        regs,
        tokens: analyzer.tokens,
        stack_bytes,
        join_rows,
    })
}
