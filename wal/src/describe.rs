//! Records as text, in pg_waldump's words (times in UTC).
//!
//! Full descriptions: XLOG, Transaction, Storage, Standby (running transactions, locks), LogicalMessage, and
//! resource managers that register a [`RmgrDescriber`]. Of PostgreSQL's other resource managers, which this
//! engine does not write, only xl_info is shown.

use crate::codec::{Fields, Short};
use crate::ids::{Fork, Lsn};
use crate::record::{Record, Rmgr};
use crate::smgr::SmgrRecord;
use crate::xact::{self, Completion, XactEnd, XactRecord};
use crate::xlog::{CheckPoint, XlogRecord};
use host::Timestamp;
use std::fmt::{self, Write};

/// Puts records of one custom resource manager into words.
pub trait RmgrDescriber {
    /// The resource manager that this is for.
    fn rmgr(&self) -> Rmgr;
    /// The resource manager's name in the output.
    fn name(&self) -> &str;
    /// The record kind's name; None for an unknown one.
    fn identify(&self, info: u8) -> Option<&str>;
    /// Writes what the record says, without its kind and its block references.
    fn describe(&self, record: &Record, out: &mut String);
}

/// Describes records; knows the registered resource managers.
#[derive(Default)]
pub struct Describer<'a> {
    custom: Vec<&'a dyn RmgrDescriber>,
}

impl<'a> Describer<'a> {
    /// One that knows the built-in resource managers only.
    pub const fn new() -> Self {
        Self { custom: Vec::new() }
    }
    /// One that knows another resource manager too.
    pub fn with(mut self, describer: &'a dyn RmgrDescriber) -> Self {
        self.custom.push(describer);
        self
    }

    /// The line that pg_waldump prints for the record.
    pub fn line(&self, record: &Record) -> String {
        let images: usize =
            record.blocks().filter_map(|block| block.image).map(|image| image.stored().len()).sum();
        let own = usize::try_from(record.len()).unwrap_or(usize::MAX).saturating_sub(images);
        let mut line = format!(
            "rmgr: {:<11} len (rec/tot): {own:6}/{:6}, tx: {:10}, lsn: {}, prev {}, desc: ",
            self.rmgr_name(record),
            record.len(),
            record.xid_low(),
            wide(record.start()),
            wide(record.previous()),
        );
        line.push_str(&self.text(record));
        blocks_text(record, &mut line);
        line
    }

    /// The kind of the record and what it says, without block references.
    pub fn text(&self, record: &Record) -> String {
        let rmgr = record.rmgr();
        let mut out = String::new();
        if let Some(custom) = self.custom.iter().find(|custom| custom.rmgr() == rmgr) {
            match custom.identify(record.info()) {
                Some(name) => out.push_str(name),
                None => unknown(record, &mut out),
            }
            out.push(' ');
            custom.describe(record, &mut out);
            return out;
        }
        // Writing to a String cannot fail; what can is reading the payload.
        let described = match rmgr {
            Rmgr::XLOG => xlog_text(record, &mut out),
            Rmgr::XACT => xact_text(record, &mut out),
            Rmgr::SMGR => smgr_text(record, &mut out),
            Rmgr::STANDBY => standby_text(record, &mut out),
            Rmgr::LOGICALMSG => message_text(record, &mut out),
            _ => None,
        };
        if described.is_none() {
            out.clear();
            unknown(record, &mut out);
            out.push(' ');
        }
        out
    }

    /// The resource manager's name.
    pub fn rmgr_name(&self, record: &Record) -> String {
        let rmgr = record.rmgr();
        match self.custom.iter().find(|custom| custom.rmgr() == rmgr) {
            Some(custom) => custom.name().to_owned(),
            None => rmgr.to_string(),
        }
    }
}

impl fmt::Debug for Describer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.custom.iter().map(|custom| custom.name())).finish()
    }
}

/// As PostgreSQL's log lines and pg_waldump print a time: `2000-01-01 00:00:00.000000 UTC`.
pub fn utc_text(time: Timestamp) -> String {
    let micros = time.unix_micros();
    let (days, in_day) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    // Days since 0000-03-01, in eras of 400 years, so that the leap day ends a year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let seconds = in_day / 1_000_000;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:06} UTC",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        in_day % 1_000_000
    )
}

