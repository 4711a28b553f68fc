use super::*;
use std::path::Path;

fn file(text: &str) -> FileContents {
    FileContents::from_text(text, Path::new("/d/postgresql.conf"))
}

fn started(text: &str) -> Settings {
    let mut settings = Settings::new();
    let applied = settings.apply_files(&file(text), Phase::Start);
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    settings
}

#[test]
fn the_command_line_outweighs_the_file_and_the_file_the_default() {
    let mut settings = started("port = 1\nport = 2\nwork_mem = 1MB");
    assert_eq!(settings.show("port").as_deref(), Ok("2"));
    settings.set("port", "3", Source::CommandLine).unwrap();
    assert_eq!(settings.show("port").as_deref(), Ok("3"));
    let (source, place) = settings.source("work_mem").unwrap();
    assert_eq!((source, place.map(ToString::to_string)), (Source::File, Some("/d/postgresql.conf:3".into())));
    assert_eq!(settings.source("fsync"), Some((Source::Default, None)));
}

#[test]
fn a_reload_applies_what_it_can_and_marks_what_waits_for_a_restart() {
    let mut settings = started("port = 1\nwork_mem = 1MB\nlog_checkpoints = off");
    let applied = settings.apply_files(&file("port = 2\nwork_mem = 2MB"), Phase::Reload);
    assert_eq!(applied.changed, ["log_checkpoints", "work_mem"]);
    assert_eq!(applied.pending_restart, ["port"]);
    assert_eq!(
        applied.problems[0].message,
        "parameter \"port\" cannot be changed without restarting the server"
    );
    assert_eq!(settings.show("port").as_deref(), Ok("1"));
    assert!(settings.rows().iter().any(|row| row.name == "port" && row.pending_restart));
    let back = settings.apply_files(&file("port = 1\nwork_mem = 2MB"), Phase::Reload);
    assert!(back.problems.is_empty() && back.changed.is_empty());
    assert!(!settings.rows().iter().any(|row| row.pending_restart));
}

#[test]
fn a_file_that_the_server_has_found_itself_waits_for_a_restart_as_well() {
    let mut settings = started("");
    settings.set_computed("hba_file", "/d/pg_hba.conf").unwrap();
    let said = file("hba_file = 'other'");
    let applied = settings.apply_files(&said, Phase::Reload);
    assert_eq!(
        (applied.pending_restart.as_slice(), applied.changed.len()),
        (&["hba_file".to_owned()][..], 0)
    );
    assert!(applied.problems[0].message.ends_with("cannot be changed without restarting the server"));
    assert_eq!(settings.show("hba_file").as_deref(), Ok("/d/pg_hba.conf"));
    assert!(settings.rows().iter().any(|row| row.name == "hba_file" && row.pending_restart));
    settings.apply_files(&said, Phase::Start);
    assert_eq!(settings.show("hba_file").as_deref(), Ok("other"));
    let mut settings = started("");
    settings.set_computed("hba_file", "/d/pg_hba.conf").unwrap();
    assert!(settings.apply_files(&file("hba_file = '/d/pg_hba.conf'"), Phase::Reload).problems.is_empty());
    assert!(!settings.rows().iter().any(|row| row.pending_restart));
}

#[test]
fn a_line_removed_from_the_file_goes_back_to_the_default() {
    let mut settings = started("work_mem = 1MB\nport = 7\nmy.x = 1");
    let applied = settings.apply_files(&file(""), Phase::Reload);
    assert_eq!(applied.changed, ["work_mem", "my.x"]);
    assert_eq!(applied.pending_restart, ["port"]);
    assert_eq!(settings.show("work_mem").as_deref(), Ok("4MB"));
    assert_eq!(settings.show("port").as_deref(), Ok("7"));
    assert!(settings.show("my.x").is_err());
}

#[test]
fn an_unknown_name_stops_the_whole_file_and_names_the_nearest() {
    let mut settings = started("");
    let applied = settings.apply_files(&file("work_mem = 1MB\nshared_bufers = 1"), Phase::Reload);
    assert!(applied.nothing_applied);
    assert_eq!(
        applied.problems[0].message,
        "unrecognized configuration parameter \"shared_bufers\"; Perhaps you meant \"shared_buffers\". \
         in file \"/d/postgresql.conf\" line 2"
    );
    assert_eq!(settings.show("work_mem").as_deref(), Ok("4MB"));
}

#[test]
fn a_bad_value_leaves_the_others_applied() {
    let mut settings = started("work_mem = 1MB");
    let applied = settings.apply_files(&file("work_mem = lots\nlog_checkpoints = off"), Phase::Reload);
    assert!(!applied.nothing_applied);
    assert_eq!(applied.problems.len(), 1);
    assert_eq!(applied.changed, ["log_checkpoints"]);
    assert_eq!(settings.show("work_mem").as_deref(), Ok("1MB"), "the old value stays");
}

#[test]
fn computed_settings_are_set_by_the_server_alone() {
    let mut settings = Settings::new();
    let refused = settings.set("data_checksums", "off", Source::CommandLine).unwrap_err();
    assert_eq!(refused.sqlstate().as_str(), "55P02");
    settings.set_computed("data_checksums", "off").unwrap();
    assert_eq!(settings.show("data_checksums").as_deref(), Ok("off"));
    assert!(settings.apply_files(&file("data_checksums = on"), Phase::Start).nothing_applied);
}

#[test]
fn pg_settings_says_what_has_no_effect_here() {
    let rows = Settings::new().rows();
    let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
    assert_eq!(row("geqo").short_desc, "Accepted for compatibility; has no effect here.");
    assert_eq!(row("shared_buffers").unit, Some("8kB"));
    assert_eq!((row("port").min_val.as_deref(), row("port").vartype), (Some("1"), "integer"));
    assert_eq!(row("random_page_cost").max_val.as_deref(), Some("1.79769e+308"));
}

#[test]
fn a_check_of_the_server_refuses_with_its_detail() {
    let mut settings = Settings::new();
    settings.set_check("synchronous_standby_names", |text| {
        if text == "(" { Err("syntax error at or near \"(\"".into()) } else { Ok(text.to_owned()) }
    });
    let applied = settings.apply_files(&file("synchronous_standby_names = '('"), Phase::Start);
    assert_eq!(
        applied.problems[0].message,
        "invalid value for parameter \"synchronous_standby_names\": \"(\"; syntax error at or near \"(\" \
         in file \"/d/postgresql.conf\" line 1"
    );
}

#[test]
fn modes_of_files_are_octal_where_they_are_in_force_and_decimal_where_a_reset_goes_to() {
    let settings = started("unix_socket_permissions = 0770");
    let row = settings.rows().into_iter().find(|row| row.name == "unix_socket_permissions").unwrap();
    assert_eq!((row.setting.as_str(), row.reset_val.as_str()), ("0770", "504"));
    assert_eq!(row.boot_val.as_deref(), Some("511"));
}
