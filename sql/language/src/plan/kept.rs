//! Expressions and queries that the catalogue keeps as text: analysed alike in every session, and written
//! down so that this gives what they meant where they were made.

use super::analyzer::{Analyzer, DEFAULT_PLACE};
use super::from::table_item;
use super::modify::elsewhere;
use super::node::{ModifiedTable, null};
use crate::expr::Expr;
use crate::parse::columns::{Rewriting, rewritten_expression, rewritten_text};
use crate::parse::{Kept, parse_expression, parse_view};
use sql_catalogue::names::SearchPath;
use sql_catalogue::{Check, Relation};
use sql_interface::{Result, SqlError, stack};
use sql_types::{Datum, Style, Type, TypeId};
use sqlparser::ast;
use sqlparser::tokenizer::Span;
use sqlstate::SqlState;
use std::sync::Arc;

/// What a text leaves to the session in which it is read.
#[derive(Debug, Default)]
pub(super) struct Readings {
    literals: Vec<Literal>,
    /// Comparisons with NULL that are tests for it (transform_null_equals): where the NULL stands, if it
    /// stands bare behind the sign.
    null_tests: Vec<Option<Span>>,
    /// It names a role, which nothing that is kept may do.
    names_role: bool,
}

#[derive(Debug)]
struct Literal {
    span: Span,
    /// As what it is read, and the value as every session reads it.
    read: Option<(TypeId, String)>,
    /// As it is written to mean this in every session, if it does not as it stands.
    kept: Option<String>,
}

impl Readings {
    /// Notes a literal; the number by which it is called when it is read.
    pub(super) fn mark(&mut self, span: Span) -> i32 {
        self.literals.push(Literal { span, read: None, kept: None });
        i32::try_from(self.literals.len() - 1).unwrap_or(-1)
    }

    pub(super) fn note(&mut self, mark: i32, text: &str, ty: TypeId, value: &Datum) {
        let Some(literal) = usize::try_from(mark).ok().and_then(|mark| self.literals.get_mut(mark)) else {
            return;
        };
        // The time in it is no session's: what hangs on the present is read otherwise, too.
        let fixed = Style::default();
        let Some(printed) = value.to_text(&fixed) else { return };
        // Names are looked up in every session alike.
        if ty.element().unwrap_or(ty).is_reg() {
            self.names_role |= ty == TypeId::Regrole;
            literal.read = Some((ty, printed));
            return;
        }
        let again = Datum::parse(Type::of(ty), text, &fixed).ok().and_then(|again| again.to_text(&fixed));
        literal.kept = (again.as_ref() != Some(&printed)).then(|| printed.clone());
        literal.read = Some((ty, printed));
    }

    pub(super) fn note_null_test(&mut self, null: Option<Span>) {
        self.null_tests.push(null);
    }

    /// What must be written otherwise; an expression may be analysed more than once.
    fn rewriting(&self) -> Result<Rewriting> {
        if self.names_role {
            let message = "constant of the type regrole cannot be used here";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        let kept = |literal: &Literal| Some((literal.span, literal.kept.clone()?));
        let mut literals: Vec<(Span, String)> = self.literals.iter().filter_map(kept).collect();
        literals.sort_by_key(|(span, _)| span.start);
        literals.dedup();
        Ok(Rewriting { literals, null_tests: self.null_tests.clone() })
    }

    /// What must be written otherwise once something has another name.
    fn renaming(&self, renamed: Renamed<'_>) -> Rewriting {
        let value = (renamed.ty, renamed.oid.to_string());
        let named = self.literals.iter().filter(|literal| literal.read.as_ref() == Some(&value));
        let mut literals: Vec<(Span, String)> =
            named.map(|literal| (literal.span, identifier::quote(renamed.name))).collect();
        literals.sort_by_key(|(span, _)| span.start);
        literals.dedup();
        Rewriting { literals, null_tests: Vec::new() }
    }

    /// The relations that literals name.
    fn relations(&self) -> Vec<u32> {
        let read = self.literals.iter().filter_map(|literal| literal.read.as_ref());
        let named = read.filter(|(ty, _)| *ty == TypeId::Regclass);
        in_order(named.filter_map(|(_, value)| value.parse().ok()).collect())
    }

    /// The values of the literals, in the order in which they stand.
    fn values(&self) -> Vec<(TypeId, &str)> {
        let mut read: Vec<_> = self
            .literals
            .iter()
            .filter_map(|literal| literal.read.as_ref().map(|(ty, value)| (literal.span.start, ty, value)))
            .collect();
        read.sort_by_key(|(at, ty, _)| (*at, ty.oid()));
        read.dedup();
        read.into_iter().map(|(_, ty, value)| (*ty, value.as_str())).collect()
    }
}

/// Each OID once.
fn in_order(mut oids: Vec<u32>) -> Vec<u32> {
    oids.sort_unstable();
    oids.dedup();
    oids
}

/// What a statement has written for the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defined<T> {
    /// As it is kept.
    pub kept: T,
    /// OIDs of the relations that its literals name, in their order. They must be there as long as it is.
    pub names: Vec<u32>,
}

