//! What is taken out of a value: an element of an array by its subscripts, a field of a composite value.

use super::{Ast, Compiler, unsupported};
use crate::expr::coerce::coerce;
use crate::expr::node::Expr;
use crate::parse::fold;
use sql_interface::{Result, SqlError};
use sql_types::cast::CastContext;
use sql_types::{Type, TypeId};
use sqlparser::ast;
use sqlstate::SqlState;

impl Compiler<'_> {
    /// `value[subscript]`, `(value).field`.
    pub(super) fn subscripts(&mut self, root: &Ast, chain: &[ast::AccessExpr]) -> Result<Expr> {
        let (name, mut chain) = qualified_name(root, chain);
        let mut array = match name {
            Some(name) => self.expr(&Ast::CompoundIdentifier(name))?,
            None => self.expr(root)?,
        };
        if let [ast::AccessExpr::Dot(Ast::Identifier(name)), rest @ ..] = chain {
            (array, chain) = (self.field(array, &fold(name))?, rest);
            if chain.is_empty() {
                return Ok(array);
            }
        }
        let ty = array.ty();
        let of_name = (ty.id == TypeId::Name).then_some(TypeId::Char);
        let Some(element) = ty.id.element().or(of_name) else {
            let name = ty.id.sql_name();
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("cannot subscript type {name} because it does not support subscripting"),
            ));
        };
        let mut subscripts = Vec::with_capacity(chain.len());
        for access in chain {
            let ast::AccessExpr::Subscript(ast::Subscript::Index { index }) = access else {
                return Err(unsupported("a slice of an array or a field of a composite value"));
            };
            let subscript = self.expr(index)?;
            subscripts.push(coerce(subscript, Type::of(TypeId::Int4), CastContext::Assignment, self.scope)?);
        }
        let ty = Type { id: element, modifier: ty.modifier };
        Ok(Expr::Subscript { array: Box::new(array), subscripts, ty }.fold_here())
    }

    /// A field of a composite value, which only functions give here.
    fn field(&mut self, value: Expr, name: &str) -> Result<Expr> {
        match self.scope.field(&value, name)? {
            Some(field) => Ok(field),
            None if value.ty().id == TypeId::Text => Err(unsupported("a field of such a composite value")),
            None => Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!(
                    "column notation .{name} applied to type {}, which is not a composite type",
                    value.ty().id.sql_name()
                ),
            )),
        }
    }
}

/// The name of a column with its table in front of subscripts (`t.a[1]`), of which the parser makes a column
/// `t` and a field `a` of it; and what follows.
fn qualified_name<'a>(
    root: &Ast,
    chain: &'a [ast::AccessExpr],
) -> (Option<Vec<ast::Ident>>, &'a [ast::AccessExpr]) {
    let Ast::Identifier(first) = root else { return (None, chain) };
    let field = |access: &ast::AccessExpr| match access {
        ast::AccessExpr::Dot(Ast::Identifier(name)) => Some(name.clone()),
        _ => None,
    };
    let fields: Vec<ast::Ident> = chain.iter().map_while(field).collect();
    if fields.is_empty() {
        return (None, chain);
    }
    let rest = chain.get(fields.len()..).unwrap_or_default();
    (Some(std::iter::once(first.clone()).chain(fields).collect()), rest)
}