/// The low half with its zeros, as pg_waldump aligns its columns.
fn wide(lsn: Lsn) -> String {
    format!("{:X}/{:08X}", lsn.get() >> 32, lsn.get() & 0xFFFF_FFFF)
}

fn unknown(record: &Record, out: &mut String) {
    let _ = write!(out, "UNKNOWN ({:x})", record.rmgr_info());
}

fn blocks_text(record: &Record, out: &mut String) {
    for block in record.blocks() {
        let rel = block.rel;
        let _ =
            write!(out, ", blkref #{}: rel {}/{}/{}", block.id, rel.tablespace, rel.database, rel.relation);
        if block.fork != Fork::Main {
            let _ = write!(out, " fork {}", fork_name(block.fork));
        }
        let _ = write!(out, " blk {}", block.block);
        if let Some(image) = block.image {
            out.push_str(if image.applies() { " FPW" } else { " FPW for WAL verification" });
        }
    }
}

const fn fork_name(fork: Fork) -> &'static str {
    match fork {
        Fork::Main => "main",
        Fork::FreeSpace => "fsm",
        Fork::Visibility => "vm",
        Fork::Init => "init",
    }
}

fn checkpoint_text(checkpoint: &CheckPoint, kind: &str, out: &mut String) {
    let c = checkpoint;
    let _ = write!(
        out,
        "redo {}; tli {}; prev tli {}; fpw {}; xid {}:{}; oid {}; multi {}; offset {}; oldest xid {} in DB {}; \
         oldest multi {} in DB {}; oldest/newest commit timestamp xid: {}/{}; oldest running xid {}; {kind}",
        c.redo,
        c.timeline,
        c.previous_timeline,
        c.full_page_writes,
        c.next_xid.epoch(),
        c.next_xid.low(),
        c.next_oid,
        c.next_multi,
        c.next_multi_offset,
        c.oldest_xid,
        c.oldest_xid_db,
        c.oldest_multi,
        c.oldest_multi_db,
        c.oldest_commit_ts_xid,
        c.newest_commit_ts_xid,
        c.oldest_active_xid,
    );
}

fn xlog_text(record: &Record, out: &mut String) -> Option<()> {
    match XlogRecord::parse(record).ok()? {
        XlogRecord::CheckpointShutdown(checkpoint) => {
            out.push_str("CHECKPOINT_SHUTDOWN ");
            checkpoint_text(&checkpoint, "shutdown", out);
        }
        XlogRecord::CheckpointOnline(checkpoint) => {
            out.push_str("CHECKPOINT_ONLINE ");
            checkpoint_text(&checkpoint, "online", out);
        }
        XlogRecord::Noop => out.push_str("NOOP "),
        XlogRecord::NextOid(oid) => write!(out, "NEXTOID {oid}").ok()?,
        XlogRecord::Switch => out.push_str("SWITCH "),
        XlogRecord::BackupEnd { start } => write!(out, "BACKUP_END {start}").ok()?,
        XlogRecord::ParameterChange(change) => {
            let on = |set| if set { "on" } else { "off" };
            write!(
                out,
                "PARAMETER_CHANGE max_connections={} max_worker_processes={} max_wal_senders={} \
                 max_prepared_xacts={} max_locks_per_xact={} wal_level={} wal_log_hints={} \
                 track_commit_timestamp={}",
                change.max_connections,
                change.max_worker_processes,
                change.max_wal_senders,
                change.max_prepared_xacts,
                change.max_locks_per_xact,
                change.wal_level.name(),
                on(change.wal_log_hints),
                on(change.track_commit_timestamp),
            )
            .ok()?;
        }
        XlogRecord::RestorePoint { name, .. } => write!(out, "RESTORE_POINT {name}").ok()?,
        XlogRecord::FpwChange(set) => write!(out, "FPW_CHANGE {set}").ok()?,
        XlogRecord::EndOfRecovery { time, timeline, previous_timeline } => write!(
            out,
            "END_OF_RECOVERY tli {timeline}; prev tli {previous_timeline}; time {}",
            utc_text(time)
        )
        .ok()?,
        XlogRecord::FpiForHint => out.push_str("FPI_FOR_HINT "),
        XlogRecord::Fpi => out.push_str("FPI "),
        XlogRecord::OverwriteContrecord { overwritten, time } => {
            write!(out, "OVERWRITE_CONTRECORD lsn {overwritten}; time {}", utc_text(time)).ok()?;
        }
    }
    Some(())
}

