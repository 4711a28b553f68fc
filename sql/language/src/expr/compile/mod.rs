//! From the parser's tree to an [`Expr`].

mod access;
mod argument_names;
pub(crate) use argument_names::{argument_names, require_names};
mod call;
pub(crate) use call::{ambiguous, named_call, overload, untold};
mod condition;
mod literal;
mod operator;
mod pattern;
mod special;
mod values;

pub(crate) use operator::operator;
pub(crate) use values::is_values;

use super::coerce::{self, coerce, common_type};
use super::node::Expr;
use super::{Scope, Subquery};
use crate::parse::{TARGETS_MAX, fold};
use operator::{comparison, comparison_of, named_operator, unary};
use sql_catalogue::schema::Schema;
use sql_interface::{Result, SqlError, stack};
use sql_types::cast::CastContext;
use sql_types::{Datum, Type, TypeId};
use sqlparser::ast::{self, BinaryOperator, Expr as Ast, InTarget, UnaryOperator};
use sqlstate::SqlState;

pub(super) const BOOL: Type = Type::of(TypeId::Bool);
pub(super) const TEXT: Type = Type::of(TypeId::Text);
pub(super) const UNKNOWN: Type = Type::of(TypeId::Unknown);

/// Compiles an expression: looks names up, chooses operators and functions, reads literals, folds constants.
/// A bare literal or parameter may come out with the type unknown; the caller coerces it to what it needs.
pub(crate) fn compile(ast: &Ast, scope: &mut dyn Scope) -> Result<Expr> {
    Compiler { scope, depth: 0 }.expr(ast)
}

/// Compiles one expression.
pub(super) struct Compiler<'a> {
    pub(super) scope: &'a mut dyn Scope,
    depth: usize,
}

pub(super) fn unsupported(what: &str) -> SqlError {
    SqlError::unsupported(what)
}

fn is_null_literal(ast: &Ast) -> bool {
    matches!(strip(ast), Ast::Value(value) if value.value == ast::Value::Null)
}