/// What literals of a type of OIDs name, and its name from now on.
#[derive(Clone, Copy, Debug)]
pub struct Renamed<'a> {
    /// The type of OIDs.
    pub ty: TypeId,
    /// Its OID.
    pub oid: u32,
    /// Its new name.
    pub name: &'a str,
}

impl Analyzer<'_> {
    /// How literals of a kept text are read: as by default, at the present time (which a text of an older
    /// program may name).
    fn fixed_style(&self) -> Style {
        Style { now_micros: self.facts.style().now_micros, ..Style::default() }
    }

    /// Works over a text of the catalogue, which means the same in every session.
    fn as_kept<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        if self.defines {
            return work(self);
        }
        let path = self.own_path.replace(SearchPath::of_catalogue());
        let style = self.kept_style.is_none().then(|| self.kept_style.replace(self.fixed_style()));
        let readings = self.readings.take();
        let done = work(self);
        self.own_path = path;
        self.readings = readings;
        if let Some(style) = style {
            self.kept_style = style;
        }
        done
    }

    /// The same over a text that may nest as deep as its own tokens are many.
    pub(crate) fn over_text<T>(&mut self, tokens: usize, work: impl FnOnce(&mut Self) -> T) -> T {
        self.tokens = self.tokens.saturating_add(tokens);
        self.as_kept(|analyzer| stack::roomy(tokens, || work(analyzer)))
    }

    /// An expression of the catalogue. It is computed in many places, each of which has stack for this many
    /// levels.
    fn kept_expression(
        &mut self,
        kept: &Kept<ast::Expr>,
        compile: impl FnOnce(&mut Self, &ast::Expr) -> Result<Expr>,
    ) -> Result<Expr> {
        self.over_text(kept.tokens, |analyzer| {
            let made = compile(analyzer, kept.tree()?).map_err(elsewhere)?;
            if made.levels() > stack::SHALLOW_LEVELS { Err(stack::exceeded()) } else { Ok(made) }
        })
    }

    /// The value of a column that is not given.
    ///
    /// # Errors
    ///
    /// What is wrong with the column's DEFAULT.
    pub fn default_value(&mut self, relation: &Relation, column: usize) -> Result<Expr> {
        let Some(column) = relation.columns.get(column) else {
            return Err(SqlError::internal("no such column"));
        };
        if column.identity.is_some() && !column.dropped {
            let owned = Some((relation.oid, column.number));
            let mut sequences = self.catalogue.sequences.values();
            let Some(found) = sequences.find(|known| known.identity && known.owned_by == owned) else {
                return Err(SqlError::internal("no owned sequence found"));
            };
            let value = self.identity_value(found.oid);
            return self.assign(value, relation, &column.name, column.ty);
        }
        let Some(text) = column.default.as_ref().filter(|_| !column.dropped) else {
            return Ok(null(column.ty));
        };
        let ast = parse_expression(text)?;
        // Nothing around it can be named.
        let around = std::mem::take(&mut self.levels);
        self.push_level();
        let value = self.kept_expression(&ast, |analyzer, ast| analyzer.compile_in(DEFAULT_PLACE, ast));
        let (level, _) = self.pop_level();
        self.levels = around;
        let value = self.adopt(value?, level.deferred)?;
        self.as_kept(|analyzer| analyzer.assign(value, relation, &column.name, column.ty))
    }

    /// The conditions that every new row of a table must meet.
    ///
    /// # Errors
    ///
    /// What is wrong with a CHECK constraint.
    pub fn target_of(&mut self, relation: &Arc<Relation>) -> Result<ModifiedTable> {
        let mut checks = Vec::with_capacity(relation.checks.len());
        for check in &relation.checks {
            checks.push((check.name.clone(), self.check_condition(relation, check)?));
        }
        Ok(ModifiedTable { relation: relation.clone(), checks, written: Vec::new() })
    }

    fn check_condition(&mut self, relation: &Arc<Relation>, check: &Check) -> Result<Expr> {
        let ast = parse_expression(&check.expression)?;
        self.push_level();
        self.show(table_item(relation, false));
        let condition = self.unnoted(|analyzer| {
            analyzer.kept_expression(&ast, |analyzer, ast| analyzer.condition("CHECK", ast))
        });
        let (level, _) = self.pop_level();
        if !level.deferred.is_empty() {
            return Err(SqlError::unsupported("a subquery or waiting function in a CHECK constraint"));
        }
        condition
    }

    /// Analyses what the statement itself writes for the catalogue, with all that it leaves to the session.
    fn defining(&mut self, work: impl FnOnce(&mut Self) -> Result<Expr>) -> Result<Readings> {
        let before = std::mem::replace(&mut self.defines, true);
        self.readings = Some(Readings::default());
        let made = work(self);
        self.defines = before;
        let readings = self.readings.take().unwrap_or_default();
        made.map(|_| readings)
    }

    /// The DEFAULT of a column, which the statement itself has written, as it is kept.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn defined_default(&mut self, relation: &Relation, at: usize) -> Result<Defined<Option<String>>> {
        let readings = self.defining(|analyzer| analyzer.default_value(relation, at))?;
        let column = relation.columns.get(at).filter(|column| !column.dropped);
        let kept = match column.and_then(|column| column.default.as_ref()) {
            Some(text) => Some(rewritten_expression(text, &readings.rewriting()?)?),
            None => None,
        };
        Ok(Defined { kept, names: readings.relations() })
    }

    /// The conditions of CHECK constraints, which the statement itself has written, as they are kept.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn defined_checks(&mut self, relation: &Arc<Relation>) -> Result<Defined<Vec<Check>>> {
        let mut checks = Vec::with_capacity(relation.checks.len());
        let mut names = Vec::new();
        for check in &relation.checks {
            let readings = self.defining(|analyzer| analyzer.check_condition(relation, check))?;
            let expression = rewritten_expression(&check.expression, &readings.rewriting()?)?;
            checks.push(Check { expression, ..check.clone() });
            names.append(&mut readings.relations());
        }
        Ok(Defined { kept: checks, names: in_order(names) })
    }

    /// The query of a view that the statement makes, as it is kept.
    ///
    /// # Errors
    ///
    /// What is wrong with it; 0A000 for one that cannot be written to mean the same in every session.
    pub fn defined_view(&mut self, text: &str) -> Result<Defined<String>> {
        let here = self.view_readings(text)?;
        let (rewriting, names) = (here.rewriting()?, here.relations());
        if rewriting.is_empty() {
            return Ok(Defined { kept: text.to_owned(), names });
        }
        let kept = rewritten_text(text, &rewriting)?;
        self.kept_style = Some(Style::default());
        let everywhere = self.view_readings(&kept);
        self.kept_style = None;
        if everywhere?.values() == here.values() {
            return Ok(Defined { kept, names });
        }
        Err(SqlError::unsupported("CREATE VIEW with this form of a constant that depends on settings"))
    }

    /// Notes the literals of a text that is kept already.
    fn of_kept(&mut self, work: impl FnOnce(&mut Self) -> Result<Readings>) -> Result<Readings> {
        self.own_path = Some(SearchPath::of_catalogue());
        self.kept_style = Some(self.fixed_style());
        let readings = work(self);
        (self.own_path, self.kept_style) = (None, None);
        readings
    }

    /// The DEFAULT of a column with a new name in it; None if it does not name this.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn renamed_in_default(
        &mut self,
        (relation, at): (&Relation, usize),
        text: &str,
        renamed: Renamed<'_>,
    ) -> Result<Option<String>> {
        let readings = self
            .of_kept(|analyzer| analyzer.defining(|analyzer| analyzer.default_value(relation, at)))?
            .renaming(renamed);
        if readings.is_empty() { Ok(None) } else { rewritten_expression(text, &readings).map(Some) }
    }

    /// The same of a CHECK constraint.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn renamed_in_check(
        &mut self,
        relation: &Arc<Relation>,
        check: &Check,
        renamed: Renamed<'_>,
    ) -> Result<Option<String>> {
        let readings = self
            .of_kept(|analyzer| analyzer.defining(|analyzer| analyzer.check_condition(relation, check)))?
            .renaming(renamed);
        if readings.is_empty() {
            return Ok(None);
        }
        rewritten_expression(&check.expression, &readings).map(Some)
    }

    /// The same of a view's query.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn renamed_in_view(&mut self, text: &str, renamed: Renamed<'_>) -> Result<Option<String>> {
        let readings = self.of_kept(|analyzer| analyzer.view_readings(text))?.renaming(renamed);
        if readings.is_empty() { Ok(None) } else { rewritten_text(text, &readings).map(Some) }
    }

    fn view_readings(&mut self, text: &str) -> Result<Readings> {
        let query = parse_view(text).map_err(elsewhere)?;
        self.readings = Some(Readings::default());
        let made = self.query(query.tree()?).and_then(|mut select| select.settle_unknowns(self));
        let readings = self.readings.take().unwrap_or_default();
        made.map(|_| readings)
    }
}
