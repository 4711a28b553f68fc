//! What came, checked and made durable, with what makes it a standby. All of this blocks.

use super::unpack::CONTROL_HELD_BACK;
use super::{CloneError, io_error, manifest_path};
use host::{Disk, FileKind, SharedDisk, write_file_durably};
use protocol::conninfo::{self, ConnInfo, Endpoint};
use settings::{FileContents, FileEntry, RECOVERY_TARGETS};
use std::io;
use std::path::Path;
use wal::control::{CONTROL_FILE_SIZE, ControlFile};
use wal::history::TimelineHistory;
use wal::{Lsn, Next, ReaderOptions, SegmentFiles, SegmentSize, SystemId, TimelineId, WalReader};

/// The largest file of settings that is looked at or added to, in bytes.
const CONF_SIZE_MAX: u64 = 16 << 20;

/// The log of a clone.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogRange {
    pub start: Lsn,
    pub end: Lsn,
    pub timeline: TimelineId,
    pub segment_size: SegmentSize,
    pub system_id: SystemId,
}

/// Reads every record of the log from the backup's start to its end; gives their number.
pub(super) fn check_log(disk: SharedDisk, target: &Path, range: LogRange) -> Result<u64, CloneError> {
    let history = TimelineHistory::root(range.timeline);
    let mut files = SegmentFiles::new(disk, target.join("pg_wal"), range.segment_size, history);
    files.set_limit(range.end);
    let options = ReaderOptions {
        system_id: Some(range.system_id),
        proven_flush: range.end,
        ..ReaderOptions::new(range.segment_size)
    };
    let mut reader = WalReader::new(AnyTimeline(files), options, range.start);
    let mut records = 0;
    while reader.position() < range.end {
        match reader.next()? {
            Next::Record(_) => records += 1,
            Next::End(end) => {
                let reason = end.reason.to_string();
                return Err(CloneError::WalEnd { expected: range.end, found: end.at, reason });
            }
        }
    }
    Ok(records)
}

/// Files of one timeline whose first segment may begin with pages of its ancestor.
struct AnyTimeline(SegmentFiles);

impl wal::WalSource for AnyTimeline {
    fn read(&mut self, from: Lsn, buf: &mut [u8]) -> Result<usize, wal::SourceError> {
        self.0.read(from, buf)
    }
}

/// Reads the control file under the name that it has until the end.
pub(super) fn read_control(disk: &dyn Disk, target: &Path) -> Result<ControlFile, CloneError> {
    let path = target.join(CONTROL_HELD_BACK);
    let bytes = disk.read(&path, CONTROL_FILE_SIZE as u64 * 2).map_err(io_error(&path))?;
    Ok(ControlFile::decode(&bytes)?)
}

/// Writes what is still missing and makes everything durable. `standby`: primary_conninfo and a slot's name.
/// Gives the settings that the copy is not to have.
pub(super) fn complete(
    disk: &dyn Disk,
    target: &Path,
    manifest: &[u8],
    standby: Option<(&str, Option<&str>)>,
) -> Result<Vec<&'static str>, CloneError> {
    let path = manifest_path(target);
    write_file_durably(disk, &path, manifest).map_err(io_error(&path))?;
    let mut left_out = leave_out(disk, target, &OF_ONE_NODE, NOTE_OF_ONE_NODE)?;
    if let Some((conninfo, slot)) = standby {
        left_out.extend(make_standby(disk, target, conninfo, slot)?);
    }
    // The log still comes meanwhile: a segment that gets its name just now was made durable by who wrote it.
    if !host::planted!("a clone is let go before its files are durable") {
        host::sync_tree(disk, target, true).map_err(|failed| io_error(&failed.path)(failed.error))?;
    }
    if let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_dir(parent).map_err(io_error(parent))?;
    }
    Ok(left_out)
}

/// The settings by which others find one node, with the values that say nothing. A copy that says the same is
/// taken for the node that was cloned, which then never hears that it was replaced. (port, listen_addresses
/// and cluster_name are the source's in a copy as in PostgreSQL: on one machine it does not start before it
/// has its own, on two machines the same ones are right.)
const OF_ONE_NODE: [(&str, &str); 1] = [("plimsoll.advertised_address", "")];
const NOTE_OF_ONE_NODE: &str = "# Above it is the one of the server that this one was cloned from.";
const NOTE_OF_OTHER_RECOVERIES: &str = "# What stands above of these is of another recovery.";