fn list(out: &mut String, title: &str, items: impl ExactSizeIterator<Item = impl fmt::Display>) {
    if items.len() > 0 {
        let _ = write!(out, "; {title}:");
        for item in items {
            let _ = write!(out, " {item}");
        }
    }
}

fn end_text(end: &XactEnd, record: &Record, commit: bool, out: &mut String) {
    if let Some(two_phase) = &end.two_phase {
        let _ = write!(out, "{}: ", two_phase.xid_low);
    }
    out.push_str(&utc_text(end.time));
    list(out, "rels", end.dropped.iter());
    list(out, "subxacts", end.subxacts.iter());
    let stats = |out: &mut String| {
        let items = end.dropped_stats.iter();
        list(
            out,
            "dropped stats",
            items.map(|item| format!("{}/{}/{}", item.kind, item.database, item.object)),
        );
    };
    if commit {
        stats(out);
        if end.completion.has(Completion::RELCACHE_FILE) {
            let (database, tablespace) = end.database.unwrap_or_default();
            let _ = write!(out, "; relcache init file inval dbid {database} tsid {tablespace}");
        }
        list(out, "inval msgs", end.invalidations.iter().map(invalidation_text));
        if end.completion.has(Completion::APPLY_FEEDBACK) {
            out.push_str("; apply_feedback");
        }
        if end.completion.has(Completion::FORCE_SYNC) {
            out.push_str("; sync");
        }
    }
    if let Some(origin) = end.origin {
        let node = record.origin().unwrap_or(0);
        let _ = write!(out, "; origin: node {node}, lsn {}, at {}", origin.lsn, utc_text(origin.time));
    }
    if !commit {
        stats(out);
    }
}

/// storage/sinval.h: the id byte tells the kind; OIDs stand at offsets 4 and 8.
fn invalidation_text(message: &[u8; 16]) -> String {
    let mut fields = Fields::new(message);
    let mut read = || -> Result<(i8, u32, u32), Short> {
        let id = i8::from_le_bytes(fields.array()?);
        fields.skip(3)?;
        Ok((id, fields.u32()?, fields.u32()?))
    };
    match read() {
        Ok((id @ 0.., _, _)) => format!("catcache {id}"),
        Ok((-1, _, catalog)) => format!("catalog {catalog}"),
        Ok((-2, _, relation)) => format!("relcache {relation}"),
        Ok((-3, _, relation)) => format!("smgr {relation}"),
        Ok((-4, database, _)) => format!("relmap db {database}"),
        Ok((-5, _, relation)) => format!("snapshot {relation}"),
        Ok((id, _, _)) => format!("unrecognized id {id}"),
        Err(_) => String::new(),
    }
}

fn xact_text(record: &Record, out: &mut String) -> Option<()> {
    match XactRecord::parse(record).ok()? {
        XactRecord::Commit(end) => {
            out.push_str(if end.two_phase.is_some() { "COMMIT_PREPARED " } else { "COMMIT " });
            end_text(&end, record, true, out);
        }
        XactRecord::Abort(end) => {
            out.push_str(if end.two_phase.is_some() { "ABORT_PREPARED " } else { "ABORT " });
            end_text(&end, record, false, out);
        }
        XactRecord::Prepare => {
            let (gid, time) = xact::prepared(record).ok()?;
            write!(out, "PREPARE gid {gid}: {}", utc_text(time)).ok()?;
        }
        XactRecord::Assignment { top, subxacts } => {
            write!(out, "ASSIGNMENT xtop {top}: subxacts:").ok()?;
            subxacts.iter().try_for_each(|xid| write!(out, " {xid}")).ok()?;
        }
        XactRecord::Invalidations(messages) => {
            out.push_str("INVALIDATION ");
            list(out, "inval msgs", messages.iter().map(invalidation_text));
        }
    }
    Some(())
}

