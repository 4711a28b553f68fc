//! Where point-in-time recovery ends: a decision per record, without I/O.
//!
//! Each record is asked about twice, as PostgreSQL does: before it is redone
//! ([`RecoveryTarget::stops_before`]) and after ([`RecoveryTarget::stops_after`]). Which of them can say yes:
//!
//! | target          | inclusive                                  | exclusive                              |
//! |-----------------|--------------------------------------------|----------------------------------------|
//! | immediate       | as soon as the data is consistent          | the same                               |
//! | name            | after the restore point of this name       | the same                               |
//! | time            | before the first end later than it         | before the first end not earlier       |
//! | xid             | after the end of this transaction          | before it                              |
//! | LSN             | after the first record at or behind it     | before that record                     |
//!
//! "End" is a commit or an abort. A transaction that took an xid early (pg_current_xact_id()) ends with the
//! record that lists that xid beside its own. Only the first restore point of a name counts, because recovery
//! stops there.

use crate::engine::options::{RecoveryTarget, TargetPoint};
use host::Timestamp;
use wal::xact::XactRecord;
use wal::xlog::XlogRecord;
use wal::{Lsn, Record, Rmgr};

/// Where recovery stopped at its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryStop {
    /// Whether the record that decided is redone.
    pub after: bool,
    /// What decided.
    pub cause: StopCause,
}

/// What decided that recovery stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// The data is consistent.
    Consistent,
    /// A restore point.
    RestorePoint {
        /// Its name.
        name: String,
        /// When it was made.
        time: Timestamp,
    },
    /// A position was reached.
    Lsn(Lsn),
    /// The end of a transaction.
    Transaction {
        /// It committed, or it aborted.
        commit: bool,
        /// The low half of its id.
        xid_low: u32,
        /// When it ended.
        time: Timestamp,
        /// It was looked for by time, not by id.
        by_time: bool,
    },
}

/// The end of a transaction as a record tells it.
struct End {
    commit: bool,
    xid_low: u32,
    time: Timestamp,
    early: Vec<u32>,
}

fn end_of(record: &Record) -> Option<End> {
    if record.rmgr() != Rmgr::XACT {
        return None;
    }
    // A record that makes no sense stops redo, which says so.
    let (commit, end) = match XactRecord::parse(record).ok()? {
        XactRecord::Commit(end) => (true, end),
        XactRecord::Abort(end) => (false, end),
        _ => return None,
    };
    let xid_low = end.two_phase.as_ref().map_or(record.xid_low(), |prepared| prepared.xid_low);
    Some(End { commit, xid_low, time: end.time, early: end.subxacts })
}

fn restore_point(record: &Record) -> Option<(String, Timestamp)> {
    if record.rmgr() != Rmgr::XLOG {
        return None;
    }
    match XlogRecord::parse(record).ok()? {
        XlogRecord::RestorePoint { name, time } => Some((name, time)),
        _ => None,
    }
}

impl RecoveryTarget {
    /// Whether recovery ends before `record` is redone. `consistent`: the data is so now.
    pub fn stops_before(&self, record: &Record, consistent: bool) -> Option<RecoveryStop> {
        let stop = |cause| Some(RecoveryStop { after: false, cause });
        match &self.point {
            TargetPoint::Immediate if consistent => stop(StopCause::Consistent),
            TargetPoint::Lsn(lsn) if !self.inclusive && record.start() >= *lsn => stop(StopCause::Lsn(*lsn)),
            TargetPoint::Xid(xid) if !self.inclusive => {
                let end = end_of(record).filter(|end| end.xid_low == *xid || end.early.contains(xid))?;
                stop(transaction(&end, *xid, false))
            }
            TargetPoint::Time(time) => {
                let end = end_of(record).filter(|end| self.is_past(end.time, *time))?;
                stop(transaction(&end, end.xid_low, true))
            }
            _ => None,
        }
    }

    /// Whether recovery ends now that `record` is redone.
    pub fn stops_after(&self, record: &Record, consistent: bool) -> Option<RecoveryStop> {
        let stop = |cause| Some(RecoveryStop { after: true, cause });
        match &self.point {
            TargetPoint::Immediate if consistent => stop(StopCause::Consistent),
            TargetPoint::Name(name) => {
                let (name, time) = restore_point(record).filter(|(found, _)| found == name)?;
                stop(StopCause::RestorePoint { name, time })
            }
            TargetPoint::Lsn(lsn) if self.inclusive && record.start() >= *lsn => stop(StopCause::Lsn(*lsn)),
            TargetPoint::Xid(xid) if self.inclusive => {
                let end = end_of(record).filter(|end| end.xid_low == *xid || end.early.contains(xid))?;
                stop(transaction(&end, *xid, false))
            }
            _ => None,
        }
    }

    fn is_past(&self, found: Timestamp, target: Timestamp) -> bool {
        if self.inclusive { found > target } else { found >= target }
    }
}