/// Has settings say nothing, by their values for that, which are the defaults. Gives those that said
/// something. Their lines go from postgresql.auto.conf. What postgresql.conf says of them, or a file that it
/// includes, is overruled at its end and not in postgresql.auto.conf, which would outweigh what the
/// directory's owner writes into postgresql.conf later: a recovery would run past its target.
fn leave_out(
    disk: &dyn Disk,
    target: &Path,
    silenced: &[(&'static str, &'static str)],
    note: &str,
) -> Result<Vec<&'static str>, CloneError> {
    let write = |path: &Path, bytes: &[u8]| write_file_durably(disk, path, bytes).map_err(io_error(path));
    let (conf, auto_conf) = (target.join("postgresql.conf"), target.join("postgresql.auto.conf"));
    let speaking = |auto_text: &[u8]| -> Vec<(&'static str, &'static str)> {
        let said = settings_with(disk, target, auto_text);
        let speaks = |name, value| said.last(name).is_some_and(|entry| entry.value.trim() != value);
        silenced.iter().copied().filter(|(name, value)| speaks(name, *value)).collect()
    };
    let auto_text = read_settings(disk, &auto_conf)?;
    let mut kept = without(&auto_text, silenced);
    let (left_out, overruled) = (speaking(&auto_text), speaking(&kept));
    let lines: String =
        overruled.iter().map(|(name, value)| format!("{name} = {}\n", settings::quote(value))).collect();
    if !overruled.is_empty() {
        // A link may lead to what several servers share.
        if is_own_file(disk, target, "postgresql.conf")? {
            let mut text = read_settings(disk, &conf)?;
            end_line(&mut text);
            text.extend_from_slice(format!("{note}\n{lines}").as_bytes());
            write(&conf, &text)?;
        } else {
            end_line(&mut kept);
            kept.extend_from_slice(lines.as_bytes());
        }
    }
    if kept != auto_text {
        write(&auto_conf, &kept)?;
    }
    Ok(left_out.into_iter().map(|(name, _)| name).collect())
}

/// Whether a file lies in the directory itself.
fn is_own_file(disk: &dyn Disk, target: &Path, name: &str) -> Result<bool, CloneError> {
    let entries = disk.list(target).map_err(io_error(target))?;
    Ok(entries.iter().any(|entry| entry.name == name && entry.kind == FileKind::File))
}

/// What is added to a text begins a line of its own.
fn end_line(text: &mut Vec<u8>) {
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
}

/// A file of settings without the lines that set these.
fn without(text: &[u8], settings: &[(&str, &str)]) -> Vec<u8> {
    let said = FileContents::from_text(&String::from_utf8_lossy(text), Path::new("postgresql.auto.conf"));
    let sets_one =
        |entry: &&FileEntry| settings.iter().any(|(name, _)| entry.name.eq_ignore_ascii_case(name));
    let lines: Vec<u32> = said.entries.iter().filter(sets_one).map(|entry| entry.place.line).collect();
    let numbered = text.split_inclusive(|byte| *byte == b'\n').zip(1..);
    numbered.filter(|(_, number)| !lines.contains(number)).flat_map(|(line, _)| line).copied().collect()
}

/// Has the next start follow the server of `conninfo`, through a slot if one is named; durably. Gives what
/// the directory said of other recoveries, which is left out ([`OF_OTHER_RECOVERIES`]).
///
/// # Errors
/// Fails if a file cannot be read or written.
pub fn make_standby(
    disk: &dyn Disk,
    target: &Path,
    conninfo: &str,
    slot: Option<&str>,
) -> Result<Vec<&'static str>, CloneError> {
    let write = |path: &Path, bytes: &[u8]| write_file_durably(disk, path, bytes).map_err(io_error(path));
    let mut left_out = leave_out(disk, target, &OF_OTHER_RECOVERIES, NOTE_OF_OTHER_RECOVERIES)?;
    let path = target.join("postgresql.auto.conf");
    let mut text = read_settings(disk, &path)?;
    end_line(&mut text);
    text.extend_from_slice(format!("primary_conninfo = {}\n", settings::quote(conninfo)).as_bytes());
    if let Some(slot) = slot {
        left_out.retain(|name| *name != "primary_slot_name");
        text.extend_from_slice(format!("primary_slot_name = {}\n", settings::quote(slot)).as_bytes());
    }
    write(&path, &text)?;
    write(&target.join("standby.signal"), b"")?;
    Ok(left_out)
}