impl Compiler<'_> {
    pub(super) fn expr(&mut self, ast: &Ast) -> Result<Expr> {
        self.deeper(1, |compiler| compiler.node(ast))
    }

    /// Works where so many levels of the expression being made are above.
    fn deeper<T>(&mut self, levels: usize, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += levels;
        stack::check_levels(self.depth)?;
        let made = work(self);
        self.depth -= levels;
        made
    }

    /// An expression once more.
    pub(super) fn again(&mut self, expr: &Expr) -> Result<Expr> {
        // Leaves do not double.
        self.scope.repeat(expr.nodes().saturating_sub(1))?;
        Ok(expr.clone())
    }

    pub(super) fn boxed(&mut self, ast: &Ast) -> Result<Box<Expr>> {
        self.expr(ast).map(Box::new)
    }

    fn node(&mut self, ast: &Ast) -> Result<Expr> {
        match ast {
            // A word of the grammar, as CURRENT_USER is.
            Ast::Identifier(name)
                if name.quote_style.is_none() && name.value.eq_ignore_ascii_case("current_role") =>
            {
                named_call("current_role", Vec::new(), self.scope)
            }
            Ast::Identifier(name) => self.scope.column(std::slice::from_ref(name)),
            Ast::CompoundIdentifier(names) => self.scope.column(names),
            Ast::Nested(inner) => self.expr(inner),
            Ast::Value(value) => self.literal(value),
            Ast::TypedString(typed) => self.typed_string(typed),
            Ast::Interval(interval) => self.interval(interval),
            Ast::Prefixed { .. } => Err(unsupported("a literal with a prefix")),
            Ast::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
                self.connective(op, left, right)
            }
            Ast::BinaryOp { left, op, right } => self.binary(left, op, right),
            Ast::UnaryOp { op: UnaryOperator::Not, expr } => {
                let operand = self.condition(expr, "NOT")?;
                Ok(Expr::Not(Box::new(operand)).fold_here())
            }
            Ast::UnaryOp { op, expr } => self.unary_operator(op, expr),
            Ast::Cast {
                kind: ast::CastKind::Cast | ast::CastKind::DoubleColon,
                expr,
                data_type: wanted,
                format: None,
            } => {
                let to = self.named_type(wanted)?;
                self.cast(expr, to)
            }
            Ast::IsNull(expr) | Ast::IsUnknown(expr) => {
                self.is_null(expr, false, matches!(ast, Ast::IsUnknown(_)))
            }
            Ast::IsNotNull(expr) | Ast::IsNotUnknown(expr) => {
                self.is_null(expr, true, matches!(ast, Ast::IsNotUnknown(_)))
            }
            Ast::IsTrue(expr) => self.is_truth(expr, true, false, "IS TRUE"),
            Ast::IsNotTrue(expr) => self.is_truth(expr, true, true, "IS NOT TRUE"),
            Ast::IsFalse(expr) => self.is_truth(expr, false, false, "IS FALSE"),
            Ast::IsNotFalse(expr) => self.is_truth(expr, false, true, "IS NOT FALSE"),
            Ast::IsDistinctFrom(left, right) => self.distinct(left, right, false),
            Ast::IsNotDistinctFrom(left, right) => self.distinct(left, right, true),
            Ast::Between { expr, negated, low, high } => self.between(expr, *negated, low, high),
            Ast::In { expr, target: InTarget::List(list), negated, global: false } => {
                self.in_list(expr, list, *negated)
            }
            Ast::Like { any: false, .. } | Ast::ILike { any: false, .. } | Ast::SimilarTo { .. } => {
                self.pattern(ast)
            }
            Ast::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Ast::In { target: InTarget::Subquery(_), global: false, .. }
            | Ast::Exists { .. }
            | Ast::Subquery(_) => self.subquery(ast),
            Ast::AnyOp { left, compare_op, right, .. } => self.quantified(left, compare_op, right, false),
            Ast::AllOp { left, compare_op, right } => self.quantified(left, compare_op, right, true),
            Ast::Array(array) => self.array(&array.elem),
            Ast::CompoundFieldAccess { root, access_chain } => self.subscripts(root, access_chain),
            Ast::Collate { expr, collation } => self.collate(expr, collation),
            Ast::Tuple(_) => Err(unsupported("a row value in this place")),
            _ => self.call_like(ast),
        }
    }

    fn cast(&mut self, expr: &Ast, to: Type) -> Result<Expr> {
        // ARRAY[]::type[] is the one place where an empty array has a type.
        if let (Ast::Array(array), Some(_)) = (expr, to.id.element())
            && array.elem.is_empty()
        {
            return Ok(Expr::Array { elements: Vec::new(), ty: to }.fold_here());
        }
        let operand = self.expr(expr)?;
        coerce(operand, to, CastContext::Explicit, self.scope)
    }

    fn unary_operator(&mut self, op: &UnaryOperator, expr: &Ast) -> Result<Expr> {
        let name = match op {
            UnaryOperator::Minus => "-",
            UnaryOperator::Plus => "+",
            UnaryOperator::BitwiseNot => "~",
            UnaryOperator::PGAbs => "@",
            UnaryOperator::PGSquareRoot => "|/",
            UnaryOperator::PGCubeRoot => "||/",
            other => return Err(unsupported(&format!("operator {other}"))),
        };
        // The sign belongs to a number that it stands before: the least integer is one, and with another sign
        // before it it is a number that is larger than an integer.
        if let (UnaryOperator::Minus, Some((negated, digits))) = (op, literal::signed_number(expr)) {
            return literal::number(&if negated { digits.to_owned() } else { format!("-{digits}") });
        }
        let operand = self.expr(expr)?;
        unary(name, operand, self.scope)
    }

    /// AND and OR: chains are flattened, however the parser nested them.
    fn connective(&mut self, op: &BinaryOperator, left: &Ast, right: &Ast) -> Result<Expr> {
        let word = if *op == BinaryOperator::And { "AND" } else { "OR" };
        let mut rest = vec![right, left];
        let mut parts = Vec::new();
        while let Some(next) = rest.pop() {
            match next {
                Ast::BinaryOp { left, op: inner, right } if inner == op => rest.extend([&**right, &**left]),
                _ => parts.push(self.condition(next, word)?),
            }
        }
        Ok(if *op == BinaryOperator::And { Expr::And(parts) } else { Expr::Or(parts) }.fold_here())
    }

    fn is_null(&mut self, expr: &Ast, negated: bool, boolean: bool) -> Result<Expr> {
        let operand = if boolean {
            self.condition(expr, if negated { "IS NOT UNKNOWN" } else { "IS UNKNOWN" })?
        } else {
            let operand = self.expr(expr)?;
            coerce::settle_literal(operand, self.scope)?
        };
        Ok(Expr::IsNull { operand: Box::new(operand), negated }.fold_here())
    }

    fn is_truth(&mut self, expr: &Ast, truth: bool, negated: bool, context: &str) -> Result<Expr> {
        let operand = Box::new(self.condition(expr, context)?);
        Ok(Expr::IsTruth { operand, truth, negated }.fold_here())
    }

    fn distinct(&mut self, left: &Ast, right: &Ast, negated: bool) -> Result<Expr> {
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        match comparison("=", left, right, self.scope)? {
            Expr::Compare { left, right, .. } => {
                Ok(Expr::Distinct { sides: Box::new([*left, *right]), negated }.fold_here())
            }
            _ => Err(unsupported("IS DISTINCT FROM over these types")),
        }
    }

    fn in_list(&mut self, expr: &Ast, list: &[Ast], negated: bool) -> Result<Expr> {
        if let Ast::Tuple(fields) = strip(expr) {
            return self.row_in_list(fields, list, negated);
        }
        let sets = self.scope.set_calls();
        let tested = self.expr(expr)?;
        let items = list.iter().map(|item| self.expr(item)).collect::<Result<Vec<_>>>()?;
        self.refuse_sets(sets, "IN")?;
        // Values without columns are an array where one type fits them and what is looked for; any other is
        // compared by itself.
        let (values, of_columns): (Vec<Expr>, Vec<Expr>) =
            items.into_iter().partition(|item| !item.names_columns());
        let (mut parts, rest) = match array_type(&tested, &values) {
            Some(common) => {
                let again = if of_columns.is_empty() { tested.clone() } else { self.again(&tested)? };
                (vec![self.in_array(again, values, common, negated)?], of_columns)
            }
            None => (Vec::new(), values.into_iter().chain(of_columns).collect()),
        };
        for item in rest {
            let again = self.again(&tested)?;
            parts
                .push(named_operator(if negated { "<>" } else { "=" }, again, item, self.scope)?.fold_here());
        }
        Ok(match (parts.len(), negated) {
            (1, _) => parts.swap_remove(0),
            (_, true) => Expr::And(parts).fold_here(),
            (_, false) => Expr::Or(parts).fold_here(),
        })
    }

    /// `tested = ANY (array of the values)`, or `<> ALL`.
    fn in_array(&mut self, tested: Expr, values: Vec<Expr>, common: Type, negated: bool) -> Result<Expr> {
        let mut list = Vec::with_capacity(values.len());
        for value in values {
            list.push(coerce(value, common, CastContext::Implicit, self.scope)?);
        }
        let one_type = |id: TypeId| common.id == id || (is_plain_string(common.id) && is_plain_string(id));
        // What is no column can become what its values are; a column is compared as it is.
        let tested = match tested {
            column @ Expr::Column { .. } => column,
            other if one_type(other.ty().id) => other,
            other if coerce::can_coerce(other.ty().id, common.id, CastContext::Implicit) => {
                coerce(other, common, CastContext::Implicit, self.scope)?
            }
            other => other,
        };
        if !one_type(tested.ty().id) {
            let mut parts = Vec::with_capacity(list.len());
            for value in list {
                let again = self.again(&tested)?;
                let name = if negated { "<>" } else { "=" };
                parts.push(named_operator(name, again, value, self.scope)?.fold_here());
            }
            return Ok(if negated { Expr::And(parts) } else { Expr::Or(parts) }.fold_here());
        }
        // varchar and text hold the same values: a varchar column stays what it is.
        let wanted = Type::of(tested.ty().id);
        if wanted.id != common.id {
            list = list
                .into_iter()
                .map(|value| coerce(value, wanted, CastContext::Implicit, self.scope))
                .collect::<Result<_>>()?;
        }
        // The operator must be there.
        let (left, right) = (Expr::constant(Datum::Null, wanted), Expr::constant(Datum::Null, wanted));
        named_operator("=", left, right, self.scope)?;
        Ok(Expr::In { tested: Box::new(tested), list, negated }.fold_here())
    }

    fn row_in_list(&mut self, fields: &[Ast], list: &[Ast], negated: bool) -> Result<Expr> {
        let mut parts = Vec::with_capacity(list.len());
        for item in list {
            let Ast::Tuple(values) = strip(item) else {
                return Err(SqlError::syntax("a row can only be compared with rows"));
            };
            parts.push(self.rows(fields, "=", values)?);
        }
        let any = if parts.len() == 1 { parts.swap_remove(0) } else { Expr::Or(parts) };
        Ok(if negated { Expr::Not(Box::new(any)) } else { any }.fold_here())
    }

    /// `(a, b) op (c, d)`.
    pub(super) fn rows(&mut self, left: &[Ast], op: &str, right: &[Ast]) -> Result<Expr> {
        if left.len() != right.len() {
            return Err(SqlError::syntax("unequal number of entries in row expressions"));
        }
        if left.is_empty() {
            return Err(unsupported("a comparison of empty rows"));
        }
        if left.len() > TARGETS_MAX {
            let message = format!("ROW expressions can have at most {TARGETS_MAX} entries");
            return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, message));
        }
        // A comparison by order is as deep as its rows are long, twice.
        stack::check_levels(self.depth + 2 * left.len())?;
        let left = left.iter().map(|field| self.expr(field)).collect::<Result<Vec<_>>>()?;
        let right = right.iter().map(|field| self.expr(field)).collect::<Result<Vec<_>>>()?;
        let pairs: Vec<(Expr, Expr)> = left.into_iter().zip(right).collect();
        let mut compare = |op: &str, (left, right): &(Expr, Expr)| {
            named_operator(op, left.clone(), right.clone(), self.scope).map(Expr::fold_here)
        };
        if matches!(op, "=" | "<>") {
            let mut parts = pairs.iter().map(|pair| compare(op, pair)).collect::<Result<Vec<_>>>()?;
            return Ok(match (parts.len(), op) {
                (1, _) => parts.swap_remove(0),
                (_, "=") => Expr::And(parts).fold_here(),
                _ => Expr::Or(parts).fold_here(),
            });
        }
        // The first pair that differs decides.
        let strict = op.trim_end_matches('=');
        let mut result: Option<Expr> = None;
        for pair in pairs.iter().rev() {
            result = Some(match result {
                None => compare(op, pair)?,
                Some(rest) => {
                    let decides = compare(strict, pair)?;
                    let equal = compare("=", pair)?;
                    // What is below is folded already.
                    let both = Expr::And(vec![equal, rest]).fold_here();
                    Expr::Or(vec![decides, both]).fold_here()
                }
            });
        }
        result.ok_or_else(|| unsupported("a comparison of empty rows"))
    }

    fn case(
        &mut self,
        operand: Option<&Ast>,
        whens: &[ast::CaseWhen],
        otherwise: Option<&Ast>,
    ) -> Result<Expr> {
        let sets = self.scope.set_calls();
        let operand = operand.map(|operand| self.expr(operand)).transpose()?;
        let operand = operand.map(|operand| coerce::settle(operand, self.scope)).transpose()?;
        if whens.len() > 1 && operand.as_ref().is_some_and(Expr::is_volatile) {
            // Each comparison would compute it anew.
            return Err(unsupported("CASE over a volatile expression"));
        }
        let mut branches = Vec::with_capacity(whens.len());
        for when in whens {
            let condition = match &operand {
                None => self.condition(&when.condition, "CASE/WHEN")?,
                Some(operand) => {
                    let value = self.expr(&when.condition)?;
                    let again = self.again(operand)?;
                    named_operator("=", again, value, self.scope)?.fold_here()
                }
            };
            branches.push((condition, self.expr(&when.result)?));
        }
        let mut otherwise = otherwise.map(|otherwise| self.boxed(otherwise)).transpose()?;
        // ELSE stands first where PostgreSQL looks for the type.
        let mut results: Vec<&mut Expr> = otherwise.iter_mut().map(|otherwise| &mut **otherwise).collect();
        results.extend(branches.iter_mut().map(|(_, result)| result));
        let ty = common_type(&mut results, "CASE", self.scope)?;
        self.refuse_conditional_sets(sets, "CASE")?;
        Ok(fold_case(branches, otherwise, ty))
    }

    fn subquery(&mut self, ast: &Ast) -> Result<Expr> {
        match ast {
            Ast::Subquery(query) => self.scope.subquery(Subquery::Scalar(query)),
            Ast::Exists { subquery, negated } => {
                let exists = self.scope.subquery(Subquery::Exists(subquery))?;
                Ok(if *negated { Expr::Not(Box::new(exists)) } else { exists })
            }
            Ast::In { expr, target: InTarget::Subquery(subquery), negated, global: _ } => {
                let left = self.row_or_value(expr)?;
                let op = if *negated { BinaryOperator::NotEq } else { BinaryOperator::Eq };
                self.scope.subquery(Subquery::Quantified { left, op, all: *negated, query: subquery })
            }
            _ => Err(SqlError::internal("no subquery")),
        }
    }

    fn row_or_value(&mut self, expr: &Ast) -> Result<Vec<Expr>> {
        match strip(expr) {
            Ast::Tuple(fields) => fields.iter().map(|field| self.expr(field)).collect(),
            value => Ok(vec![self.expr(value)?]),
        }
    }

    /// `left op ANY (array or subquery)`.
    fn quantified(&mut self, left: &Ast, op: &BinaryOperator, right: &Ast, all: bool) -> Result<Expr> {
        if let Ast::Subquery(query) = strip(right) {
            let left = self.row_or_value(left)?;
            return self.scope.subquery(Subquery::Quantified { left, op: op.clone(), all, query });
        }
        let (left, array) = (self.expr(left)?, self.expr(right)?);
        operator::quantified(op, left, array, all, self.scope)
    }

    fn array(&mut self, elements: &[Ast]) -> Result<Expr> {
        if elements.is_empty() {
            return Err(SqlError::new(
                SqlState::INDETERMINATE_DATATYPE,
                "cannot determine type of empty array",
            )
            .with_hint("Explicitly cast to the desired type, for example ARRAY[]::integer[]."));
        }
        // Inner brackets stand without the word ARRAY.
        let mut compiled = elements.iter().map(|element| self.expr(element)).collect::<Result<Vec<_>>>()?;
        let mut all: Vec<&mut Expr> = compiled.iter_mut().collect();
        let element = common_type(&mut all, "ARRAY", self.scope)?;
        let ty = match element.id.array() {
            Some(id) => Type { id, modifier: element.modifier },
            None if element.id.is_vector() => {
                return Err(unsupported(&format!("an array of {}", element.id.sql_name())));
            }
            None if element.id.element().is_some() => element,
            None => return Err(no_array_of(element.id)),
        };
        Ok(Expr::Array { elements: compiled, ty }.fold_here())
    }

    fn collate(&mut self, expr: &Ast, collation: &ast::ObjectName) -> Result<Expr> {
        let operand = self.expr(expr)?;
        let settled = coerce::settle(operand, self.scope)?;
        if let [schema, _] = collation.0.as_slice()
            && let Some(schema) = schema.as_ident()
        {
            self.require_schema(&fold(schema))?;
        }
        require_collation(collation, settled.ty())?;
        Ok(settled)
    }

    fn binary(&mut self, left: &Ast, op: &BinaryOperator, right: &Ast) -> Result<Expr> {
        if let (Ast::Tuple(a), Ast::Tuple(b)) = (strip(left), strip(right))
            && let Some(name) = comparison_of(op)
        {
            return self.rows(a, name, b);
        }
        // A long chain of one operator (a || b || c ...) nests to the left: walk down it without recursion.
        let mut chain = vec![(op, right)];
        let mut first = left;
        while let Ast::BinaryOp { left, op, right } = first {
            if matches!(op, BinaryOperator::And | BinaryOperator::Or) || matches!(strip(left), Ast::Tuple(_))
            {
                break;
            }
            chain.push((op, right));
            first = left;
        }
        self.deeper(chain.len(), |compiler| {
            let mut result = compiler.expr(first)?;
            let mut left_is_null = is_null_literal(first);
            for (op, right) in chain.into_iter().rev() {
                let right_is_null = is_null_literal(right);
                let tests = *op == BinaryOperator::Eq && (left_is_null || right_is_null);
                let keeps_left = !std::mem::take(&mut left_is_null);
                if tests && compiler.scope.tests_nulls()? {
                    let bare = match right {
                        Ast::Value(null) if right_is_null => Some(null.span),
                        _ => None,
                    };
                    compiler.scope.note_null_test(bare);
                    let operand = if keeps_left { result } else { compiler.expr(right)? };
                    let operand = Box::new(coerce::settle(operand, compiler.scope)?);
                    result = Expr::IsNull { operand, negated: false }.fold_here();
                    continue;
                }
                let right = compiler.expr(right)?;
                if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                    && let [schema, _] = parts.as_slice()
                {
                    compiler.require_schema(schema)?;
                }
                result = operator(op, result, right, compiler.scope)?;
            }
            Ok(result)
        })
    }
}