fn transaction(end: &End, xid_low: u32, by_time: bool) -> StopCause {
    StopCause::Transaction { commit: end.commit, xid_low, time: end.time, by_time }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::Next;
    use wal::reader::{ReaderOptions, WalBytes, WalReader};
    use wal::xact::XactEnd;
    use wal::{EncodedRecord, RecordBuilder, SegmentSize};

    fn commit(xid: u32, micros: i64, early: &[u32]) -> EncodedRecord {
        let end =
            XactEnd { time: Timestamp::from_micros(micros), subxacts: early.to_vec(), ..XactEnd::default() };
        let record = XactRecord::Commit(end);
        RecordBuilder::new(Rmgr::XACT, record.info(), xid).main_data(&record.payload()).encode().unwrap()
    }

    fn named(name: &str, micros: i64) -> EncodedRecord {
        XlogRecord::RestorePoint { name: name.to_owned(), time: Timestamp::from_micros(micros) }
            .encode()
            .unwrap()
    }

    /// The records as they would be read back.
    fn written(records: Vec<EncodedRecord>) -> Vec<Record> {
        let host = simulation::host(&simulation::VirtualDisk::new(), 1);
        let dir = std::path::Path::new("/pg_wal");
        host.disk.create_dir_all(dir).unwrap();
        let mut config = wal::WriterConfig::new(wal::SystemId::new(7), wal::TimelineId::FIRST);
        config.segment_size = SegmentSize::new(1 << 20).unwrap();
        config.background = false;
        let start = wal::WriteStart {
            insert_at: Lsn::new(1 << 20),
            previous: Lsn::INVALID,
            overwrites_contrecord: false,
            forked_from: None,
        };
        let writer = wal::WalWriter::open(&host, dir, config, start).unwrap();
        for mut record in records {
            writer.insert(&mut record).unwrap();
        }
        writer.flush_all().unwrap();
        let size = SegmentSize::new(1 << 20).unwrap();
        let name = size.segment_of(Lsn::new(1 << 20)).file_name(wal::TimelineId::FIRST, size);
        let bytes = host.disk.read(&dir.join(name), 1 << 21).unwrap();
        let source = WalBytes::new(Lsn::new(1 << 20), bytes);
        let mut reader = WalReader::new(source, ReaderOptions::new(size), Lsn::new(1 << 20));
        let mut all = Vec::new();
        while let Next::Record(record) = reader.next().unwrap() {
            all.push(record);
        }
        all
    }

    /// How many of `records` are redone, and why recovery stopped.
    fn run(target: &RecoveryTarget, records: &[Record]) -> (usize, Option<RecoveryStop>) {
        for (at, record) in records.iter().enumerate() {
            if let Some(stop) = target.stops_before(record, false) {
                return (at, Some(stop));
            }
            if let Some(stop) = target.stops_after(record, false) {
                return (at + 1, Some(stop));
            }
        }
        (records.len(), None)
    }

    #[test]
    fn each_target_stops_where_the_table_says() {
        let records = written(vec![
            commit(10, 100, &[]),
            commit(11, 200, &[9]),
            named("here", 250),
            commit(12, 300, &[]),
            named("here", 350),
        ]);
        let third = records[2].start();
        let cases = [
            (TargetPoint::Xid(11), true, 2),
            (TargetPoint::Xid(11), false, 1),
            (TargetPoint::Xid(9), true, 2),
            (TargetPoint::Xid(9), false, 1),
            (TargetPoint::Time(Timestamp::from_micros(200)), true, 3),
            (TargetPoint::Time(Timestamp::from_micros(200)), false, 1),
            (TargetPoint::Time(Timestamp::from_micros(260)), true, 3),
            (TargetPoint::Name("here".to_owned()), true, 3),
            (TargetPoint::Name("here".to_owned()), false, 3),
            (TargetPoint::Lsn(third), true, 3),
            (TargetPoint::Lsn(third), false, 2),
            (TargetPoint::Lsn(third + 1), false, 3),
        ];
        for (point, inclusive, expected) in cases {
            let (redone, stop) = run(&RecoveryTarget { point: point.clone(), inclusive }, &records);
            assert_eq!(redone, expected, "{point:?} {inclusive}");
            assert!(stop.is_some());
        }
        for point in [TargetPoint::Xid(13), TargetPoint::Name("there".to_owned()), TargetPoint::Immediate] {
            assert_eq!(run(&RecoveryTarget { point, inclusive: true }, &records), (5, None));
        }
    }

    #[test]
    fn immediate_stops_before_the_first_record_of_consistent_data() {
        let records = written(vec![commit(10, 100, &[])]);
        let target = RecoveryTarget { point: TargetPoint::Immediate, inclusive: true };
        assert!(target.stops_before(&records[0], true).is_some_and(|stop| !stop.after));
        assert!(target.stops_before(&records[0], false).is_none());
    }
}
