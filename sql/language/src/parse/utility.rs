//! The statements parsed by hand, and those that are refused by their first words.

use super::cursor::Cursor;
use super::statement::{
    DiscardKind, DropKind, DropTarget, FetchCount, Renaming, SqlCommand, Utility, ViewChange,
};
use super::{
    Parsed, StatementClass, copy, doubts, grant, maintain, parse_plain, read, role, sequence, setting,
    settle, transaction,
};
use sql_interface::{Result, SqlError};
use sqlparser::tokenizer::Token;
use sqlstate::SqlState;
use std::sync::Arc;
use std::time::Duration;
use storage::TableLockMode;

/// First words of statements that are absent, and how they are called.
const ABSENT: &[(&[&str], &str)] = &[
    (&["listen"], "LISTEN"),
    (&["notify"], "NOTIFY"),
    (&["comment"], "COMMENT"),
    (&["security"], "SECURITY LABEL"),
    (&["do"], "DO"),
    (&["load"], "LOAD"),
    (&["import"], "IMPORT FOREIGN SCHEMA"),
    (&["refresh"], "REFRESH MATERIALIZED VIEW"),
    (&["create", "database"], "CREATE DATABASE"),
    (&["create", "tablespace"], "CREATE TABLESPACE"),
    (&["create", "publication"], "CREATE PUBLICATION"),
    (&["create", "subscription"], "CREATE SUBSCRIPTION"),
    (&["create", "foreign"], "CREATE FOREIGN TABLE"),
    (&["create", "server"], "CREATE SERVER"),
    (&["create", "rule"], "CREATE RULE"),
    (&["create", "aggregate"], "CREATE AGGREGATE"),
    (&["create", "procedure"], "CREATE PROCEDURE"),
    (&["create", "operator"], "CREATE OPERATOR"),
    (&["create", "policy"], "CREATE POLICY"),
    (&["create", "collation"], "CREATE COLLATION"),
    (&["create", "conversion"], "CREATE CONVERSION"),
    (&["create", "language"], "CREATE LANGUAGE"),
    (&["create", "transform"], "CREATE TRANSFORM"),
    (&["create", "cast"], "CREATE CAST"),
    (&["create", "statistics"], "CREATE STATISTICS"),
    (&["create", "event"], "CREATE EVENT TRIGGER"),
    (&["create", "materialized"], "CREATE MATERIALIZED VIEW"),
    (&["create", "access"], "CREATE ACCESS METHOD"),
    (&["create", "user", "mapping"], "CREATE USER MAPPING"),
    (&["drop", "database"], "DROP DATABASE"),
];

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<SqlCommand>> {
    for (words, name) in ABSENT {
        if cursor.sees(words) {
            return Err(SqlError::unsupported(name));
        }
    }
    for family in [
        transaction::parse,
        setting::parse,
        copy::parse,
        grant::parse,
        role::parse,
        sequence::parse,
        alter_view,
        rename,
    ] {
        if let Some(command) = family(cursor)? {
            return Ok(Some(command));
        }
    }
    let utility = if cursor.word("checkpoint") {
        Utility::Checkpoint
    } else if cursor.word("cluster") {
        // What stands behind it is left over, and refused as another form.
        cursor.word("verbose");
        Utility::Cluster
    } else if cursor.word("unlisten") {
        if !cursor.token(&Token::Mul) {
            cursor.identifier()?;
        }
        Utility::Unlisten
    } else if cursor.word("vacuum") {
        maintain::maintain(cursor, true)?
    } else if cursor.any_word(&["analyze", "analyse"]) {
        maintain::maintain(cursor, false)?
    } else if cursor.word("discard") {
        discard(cursor)?
    } else if cursor.word("deallocate") {
        cursor.word("prepare");
        Utility::Deallocate(if cursor.word("all") { None } else { Some(cursor.name()?) })
    } else if cursor.word("prepare") {
        return prepare(cursor).map(Some);
    } else if cursor.word("execute") {
        return execute(cursor).map(Some);
    } else if cursor.word("explain") {
        return super::explain::explain(cursor).map(Some);
    } else if cursor.word("declare") {
        return declare(cursor).map(Some);
    } else if cursor.word("fetch") {
        fetch(cursor, true)?
    } else if cursor.word("move") {
        fetch(cursor, false)?
    } else if cursor.word("close") {
        Utility::Close(if cursor.word("all") { None } else { Some(cursor.name()?) })
    } else if cursor.word("drop") {
        drop_object(cursor)?
    } else if cursor.sees(&["create", "view"]) || cursor.sees(&["create", "or", "replace", "view"]) {
        return create_view(cursor).map(Some);
    } else if cursor.word("reindex") {
        maintain::reindex(cursor)?
    } else if cursor.word("lock") {
        lock_table(cursor)?
    } else if cursor.words(&["wait", "for", "lsn"]) {
        wait_for(cursor)?
    } else {
        return Ok(None);
    };
    cursor.expect_end()?;
    Ok(Some(SqlCommand::Utility(utility)))
}

