//! VACUUM, ANALYZE and REINDEX.

use super::cursor::Cursor;
use super::options::{self, Given};
use super::statement::{MaintainedTable, Maintenance, Reindex, ReindexTarget, Utility};
use sql_interface::{Result, SqlError};
use sqlparser::tokenizer::Token;
use sqlstate::SqlState;

/// PostgreSQL's MAX_PARALLEL_WORKER_LIMIT.
const WORKERS_MAX: i64 = 1024;

/// What the options of VACUUM and ANALYZE ask for.
#[derive(Default)]
struct Wishes {
    verbose: bool,
    analyze: bool,
    full: bool,
    disable_page_skipping: bool,
    /// PROCESS_TOAST false.
    leaves_toast: bool,
    workers: i64,
}

impl Wishes {
    /// Those that mean something elsewhere alone are only checked.
    fn take(&mut self, option: &Given, vacuum: bool) -> Result<()> {
        match option.name.as_str() {
            "verbose" => self.verbose = option.boolean()?,
            "skip_locked" => {
                option.boolean()?;
            }
            _ if !vacuum => return Err(option.unrecognized("ANALYZE")),
            "analyze" => self.analyze = option.boolean()?,
            "freeze" | "truncate" => {
                option.boolean()?;
            }
            "full" => self.full = option.boolean()?,
            "disable_page_skipping" => self.disable_page_skipping = option.boolean()?,
            "process_toast" => self.leaves_toast = !option.boolean()?,
            "index_cleanup" => {
                let auto = option.value.as_deref().is_none_or(|value| value.eq_ignore_ascii_case("auto"));
                if !auto {
                    option.boolean()?;
                }
            }
            "parallel" => self.workers = workers(option)?,
            _ => return Err(option.unrecognized("VACUUM")),
        }
        Ok(())
    }

    /// What does not go together.
    fn check(&self, tables: &[MaintainedTable]) -> Result<()> {
        let refuse = |message| Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        if self.full && self.workers > 0 {
            return refuse("VACUUM FULL cannot be performed in parallel");
        }
        if !self.analyze && tables.iter().any(|table| !table.columns.is_empty()) {
            return refuse("ANALYZE option must be specified when a column list is provided");
        }
        if self.full && self.disable_page_skipping {
            return refuse("VACUUM option DISABLE_PAGE_SKIPPING cannot be used with FULL");
        }
        if self.full && self.leaves_toast {
            return refuse("PROCESS_TOAST required with VACUUM FULL");
        }
        Ok(())
    }
}

/// The value of PARALLEL.
fn workers(option: &Given) -> Result<i64> {
    let wrong = |message: String| Err(SqlError::syntax(message).at(option.position));
    let Some(value) = &option.value else {
        return wrong(format!("parallel option requires a value between 0 and {WORKERS_MAX}"));
    };
    match value.parse() {
        Ok(workers @ 0..=WORKERS_MAX) => Ok(workers),
        Ok(_) => wrong(format!("parallel workers for vacuum must be between 0 and {WORKERS_MAX}")),
        Err(_) => Err(SqlError::syntax("parallel requires an integer value")),
    }
}

/// What follows VACUUM or ANALYZE.
pub(super) fn maintain(cursor: &mut Cursor<'_>, vacuum: bool) -> Result<Utility> {
    let mut wishes = Wishes { analyze: !vacuum, ..Wishes::default() };
    // The grammar takes any option: what is wrong with one is told when the statement is to run.
    let mut checked = Ok(());
    if cursor.peek() == Some(&Token::LParen) {
        for option in options::list(cursor)? {
            checked = checked.and_then(|()| wishes.take(&option, vacuum));
        }
    } else {
        wishes.full = vacuum && cursor.word("full");
        if vacuum {
            cursor.word("freeze");
        }
        wishes.verbose = cursor.word("verbose");
        wishes.analyze |= vacuum && cursor.any_word(&["analyze", "analyse"]);
    }
    let mut tables = Vec::new();
    while !cursor.is_at_end() {
        let name = cursor.object_name()?;
        let columns = if cursor.peek() == Some(&Token::LParen) { cursor.name_list()? } else { Vec::new() };
        tables.push(MaintainedTable { name, columns });
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    let refusal = checked.and_then(|()| wishes.check(&tables)).err();
    let Wishes { verbose, analyze, .. } = wishes;
    Ok(Utility::Maintain(Maintenance { vacuum, analyze, verbose, tables, refusal }))
}

#[derive(Default)]
struct ReindexOptions {
    verbose: bool,
    concurrently: bool,
    tablespace: Option<String>,
}

impl ReindexOptions {
    fn take(&mut self, option: &Given) -> Result<()> {
        match option.name.as_str() {
            "verbose" => self.verbose = option.boolean()?,
            "concurrently" => self.concurrently = option.boolean()?,
            "tablespace" => {
                let missing = || SqlError::syntax("tablespace requires a parameter");
                self.tablespace = Some(option.value.clone().ok_or_else(missing)?);
            }
            _ => return Err(option.unrecognized("REINDEX")),
        }
        Ok(())
    }
}

/// What follows REINDEX.
pub(super) fn reindex(cursor: &mut Cursor<'_>) -> Result<Utility> {
    let mut read = ReindexOptions::default();
    for option in options::list(cursor)? {
        if let Err(refusal) = read.take(&option) {
            cursor.refuse(refusal);
        }
    }
    let ReindexOptions { verbose, mut concurrently, tablespace } = read;
    const KINDS: [&str; 5] = ["index", "table", "schema", "database", "system"];
    let kind = KINDS.iter().find(|kind| cursor.word(kind)).ok_or_else(|| cursor.unexpected())?;
    concurrently |= cursor.word("concurrently");
    let target = match *kind {
        "index" => ReindexTarget::Index(cursor.object_name()?),
        "table" => ReindexTarget::Table(cursor.object_name()?),
        "schema" => ReindexTarget::Schema(cursor.name()?),
        "database" => ReindexTarget::Database(cursor.name()?),
        _ => ReindexTarget::System(cursor.name()?),
    };
    Ok(Utility::Reindex(Reindex { target, verbose, concurrently, tablespace }))
}
