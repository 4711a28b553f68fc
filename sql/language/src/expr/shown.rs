//! Expressions as EXPLAIN shows them: with PostgreSQL's parentheses and casts.

use super::functions::printing::quote_literal;
use super::node::{Chosen, Constant};
use super::{AggregateCall, Comparison, Expr};
use sql_catalogue::system::known::OPERATORS;
use sql_types::ops::{self, BinaryOperator, UnaryOperator};
use sql_types::{Datum, Style, Type, TypeId};

/// What the values of a row are called. One may be an expression over the rows below.
pub trait RowNames {
    /// A column of the row at hand.
    fn column(&self, index: usize, text: &mut Shown<'_>);
    /// A column of a row around it; 0 is the nearest.
    fn outer(&self, depth: usize, index: usize, text: &mut Shown<'_>);
    /// The result of a subquery or of a function that waits.
    fn deferred(&self, index: usize, text: &mut Shown<'_>);
}

/// Longer expressions are cut off: what columns stand for may grow with each subquery.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// What is nested deeper is left out.
const LEVELS_MAX: usize = 200;

/// What is shown of what has no name, or no room.
const LEFT_OUT: &str = "...";

/// The text of expressions while it is written.
pub struct Shown<'a> {
    text: String,
    style: &'a Style,
    level: usize,
}

impl<'a> Shown<'a> {
    /// The text that `write` makes; values are written in this style.
    pub fn text(style: &'a Style, write: impl FnOnce(&mut Self)) -> String {
        let mut shown = Self { text: String::new(), style, level: 0 };
        write(&mut shown);
        shown.text
    }

    /// Appends a text as it is.
    pub fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Appends an expression over a row.
    pub fn expr(&mut self, expr: &Expr, row: &dyn RowNames) {
        if self.text.len() > TEXT_BYTES_MAX || self.level >= LEVELS_MAX {
            if !self.text.ends_with(LEFT_OUT) {
                self.put(LEFT_OUT);
            }
            return;
        }
        self.level += 1;
        match expr {
            Expr::Const(Constant(value), ty) => self.constant(value, *ty),
            Expr::Column { index, .. } => row.column(*index, self),
            Expr::Outer { depth, index, .. } => row.outer(*depth, *index, self),
            Expr::Deferred { index, .. } => row.deferred(*index, self),
            Expr::Param { index, .. } => self.put(&format!("${}", index + 1)),
            Expr::Aggregate { .. } => self.put(LEFT_OUT),
            Expr::And(parts) => self.wrapped("(", parts, " AND ", ")", row),
            Expr::Or(parts) => self.wrapped("(", parts, " OR ", ")", row),
            Expr::Coalesce(parts, _) => self.wrapped("COALESCE(", parts, ", ", ")", row),
            Expr::Array { elements, .. } => self.wrapped("ARRAY[", elements, ", ", "]", row),
            Expr::Extreme { greatest: true, arguments, .. } => {
                self.wrapped("GREATEST(", arguments, ", ", ")", row);
            }
            Expr::Extreme { arguments, .. } => self.wrapped("LEAST(", arguments, ", ", ")", row),
            Expr::Call { function, arguments, .. } => {
                self.put(&identifier::quote(function.0.name));
                self.wrapped("(", arguments, ", ", ")", row);
            }
            Expr::Not(operand) => self.around("(NOT ", operand, ")", row),
            Expr::Unary { operator, operand } => {
                self.around(&format!("({} ", unary_name(*operator)), operand, ")", row);
            }
            Expr::Cast { operand, to, .. } => self.around("(", operand, &format!(")::{}", to.format()), row),
            Expr::IsNull { operand, negated: false } => self.around("(", operand, " IS NULL)", row),
            Expr::IsNull { operand, .. } => self.around("(", operand, " IS NOT NULL)", row),
            Expr::Compare { op, left, right } => self.between(left, symbol(*op), right, row),
            Expr::Binary { operator, sides } => {
                self.between(&sides[0], binary_name(*operator), &sides[1], row);
            }
            Expr::Distinct { sides, negated } => {
                let words = if *negated { "IS NOT DISTINCT FROM" } else { "IS DISTINCT FROM" };
                self.between(&sides[0], words, &sides[1], row);
            }
            other => self.more(other, row),
        }
        self.level -= 1;
    }

    /// What is written in a way of its own.
    fn more(&mut self, expr: &Expr, row: &dyn RowNames) {
        match expr {
            Expr::Case { branches, otherwise, ty } => {
                self.put("CASE");
                for (condition, result) in branches {
                    self.around(" WHEN ", condition, " THEN ", row);
                    self.expr(result, row);
                }
                self.put(" ELSE ");
                match otherwise {
                    Some(otherwise) => self.expr(otherwise, row),
                    None => self.constant(&Datum::Null, *ty),
                }
                self.put(" END");
            }
            Expr::NullIf { equal, value } => {
                self.around("NULLIF(", value, ", ", row);
                if let Some((_, _, other)) = equal.as_comparison() {
                    self.expr(other, row);
                }
                self.put(")");
            }
            Expr::IsTruth { operand, truth, negated } => {
                let (not, word) = (if *negated { "NOT " } else { "" }, if *truth { "TRUE" } else { "FALSE" });
                self.around("(", operand, &format!(" IS {not}{word})"), row);
            }
            Expr::In { tested, list, negated } => {
                self.put("(");
                self.operand(tested, row);
                self.put(if *negated { " <> ALL (" } else { " = ANY (" });
                self.values(list, row);
                self.put("))");
            }
            Expr::Quantified { left, operator, array, all } => {
                self.put("(");
                self.operand(left, row);
                self.put(&format!(" {} {} (", binary_name(*operator), if *all { "ALL" } else { "ANY" }));
                self.expr(array, row);
                self.put("))");
            }
            Expr::Subscript { array, subscripts, .. } => {
                if matches!(**array, Expr::Column { .. } | Expr::Outer { .. } | Expr::Param { .. }) {
                    self.expr(array, row);
                } else {
                    self.around("(", array, ")", row);
                }
                subscripts.iter().for_each(|subscript| self.around("[", subscript, "]", row));
            }
            _ => self.put(LEFT_OUT),
        }
    }

    fn around(&mut self, before: &str, expr: &Expr, behind: &str, row: &dyn RowNames) {
        self.put(before);
        self.expr(expr, row);
        self.put(behind);
    }

    fn wrapped(&mut self, before: &str, parts: &[Expr], between: &str, behind: &str, row: &dyn RowNames) {
        self.put(before);
        self.list(parts, between, row);
        self.put(behind);
    }

    /// Expressions with something between them.
    pub fn list(&mut self, parts: &[Expr], between: &str, row: &dyn RowNames) {
        for (at, part) in parts.iter().enumerate() {
            self.put(if at > 0 { between } else { "" });
            self.expr(part, row);
        }
    }

    /// Conditions that all are to hold.
    pub fn all(&mut self, conditions: &[Expr], row: &dyn RowNames) {
        match conditions {
            [one] => self.expr(one, row),
            several => self.wrapped("(", several, " AND ", ")", row),
        }
    }

    /// An operator with its sides. A whole number beside a column of another width is of type integer in
    /// PostgreSQL, which has operators between the two.
    fn between(&mut self, left: &Expr, operator: &str, right: &Expr, row: &dyn RowNames) {
        let side = |this: &mut Self, expr: &Expr, other: &Expr| {
            let narrow = match expr.as_const() {
                Some(Datum::Int8(value)) if !other.is_const() => i32::try_from(*value).ok(),
                Some(Datum::Int2(value)) if !other.is_const() => Some(i32::from(*value)),
                _ => None,
            };
            match narrow {
                Some(value) => this.constant(&Datum::Int4(value), Type::of(TypeId::Int4)),
                None => this.operand(expr, row),
            }
        };
        self.put("(");
        side(self, left, right);
        self.put(&format!(" {operator} "));
        side(self, right, left);
        self.put(")");
    }

    /// What an operator sees: it knows varchar as text only.
    pub fn operand(&mut self, expr: &Expr, row: &dyn RowNames) {
        match expr {
            Expr::Const(Constant(value), ty) if ty.id == TypeId::Varchar => {
                self.constant(value, Type::of(TypeId::Text))
            }
            _ if expr.ty().id == TypeId::Varchar => self.around("(", expr, ")::text", row),
            _ => self.expr(expr, row),
        }
    }

    /// The list of IN, as the array that PostgreSQL makes of it.
    fn values(&mut self, list: &[Expr], row: &dyn RowNames) {
        let id = list.first().map_or(TypeId::Text, |value| value.ty().id);
        let id = if id == TypeId::Varchar { TypeId::Text } else { id };
        let constants: Option<Vec<Datum>> = list.iter().map(|value| value.as_const().cloned()).collect();
        match (constants, id.array()) {
            (Some(values), Some(array)) => {
                let value = Datum::Array(std::sync::Arc::new(sql_types::Array::of(id, values)));
                self.constant(&value, Type::of(array));
            }
            _ => self.wrapped("ARRAY[", list, ", ", "]", row),
        }
    }

    fn constant(&mut self, value: &Datum, ty: Type) {
        let label = if ty.id == TypeId::Bpchar { "bpchar" } else { ty.id.sql_name() };
        let Some(text) = value.to_text(self.style) else { return self.put(&format!("NULL::{label}")) };
        match value {
            Datum::Bool(value) => self.put(if *value { "true" } else { "false" }),
            Datum::Int4(value) if *value >= 0 && ty.id == TypeId::Int4 => self.put(&text),
            Datum::Numeric(_) if is_plain_fraction(&text) => self.put(&text),
            _ if ty.id == TypeId::Unknown => self.put(&quote_literal(&text)),
            _ => self.put(&format!("{}::{label}", quote_literal(&text))),
        }
    }

    /// A call of an aggregate.
    pub fn aggregate(&mut self, call: &AggregateCall, row: &dyn RowNames) {
        self.put(call.aggregate.name());
        self.put(if call.distinct { "(DISTINCT " } else { "(" });
        if call.arguments.is_empty() {
            self.put("*");
        }
        self.list(&call.arguments, ", ", row);
        for (at, (key, descending, nulls_first)) in call.order_by.iter().enumerate() {
            self.put(if at > 0 { ", " } else { " ORDER BY " });
            self.sort_key(key, *descending, *nulls_first, row);
        }
        self.put(")");
        if let Some(filter) = &call.filter {
            self.around(" FILTER (WHERE ", filter, ")", row);
        }
    }

    /// An expression with the direction that rows are sorted in by it.
    pub fn sort_key(&mut self, expr: &Expr, descending: bool, nulls_first: bool, row: &dyn RowNames) {
        // What is no column is computed below, and in parentheses of its own.
        if matches!(expr, Expr::Column { .. } | Expr::Outer { .. }) {
            self.expr(expr, row);
        } else {
            self.around("(", expr, ")", row);
        }
        self.put(match (descending, nulls_first) {
            (false, false) => "",
            (false, true) => " NULLS FIRST",
            (true, true) => " DESC",
            (true, false) => " DESC NULLS LAST",
        });
    }
}

/// Whether a number reads back as one with a fraction, and so needs no type.
fn is_plain_fraction(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.contains(['.', 'e', 'E'])
}

const fn symbol(op: Comparison) -> &'static str {
    match op {
        Comparison::Eq => "=",
        Comparison::Ne => "<>",
        Comparison::Lt => "<",
        Comparison::Le => "<=",
        Comparison::Gt => ">",
        Comparison::Ge => ">=",
    }
}

/// The name of an operator, which its entry does not have.
fn binary_name(operator: Chosen<BinaryOperator>) -> &'static str {
    let is_it = |name: &str| ops::operators(name).iter().any(|known| std::ptr::eq(known, operator.0));
    OPERATORS.iter().map(|known| known.name).find(|name| is_it(name)).unwrap_or(LEFT_OUT)
}

fn unary_name(operator: Chosen<UnaryOperator>) -> &'static str {
    let is_it = |name: &str| ops::unary_operators(name).iter().any(|known| std::ptr::eq(known, operator.0));
    OPERATORS.iter().map(|known| known.name).find(|name| is_it(name)).unwrap_or(LEFT_OUT)
}