/// What stands for a statement whose options are wrong.
pub(super) fn refused(command: &SqlCommand, refusal: SqlError) -> SqlCommand {
    let writes = match command {
        SqlCommand::CreateTable(table) if table.query.is_some() => Some("CREATE TABLE AS"),
        SqlCommand::CreateTable(_) => Some("CREATE TABLE"),
        SqlCommand::CreateIndex(_) => Some("CREATE INDEX"),
        SqlCommand::Utility(Utility::CreateRole { .. }) => Some("CREATE ROLE"),
        SqlCommand::Utility(Utility::AlterRole { .. }) => Some("ALTER ROLE"),
        SqlCommand::Utility(Utility::CreateSequence { .. }) => Some("CREATE SEQUENCE"),
        SqlCommand::Utility(Utility::AlterSequence { .. }) => Some("ALTER SEQUENCE"),
        SqlCommand::Utility(Utility::CreateView { .. }) => Some("CREATE VIEW"),
        SqlCommand::Utility(Utility::AlterView { .. }) => Some("ALTER TABLE"),
        _ => None,
    };
    let class = StatementClass::of(command, &|_| None);
    SqlCommand::Utility(Utility::Refused { writes, class, refusal: Box::new(refusal) })
}

/// Statements that are read word by word, so that nothing foreign can be in them, and that come too often to
/// have PostgreSQL's grammar asked about each.
pub(super) const fn is_plain(command: &SqlCommand) -> bool {
    matches!(
        command,
        SqlCommand::Utility(
            Utility::WaitFor { .. }
                | Utility::Begin { .. }
                | Utility::Commit { .. }
                | Utility::Rollback { .. }
                | Utility::Savepoint(_)
                | Utility::RollbackTo(_)
                | Utility::Release(_)
                | Utility::SetTransaction { .. }
                | Utility::Set { .. }
                | Utility::Show(_)
                | Utility::Reset(_)
                | Utility::Execute { .. }
                | Utility::Declare { .. }
                | Utility::Fetch { .. }
                | Utility::Close(_)
                | Utility::Deallocate(_)
                | Utility::Discard(_)
                | Utility::LockTable { .. }
        )
    )
}

/// WAIT FOR LSN 'token' [TIMEOUT milliseconds]
fn wait_for(cursor: &mut Cursor<'_>) -> Result<Utility> {
    let text = cursor.expect_string()?;
    let token = text.parse().map_err(|_| {
        let what = format!("invalid log position: \"{text}\"");
        let hint = "A position looks like 0/3000148, or 1:0/3000148 or 2-9d631a46fb087816:0/3000148 with its timeline.";
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what).with_hint(hint)
    })?;
    let timeout = if cursor.word("timeout") {
        let number = cursor.number().ok_or_else(|| cursor.unexpected())?;
        let wrong =
            || SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid timeout: \"{number}\""));
        Some(Duration::from_millis(number.parse().map_err(|_| wrong())?))
    } else {
        None
    };
    Ok(Utility::WaitFor { token, timeout })
}

fn discard(cursor: &mut Cursor<'_>) -> Result<Utility> {
    Ok(Utility::Discard(if cursor.word("all") {
        DiscardKind::All
    } else if cursor.word("plans") {
        DiscardKind::Plans
    } else if cursor.word("sequences") {
        DiscardKind::Sequences
    } else if cursor.any_word(&["temp", "temporary"]) {
        DiscardKind::Temporary
    } else {
        return Err(cursor.unexpected());
    }))
}

