//! COPY of a session: tables and queries out, rows in.

mod header;

use super::SqlSession;
use super::names::is_an_index;
use super::portal::{CopyOutState, Portal, Run};
use sql_catalogue::Relation;
use sql_catalogue::names::Found;
use sql_execution::Cx;
use sql_execution::copy::{
    BinaryReader, BinaryWriter, Line, LineReader, LineWriter, Record, RowWriter, fields_bytes, shown,
};
use sql_execution::deferred::DeferredState;
use sql_interface::{CommandTag, Format, Result, SqlError};
use sql_language::expr::Expr;
use sql_language::parse::{
    CopyFormat, CopyHeader, CopyOptions, CopyStatement, CopySubject, Parsed, SqlCommand, bare_query,
    table_factor,
};
use sql_language::plan::{ModifiedTable, Plan};
use sql_types::{Datum, Style, Type};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::{RowBatch, TableLockMode};

/// A COPY FROM STDIN on its way.
pub(crate) struct CopyIn {
    target: ModifiedTable,
    /// Table places of the line's columns.
    columns: Vec<usize>,
    /// Table places and values of the columns that the lines do not have.
    defaults: Vec<(usize, Expr)>,
    default_deferred: DeferredState,
    reader: Reader,
    options: CopyOptions,
    header: bool,
    force_not_null: Vec<bool>,
    force_null: Vec<bool>,
    block: u64,
    rows: u64,
    record: Record,
    /// Memory of an earlier row, to be used again.
    row: Vec<Datum>,
    /// Rows that are not inserted yet.
    batch: RowBatch,
}

/// What cuts the data into rows.
#[allow(clippy::large_enum_variant, reason = "one a COPY")]
enum Reader {
    Lines(LineReader),
    Binary(BinaryReader),
}

impl Reader {
    /// The number of the line or row given last, from 1.
    fn number(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.number(),
            Self::Binary(rows) => rows.number(),
        }
    }
}

/// Rows that are collected at most, and their bytes, as PostgreSQL has it: so a later line's own fault is
/// told before a key that exists already.
const BATCH_ROWS: usize = 1000;
const BATCH_BYTES: usize = 65535;
/// Copies of a long line on the way to storage: its fields, their values, the row, and its parts.
const LINE_COPIES: usize = 4;

impl CopyIn {
    pub(crate) fn columns(&self) -> u16 {
        u16::try_from(self.columns.len()).unwrap_or(u16::MAX)
    }

    pub(crate) fn format(&self) -> Format {
        match self.reader {
            Reader::Lines(_) => Format::Text,
            Reader::Binary(_) => Format::Binary,
        }
    }
}

impl SqlSession {
    /// Makes a COPY statement ready.
    pub(super) async fn open_copy(&mut self, parsed: &Arc<Parsed>, copy: &CopyStatement) -> Result<Run> {
        match (&copy.subject, copy.from) {
            (CopySubject::Table { name, columns }, true) => {
                self.refuse_in_read_only(true, "COPY FROM")?;
                self.open_copy_in(parsed, name, columns, &copy.options).await
            }
            (CopySubject::Table { name, columns }, false) => {
                self.require_schema_of(parsed, name).await?;
                let relation = self.require_copyable(parsed, name, columns).await?;
                let command = SqlCommand::Query(Box::new(table_query(name, columns)));
                let query = Parsed { source: parsed.source.clone(), command, tokens: parsed.tokens };
                self.open_copy_out(&query, relation.as_deref(), given(&copy.options)?).await
            }
            (CopySubject::Query(query), _) => self.open_copy_out(query, None, given(&copy.options)?).await,
        }
    }

