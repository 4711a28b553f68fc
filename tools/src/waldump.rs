//! `plimsoll waldump`: the records of WAL segments as text, the engine's own in full.

use crate::cli::WaldumpArgs;
use anyhow::{Context, Result, anyhow, bail};
use host::{Disk, Host, OpenMode};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use wal::describe::Describer;
use wal::history::TimelineHistory;
use wal::page::{LONG_HEADER_SIZE, PageHeader};
use wal::reader::{EndReason, Next, ReaderOptions, SegmentFiles, WalReader};
use wal::{Lsn, SegmentNumber, SegmentSize, TimelineId};

/// What is to be printed, from the arguments and from what the folder says.
struct Range {
    folder: PathBuf,
    size: SegmentSize,
    timeline: TimelineId,
    start: Lsn,
    end: Option<Lsn>,
}

/// Runs the command.
pub fn run(arguments: &WaldumpArgs) -> Result<()> {
    let host = Host::real();
    let range = Range::find(&*host.disk, arguments)?;
    let history = match TimelineHistory::load(&*host.disk, &range.folder, range.timeline) {
        Ok(history) => history,
        // The first timeline has no history file, and a folder of received segments may lack it.
        Err(_) => TimelineHistory::root(range.timeline),
    };
    let mut files = SegmentFiles::new(host.disk.clone(), &range.folder, range.size, history);
    if let Some(end) = range.end {
        files.set_limit(end);
    }
    let mut reader = WalReader::new(files, ReaderOptions::new(range.size), range.start);
    let records = storage::records::EngineDescriber;
    let describer = Describer::new().with(&records);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut printed = 0;
    let mut next = reader.find_next_record(range.start)?;
    loop {
        let record = match next {
            Next::Record(record) => record,
            Next::End(end) => {
                out.flush()?;
                let asked_end = range.end.is_some_and(|asked| reader.position() >= asked);
                return match end.reason {
                    _ if asked_end => Ok(()),
                    EndReason::NotYet { .. } if !end.torn => Ok(()),
                    reason => bail!("WAL ends at {}: {reason}", end.at),
                };
            }
        };
        if range.end.is_some_and(|end| record.start() >= end)
            || arguments.limit.is_some_and(|limit| printed >= limit)
        {
            break;
        }
        let wanted = arguments.xid.is_none_or(|xid| record.xid_low() == xid)
            && arguments
                .rmgr
                .as_ref()
                .is_none_or(|name| describer.rmgr_name(&record).eq_ignore_ascii_case(name));
        if wanted {
            printed += 1;
            if !arguments.quiet {
                match writeln!(out, "{}", describer.line(&record)) {
                    // The reader of our output has seen enough.
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                    other => other?,
                }
            }
        }
        next = reader.next()?;
    }
    out.flush()?;
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
        let size = segment_size(disk, &folder, first.as_deref())?;
        let segment = |name: &str| {
            SegmentNumber::parse_file_name(name, size)
                .ok_or_else(|| anyhow!("\"{name}\" is not a WAL segment of {} bytes", size.bytes()))
        };
        let (timeline, first) = match first.as_deref().map(segment).transpose()? {
            Some((timeline, first)) => (timeline, Some(first)),
            None => (TimelineId::new(arguments.timeline), None),
        };
        let Some(start) = start.or_else(|| first.map(|first| size.start_of(first))) else {
            bail!("no start is given: name a segment, or an LSN with --start");
        };
        let last = arguments.last.as_deref().map(segment).transpose()?.map(|(_, last)| last);
        // A segment named alone is printed alone, as pg_waldump does.
        let last = last.or(if arguments.start.is_none() { first } else { None });
        let end = end.or_else(|| last.map(|last| size.start_of(last.next())));
        Ok(Self { folder, size, timeline, start, end })
    }
}

/// The segment size, from the header of the named segment or of any in the folder.
fn segment_size(disk: &dyn Disk, folder: &Path, first: Option<&str>) -> Result<SegmentSize> {
    let name = match first {
        Some(name) => name.to_owned(),
        None => disk
            .list(folder)
            .with_context(|| format!("could not read folder {}", folder.display()))?
            .into_iter()
            .map(|entry| entry.name)
            .find(|name| name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .ok_or_else(|| anyhow!("there is no WAL segment in {}", folder.display()))?,
    };
    let path = folder.join(name);
    let file =
        disk.open(&path, OpenMode::Read).with_context(|| format!("could not open {}", path.display()))?;
    let mut head = [0; LONG_HEADER_SIZE];
    file.read_exact_at(&mut head, 0).with_context(|| format!("could not read {}", path.display()))?;
    let header =
        PageHeader::decode(&head).with_context(|| format!("{} is no WAL segment", path.display()))?;
    let long =
        header.long.ok_or_else(|| anyhow!("{} does not begin as a WAL segment does", path.display()))?;
    SegmentSize::new(long.segment_size.into())
        .ok_or_else(|| anyhow!("{} states a segment size of {} bytes", path.display(), long.segment_size))
}