fn smgr_text(record: &Record, out: &mut String) -> Option<()> {
    match SmgrRecord::parse(record).ok()? {
        SmgrRecord::Create { rel, fork } => {
            write!(out, "CREATE {rel}").ok()?;
            if fork != Fork::Main {
                write!(out, "_{}", fork_name(fork)).ok()?;
            }
        }
        SmgrRecord::Truncate { rel, length, flags } => {
            write!(out, "TRUNCATE {rel} to {length} blocks flags {flags}").ok()?;
        }
    }
    Some(())
}

/// storage/standbydefs.h: xl_running_xacts, xl_standby_locks and xl_invalidations.
fn standby_text(record: &Record, out: &mut String) -> Option<()> {
    let mut fields = Fields::new(record.main_data());
    match record.rmgr_info() {
        0x00 => {
            let count = fields.u32().ok()?;
            out.push_str("LOCK ");
            for _ in 0..count {
                let (xid, database, relation) = (fields.u32().ok()?, fields.u32().ok()?, fields.u32().ok()?);
                write!(out, "xid {xid} db {database} rel {relation} ").ok()?;
            }
        }
        0x10 => {
            let (count, _subxids) = (fields.u32().ok()?, fields.u32().ok()?);
            let overflowed = fields.bool().ok()?;
            fields.skip(3).ok()?;
            let (next, oldest, latest) = (fields.u32().ok()?, fields.u32().ok()?, fields.u32().ok()?);
            write!(out, "RUNNING_XACTS nextXid {next} latestCompletedXid {latest} oldestRunningXid {oldest}")
                .ok()?;
            if count > 0 {
                write!(out, "; {count} xacts:").ok()?;
                for _ in 0..count {
                    write!(out, " {}", fields.u32().ok()?).ok()?;
                }
            }
            if overflowed {
                out.push_str("; subxid ovf");
            }
        }
        0x20 => {
            let (database, tablespace) = (fields.u32().ok()?, fields.u32().ok()?);
            let init_file = fields.bool().ok()?;
            fields.skip(3).ok()?;
            out.push_str("INVALIDATIONS ");
            if init_file {
                write!(out, "; relcache init file inval dbid {database} tsid {tablespace}").ok()?;
            }
            let messages = xact::parse_invalidations(&mut fields).ok()?;
            list(out, "inval msgs", messages.iter().map(invalidation_text));
        }
        _ => return None,
    }
    Some(())
}

/// replication/message.h: xl_logical_message.
fn message_text(record: &Record, out: &mut String) -> Option<()> {
    let mut fields = Fields::new(record.main_data());
    fields.skip(4).ok()?;
    let transactional = fields.bool().ok()?;
    fields.skip(3).ok()?;
    let (prefix_size, size) = (fields.u64().ok()?, fields.u64().ok()?);
    let prefix = fields.take(usize::try_from(prefix_size).ok()?).ok()?;
    let payload = fields.take(usize::try_from(size).ok()?).ok()?;
    let prefix = String::from_utf8_lossy(prefix.split_last().map_or(prefix, |(_, text)| text)).into_owned();
    let kind = if transactional { "transactional" } else { "non-transactional" };
    write!(out, "MESSAGE {kind}, prefix \"{prefix}\"; payload ({size} bytes): ").ok()?;
    for (at, byte) in payload.iter().enumerate() {
        write!(out, "{}{byte:02X}", if at > 0 { " " } else { "" }).ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (micros, text) in [
            (0, "2000-01-01 00:00:00.000000 UTC"),
            (-1, "1999-12-31 23:59:59.999999 UTC"),
            (5_097_599_000_001, "2000-02-28 23:59:59.000001 UTC"),
            (5_097_600_000_000, "2000-02-29 00:00:00.000000 UTC"),
            (848_016_551_557_778, "2026-11-15 00:09:11.557778 UTC"),
        ] {
            assert_eq!(utc_text(Timestamp::from_micros(micros)), text);
        }
    }
}
