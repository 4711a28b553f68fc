//! What may be foreign in expressions.

use super::Doubts;
use identifier::is_reserved;
use sqlparser::ast::{self, BinaryOperator, Expr, InTarget, Value};

/// Words with a syntax of their own, or none at all, which may not name a function.
const NO_NAMES: [&str; 11] = [
    "between",
    "extract",
    "inout",
    "national",
    "nchar",
    "none",
    "out",
    "position",
    "precision",
    "setof",
    "values",
];

/// Key words by themselves that the parser takes for names: the first stands for a value, the others call.
const WORDS: [&str; 3] = ["default", "current_role", "current_schema"];

/// Operators that do not chain: `a < b = c` is no expression.
const fn is_comparison(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
    )
}

/// What LIKE stands for before ANY and ALL.
const fn is_like(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::PGLikeMatch
            | BinaryOperator::PGILikeMatch
            | BinaryOperator::PGNotLikeMatch
            | BinaryOperator::PGNotILikeMatch
    )
}

/// LIKE, IN, BETWEEN and their kin, which do not chain either.
const fn is_matching(expr: &Expr) -> bool {
    if let Expr::AnyOp { compare_op, .. } | Expr::AllOp { compare_op, .. } = expr {
        return is_like(compare_op);
    }
    matches!(
        expr,
        Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::In { .. }
            | Expr::Between { .. }
    )
}

/// What may stand behind a type's name.
const fn is_string(value: &Value) -> bool {
    matches!(
        value,
        Value::SingleQuotedString(_)
            | Value::EscapedStringLiteral(_)
            | Value::UnicodeStringLiteral(_)
            | Value::DollarQuotedString(_)
    )
}