    /// What COPY TO names is a table, each column of it once; the table, unless it is one of the system's.
    async fn require_copyable(
        &mut self,
        parsed: &Parsed,
        name: &ast::ObjectName,
        columns: &[String],
    ) -> Result<Option<Arc<Relation>>> {
        let catalogue = self.catalogue().await?;
        let analyzer = self.analyzer(parsed, Vec::new(), &catalogue);
        let (schema, table, _) = analyzer.table_name(name)?;
        let wrong = |message: String| SqlError::new(SqlState::WRONG_OBJECT_TYPE, message);
        let view = || {
            wrong(format!("cannot copy from view \"{table}\""))
                .with_hint("Try the COPY (SELECT ...) TO variant.")
        };
        match analyzer.find(schema.as_deref(), &table)? {
            Some(Found::View(_)) => Err(view()),
            Some(Found::Sequence(_)) => Err(wrong(format!("cannot copy from sequence \"{table}\""))),
            Some(Found::Index(..)) => Err(is_an_index(&table)),
            Some(Found::MadeUp(_)) if !sql_catalogue::system::is_table(&table) => Err(view()),
            Some(Found::MadeUp(_)) => {
                refuse_repeated(columns)?;
                Ok(None)
            }
            Some(Found::Table(relation)) => {
                copy_columns(relation, columns)?;
                Ok(Some(relation.clone()))
            }
            None => Err(analyzer
                .find_defined_table(name)
                .err()
                .unwrap_or_else(|| SqlError::internal("a table came to be meanwhile"))),
        }
    }

    async fn open_copy_out(
        &mut self,
        query: &Parsed,
        relation: Option<&Relation>,
        options: &CopyOptions,
    ) -> Result<Run> {
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let plan: Plan = self.plan(query, &[], &catalogue, 0)?;
        let plan = self.settle_plan(query, &[], Arc::new(plan)).await?;
        self.refuse_in_read_only(plan.writes, "COPY TO")?;
        let names: Vec<String> = plan.columns.iter().flatten().map(|column| column.name.clone()).collect();
        let force_quote = marked((relation, &names), options.force_quote.as_deref(), "FORCE_QUOTE")?;
        let columns = u16::try_from(names.len()).unwrap_or(u16::MAX);
        let header = (options.header != CopyHeader::Off).then_some(names);
        let types = plan.columns.iter().flatten().map(|column| column.ty.id).collect();
        let Run::Plan(mut run) = Run::plan(plan, self.serial) else {
            return Err(SqlError::internal("a plan does not run"));
        };
        let writer = match options.format {
            CopyFormat::Binary => RowWriter::Binary(BinaryWriter::of(types)),
            _ => RowWriter::Lines(LineWriter::new(options.clone(), force_quote)),
        };
        run.copy = Some(Box::new(CopyOutState { writer, header, columns }));
        Ok(Run::Plan(run))
    }