/// A file of settings; one that is not there says nothing.
fn read_settings(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, CloneError> {
    match disk.read(path, CONF_SIZE_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(io_error(path)),
    }
}

/// The settings of other recoveries, with the values that let a standby follow its primary instead: where it
/// was to end (the standby would stop there, or promote itself), which branch it was to take, and its slot at
/// the server before it.
pub const OF_OTHER_RECOVERIES: [(&str, &str); RECOVERY_TARGETS.len() + 2] = {
    let mut all = [("recovery_target_timeline", "latest"); RECOVERY_TARGETS.len() + 2];
    all[1] = ("primary_slot_name", "");
    let mut at = 0;
    while at < RECOVERY_TARGETS.len() {
        all[at + 2] = (RECOVERY_TARGETS[at], "");
        at += 1;
    }
    all
};

/// Files as the settings' reader wants them.
#[derive(Debug)]
pub struct SettingFiles<'a>(pub &'a dyn Disk);

impl settings::Files for SettingFiles<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path, CONF_SIZE_MAX)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Ok(self.0.list(path)?.into_iter().map(|entry| entry.name).collect())
    }
}

/// What the settings of a directory say with this `postgresql.auto.conf`. A server starts by none of them
/// if something in them cannot be read.
fn settings_with(disk: &dyn Disk, target: &Path, auto_conf: &[u8]) -> FileContents {
    let mut said = FileContents::read(&SettingFiles(disk), &target.join("postgresql.conf"));
    let path = target.join("postgresql.auto.conf");
    said.append(FileContents::from_text(&String::from_utf8_lossy(auto_conf), &path));
    said
}

/// The connection string by which the node of this directory follows the server of `from` (see
/// [`primary_conninfo`]): by the name that its primary_conninfo gives now, in the same words, if `from`
/// gives none.
///
/// # Errors
///
/// Fails if the text is no connection string, or the settings cannot be read.
pub fn primary_conninfo_of_node(disk: &dyn Disk, target: &Path, from: &str) -> Result<String, CloneError> {
    const NAMES: [&str; 2] = ["application_name", "fallback_application_name"];
    let mut pairs = conninfo::split(&primary_conninfo(from)?)?;
    if !pairs.iter().any(|(name, _)| name == NAMES[0]) {
        let auto_conf = read_settings(disk, &target.join("postgresql.auto.conf"))?;
        let said = settings_with(disk, target, &auto_conf);
        let former = said.last("primary_conninfo").and_then(|entry| conninfo::split(&entry.value).ok());
        pairs.extend(former.into_iter().flatten().filter(|(name, _)| NAMES.contains(&name.as_str())));
    }
    joined(&pairs)
}

/// A connection string that a line of settings can hold.
fn joined(pairs: &[(String, String)]) -> Result<String, CloneError> {
    if pairs.iter().any(|(_, value)| value.contains('\n')) {
        return Err(CloneError::Newline);
    }
    Ok(conninfo::join(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

/// What a standby needs to reach the server of a connection string: the string's own words, and what it left
/// to the environment.
///
/// # Errors
///
/// Fails if the text is no connection string, or has a newline in a value: settings have one line each.
pub fn primary_conninfo(from: &str) -> Result<String, CloneError> {
    const LEFT_OUT: [&str; 3] = ["dbname", "replication", "fallback_application_name"];
    // What a standby would not find again in its own environment: which server it is, how it is spoken to.
    const CARRIED: [&str; 19] = [
        "host",
        "hostaddr",
        "port",
        "user",
        "passfile",
        "channel_binding",
        "requirepeer",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcrl",
        "sslcrldir",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "sslsni",
        "options",
        "connect_timeout",
        "target_session_attrs",
    ];
    let info = ConnInfo::parse(from)?;
    let mut pairs = conninfo::completed(from, &CARRIED)?;
    pairs.retain(|(name, value)| !LEFT_OUT.contains(&name.as_str()) && !value.is_empty());
    let given = |pairs: &[(String, String)], name: &str| pairs.iter().any(|(known, _)| known == name);
    let all = |one: &dyn Fn(&(Endpoint, u16)) -> String| {
        info.endpoints.iter().map(one).collect::<Vec<_>>().join(",")
    };
    if !given(&pairs, "host") && !given(&pairs, "hostaddr") {
        let hosts = all(&|(endpoint, _)| match endpoint {
            Endpoint::Tcp(host) => host.clone(),
            Endpoint::Unix(folder) => folder.display().to_string(),
        });
        pairs.insert(0, ("host".to_owned(), hosts));
    }
    if !given(&pairs, "port") {
        pairs.push(("port".to_owned(), all(&|(_, port)| port.to_string())));
    }
    if !given(&pairs, "user") {
        pairs.push(("user".to_owned(), info.user.clone()));
    }
    joined(&pairs)
}
