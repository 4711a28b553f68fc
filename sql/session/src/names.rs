//! Which table, view, sequence or index a statement about it names.

use super::SqlSession;
use sql_catalogue::names::Found;
use sql_catalogue::schema::{Schema, no_schema};
use sql_interface::{Result, SqlError};
use sql_language::parse::{DropKind, DropTarget, Parsed};
use sql_language::plan::is_system_catalogue;
use sqlparser::ast;
use sqlstate::SqlState;

/// How a kind is called in errors, with its article and in DROP.
fn words(kind: DropKind) -> (&'static str, &'static str) {
    match kind {
        DropKind::Table => ("a table", "table"),
        DropKind::Index => ("an index", "index"),
        DropKind::Sequence => ("a sequence", "sequence"),
        DropKind::View => ("a view", "view"),
    }
}

/// 42809
pub(super) fn wrong_kind(name: &str, wanted: &str) -> SqlError {
    SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not {wanted}"))
}

/// 42809 for an index in the place of a table.
pub(super) fn is_an_index(name: &str) -> SqlError {
    SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is an index"))
}

/// 42809 for what cannot be done with things of a kind.
pub(super) fn unsupported_for(what: &str, name: &str, kind: DropKind) -> SqlError {
    let kinds = match kind {
        DropKind::Table => "tables",
        DropKind::Index => "indexes",
        DropKind::Sequence => "sequences",
        DropKind::View => "views",
    };
    SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("{what} \"{name}\""))
        .with_detail(format!("This operation is not supported for {kinds}."))
}

pub(super) fn kind_of(found: &Found<'_>) -> Option<DropKind> {
    match found {
        Found::Table(_) => Some(DropKind::Table),
        Found::View(_) => Some(DropKind::View),
        Found::Sequence(_) => Some(DropKind::Sequence),
        Found::Index(..) => Some(DropKind::Index),
        Found::MadeUp(_) => None,
    }
}

impl SqlSession {
    /// The name under which a statement makes something.
    pub(super) async fn name_for_new(&mut self, parsed: &Parsed, name: &ast::ObjectName) -> Result<String> {
        let catalogue = self.catalogue().await?;
        Ok(self.analyzer(parsed, Vec::new(), &catalogue).name_for_new(name)?.0)
    }

    /// 3F000 for a table's name in a schema that is not there.
    pub(super) async fn require_schema_of(&mut self, parsed: &Parsed, name: &ast::ObjectName) -> Result<()> {
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let (schema, ..) = self.analyzer(parsed, Vec::new(), &catalogue).table_name(name)?;
        schema.map_or(Ok(()), |schema| catalogue.required_schema(&self.facts.path, &schema).map(|_| ()))
    }

    /// Begins a statement about a table, with what `refusal` says of something else that has the name.
    pub(super) async fn refuse_other_kinds(
        &mut self,
        parsed: &Parsed,
        name: &ast::ObjectName,
        refusal: fn(&str, DropKind) -> Option<SqlError>,
    ) -> Result<()> {
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let analyzer = self.analyzer(parsed, Vec::new(), &catalogue);
        let (schema, bare, _) = analyzer.table_name(name)?;
        let kind = analyzer.find(schema.as_deref(), &bare)?.as_ref().and_then(kind_of);
        kind.and_then(|kind| refusal(&bare, kind)).map_or(Ok(()), Err)
    }

    /// The name of the one that DROP names; None if there is none and IF EXISTS has it skipped.
    pub(super) async fn dropped(
        &mut self,
        parsed: &Parsed,
        name: &ast::ObjectName,
        target: &DropTarget,
    ) -> Result<Option<String>> {
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let analyzer = self.analyzer(parsed, Vec::new(), &catalogue);
        let (schema, bare, _) = analyzer.table_name(name)?;
        let (a_kind, kind) = words(target.kind);
        if let Some(found) = analyzer.find(schema.as_deref(), &bare)? {
            let Some(is) = kind_of(&found) else { return Err(is_system_catalogue(&bare)) };
            if is == target.kind {
                return Ok(Some(bare));
            }
            let (a_kind_of_it, kind_of_it) = words(is);
            return Err(wrong_kind(&bare, a_kind)
                .with_hint(format!("Use DROP {} to remove {a_kind_of_it}.", kind_of_it.to_uppercase())));
        }
        let missing = match schema.filter(|schema| Schema::named(schema).is_none()) {
            Some(schema) => no_schema(&schema),
            None => {
                let index = target.kind == DropKind::Index;
                let code = if index { SqlState::UNDEFINED_OBJECT } else { SqlState::UNDEFINED_TABLE };
                SqlError::new(code, format!("{kind} \"{bare}\" does not exist"))
            }
        };
        self.skip_missing(target.if_exists, missing.code(), missing.message().to_owned())?;
        Ok(None)
    }

    /// The name of a view, sequence or index that a statement other than DROP names; None if nothing has the
    /// name.
    ///
    /// # Errors
    ///
    /// 3F000 for a schema that is not there, 42809 for something else.
    pub(super) async fn named(
        &mut self,
        parsed: &Parsed,
        name: &ast::ObjectName,
        kind: DropKind,
    ) -> Result<Option<String>> {
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let analyzer = self.analyzer(parsed, Vec::new(), &catalogue);
        let (schema, bare, _) = analyzer.table_name(name)?;
        if let Some(schema) = &schema {
            catalogue.required_schema(&self.facts.path, schema)?;
        }
        match analyzer.find(schema.as_deref(), &bare)? {
            None => Ok(None),
            Some(found) if kind_of(&found) == Some(kind) => Ok(Some(bare)),
            Some(_) => Err(wrong_kind(&bare, words(kind).0)),
        }
    }
}