    async fn open_copy_in(
        &mut self,
        parsed: &Parsed,
        name: &ast::ObjectName,
        names: &[String],
        options: &Result<CopyOptions>,
    ) -> Result<Run> {
        let wait = self.lock_wait();
        let relation = self.lock_relation(parsed, name, TableLockMode::RowExclusive, wait).await?;
        let catalogue = self.catalogue().await?;
        let columns = copy_columns(&relation, names);
        let (columns, target, defaults, deferred, rights) =
            self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
                let columns = columns?;
                analyzer.writes_columns(&relation, &columns);
                let mut target = analyzer.target_of(&relation)?;
                target.written.clone_from(&columns);
                let mut defaults = Vec::new();
                for (at, _) in relation.live_columns().filter(|(at, _)| !columns.contains(at)) {
                    defaults.push((at, analyzer.default_value(&relation, at)?));
                }
                let deferred = analyzer.take_deferred();
                Ok((columns, target, defaults, deferred, analyzer.take_rights()))
            })?;
        self.require_all(&rights)?;
        let options = given(options)?;
        let default_deferred = DeferredState::new(deferred);
        let column_names: Vec<String> = columns
            .iter()
            .filter_map(|at| relation.columns.get(*at))
            .map(|column| column.name.clone())
            .collect();
        if options.freeze && !self.is_new(relation.tree) {
            let message = "cannot perform COPY FREEZE because the table was not created or truncated in the current subtransaction";
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        let copied = (Some(&*relation), column_names.as_slice());
        let force_not_null = marked_by(copied, &options.force_not_null, "FORCE_NOT_NULL")?;
        let force_null = marked_by(copied, &options.force_null, "FORCE_NULL")?;
        Ok(Run::CopyIn(Box::new(CopyIn {
            target,
            columns,
            defaults,
            default_deferred,
            reader: match options.format {
                CopyFormat::Binary => Reader::Binary(BinaryReader::default()),
                _ => Reader::Lines(LineReader::new(options.clone())),
            },
            options: options.clone(),
            header: options.header != CopyHeader::Off,
            force_not_null,
            force_null,
            block: self.serial,
            rows: 0,
            record: Record::default(),
            row: Vec::new(),
            batch: RowBatch::default(),
        })))
    }

    fn copy_in<'p>(&self, portal: &'p mut Portal) -> Result<&'p mut CopyIn> {
        let Run::CopyIn(copy) = &mut portal.run else {
            return Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, "no COPY FROM is in progress"));
        };
        if self.block.as_ref().is_none_or(|block| block.serial != copy.block || block.failed) {
            return Err(SqlError::internal("the transaction of COPY has ended"));
        }
        Ok(copy)
    }

    /// COPY FROM STDIN: the payload of a CopyData message; it may end anywhere in a line.
    ///
    /// # Errors
    ///
    /// 22P04, and what INSERT fails with; the transaction has failed then.
    pub async fn copy_feed(&mut self, portal: &mut Portal, data: &[u8]) -> Result<()> {
        let result = self.feed(portal, data, false).await;
        self.noting(result).await
    }

    async fn feed(&mut self, portal: &mut Portal, data: &[u8], last: bool) -> Result<()> {
        let copy = self.copy_in(portal)?;
        let mut cx = self.context(&[])?;
        let name = copy.target.relation.name.clone();
        let result = take_rows(&mut cx, copy, data, last).await;
        let number = copy.reader.number();
        // What is wrong with a binary header is of no row.
        let has_place = number > 0 || matches!(copy.reader, Reader::Lines(_));
        result.map_err(|error| match error.fields().context {
            None if has_place => error.in_context(format!("COPY {name}, line {}", number.max(1))),
            _ => error,
        })
    }

    /// CopyDone: writes what is left, gives the tag.
    ///
    /// # Errors
    ///
    /// 22P04, and what INSERT fails with; the transaction has failed then.
    pub async fn copy_finish(&mut self, portal: &mut Portal) -> Result<CommandTag> {
        let fed = match self.feed(portal, &[], true).await {
            Ok(fed) => self.wait_for_asides().await.map(|()| fed),
            failed => failed,
        };
        self.noting(fed).await?;
        self.note_told();
        let rows = if let Run::CopyIn(copy) = &portal.run { copy.rows } else { 0 };
        let tag = CommandTag::Copy(rows);
        portal.run = Run::Done(tag);
        Ok(tag)
    }

    /// CopyFail: the error to send (57014).
    pub fn copy_fail(&mut self, portal: &mut Portal, message: &str) -> SqlError {
        let place = match &portal.run {
            Run::CopyIn(copy) => {
                Some(format!("COPY {}, line {}", copy.target.relation.name, copy.reader.number() + 1))
            }
            _ => None,
        };
        self.fail();
        portal.run = Run::Empty;
        let error = SqlError::new(SqlState::QUERY_CANCELED, format!("COPY from stdin failed: {message}"));
        match place {
            Some(place) => error.in_context(place),
            None => error,
        }
    }
}

/// Writes all rows that are whole.
async fn take_rows(cx: &mut Cx<'_>, copy: &mut CopyIn, data: &[u8], last: bool) -> Result<()> {
    match &mut copy.reader {
        Reader::Lines(lines) => lines.feed(data)?,
        Reader::Binary(rows) => rows.feed(data)?,
    }
    loop {
        match &mut copy.reader {
            Reader::Lines(lines) => {
                let Some(line) = lines.next(last)? else { break };
                let Line::Row(line) = line else { continue };
                let mut record = std::mem::take(&mut copy.record);
                let taken = take_line(cx, copy, &line, &mut record).await;
                copy.record = record;
                if let Reader::Lines(lines) = &mut copy.reader {
                    lines.give_back(line);
                }
                taken?;
            }
            Reader::Binary(rows) => {
                if !rows.next(copy.columns.len(), last)? {
                    break;
                }
                take_fields(cx, copy).await?;
            }
        }
        if copy.rows.is_multiple_of(1024) {
            cx.pause().await?;
        }
    }
    if last {
        insert_collected(cx, copy).await?;
    }
    cx.canceller.check()
}

/// Inserts the rows that were collected.
async fn insert_collected(cx: &mut Cx<'_>, copy: &mut CopyIn) -> Result<()> {
    let name = &copy.target.relation.name;
    sql_execution::insert_batch(cx, &copy.target, &mut copy.batch).await.map_err(|(line, error)| match line {
        Some(line) if error.fields().context.is_none() => {
            error.in_context(format!("COPY {name}, line {line}"))
        }
        _ => error,
    })
}