/// What a statement inside of another may begin with: of those that are parsed by hand none, so they do not
/// nest.
const INNER: [&str; 8] = ["select", "insert", "update", "delete", "values", "table", "with", "merge"];

/// The statement that the rest is.
pub(super) fn inner(cursor: &Cursor<'_>) -> Result<Arc<Parsed>> {
    if cursor.peek() != Some(&Token::LParen) && !INNER.iter().any(|word| cursor.sees(&[*word])) {
        return Err(cursor.unexpected());
    }
    let tokens = cursor.rest();
    let (source, count) = (cursor.source(), tokens.len());
    let (command, found) = parse_plain(source, tokens)?;
    cursor.note(found);
    Ok(Arc::new(Parsed { source: source.clone(), command, tokens: count }))
}

fn prepare(cursor: &mut Cursor<'_>) -> Result<SqlCommand> {
    let name = cursor.name()?;
    let mut types = Vec::new();
    if cursor.peek() == Some(&Token::LParen) {
        let inside = cursor.parenthesised()?;
        types = read(cursor.source(), inside, |parser| {
            parser.parse_comma_separated(|parser| parser.parse_data_type())
        })?;
        cursor.note(doubts::of_types(&types));
    }
    cursor.expect_word("as")?;
    let statement = inner(cursor)?;
    match statement.command {
        SqlCommand::Query(_) | SqlCommand::Insert(_) | SqlCommand::Update(_) | SqlCommand::Delete(_) => {
            Ok(SqlCommand::Utility(Utility::Prepare { name, types, statement }))
        }
        _ => Err(cursor.unexpected()),
    }
}

fn execute(cursor: &mut Cursor<'_>) -> Result<SqlCommand> {
    let name = cursor.name()?;
    let mut arguments = Vec::new();
    if cursor.peek() == Some(&Token::LParen) {
        let inside = cursor.parenthesised()?;
        arguments = read(cursor.source(), inside, |parser| {
            parser.parse_comma_separated(|parser| parser.parse_expr())
        })?;
        arguments = settle(arguments, cursor.len())?;
        cursor.note(doubts::of_tree(cursor.source(), &mut arguments));
    }
    cursor.expect_end()?;
    Ok(SqlCommand::Utility(Utility::Execute { name, arguments }))
}

/// `DECLARE name [options] CURSOR [WITH | WITHOUT HOLD] FOR query`
fn declare(cursor: &mut Cursor<'_>) -> Result<SqlCommand> {
    let name = cursor.name()?;
    let (mut scroll, mut no_scroll, mut sensitive, mut insensitive, mut binary) = Default::default();
    loop {
        if cursor.word("binary") {
            binary = true;
        } else if cursor.words(&["no", "scroll"]) {
            no_scroll = true;
        } else if cursor.word("scroll") {
            scroll = true;
        } else if cursor.word("asensitive") {
            sensitive = true;
        } else if cursor.word("insensitive") {
            insensitive = true;
        } else {
            break;
        }
    }
    cursor.expect_word("cursor")?;
    if cursor.words(&["with", "hold"]) {
        return Err(SqlError::unsupported("DECLARE CURSOR ... WITH HOLD"));
    }
    cursor.words(&["without", "hold"]);
    cursor.expect_word("for")?;
    let query = inner(cursor)?;
    let SqlCommand::Query(body) = &query.command else { return Err(cursor.unexpected()) };
    for (wrong, what) in [
        (scroll && no_scroll, "cannot specify both SCROLL and NO SCROLL"),
        (sensitive && insensitive, "cannot specify both ASENSITIVE and INSENSITIVE"),
        (insensitive && !body.locks.is_empty(), "DECLARE INSENSITIVE CURSOR ... FOR UPDATE is not valid"),
    ] {
        if wrong {
            cursor.refuse(SqlError::new(SqlState::INVALID_CURSOR_DEFINITION, what));
        }
    }
    // Rows come forward only, and of one snapshot, whatever is asked for.
    for (wanted, word) in [(scroll && !no_scroll, "SCROLL"), (binary, "BINARY")] {
        if wanted {
            return Err(SqlError::unsupported(format!("DECLARE {word} CURSOR")));
        }
    }
    Ok(SqlCommand::Utility(Utility::Declare { name, query, no_scroll }))
}

