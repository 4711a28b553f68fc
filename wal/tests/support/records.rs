//! One record of each kind.

use wal::smgr::SmgrRecord;
use wal::xact::{Completion, Origin, StatsItem, XactEnd, XactRecord};
use wal::xlog::{CheckPoint, ParameterChange, WalLevel, XlogRecord};
use wal::{
    BlockNumber, BlockRef, EncodedRecord, Fork, ImageMethod, Lsn, PageImage, RecordBuilder, RelFile, Rmgr,
    TimelineId, Xid,
};

pub fn checkpoint() -> CheckPoint {
    CheckPoint {
        redo: Lsn::new(0x10_0028),
        timeline: TimelineId::new(1),
        previous_timeline: TimelineId::new(1),
        full_page_writes: true,
        next_xid: Xid::new(0x5_0000_0203),
        next_oid: 16400,
        next_multi: 1,
        next_multi_offset: 2,
        oldest_xid: 3,
        oldest_xid_db: 5,
        oldest_multi: 6,
        oldest_multi_db: 7,
        time: 1_700_000_000,
        oldest_commit_ts_xid: 8,
        newest_commit_ts_xid: 9,
        oldest_active_xid: 10,
    }
}

pub const PARAMETERS: ParameterChange = ParameterChange {
    max_connections: 101,
    max_worker_processes: 12,
    max_wal_senders: 13,
    max_prepared_xacts: 14,
    max_locks_per_xact: 65,
    wal_level: WalLevel::Replica,
    wal_log_hints: true,
    track_commit_timestamp: false,
};

/// Each record that the crate can build.
pub fn every_record() -> Vec<EncodedRecord> {
    let time = host::Timestamp::from_micros(848_016_551_557_778);
    let mut records = Vec::new();
    let mut push = |record: Result<EncodedRecord, wal::record::BuildError>| records.push(record.unwrap());
    for record in [
        XlogRecord::CheckpointShutdown(checkpoint()),
        XlogRecord::CheckpointOnline(checkpoint()),
        XlogRecord::Noop,
        XlogRecord::NextOid(24576),
        XlogRecord::BackupEnd { start: Lsn::new(0x10_0028) },
        XlogRecord::ParameterChange(PARAMETERS),
        XlogRecord::RestorePoint { time, name: "here and now".to_owned() },
        XlogRecord::FpwChange(true),
        XlogRecord::EndOfRecovery {
            time,
            timeline: TimelineId::new(2),
            previous_timeline: TimelineId::new(1),
        },
        XlogRecord::OverwriteContrecord { overwritten: Lsn::new(77), time },
    ] {
        push(record.encode());
    }
    let rel = RelFile::new(5, 16384);
    push(SmgrRecord::Create { rel, fork: Fork::Main }.encode(700));
    push(SmgrRecord::Truncate { rel, length: BlockNumber::new(3), flags: 1 }.encode(700));
    let end = XactEnd {
        time,
        completion: Completion::APPLY_FEEDBACK.with(Completion::FORCE_SYNC),
        database: Some((5, 1663)),
        subxacts: vec![701, 702],
        dropped: vec![rel, RelFile::new(5, 16385)],
        dropped_stats: vec![StatsItem { kind: 2, database: 5, object: 16384 }],
        origin: Some(Origin { lsn: Lsn::new(0x1234_5678), time }),
        ..XactEnd::default()
    };
    push(XactRecord::Commit(XactEnd { time, ..XactEnd::default() }).encode(699, 0));
    push(XactRecord::Commit(end.clone()).encode(700, 7));
    push(XactRecord::Abort(XactEnd { completion: Completion::NONE, ..end }).encode(703, 7));
    push(XactRecord::Assignment { top: 700, subxacts: vec![701, 702] }.encode(0, 0));
    records.extend(records_of_pages(rel));
    records.push(RecordBuilder::new(Rmgr::ENGINE, 0, 0).main_data(&[6; 70_000]).encode().unwrap());
    records
}

/// Records that change pages, with images and without.
fn records_of_pages(rel: RelFile) -> Vec<EncodedRecord> {
    let mut records = Vec::new();
    let mut push = |record: Result<EncodedRecord, wal::record::BuildError>| records.push(record.unwrap());
    let mut page = [7; 8192];
    page[12..16].copy_from_slice(&[0x28, 0, 0, 0x10]); // pd_lower 40, pd_upper 4096
    page[40..4096].fill(0);
    let block = |id, block, image| BlockRef {
        id,
        rel,
        fork: Fork::Main,
        block: BlockNumber::new(block),
        will_init: id == 2,
        image,
        data: if id == 1 { b"data" } else { b"" },
    };
    let hole = Some(PageImage { page: &page, standard: true, apply: true });
    let full = Some(PageImage { page: &page, standard: false, apply: false });
    push(RecordBuilder::new(Rmgr::XLOG, wal::xlog::FPI, 0).block(block(0, 9, hole)).encode());
    push(
        RecordBuilder::new(Rmgr::ENGINE, 0x30, 704)
            .block(block(0, 1, hole))
            .block(block(1, 2, None))
            .block(block(2, 3, full))
            .main_data(&[5; 300])
            .toplevel_xid(700)
            .encode(),
    );
    for method in [ImageMethod::Lz4, ImageMethod::Zstd] {
        let (data, main) = (block(1, 10, None), b"compressed");
        let builder = RecordBuilder::new(Rmgr::ENGINE, 0x20, 705).compression(method);
        push(builder.block(block(0, 9, hole)).block(data).main_data(main).encode());
    }
    records
}