async fn take_line(cx: &mut Cx<'_>, copy: &mut CopyIn, line: &[u8], record: &mut Record) -> Result<()> {
    let number = copy.reader.number();
    let relation = copy.target.relation.clone();
    let whole = || {
        let text = String::from_utf8_lossy(line);
        format!("COPY {}, line {number}: \"{}\"", relation.name, shown(&text))
    };
    // A line that is no text is not shown.
    let is_text = || std::str::from_utf8(line).is_ok();
    if line.len() >= sql_types::work::SHORT_BYTES {
        let fields = fields_bytes(line, copy.options.delimiter);
        sql_types::work::room_for(line.len().saturating_mul(LINE_COPIES).saturating_add(fields))?;
    }
    if let Reader::Lines(lines) = &mut copy.reader {
        let split = lines.split(line, record);
        split.map_err(|error| if is_text() { error.in_context(whole()) } else { error })?;
    }
    if std::mem::take(&mut copy.header) {
        return if copy.options.header == CopyHeader::Match {
            header::matches(&copy.columns, (record, &copy.options.null), &relation)
                .map_err(|error| error.in_context(whole()))
        } else {
            Ok(())
        };
    }
    let mut new = empty_row(copy);
    fill_row(copy, record, cx.facts.style(), &mut new).map_err(|error| match error.fields().context {
        Some(_) => error,
        None => error.in_context(whole()),
    })?;
    take_row(cx, copy, new, whole).await
}

/// A row of NULLs, in the memory of an earlier one.
fn empty_row(copy: &mut CopyIn) -> Vec<Datum> {
    let mut new = std::mem::take(&mut copy.row);
    new.clear();
    new.resize(copy.target.relation.columns.len(), Datum::Null);
    new
}

/// Takes the row that a binary reader has found.
async fn take_fields(cx: &mut Cx<'_>, copy: &mut CopyIn) -> Result<()> {
    let mut new = empty_row(copy);
    let (number, relation) = (copy.reader.number(), copy.target.relation.clone());
    let Reader::Binary(rows) = &copy.reader else { return Err(SqlError::internal("no rows in binary")) };
    for (place, at) in copy.columns.iter().enumerate() {
        let (Some(column), Some(slot)) = (relation.columns.get(*at), new.get_mut(*at)) else {
            return Err(SqlError::internal("no such column"));
        };
        let Some(field) = rows.field(place) else { continue };
        sql_types::work::room_for(field.len().saturating_mul(LINE_COPIES))?;
        *slot = sql_types::binary::read(column.ty, field).map_err(|error| {
            let context = format!("COPY {}, line {number}, column {}", relation.name, column.name);
            SqlError::from(error).in_context(context)
        })?;
    }
    take_row(cx, copy, new, || format!("COPY {}, line {number}", relation.name)).await
}

/// Inserts a row, or collects it for later. `whole`: what an error about it says of where it stands.
async fn take_row(
    cx: &mut Cx<'_>,
    copy: &mut CopyIn,
    mut new: Vec<Datum>,
    whole: impl Fn() -> String,
) -> Result<()> {
    let (number, relation) = (copy.reader.number(), copy.target.relation.clone());
    sql_execution::default_values(cx, &copy.defaults, &mut copy.default_deferred, &mut new).await?;
    let taken = if sql_execution::takes_batches(&relation) {
        let taken = sql_execution::batch_row(cx, &copy.target, &mut copy.batch, number, &new).await;
        copy.row = new;
        taken
    } else {
        sql_execution::copy_row(cx, &copy.target, new).await
    };
    taken.map_err(|error| match error.fields().context {
        Some(_) => error,
        None if error.code() == SqlState::UNIQUE_VIOLATION => {
            error.in_context(format!("COPY {}, line {number}", relation.name))
        }
        None => error.in_context(whole()),
    })?;
    copy.rows += 1;
    if copy.batch.len() >= BATCH_ROWS || copy.batch.bytes() >= BATCH_BYTES {
        insert_collected(cx, copy).await?;
    }
    Ok(())
}