/// `FETCH [direction] [FROM | IN] name`, and the same of MOVE
fn fetch(cursor: &mut Cursor<'_>, shows: bool) -> Result<Utility> {
    let verb = if shows { "FETCH" } else { "MOVE" };
    let mut count = FetchCount::Rows(1);
    if cursor.any_word(&["prior", "first", "last", "absolute", "backward"]) {
        return Err(SqlError::unsupported(format!("{verb} in another direction than forward")));
    }
    if !cursor.word("next") {
        // RELATIVE n counts as FORWARD n moves, but gives the last row alone: that is the same up to 1.
        let relative = cursor.word("relative");
        if !relative {
            cursor.word("forward");
        }
        if !relative && cursor.word("all") {
            count = FetchCount::All;
        } else if cursor.peek() == Some(&Token::Minus) {
            return Err(SqlError::unsupported(format!("{verb} in another direction than forward")));
        } else if relative || matches!(cursor.peek(), Some(Token::Number(..) | Token::Plus)) {
            let unexpected = cursor.unexpected();
            let rows = cursor.number().and_then(|digits| digits.parse().ok()).ok_or(unexpected)?;
            if relative && rows > 1 {
                return Err(SqlError::unsupported(format!("{verb} RELATIVE over several rows")));
            }
            count = if rows == 0 { FetchCount::Current } else { FetchCount::Rows(rows) };
        }
    }
    cursor.any_word(&["from", "in"]);
    Ok(Utility::Fetch { name: cursor.name()?, count, shows })
}

/// CREATE [OR REPLACE] VIEW name [(columns)] AS query
fn create_view(cursor: &mut Cursor<'_>) -> Result<SqlCommand> {
    cursor.expect_word("create")?;
    let or_replace = cursor.words(&["or", "replace"]);
    cursor.expect_word("view")?;
    let name = cursor.object_name()?;
    let columns = if cursor.peek() == Some(&Token::LParen) { cursor.name_list()? } else { Vec::new() };
    let options = if cursor.word("with") { view_options(cursor)? } else { Vec::new() };
    cursor.expect_word("as")?;
    let rest = cursor.rest();
    let text = cursor.source().slice(&rest);
    let query = super::parse_inner_query(cursor, rest)?;
    Ok(SqlCommand::Utility(Utility::CreateView { or_replace, name, columns, options, query, text }))
}

/// `(security_invoker [= value])`: whose rights count for the tables of a view.
fn view_options(cursor: &mut Cursor<'_>) -> Result<Vec<String>> {
    let mut options = Vec::new();
    cursor.expect_token(&Token::LParen)?;
    loop {
        let name = cursor.identifier()?;
        let value = if cursor.token(&Token::Eq) {
            match cursor.string().or_else(|| cursor.number()) {
                Some(text) => text,
                None => cursor.identifier()?,
            }
        } else {
            "true".to_owned()
        };
        if let Err(refusal) = check_view_option(&name, &value, &options) {
            cursor.refuse(refusal);
        }
        options.push(format!("{name}={value}"));
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)?;
    Ok(options)
}

fn check_view_option(name: &str, value: &str, before: &[String]) -> Result<()> {
    let invalid = |message: String| Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    if !matches!(name, "security_invoker" | "security_barrier" | "check_option") {
        return invalid(format!("unrecognized parameter \"{name}\""));
    }
    if before.iter().any(|known| known.starts_with(&format!("{name}="))) {
        return invalid(format!("parameter \"{name}\" specified more than once"));
    }
    let fits = match name {
        "check_option" => matches!(value, "local" | "cascaded"),
        _ => sql_types::is_true(value).is_some(),
    };
    match name {
        "check_option" if !fits => invalid(format!("invalid value for enum option \"{name}\": {value}")),
        _ if !fits => invalid(format!("invalid value for boolean option \"{name}\": {value}")),
        "security_invoker" => Ok(()),
        _ => Err(SqlError::unsupported(format!("view option \"{name}\""))),
    }
}

