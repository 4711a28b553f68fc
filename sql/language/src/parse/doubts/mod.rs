//! What the parser takes and PostgreSQL's grammar might not.
//!
//! sqlparser knows the words of many servers, and lets most of them through whatever the dialect. So each
//! tree that it makes is looked at: what is surely PostgreSQL's passes, and everything else is a doubt, which
//! has PostgreSQL's own grammar asked ([`super::grammar`]) before the statement is believed. Doubts may be
//! unfounded; they only cost time. Structures are taken apart field by field, so that the compiler names what
//! a new version of the parser adds. Statements that define something are always asked about: they are few,
//! and have most of the foreign words.

mod expression;
mod query;

use super::source::Source;
use super::walk::{Walk, walk};
use identifier::is_reserved;
use sqlparser::ast::{self, DataType, TypeModifier, VisitMut};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use std::ops::ControlFlow;

/// What became doubtful in one statement.
#[derive(Debug)]
pub(super) struct Doubts<'s> {
    source: &'s Source,
    /// PostgreSQL's grammar has to be asked.
    ask: bool,
    /// What is left out here, if its grammar takes it.
    absent: Option<&'static str>,
}

/// What was found in the whole of a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// PostgreSQL's grammar has to be asked.
    pub(super) ask: bool,
    /// What is left out here, if its grammar takes it.
    pub(super) absent: Option<&'static str>,
}

impl Found {
    /// Of a statement that is not to be believed before its grammar is asked.
    pub(super) const ASK: Self = Self { ask: true, absent: None };

    /// What two parts of a statement have together.
    pub(super) fn and(self, other: Self) -> Self {
        Self { ask: self.ask || other.ask, absent: self.absent.or(other.absent) }
    }
}

/// What is doubtful about a tree.
pub(super) fn of_tree<T: VisitMut>(source: &Source, tree: &mut T) -> Found {
    let mut doubts = Doubts { source, ask: false, absent: None };
    let _: ControlFlow<()> = walk(tree, &mut doubts);
    Found { ask: doubts.ask, absent: doubts.absent }
}

/// What is doubtful about types.
pub(super) fn of_types(types: &[DataType]) -> Found {
    Found { ask: types.iter().any(is_doubtful_type), absent: None }
}

/// What is doubtful about tokens: those that PostgreSQL would cut otherwise, or refuse.
pub(super) fn of_tokens(tokens: &[TokenWithSpan]) -> Found {
    let doubtful = |(at, token): (usize, &TokenWithSpan)| match &token.token {
        Token::Word(word) => match word.quote_style {
            Some(quote) => quote != '"' || word.value.is_empty(),
            // TABLE in the place of a query is said otherwise, and what may stand behind it is forgotten.
            None => word.keyword == Keyword::TABLE,
        },
        Token::Number(digits, long) => {
            let next = tokens.get(at + 1);
            let junk = |next: &TokenWithSpan| {
                next.span.start == token.span.end
                    && matches!(next.token, Token::Word(_) | Token::Number(..) | Token::Placeholder(_))
            };
            *long || digits.contains('_') || next.is_some_and(junk)
        }
        Token::Placeholder(name) => {
            // What stands for long lists of rows begins with a zero byte.
            let digits = name.strip_prefix('$').unwrap_or_default();
            !digits.starts_with('\0')
                && (digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()))
        }
        _ => false,
    };
    Found { ask: tokens.iter().enumerate().any(doubtful), absent: None }
}

impl Doubts<'_> {
    /// PostgreSQL's grammar has to be asked if this is so.
    fn ask_if(&mut self, doubtful: bool) {
        self.ask |= doubtful;
    }

    /// What no statement of PostgreSQL says, or none that is understood here. If its grammar takes the text
    /// all the same, the tree says something else.
    fn foreign_if(&mut self, given: bool) {
        self.absent_if(given, "this form of the statement");
    }

    /// What PostgreSQL may have, and is left out here.
    fn absent_if(&mut self, given: bool, what: &'static str) {
        if given {
            self.ask = true;
            self.absent = self.absent.or(Some(what));
        }
    }

    /// A name where no key word may stand.
    fn name(&mut self, name: &ast::Ident) {
        // The parser takes strings for names in some places, and signs of other servers at their fronts.
        let begins = |value: &str| {
            value.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_' || !first.is_ascii())
        };
        self.ask_if(match name.quote_style {
            None => is_reserved(&name.value) || !begins(&name.value),
            Some(quote) => quote != '"',
        });
    }

    /// A name of several parts: only the first may be no key word.
    fn object_name(&mut self, name: &ast::ObjectName) {
        match name.0.first() {
            Some(ast::ObjectNamePart::Identifier(first)) => self.name(first),
            Some(ast::ObjectNamePart::Function(_)) | None => self.ask = true,
        }
    }

    fn data_type(&mut self, ty: &DataType) {
        self.ask_if(is_doubtful_type(ty));
    }
}

/// Types that may be none of PostgreSQL's grammar.
fn is_doubtful_type(ty: &DataType) -> bool {
    use ast::{ArrayElemTypeDef, CharacterLength};
    match ty {
        DataType::Bool
        | DataType::Boolean
        | DataType::SmallInt(None)
        | DataType::Int2(None)
        | DataType::Int(None)
        | DataType::Integer(None)
        | DataType::Int4(None)
        | DataType::BigInt(None)
        | DataType::Int8(None)
        | DataType::Real
        | DataType::Float4
        | DataType::Float8
        | DataType::DoublePrecision
        | DataType::Float(_)
        | DataType::Numeric(_)
        | DataType::Decimal(_)
        | DataType::Dec(_)
        | DataType::Text
        | DataType::Bytea
        | DataType::Uuid
        | DataType::Regclass
        | DataType::Date
        | DataType::Time(..)
        | DataType::Timestamp(..)
        | DataType::Interval { .. }
        | DataType::JSON
        | DataType::JSONB => false,
        DataType::Varchar(length)
        | DataType::CharacterVarying(length)
        | DataType::CharVarying(length)
        | DataType::Char(length)
        | DataType::Character(length) => {
            !matches!(length, None | Some(CharacterLength::IntegerLength { unit: None, .. }))
        }
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => is_doubtful_type(element),
        DataType::Custom(name, modifiers) => {
            name.0.len() > 2
                || modifiers.iter().any(|modifier| !matches!(modifier, TypeModifier::Number(_, false)))
        }
        _ => true,
    }
}

impl Walk for Doubts<'_> {
    fn enter_statement(&mut self, statement: &ast::Statement) {
        self.statement(statement);
    }

    fn enter_query(&mut self, query: &mut ast::Query) -> ControlFlow<()> {
        self.query(query);
        ControlFlow::Continue(())
    }

    fn enter_select(&mut self, select: &ast::Select) {
        self.select(select);
    }

    fn enter_factor(&mut self, factor: &ast::TableFactor) {
        self.factor(factor);
    }

    fn enter_relation(&mut self, name: &ast::ObjectName) {
        self.object_name(name);
    }

    fn enter_order_by(&mut self, order: &ast::OrderByExpr) {
        let ast::OrderByExpr { expr: _, options: ast::OrderByOptions { sort: _, nulls_first: _ }, with_fill } =
            order;
        self.foreign_if(with_fill.is_some());
    }

    fn enter_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<()> {
        self.expr(expr);
        ControlFlow::Continue(())
    }
}