/// Puts the fields of a line into its row. An error about a value says in which column.
fn fill_row(copy: &CopyIn, record: &Record, style: &Style, new: &mut [Datum]) -> Result<()> {
    let relation = &copy.target.relation;
    let wrong = |message: String| SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message);
    if record.field_count() > copy.columns.len() {
        return Err(wrong("extra data after last expected column".to_owned()));
    }
    for (place, at) in copy.columns.iter().enumerate() {
        let Some(column) = relation.columns.get(*at) else {
            return Err(SqlError::internal("no such column"));
        };
        let field =
            record.get(place).ok_or_else(|| wrong(format!("missing data for column \"{}\"", column.name)))?;
        let quoted = record.is_quoted(place);
        let forced = |list: &[bool]| list.get(place).copied().unwrap_or(false);
        let field = match field {
            None if forced(&copy.force_not_null) => Some(copy.options.null.as_str()),
            Some(text) if quoted && forced(&copy.force_null) && text == copy.options.null => None,
            other => other,
        };
        let Some(text) = field else { continue };
        let value = read_value(column.ty, text, style).map_err(|error| {
            let shown = shown(text);
            let (number, relation, column) = (copy.reader.number(), &relation.name, &column.name);
            error.in_context(format!("COPY {relation}, line {number}, column {column}: \"{shown}\""))
        })?;
        if let Some(slot) = new.get_mut(*at) {
            *slot = value;
        }
    }
    Ok(())
}

fn read_value(ty: Type, text: &str, style: &Style) -> Result<Datum> {
    Ok(Datum::parse(ty, text, style)?)
}

/// The options, if nothing is wrong with them.
fn given(options: &Result<CopyOptions>) -> Result<&CopyOptions> {
    options.as_ref().map_err(SqlError::clone)
}

fn copy_columns(relation: &Relation, names: &[String]) -> Result<Vec<usize>> {
    if names.is_empty() {
        return Ok(relation.live_columns().map(|(at, _)| at).collect());
    }
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let at = relation.require_column(name)?;
        if columns.contains(&at) {
            return Err(is_repeated(name));
        }
        columns.push(at);
    }
    Ok(columns)
}

fn is_repeated(name: &str) -> SqlError {
    SqlError::new(SqlState::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once"))
}

fn refuse_repeated(names: &[String]) -> Result<()> {
    let repeated = names.iter().enumerate().find(|(at, name)| names.iter().take(*at).any(|b| b == *name));
    repeated.map_or(Ok(()), |(_, name)| Err(is_repeated(name)))
}

/// Which columns of a COPY (of a table, or of a query, which have these names) an option names.
fn marked_by(
    (relation, names): (Option<&Relation>, &[String]),
    wanted: &[String],
    option: &str,
) -> Result<Vec<bool>> {
    match relation {
        // An empty list is that of an option that is not given.
        Some(relation) => drop(copy_columns(relation, wanted)?),
        None => {
            if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
                let message = format!("column \"{unknown}\" does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
            }
            refuse_repeated(wanted)?;
        }
    }
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        return Err(SqlError::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            format!("{option} column \"{unknown}\" not referenced by COPY"),
        ));
    }
    Ok(names.iter().map(|name| wanted.contains(name)).collect())
}

/// None marks nothing, an empty list everything.
fn marked(
    copied: (Option<&Relation>, &[String]),
    wanted: Option<&[String]>,
    option: &str,
) -> Result<Vec<bool>> {
    match wanted {
        None => Ok(vec![false; copied.1.len()]),
        Some([]) => Ok(vec![true; copied.1.len()]),
        Some(wanted) => marked_by(copied, wanted, option),
    }
}

/// SELECT of a table's columns.
fn table_query(name: &ast::ObjectName, columns: &[String]) -> ast::Query {
    let projection = if columns.is_empty() {
        vec![ast::SelectItem::Wildcard(ast::WildcardAdditionalOptions::default())]
    } else {
        let column = |name: &String| ast::Expr::Identifier(ast::Ident::with_quote('"', name.clone()));
        columns.iter().map(|name| ast::SelectItem::UnnamedExpr(column(name))).collect()
    };
    let relation = table_factor(name.clone());
    let select = ast::Select {
        select_token: ast::helpers::attached_token::AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection,
        exclude: None,
        into: None,
        from: vec![ast::TableWithJoins { relation, joins: Vec::new() }],
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: ast::GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: ast::SelectFlavor::Standard,
    };
    bare_query(ast::SetExpr::Select(Box::new(select)))
}
