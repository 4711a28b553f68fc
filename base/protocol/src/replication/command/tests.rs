use super::*;

fn parsed(text: &str) -> ReplicationCommand {
    parse_command(text).unwrap().unwrap()
}

#[test]
fn commands_of_stock_clients_are_understood() {
    assert_eq!(parsed("IDENTIFY_SYSTEM"), ReplicationCommand::IdentifySystem);
    assert_eq!(parsed("SHOW data_directory_mode"), ReplicationCommand::Show("data_directory_mode".into()));
    assert_eq!(parsed("SHOW plimsoll.peers;"), ReplicationCommand::Show("plimsoll.peers".into()));
    for text in [
        "CREATE_REPLICATION_SLOT \"pg_basebackup_77\" TEMPORARY PHYSICAL RESERVE_WAL",
        "CREATE_REPLICATION_SLOT \"pg_basebackup_77\" TEMPORARY PHYSICAL (RESERVE_WAL)",
        "CREATE_REPLICATION_SLOT PG_basebackup_77 TEMPORARY PHYSICAL ( RESERVE_WAL true )",
    ] {
        let slot = CreateSlot { name: "pg_basebackup_77".into(), temporary: true, reserve_wal: true };
        assert_eq!(parsed(text), ReplicationCommand::CreateSlot(slot), "{text}");
    }
    assert_eq!(
        parsed("START_REPLICATION SLOT \"s\" 0/3000000 TIMELINE 2"),
        ReplicationCommand::StartReplication(StartReplication {
            slot: Some("s".into()),
            start: WireLsn::new(0x300_0000),
            timeline: Some(2),
            options: vec![],
        })
    );
    let ReplicationCommand::StartReplication(start) =
        parsed("START_REPLICATION PHYSICAL A/BC (branch 'x', hop 2)")
    else {
        panic!("no start")
    };
    assert_eq!((start.slot, start.start, start.timeline), (None, WireLsn::new(0xA_0000_00BC), None));
    assert_eq!(start.options[0], ("branch".into(), OptionValue::Text("x".into())));
    assert_eq!(parsed("TIMELINE_HISTORY 3"), ReplicationCommand::TimelineHistory(3));
    let drop = ReplicationCommand::DropSlot { name: "s".into(), wait: true };
    assert_eq!(parsed("DROP_REPLICATION_SLOT s WAIT"), drop);
    assert_eq!(parsed("READ_REPLICATION_SLOT s"), ReplicationCommand::ReadSlot { name: "s".into() });
}

#[test]
fn a_command_of_endless_words_or_bytes_is_refused() {
    let words = |count: usize| "SHOW ".to_owned() + &"a ".repeat(count);
    let refused = |text: &str| parse_command(text).unwrap_err();
    assert_eq!(refused(&words(999)), CommandError::syntax("a"));
    let too_many = CommandError::TooLong { limit: 1000, what: "words" };
    for text in [words(1000), format!("BASE_BACKUP ({})", "label 'a', ".repeat(1 << 20))] {
        assert_eq!(refused(&text), too_many);
    }
    let history = |bytes: usize| format!("PLIMSOLL descendant (timeline 2, history '{}')", "x".repeat(bytes));
    assert!(parse_command(&history(COMMAND_BYTES_MAX - 100)).is_ok());
    let error = refused(&history(COMMAND_BYTES_MAX));
    assert_eq!(error.to_string(), "replication command has more than 16777216 bytes");
    assert_eq!(error.code().as_str(), "54000");
    let sql = format!("select '{}'", "x".repeat(COMMAND_BYTES_MAX));
    assert_eq!(parse_command(&sql), Ok(None));
}

#[test]
fn both_syntaxes_of_a_base_backup_mean_the_same() {
    let new = parsed(
        "BASE_BACKUP ( LABEL 'it''s', PROGRESS, CHECKPOINT 'fast', WAIT 0, MAX_RATE 64, \
         TABLESPACE_MAP, MANIFEST 'yes', MANIFEST_CHECKSUMS 'sha256', VERIFY_CHECKSUMS false)",
    );
    let old = parsed(
        "BASE_BACKUP LABEL 'it''s' PROGRESS FAST NOWAIT MAX_RATE 64 TABLESPACE_MAP \
         NOVERIFY_CHECKSUMS MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'",
    );
    assert_eq!(new, old);
    let ReplicationCommand::BaseBackup(options) = new else { panic!("no backup") };
    assert_eq!(options.label, "it's");
    assert!(options.fast_checkpoint && !options.wait && !options.verify_checksums && options.progress);
    assert_eq!(options.manifest_checksums, ChecksumAlgorithm::Sha256);
    let server = parsed("BASE_BACKUP (TARGET 'server', TARGET_DETAIL '/b', COMPRESSION 'gzip')");
    let ReplicationCommand::BaseBackup(options) = server else { panic!("no backup") };
    assert_eq!(options.target, BaseBackupTarget::Server("/b".into()));
    assert_eq!(options.compression, Some(("gzip".into(), None)));
}

#[test]
fn logical_commands_are_named_and_sql_is_left_alone() {
    let create = "CREATE_REPLICATION_SLOT s LOGICAL pgoutput (SNAPSHOT 'nothing')";
    assert!(matches!(parsed(create), ReplicationCommand::Logical(_)));
    let start = "START_REPLICATION SLOT s LOGICAL 0/0 (proto_version '1')";
    assert!(matches!(parsed(start), ReplicationCommand::Logical(_)));
    for sql in ["select 1", "show all", "", "identify_system"] {
        assert_eq!(parse_command(sql), Ok(None), "{sql}");
    }
}

#[test]
fn nonsense_is_refused() {
    for text in [
        "IDENTIFY_SYSTEM now",
        "START_REPLICATION",
        "START_REPLICATION SLOT s",
        "START_REPLICATION 0/0 TIMELINE 0",
        "START_REPLICATION 0/0 TIMELINE 99999999999",
        "START_REPLICATION 0/0 TIMELINE",
        "CREATE_REPLICATION_SLOT s",
        "CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL maybe)",
        "CREATE_REPLICATION_SLOT s PHYSICAL (TWO_PHASE)",
        "CREATE_REPLICATION_SLOT 'unterminated",
        "BASE_BACKUP (LABEL 'a', LABEL 'b')",
        "BASE_BACKUP (MAX_RATE 31)",
        "BASE_BACKUP (TARGET 'moon')",
        "BASE_BACKUP (MANIFEST_CHECKSUMS 'md5')",
        "BASE_BACKUP (MANIFEST_CHECKSUMS 'sha256')",
        "BASE_BACKUP (COMPRESSION 'none', COMPRESSION_DETAIL '5')",
        "BASE_BACKUP (WAL",
        "BASE_BACKUP SIDEWAYS",
        "SHOW",
        "SHOW a b",
        "TIMELINE_HISTORY -1",
    ] {
        assert!(parse_command(text).is_err(), "{text}");
    }
}