/// ALTER VIEW name SET (options) | RESET (options)
fn alter_view(cursor: &mut Cursor<'_>) -> Result<Option<SqlCommand>> {
    let place = cursor.place();
    if !cursor.words(&["alter", "view"]) {
        return Ok(None);
    }
    let if_exists = cursor.words(&["if", "exists"]);
    let name = cursor.object_name()?;
    let change = if cursor.word("set") && cursor.peek() == Some(&Token::LParen) {
        ViewChange::Set(view_options(cursor)?)
    } else if cursor.word("reset") {
        ViewChange::Reset(cursor.name_list()?)
    } else {
        cursor.rewind(place);
        return Ok(None);
    };
    cursor.expect_end()?;
    Ok(Some(SqlCommand::Utility(Utility::AlterView { if_exists, name, change })))
}

/// ALTER VIEW and ALTER INDEX, RENAME
fn rename(cursor: &mut Cursor<'_>) -> Result<Option<SqlCommand>> {
    let place = cursor.place();
    let kind = if cursor.words(&["alter", "view"]) {
        DropKind::View
    } else if cursor.words(&["alter", "index"]) {
        DropKind::Index
    } else {
        return Ok(None);
    };
    let if_exists = cursor.words(&["if", "exists"]);
    let name = cursor.object_name();
    let (Ok(name), true) = (name, cursor.word("rename")) else {
        cursor.rewind(place);
        return Ok(None);
    };
    let renaming = if cursor.word("to") {
        Renaming::Whole(cursor.name()?)
    } else if kind == DropKind::View {
        cursor.word("column");
        let from = cursor.name()?;
        cursor.expect_word("to")?;
        Renaming::Column { from, to: cursor.name()? }
    } else {
        return Err(cursor.unexpected());
    };
    cursor.expect_end()?;
    Ok(Some(SqlCommand::Utility(Utility::Rename { kind, if_exists, name, renaming })))
}

fn drop_object(cursor: &mut Cursor<'_>) -> Result<Utility> {
    let mut concurrently = false;
    let kind = if cursor.word("table") {
        DropKind::Table
    } else if cursor.word("index") {
        concurrently = cursor.word("concurrently");
        DropKind::Index
    } else if cursor.word("sequence") {
        DropKind::Sequence
    } else if cursor.word("view") {
        DropKind::View
    } else {
        let kind = cursor.identifier()?.to_ascii_uppercase();
        return Err(SqlError::unsupported(format!("DROP {kind}")));
    };
    let if_exists = cursor.words(&["if", "exists"]);
    let mut names = vec![cursor.object_name()?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.object_name()?);
    }
    let cascade = cursor.word("cascade");
    if !cascade {
        cursor.word("restrict");
    }
    Ok(Utility::Drop(DropTarget { kind, names, if_exists, cascade, concurrently }))
}

fn lock_table(cursor: &mut Cursor<'_>) -> Result<Utility> {
    const MODES: [(&[&str], TableLockMode); 8] = [
        (&["access", "share"], TableLockMode::AccessShare),
        (&["row", "share"], TableLockMode::RowShare),
        (&["row", "exclusive"], TableLockMode::RowExclusive),
        (&["share", "update", "exclusive"], TableLockMode::ShareUpdateExclusive),
        (&["share", "row", "exclusive"], TableLockMode::ShareRowExclusive),
        (&["share"], TableLockMode::Share),
        (&["access", "exclusive"], TableLockMode::AccessExclusive),
        (&["exclusive"], TableLockMode::Exclusive),
    ];
    cursor.word("table");
    cursor.word("only");
    let mut tables = vec![cursor.object_name()?];
    while cursor.token(&Token::Comma) {
        cursor.word("only");
        tables.push(cursor.object_name()?);
    }
    let mut mode = TableLockMode::AccessExclusive;
    if cursor.word("in") {
        let found = MODES.iter().find(|(words, _)| cursor.words(words));
        mode = found.ok_or_else(|| cursor.unexpected())?.1;
        cursor.expect_word("mode")?;
    }
    let no_wait = cursor.word("nowait");
    Ok(Utility::LockTable { tables, mode, no_wait })
}
