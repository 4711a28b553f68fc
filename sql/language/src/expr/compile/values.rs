//! VALUES in an expression.

use super::unsupported;
use crate::parse::bare_query;
use sql_interface::Result;
use sqlparser::ast::{self, Expr as Ast, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart};

/// The query that `(VALUES (...))` is in an expression, where the parser takes it for a call of a function;
/// a function cannot have that name.
pub(super) fn values_query(call: &ast::Function) -> Option<Result<ast::Query>> {
    if !is_values(call) {
        return None;
    }
    let FunctionArguments::List(list) = &call.args else { return None };
    let fields = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Ok(value.clone()),
        other => Err(unsupported(&format!("{other} in VALUES"))),
    });
    let query = |row| {
        let rows = vec![ast::Parens::with_empty_span(row)];
        let values = ast::Values { explicit_row: false, value_keyword: false, rows };
        bare_query(ast::SetExpr::Values(values))
    };
    Some(fields.collect::<Result<Vec<Ast>>>().map(query))
}

/// Whether what the parser takes for a call is VALUES with one row.
pub(crate) fn is_values(call: &ast::Function) -> bool {
    let [ObjectNamePart::Identifier(name)] = call.name.0.as_slice() else { return false };
    name.quote_style.is_none() && name.value.eq_ignore_ascii_case("values")
}