impl Doubts<'_> {
    pub(super) fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Identifier(name) => {
                let word = WORDS.iter().any(|word| name.value.eq_ignore_ascii_case(word));
                // Other key words begin more of the query, which the parser takes for a name.
                self.foreign_if(!word && name.quote_style.is_none() && is_reserved(&name.value));
                if !word {
                    self.name(name);
                }
            }
            Expr::CompoundIdentifier(names) => {
                names.iter().take(1).for_each(|name| self.name(name));
                let is_literal = |name: &ast::Ident| name.quote_style.is_some_and(|quote| quote != '"');
                self.ask_if(names.iter().any(is_literal));
            }
            Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::AtTimeZone { timestamp: _, time_zone: _ }
            | Expr::Position { expr: _, r#in: _ }
            | Expr::Overlay { expr: _, overlay_what: _, overlay_from: _, overlay_for: _ }
            | Expr::Collate { expr: _, collation: _ }
            | Expr::Nested(_)
            | Expr::Case { case_token: _, end_token: _, operand: _, conditions: _, else_result: _ }
            | Expr::Exists { subquery: _, negated: _ }
            | Expr::Subquery(_) => {}
            Expr::Tuple(fields) => self.ask_if(fields.len() < 2),
            Expr::In { expr, target, negated: _, global } => {
                self.foreign_if(*global || !matches!(target, InTarget::List(_) | InTarget::Subquery(_)));
                let empty = matches!(target, InTarget::List(list) if list.is_empty());
                self.ask_if(is_matching(expr) || empty);
            }
            Expr::Between { expr, negated: _, low: _, high: _ }
            | Expr::SimilarTo { negated: _, expr, pattern: _, escape_char: _ } => {
                self.ask_if(is_matching(expr));
            }
            Expr::Like { negated: _, any, expr, pattern: _, escape_char: _ }
            | Expr::ILike { negated: _, any, expr, pattern: _, escape_char: _ } => {
                self.ask_if(*any || is_matching(expr));
            }
            Expr::AnyOp { left, compare_op: op, right: _, is_some: _ }
            | Expr::AllOp { left, compare_op: op, right: _ }
            | Expr::BinaryOp { left, op, right: _ } => {
                let chained = matches!(&**left, Expr::BinaryOp { op, .. } if is_comparison(op));
                self.ask_if((chained && is_comparison(op)) || (is_like(op) && is_matching(left)));
                self.operator(op);
            }
            Expr::UnaryOp { op, expr: _ } => {
                use ast::UnaryOperator::{BitwiseNot, Minus, Not, Plus};
                self.ask_if(!matches!(op, Plus | Minus | Not | BitwiseNot));
            }
            _ => self.less_plain(expr),
        }
    }

    /// Operators that are words elsewhere.
    fn operator(&mut self, op: &BinaryOperator) {
        self.ask_if(matches!(
            op,
            BinaryOperator::Xor
                | BinaryOperator::DuckIntegerDivide
                | BinaryOperator::MyIntegerDivide
                | BinaryOperator::Match
                | BinaryOperator::Regexp
                | BinaryOperator::Glob
                | BinaryOperator::Assignment
        ));
    }

    fn less_plain(&mut self, expr: &Expr) {
        match expr {
            Expr::Cast { kind, expr: _, data_type, format } => {
                self.foreign_if(!matches!(kind, ast::CastKind::Cast | ast::CastKind::DoubleColon));
                self.foreign_if(format.is_some());
                self.data_type(data_type);
            }
            Expr::TypedString(ast::TypedString { data_type, value, uses_odbc_syntax }) => {
                // Before what is no string, a type's name is a column's.
                self.foreign_if(*uses_odbc_syntax || !is_string(&value.value));
                // No brackets may stand there.
                self.ask_if(matches!(data_type, ast::DataType::Array(_)));
                self.data_type(data_type);
            }
            Expr::Extract { field: _, syntax, expr: _ } => {
                self.foreign_if(*syntax != ast::ExtractSyntax::From);
            }
            Expr::Ceil { expr: _, field } | Expr::Floor { expr: _, field } => {
                let none = ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime);
                self.foreign_if(*field != none);
            }
            Expr::Substring { expr: _, substring_from, substring_for, special: _, shorthand: _ } => {
                self.ask_if(substring_from.is_none() && substring_for.is_none());
            }
            Expr::Trim { trim_where: _, trim_what: _, expr: _, trim_characters } => {
                self.ask_if(trim_characters.as_ref().is_some_and(|list| list.len() != 1));
            }
            Expr::Value(value) => self.value(&value.value),
            Expr::Function(call) => self.function(call),
            Expr::Array(ast::Array { elem: _, named }) => self.ask_if(!*named),
            Expr::CompoundFieldAccess { root, access_chain } => {
                let plain =
                    matches!(&**root, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Nested(_));
                self.ask_if(!plain);
                use ast::{AccessExpr, Subscript};
                let plain =
                    |access: &AccessExpr| matches!(access, AccessExpr::Subscript(Subscript::Index { .. }));
                self.ask_if(!access_chain.iter().all(plain));
            }
            Expr::Interval(ast::Interval {
                value,
                leading_field: _,
                leading_precision,
                last_field: _,
                fractional_seconds_precision: _,
            }) => {
                self.ask_if(leading_precision.is_some());
                self.ask_if(!matches!(&**value, Expr::Value(_)));
            }
            _ => self.ask = true,
        }
    }

    fn value(&mut self, value: &Value) {
        let plain = match value {
            Value::Number(_, long) => !*long,
            Value::SingleQuotedString(_)
            | Value::DollarQuotedString(_)
            | Value::EscapedStringLiteral(_)
            | Value::UnicodeStringLiteral(_)
            | Value::NationalStringLiteral(_)
            | Value::Boolean(_)
            | Value::Null
            | Value::Placeholder(_) => true,
            _ => false,
        };
        self.ask_if(!plain);
    }

    fn function(&mut self, call: &ast::Function) {
        let ast::Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            within_group: _,
            filter: _,
            null_treatment,
            over,
        } = call;
        self.foreign_if(*uses_odbc_syntax || !matches!(parameters, ast::FunctionArguments::None));
        self.foreign_if(null_treatment.is_some());
        self.ask_if(over.is_some());
        let ast::FunctionArguments::List(list) = args else { return };
        // These have no lists of arguments in the grammar, or are no functions in it at all.
        if let [ast::ObjectNamePart::Identifier(name)] = name.0.as_slice() {
            let is = |words: &[&str]| words.iter().any(|word| name.value.eq_ignore_ascii_case(word));
            self.ask_if(is(&NO_NAMES));
            if !is(&["left", "right"]) {
                self.name(name);
            }
        }
        let ast::FunctionArgumentList { duplicate_treatment: _, args, clauses } = list;
        self.ask_if(!clauses.iter().all(|clause| matches!(clause, ast::FunctionArgumentClause::OrderBy(_))));
        for argument in args {
            use ast::FunctionArgOperator::{Assignment, RightArrow};
            let value = match argument {
                ast::FunctionArg::Named { name: _, arg, operator }
                | ast::FunctionArg::ExprNamed { name: _, arg, operator } => {
                    self.ask_if(!matches!(operator, Assignment | RightArrow));
                    arg
                }
                ast::FunctionArg::Unnamed(arg) => arg,
            };
            self.ask_if(!matches!(value, ast::FunctionArgExpr::Expr(_) | ast::FunctionArgExpr::Wildcard));
        }
    }
}
