//! Names before the arguments of a call: `name => value`.

use super::call::undefined_by_names;
use super::unsupported;
use crate::expr::{FunctionArgument, Scope};
use crate::parse::fold;
use sql_catalogue::system::known::{FUNCTIONS, KnownFunction};
use sql_catalogue::system::signatures;
use sql_interface::{Result, SqlError};
use sql_types::TypeId;
use sqlparser::ast::{Expr as Ast, FunctionArg, FunctionArgExpr, Ident, Spanned};

/// The names that arguments have in a call of this function, by their places.
///
/// # Errors
///
/// 42601 for a name that comes twice, and for an argument without one behind one that has it.
pub(crate) fn argument_names(
    function: &str,
    arguments: &[FunctionArg],
    scope: &dyn Scope,
) -> Result<Vec<Option<String>>> {
    let mut names: Vec<Option<String>> = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let named =
            name_of(argument).map_err(|what| unsupported(&format!("{what} of function {function}")))?;
        let Some(ident) = named else {
            if names.last().is_some_and(Option::is_some) {
                let position = scope.position(argument.span());
                return Err(SqlError::syntax("positional argument cannot follow named argument").at(position));
            }
            names.push(None);
            continue;
        };
        let name = fold(ident);
        if names.iter().flatten().any(|before| *before == name) {
            let message = format!("argument name \"{name}\" used more than once");
            return Err(SqlError::syntax(message).at(scope.position(ident.span)));
        }
        names.push(Some(name));
    }
    Ok(names)
}

/// The name before an argument; `Err` says what else stands there.
fn name_of(argument: &FunctionArg) -> std::result::Result<Option<&Ident>, String> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(_)) => Ok(None),
        FunctionArg::Named { name, arg: FunctionArgExpr::Expr(_), .. }
        | FunctionArg::ExprNamed { name: Ast::Identifier(name), arg: FunctionArgExpr::Expr(_), .. } => {
            Ok(Some(name))
        }
        other => Err(format!("the argument {other}")),
    }
}

/// Whether PostgreSQL's catalogue has these names for arguments of a function so called. One that it does not
/// have at all is the server's own, with names of its own.
///
/// # Errors
///
/// 42883 if not.
pub(crate) fn require_names(function: &str, passed: &[FunctionArgument]) -> Result<()> {
    let mut known = FUNCTIONS.iter().filter(|known| known.name == function).peekable();
    let is_unnamed = passed.iter().all(|argument| argument.name.is_none());
    if is_unnamed || known.peek().is_none() || known.any(|known| has_names(known, passed)) {
        return Ok(());
    }
    Err(undefined_by_names(function, &types_by_names(passed)))
}

fn has_names(function: &KnownFunction, passed: &[FunctionArgument]) -> bool {
    let names = signatures::input_names(function);
    passed.iter().filter_map(|argument| argument.name.as_deref()).all(|name| names.contains(&name))
}

/// Names and types of arguments.
pub(super) fn types_by_names(passed: &[FunctionArgument]) -> Vec<(Option<String>, TypeId)> {
    passed.iter().map(|argument| (argument.name.clone(), argument.value.ty().id)).collect()
}