/// All text is in collation C; the names that mean it, or the database's default, change nothing.
///
/// # Errors
///
/// 42704 for another collation, and 42804 for a type that has none.
pub fn require_collation(collation: &ast::ObjectName, ty: Type) -> Result<()> {
    let parts: Vec<String> = collation.0.iter().filter_map(ast::ObjectNamePart::as_ident).map(fold).collect();
    let name = match parts.as_slice() {
        [name] => Some(name),
        [schema, name] if Schema::required(schema)? == Schema::PG_CATALOG => Some(name),
        _ => None,
    };
    let known = ["C", "POSIX", "default", "ucs_basic", "C.UTF-8", "C.utf8"];
    if name.is_none_or(|name| !known.contains(&name.as_str())) {
        let name = parts.join(".");
        let message = format!("collation \"{name}\" for encoding \"UTF8\" does not exist");
        return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
    }
    // Arrays have their elements'.
    if ty.id.element().unwrap_or(ty.id).is_string() {
        return Ok(());
    }
    let message = format!("collations are not supported by type {}", ty.id.sql_name());
    Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message))
}

/// CASE without branches that can never be taken, unless these name rows: grouping, and the level of an
/// aggregate, are judged by all that is written. The type is the same.
fn fold_case(branches: Vec<(Expr, Expr)>, otherwise: Option<Box<Expr>>, ty: Type) -> Expr {
    if !branches.iter().any(|(condition, _)| condition.is_const()) {
        return without_dead_branches(branches, otherwise, ty);
    }
    let folded = without_dead_branches(branches.clone(), otherwise.clone(), ty);
    let whole = Expr::Case { branches, otherwise, ty: folded.ty() };
    if folded.rows_named() == whole.rows_named() { folded } else { whole }
}

