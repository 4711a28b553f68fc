//! `plimsoll waldump`: the records of WAL segments as text, the engine's own in full.

use crate::cli::WaldumpArgs;
use crate::pid_file::PidFile;
use crate::serve::check_format;
use crate::wal_files::{segment_size, time_of};
use anyhow::{Context, Result, anyhow, bail};
use host::{Disk, Host, Timestamp};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wal::control::ControlFile;
use wal::describe::Describer;
use wal::history::TimelineHistory;
use wal::reader::{EndReason, Next, ReaderOptions, SegmentFiles, WalReader};
use wal::{Lsn, Record, SegmentNumber, SegmentSize, TimelineId};

/// What is to be printed, from the arguments and from what the folder says.
struct Range {
    folder: PathBuf,
    size: SegmentSize,
    timeline: TimelineId,
    start: Lsn,
    end: Option<Lsn>,
}

/// Time between two looks for more when a log is followed.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// Which records are wanted.
struct Filter {
    xid: Option<u32>,
    rmgr: Option<String>,
    /// Database, if one is named, and file number.
    table: Option<(Option<u32>, u32)>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Filter {
    fn new(arguments: &WaldumpArgs, folder: &Path) -> Result<Self> {
        let time = |text: &Option<String>| text.as_deref().map(parse_time).transpose();
        Ok(Self {
            xid: arguments.xid,
            rmgr: arguments.rmgr.clone(),
            table: arguments
                .table
                .as_deref()
                .map(|table| find_table(table, arguments.dbname.as_deref(), folder))
                .transpose()?,
            since: time(&arguments.since)?,
            until: time(&arguments.until)?,
        })
    }
    fn by_time(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }
    fn takes_time(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
    fn takes(&self, describer: &Describer<'_>, record: &Record) -> bool {
        let table = |(database, relation): (Option<u32>, u32)| {
            record.blocks().any(|block| {
                block.rel.relation == relation
                    && database.is_none_or(|database| block.rel.database == database)
            })
        };
        self.xid.is_none_or(|xid| record.xid_low() == xid)
            && self.rmgr.as_ref().is_none_or(|name| describer.rmgr_name(record).eq_ignore_ascii_case(name))
            && self.table.is_none_or(table)
    }
}

/// A moment as PostgreSQL reads it; without a zone it is UTC.
fn parse_time(text: &str) -> Result<Timestamp> {
    let style = sql_types::Style { zone: jiff::tz::TimeZone::UTC, ..sql_types::Style::default() };
    let micros = sql_types::time::parse_timestamptz(text, &style)
        .map_err(|error| anyhow!("\"{text}\" is no time: {error}"))?;
    Ok(Timestamp::from_micros(micros))
}

/// Database, if one is named, and file number of a table that is given by number, or by a name that a server
/// knows.
fn find_table(text: &str, conninfo: Option<&str>, folder: &Path) -> Result<(Option<u32>, u32)> {
    if let Some((database, relation)) = text.split_once('/') {
        let number = |part: &str| part.parse().with_context(|| format!("\"{text}\" is no database/number"));
        return Ok((Some(number(database)?), number(relation)?));
    }
    if let Ok(relation) = text.parse() {
        return Ok((None, relation));
    }
    let conninfo = match conninfo {
        Some(conninfo) => conninfo.to_owned(),
        None => running_server(folder)?.ok_or_else(|| {
            anyhow!("\"{text}\" is no file number, and no server runs here that knows the name: name one with --dbname")
        })?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime
        .block_on(async {
            let mut client = crate::connect::connect(&conninfo).await?;
            client.query(&format!("SELECT pg_relation_filenode('{}')", text.replace('\'', "''"))).await
        })
        .with_context(|| format!("could not ask the server for the file number of \"{text}\""))?;
    let number = found.text(0, 0).and_then(|number| number.parse().ok());
    Ok((None, number.ok_or_else(|| anyhow!("\"{text}\" has no file"))?))
}

/// What connects to the server that runs on the data directory of this pg_wal.
fn running_server(folder: &Path) -> Result<Option<String>> {
    let folder = std::path::absolute(folder)?;
    let Some(data) = folder.parent() else { return Ok(None) };
    let Some(PidFile { port: Some(port), socket_dir, .. }) = PidFile::of_running(data)? else {
        return Ok(None);
    };
    let host = socket_dir.map_or_else(|| "localhost".to_owned(), |folder| folder.display().to_string());
    let there = format!("host='{}' port={port} dbname=postgres", host.replace('\'', "\\'"));
    Ok(Some(crate::connect::leading_there(&there)?))
}

/// Counts of one kind of record.
#[derive(Clone, Copy, Default)]
struct Tally {
    records: u64,
    bytes: u64,
    image_bytes: u64,
}

/// Where wanted records go.
struct Output<'a> {
    filter: Filter,
    describer: Describer<'a>,
    out: std::io::BufWriter<std::io::StdoutLock<'static>>,
    quiet: bool,
    /// Some: counted by resource manager, or with true by kind of record, instead of printed.
    stats: Option<bool>,
    tallies: BTreeMap<String, Tally>,
    left: u64,
}

impl Output<'_> {
    fn put(&mut self, record: &Record) -> std::io::Result<()> {
        if self.left == 0 || !self.filter.takes(&self.describer, record) {
            return Ok(());
        }
        self.left -= 1;
        if let Some(by_kind) = self.stats {
            let mut name = self.describer.rmgr_name(record);
            if by_kind {
                let text = self.describer.text(record);
                let kind = text.split([' ', ':']).next().unwrap_or_default().to_owned();
                name = format!("{name}/{kind}");
            }
            let images = record.blocks().filter_map(|block| block.image);
            let image_bytes: usize = images.map(|image| image.stored().len()).sum();
            let tally = self.tallies.entry(name).or_default();
            tally.records += 1;
            tally.image_bytes += image_bytes as u64;
            tally.bytes += u64::from(record.len()).saturating_sub(image_bytes as u64);
        } else if !self.quiet {
            writeln!(self.out, "{}", self.describer.line(record))?;
        }
        Ok(())
    }

    fn finish(mut self) -> std::io::Result<()> {
        if self.stats.is_some() {
            let total = self.tallies.values().fold(Tally::default(), |total, tally| Tally {
                records: total.records + tally.records,
                bytes: total.bytes + tally.bytes,
                image_bytes: total.image_bytes + tally.image_bytes,
            });
            let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
            writeln!(
                self.out,
                "{:<28} {:>10} {:>8} {:>14} {:>8} {:>14} {:>8}",
                "Type", "N", "(%)", "Record size", "(%)", "Image size", "(%)"
            )?;
            let line = |name: &str, tally: &Tally| {
                format!(
                    "{name:<28} {:>10} {:>8.2} {:>14} {:>8.2} {:>14} {:>8.2}",
                    tally.records,
                    share(tally.records, total.records),
                    tally.bytes,
                    share(tally.bytes, total.bytes),
                    tally.image_bytes,
                    share(tally.image_bytes, total.image_bytes)
                )
            };
            for (name, tally) in &self.tallies {
                writeln!(self.out, "{}", line(name, tally))?;
            }
            writeln!(self.out, "{}", line("Total", &total))?;
        }
        self.out.flush()
    }
}

/// Runs the command.
pub fn run(arguments: &WaldumpArgs) -> Result<()> {
    let host = Host::real();
    let range = Range::find(&*host.disk, arguments)?;
    let records = storage::records::EngineDescriber;
    let mut output = Output {
        filter: Filter::new(arguments, &range.folder)?,
        describer: Describer::new().with(&records),
        out: std::io::BufWriter::new(std::io::stdout().lock()),
        quiet: arguments.quiet,
        stats: arguments.stats.as_deref().map(|by| by == "record"),
        tallies: BTreeMap::new(),
        left: arguments.limit.unwrap_or(u64::MAX),
    };
    match dump(&host, &range, arguments.follow, &mut output) {
        Ok(()) => Ok(output.finish()?),
        Err(error) => {
            let gone = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
            if error.downcast_ref().is_some_and(gone) {
                // The reader of our output has seen enough.
                return Ok(());
            }
            output.finish()?;
            Err(error)
        }
    }
}

fn reader_of(host: &Host, range: &Range) -> WalReader<SegmentFiles> {
    let history = match TimelineHistory::load(&*host.disk, &range.folder, range.timeline) {
        Ok(history) => history,
        // The first timeline has no history file, and a folder of received segments may lack it.
        Err(_) => TimelineHistory::root(range.timeline),
    };
    let mut files = SegmentFiles::new(host.disk.clone(), &range.folder, range.size, history);
    if let Some(end) = range.end {
        files.set_limit(end);
    }
    WalReader::new(files, ReaderOptions::new(range.size), range.start)
}

fn dump(host: &Host, range: &Range, follow: bool, output: &mut Output<'_>) -> Result<()> {
    let mut reader = reader_of(host, range);
    // With a filter by time: records from here on wait for the next one that carries a time.
    let mut undecided: Option<Lsn> = None;
    let mut next = reader.find_next_record(range.start)?;
    loop {
        let record = match next {
            Next::Record(record) => record,
            Next::End(end) => {
                output.out.flush()?;
                if range.end.is_some_and(|asked| reader.position() >= asked) {
                    return Ok(());
                }
                if follow {
                    // Nobody tells of a file that grows; a record that is half written is whole the next
                    // time.
                    std::thread::park_timeout(FOLLOW_INTERVAL);
                    next = reader.next()?;
                    continue;
                }
                return match end.reason {
                    EndReason::NotYet { .. } if !end.torn => Ok(()),
                    reason => bail!("WAL ends at {}: {reason}", end.at),
                };
            }
        };
        if range.end.is_some_and(|end| record.start() >= end) {
            return Ok(());
        }
        if !output.filter.by_time() {
            output.put(&record)?;
        } else {
            let from = *undecided.get_or_insert(record.start());
            if let Some(time) = time_of(&record) {
                undecided = None;
                if output.filter.takes_time(time) {
                    print_again(host, range, from, record.end(), output)?;
                }
            }
        }
        if output.left == 0 {
            // Not after the next record only, which a log that is followed may not get for long.
            return Ok(());
        }
        next = reader.next()?;
    }
}

/// Prints the records from `from` on that end at or before `upto`.
fn print_again(host: &Host, range: &Range, from: Lsn, upto: Lsn, output: &mut Output<'_>) -> Result<()> {
    let mut reader = reader_of(host, range);
    reader.seek(from, None);
    while reader.position() < upto {
        match reader.next()? {
            Next::Record(record) => output.put(&record)?,
            Next::End(end) => bail!("WAL changed while it was read: it ends at {}: {}", end.at, end.reason),
        }
    }
    Ok(())
}

impl Range {
    fn find(disk: &dyn Disk, arguments: &WaldumpArgs) -> Result<Self> {
        let lsn = |text: &Option<String>| text.as_deref().map(str::parse::<Lsn>).transpose();
        let (start, end) = (lsn(&arguments.start)?, lsn(&arguments.end)?);
        let (folder, first) = match &arguments.first {
            Some(path) => {
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .ok_or_else(|| anyhow!("no segment is named"))?;
                let beside =
                    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map(Path::to_path_buf);
                let folder = beside.or_else(|| arguments.path.clone()).unwrap_or_else(|| PathBuf::from("."));
                (folder, Some(name.to_owned()))
            }
            None => (arguments.path.clone().unwrap_or_else(|| PathBuf::from(".")), None),
        };
        let folder = if disk.exists(&folder.join("pg_wal"))? { folder.join("pg_wal") } else { folder };
        // An archive has no number; segments beside a control file have that of its directory.
        if let Some(data) = folder.parent()
            && let Ok(control) = ControlFile::load(disk, data)
        {
            check_format(data, &control)?;
        }
        let size = segment_size(disk, &folder, first.as_deref())?;
        let segment = |name: &str| {
            SegmentNumber::parse_file_name(name, size)
                .ok_or_else(|| anyhow!("\"{name}\" is not a WAL segment of {} bytes", size.bytes()))
        };
        let first = first.as_deref().map(segment).transpose()?;
        let Some(start) = start.or_else(|| first.map(|(_, first)| size.start_of(first))) else {
            bail!("no start is given: name a segment, or an LSN with --start");
        };
        let timeline = match (first, arguments.timeline) {
            (Some((timeline, _)), _) => timeline,
            (None, Some(timeline)) => TimelineId::new(timeline),
            (None, None) => newest_with(disk, &folder, size, start)?,
        };
        let first = first.map(|(_, first)| first);
        let last = arguments.last.as_deref().map(segment).transpose()?.map(|(_, last)| last);
        // A segment named alone is printed alone, as pg_waldump does.
        let alone = arguments.start.is_none() && !arguments.follow;
        let last = last.or(if alone { first } else { None });
        let end = end.or_else(|| last.map(|last| size.start_of(last.next())));
        Ok(Self { folder, size, timeline, start, end })
    }
}

/// The highest timeline of which the folder has the segment of this position.
fn newest_with(disk: &dyn Disk, folder: &Path, size: SegmentSize, start: Lsn) -> Result<TimelineId> {
    let files = disk.list(folder).with_context(|| format!("could not read folder {}", folder.display()))?;
    let segments = files.iter().filter_map(|entry| SegmentNumber::parse_file_name(&entry.name, size));
    let having = segments.filter(|(_, segment)| *segment == size.segment_of(start));
    having
        .map(|(timeline, _)| timeline)
        .max()
        .ok_or_else(|| anyhow!("there is no WAL segment in {} that has {start}", folder.display()))
}