fn without_dead_branches(branches: Vec<(Expr, Expr)>, otherwise: Option<Box<Expr>>, ty: Type) -> Expr {
    let mut kept = Vec::with_capacity(branches.len());
    for (condition, result) in branches {
        match condition.as_const() {
            Some(Datum::Bool(true)) if kept.is_empty() => return result,
            Some(Datum::Bool(true)) => {
                return Expr::Case { branches: kept, otherwise: Some(Box::new(result)), ty };
            }
            Some(_) => {}
            None => kept.push((condition, result)),
        }
    }
    if kept.is_empty() {
        return otherwise.map_or(Expr::constant(Datum::Null, ty), |otherwise| *otherwise);
    }
    // Without ELSE there is NULL, which has no modifier.
    let ty = if otherwise.is_some() { ty } else { Type::of(ty.id) };
    Expr::Case { branches: kept, otherwise, ty }
}

fn is_plain_string(id: TypeId) -> bool {
    matches!(id, TypeId::Varchar | TypeId::Text)
}

/// The type of the array that the values of an IN list are, if there are several and one type fits.
fn array_type(tested: &Expr, values: &[Expr]) -> Option<Type> {
    if values.len() < 2 {
        return None;
    }
    let types: Vec<Type> = std::iter::once(tested).chain(values).map(Expr::ty).collect();
    let common = coerce::choose_common(&types, "IN").ok()?.id;
    let fits =
        |ty: &Type| ty.id == TypeId::Unknown || coerce::can_coerce(ty.id, common, CastContext::Implicit);
    types.iter().all(fits).then(|| Type::of(common))
}

/// An expression without the parentheses around it.
pub(crate) fn strip(ast: &Ast) -> &Ast {
    let mut inner = ast;
    while let Ast::Nested(nested) = inner {
        inner = nested;
    }
    inner
}

/// 42704: there is no type of arrays of this one.
fn no_array_of(element: TypeId) -> SqlError {
    let message = format!("could not find array type for data type {}", element.sql_name());
    SqlError::new(SqlState::UNDEFINED_OBJECT, message)
}
