//! The files of the collector: their names, when a new one begins, and current_logfiles, which names them.

use super::{LogSink, format_time, zone};
use host::{Access, Clock, RealDisk, Timestamp};
use jiff::tz::TimeZone;
use settings::{Settings, Value};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How an entry is written, by a word of log_destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// stderr: lines of text.
    Stderr,
    /// csvlog
    Csv,
    /// jsonlog
    Json,
}

impl Format {
    const ALL: [Self; 3] = [Self::Stderr, Self::Csv, Self::Json];

    /// Its word in log_destination and current_logfiles.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stderr => "stderr",
            Self::Csv => "csvlog",
            Self::Json => "jsonlog",
        }
    }

    /// By its word.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.word().eq_ignore_ascii_case(word))
    }

    /// Those that log_destination names, in a fixed order.
    pub(super) fn of_destinations(text: &str) -> Vec<Self> {
        let words = settings::split_identifiers(text).unwrap_or_default();
        let named: Vec<Self> = words.iter().filter_map(|word| Self::of_word(word)).collect();
        Self::ALL.into_iter().filter(|format| named.contains(format)).collect()
    }

    /// log_filename with this format's ending.
    fn file_name(self, name: &str) -> String {
        let ending = match self {
            Self::Stderr => return name.to_owned(),
            Self::Csv => "csv",
            Self::Json => "json",
        };
        format!("{}.{ending}", name.strip_suffix(".log").unwrap_or(name))
    }
}

/// What the settings say of the files.
#[derive(Clone, Debug)]
pub(crate) struct FileSettings {
    formats: Vec<Format>,
    /// log_directory, from the data directory on.
    folder: String,
    /// log_filename
    name: String,
    mode: u32,
    age: Option<Duration>,
    size_bytes: Option<u64>,
    truncates: bool,
    zone: TimeZone,
}

impl FileSettings {
    /// Takes them over.
    pub(super) fn of(settings: &Settings) -> Self {
        let text = |name: &str| settings.show(name).unwrap_or_default();
        let number = |name: &str| match settings.value(name) {
            Some(Value::Integer(number)) => u64::try_from(number).unwrap_or(0),
            _ => 0,
        };
        let some = |number: u64| (number > 0).then_some(number);
        Self {
            formats: Format::of_destinations(&text("log_destination")),
            folder: text("log_directory"),
            name: text("log_filename"),
            mode: u32::try_from(number("log_file_mode")).unwrap_or(0o600),
            age: some(number("log_rotation_age"))
                .map(|minutes| Duration::from_secs(minutes.saturating_mul(60))),
            size_bytes: some(number("log_rotation_size")).map(|kilobytes| kilobytes.saturating_mul(1024)),
            truncates: settings.value("log_truncate_on_rotation") == Some(Value::Bool(true)),
            zone: zone(&text("log_timezone")),
        }
    }

    pub(super) fn shown_folder(&self) -> &str {
        &self.folder
    }

    /// The file of a format that begins at this time, from the data directory on.
    fn path(&self, format: Format, at: Timestamp) -> String {
        let instant = jiff::Timestamp::from_microsecond(at.unix_micros()).unwrap_or_default();
        let zoned = instant.to_zoned(self.zone.clone());
        format!("{}/{}", self.folder, format.file_name(&file_name(&self.name, &zoned)))
    }

    /// The end of the period of log_rotation_age in which `now` is; periods begin at midnight of the log's
    /// time zone.
    fn next_rotation(&self, now: Timestamp) -> Option<Timestamp> {
        let period = i64::try_from(self.age?.as_secs()).ok()?;
        let instant = jiff::Timestamp::from_microsecond(now.unix_micros()).ok()?;
        let offset = i64::from(instant.to_zoned(self.zone.clone()).offset().seconds());
        let local = now.unix_seconds() + offset;
        let next = local - local.rem_euclid(period) + period - offset;
        Some(Timestamp::from_unix_micros(next.saturating_mul(1_000_000)))
    }
}

/// log_filename at a moment: escapes as strftime of the locale C has them. One that means nothing is taken as
/// it is.
fn file_name(pattern: &str, at: &jiff::Zoned) -> String {
    let mut name = String::new();
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('%') {
        name.push_str(before);
        let len = behind.find(|c: char| !matches!(c, 'E' | 'O')).unwrap_or(behind.len());
        let Some(letter) = behind.get(len..).and_then(|rest| rest.chars().next()) else {
            name.push('%');
            rest = behind;
            continue;
        };
        let escape = match letter {
            'c' => "%a %b %e %H:%M:%S %Y",
            'x' | 'D' => "%m/%d/%y",
            'X' | 'T' => "%H:%M:%S",
            'r' => "%I:%M:%S %p",
            'v' => "%e-%b-%Y",
            '+' => "%a %b %e %H:%M:%S %Z %Y",
            'a' | 'A' | 'b' | 'B' | 'C' | 'd' | 'e' | 'F' | 'g' | 'G' | 'h' | 'H' | 'I' | 'j' | 'k' | 'l'
            | 'm' | 'M' | 'n' | 'p' | 'R' | 'S' | 't' | 'u' | 'U' | 'V' | 'w' | 'W' | 'y' | 'Y' | 'z'
            | 'Z' | '%' => &format!("%{letter}"),
            _ => "",
        };
        match jiff::fmt::strtime::format(escape, at) {
            Ok(text) if !escape.is_empty() => name.push_str(&text),
            _ => name.push(letter),
        }
        rest = behind.get(len + letter.len_utf8()..).unwrap_or_default();
    }
    name + rest
}

struct OpenFile {
    format: Format,
    /// From the data directory on.
    name: String,
    file: fs::File,
    bytes: u64,
    /// What is to be written.
    pending: Vec<u8>,
}

/// Writes lines into files.
pub(super) struct Writer {
    data_dir: PathBuf,
    settings: FileSettings,
    clock: Arc<dyn Clock>,
    /// Where is said that a file cannot be written, and what it should have got.
    fallback: LogSink,
    files: Vec<OpenFile>,
    next_rotation: Option<Timestamp>,
    /// A write has failed, and none has succeeded since.
    fails: bool,
    lost_bytes: u64,
}

/// Where the names of the files are.
const CURRENT_LOGFILES: &str = "current_logfiles";

impl Writer {
    /// Opens the files; what cannot be opened is said, and tried again at the next rotation.
    pub(super) fn new(
        data_dir: &Path,
        settings: FileSettings,
        clock: Arc<dyn Clock>,
        fallback: LogSink,
    ) -> Self {
        let next_rotation = settings.next_rotation(clock.now());
        let mut writer = Self {
            data_dir: data_dir.to_owned(),
            settings,
            clock,
            fallback,
            files: Vec::new(),
            next_rotation,
            fails: false,
            lost_bytes: 0,
        };
        writer.rotate_all();
        writer
    }

    /// The files, as current_logfiles has them.
    pub(super) fn current(&self) -> Vec<(Format, String)> {
        let named = |file: &OpenFile| (file.format, file.name.clone());
        Format::ALL
            .iter()
            .filter_map(|format| self.files.iter().find(|file| file.format == *format).map(named))
            .collect()
    }

    /// How long it is until the files have to be changed for their age.
    pub(super) fn until_rotation(&self) -> Option<Duration> {
        self.next_rotation.map(|next| next.since(self.clock.now()))
    }

    /// Takes lines to be written at the next [`Self::flush`].
    pub(super) fn put(&mut self, format: Format, text: &str) {
        let full = self.settings.size_bytes;
        let Some(file) = self.files.iter_mut().find(|file| file.format == format) else {
            // Its file could not be opened.
            return (self.fallback)(text);
        };
        file.pending.extend_from_slice(text.as_bytes());
        if full.is_some_and(|full| file.bytes + file.pending.len() as u64 >= full) {
            self.flush();
            self.open(format, self.clock.now(), false);
            self.name_current();
        }
    }

    /// Says something in the log itself, which is the collector's own.
    pub(super) fn tell(&mut self, what: &str) {
        let time = format_time(self.clock.now(), &self.settings.zone, "%Y-%m-%d %H:%M:%S%.3f %Z");
        let line = format!("{time} [{}] WARNING:  {what}\n", host::process_id());
        let is_text = self.files.iter().any(|file| file.format == Format::Stderr);
        if is_text { self.put(Format::Stderr, &line) } else { (self.fallback)(&line) }
    }

    /// Writes what was put.
    pub(super) fn flush(&mut self) {
        let mut failed = None;
        let mut written = false;
        for file in self.files.iter_mut().filter(|file| !file.pending.is_empty()) {
            match file.file.write_all(&file.pending) {
                Ok(()) => {
                    file.bytes += file.pending.len() as u64;
                    written = true;
                }
                Err(error) => {
                    self.lost_bytes += file.pending.len() as u64;
                    // No half line stays.
                    let _ = file.file.set_len(file.bytes);
                    failed = Some((file.name.clone(), error));
                }
            }
            file.pending.clear();
        }
        match failed {
            Some((name, error)) if !self.fails => {
                self.fails = true;
                let why = host::os_message(&error);
                (self.fallback)(&format!("could not write to log file \"{name}\": {why}\n"));
            }
            None if written && self.fails => {
                self.fails = false;
                let lost = std::mem::take(&mut self.lost_bytes);
                self.tell(&format!(
                    "{lost} bytes of log were lost because the log file could not be written"
                ));
                self.flush();
            }
            _ => {}
        }
    }

    pub(super) fn rotate_if_due(&mut self) {
        let now = self.clock.now();
        if let Some(due) = self.next_rotation.filter(|due| *due <= now) {
            self.flush();
            for format in self.settings.formats.clone() {
                self.open(format, due, true);
            }
            self.next_rotation = self.settings.next_rotation(now);
            self.name_current();
        }
    }

    /// Goes on in the files of now.
    pub(super) fn rotate_all(&mut self) {
        self.flush();
        let formats = self.settings.formats.clone();
        self.files.retain(|file| formats.contains(&file.format));
        let now = self.clock.now();
        for format in formats {
            self.open(format, now, false);
        }
        self.next_rotation = self.settings.next_rotation(now);
        self.name_current();
    }

    pub(super) fn configure(&mut self, settings: FileSettings) {
        let (old, new) = (&self.settings, &settings);
        let is_other = old.folder != new.folder || old.name != new.name || old.formats != new.formats;
        self.settings = settings;
        self.next_rotation = self.settings.next_rotation(self.clock.now());
        if is_other || self.files.len() < self.settings.formats.len() {
            self.rotate_all();
        }
    }

    /// Opens the file of a format that begins at this time, and leaves the one before.
    fn open(&mut self, format: Format, at: Timestamp, by_age: bool) {
        let name = self.settings.path(format, at);
        let before = self.files.iter().position(|file| file.format == format);
        let is_another = before.and_then(|at| self.files.get(at)).is_some_and(|file| file.name != name);
        match open_file(
            &self.data_dir,
            &name,
            self.settings.mode,
            self.settings.truncates && by_age && is_another,
        ) {
            Ok((file, bytes)) => {
                if let Some(at) = before {
                    self.files.remove(at);
                }
                self.files.push(OpenFile { format, name, file, bytes, pending: Vec::new() });
            }
            Err(error) => {
                let why = host::os_message(&error);
                (self.fallback)(&format!("could not open log file \"{name}\": {why}\n"));
            }
        }
    }

    fn name_current(&self) {
        let lines: String =
            self.current().iter().map(|(format, name)| format!("{} {name}\n", format.word())).collect();
        let path = self.data_dir.join(CURRENT_LOGFILES);
        let temporary = self.data_dir.join(format!("{CURRENT_LOGFILES}.tmp"));
        let mode = access(&self.data_dir).file_mode();
        let written = if lines.is_empty() {
            fs::remove_file(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
        } else {
            let file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary);
            file.and_then(|mut file| file.write_all(lines.as_bytes()))
                .and_then(|()| fs::rename(&temporary, &path))
        };
        if let Err(error) = written {
            let why = host::os_message(&error);
            (self.fallback)(&format!("could not write file \"{CURRENT_LOGFILES}\": {why}\n"));
        }
    }
}

/// Who may read what is made in a data directory.
fn access(data_dir: &Path) -> Access {
    Access::of(&RealDisk, data_dir)
}

/// Opens a file to append to it, and says how much is in it.
fn open_file(data_dir: &Path, name: &str, mode: u32, truncates: bool) -> io::Result<(fs::File, u64)> {
    let path = data_dir.join(name);
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(access(data_dir).folder_mode()).create(folder)?;
    }
    let was_there = path.exists();
    let file = fs::OpenOptions::new().create(true).append(true).mode(mode | 0o200).open(&path)?;
    if !was_there {
        // The process may allow less to what it makes.
        file.set_permissions(fs::Permissions::from_mode(mode | 0o200))?;
    }
    if truncates {
        file.set_len(0)?;
    }
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::sync::Mutex;
    use settings::Source;
    use simulation::ManualClock;
    use std::os::unix::fs::MetadataExt;

    const NOON: i64 = 1_700_049_600; // 2023-11-15 12:00 UTC

    struct Test {
        folder: tempfile::TempDir,
        clock: Arc<ManualClock>,
        told: Arc<Mutex<String>>,
        settings: Settings,
    }

    impl Test {
        fn new(set: &[(&str, &str)]) -> Self {
            let mut settings = Settings::new();
            for (name, value) in [("log_timezone", "UTC"), ("log_filename", "%H%M%S.log")].iter().chain(set) {
                settings.set(name, value, Source::CommandLine).unwrap();
            }
            let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(NOON * 1_000_000)));
            Self { folder: tempfile::tempdir().unwrap(), clock, told: Arc::default(), settings }
        }
        fn writer(&self) -> Writer {
            let told = self.told.clone();
            let fallback: LogSink = Arc::new(move |text| told.lock().push_str(text));
            Writer::new(self.folder.path(), FileSettings::of(&self.settings), self.clock.clone(), fallback)
        }
        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
        }
    }

    #[test]
    fn each_escape_of_a_name_is_taken_by_itself() {
        let noon = jiff::Timestamp::from_second(NOON).unwrap().to_zoned(TimeZone::UTC);
        for (pattern, name) in [
            ("%F.log", "2023-11-15.log"),
            ("%Ey%K%OH%5%", "23K125%"),
            ("%c|%x|%r", "Wed Nov 15 12:00:00 2023|11/15/23|12:00:00 PM"),
            ("%v%%%j%E", "15-Nov-2023%319%E"),
        ] {
            assert_eq!(file_name(pattern, &noon), name, "{pattern}");
        }
    }

    #[test]
    fn each_format_has_a_file_that_current_logfiles_names() {
        let test = Test::new(&[("log_destination", "jsonlog, stderr,csvlog"), ("log_file_mode", "0640")]);
        let mut writer = test.writer();
        writer.put(Format::Csv, "a,b\n");
        writer.flush();
        assert_eq!(test.read("log/120000.csv"), "a,b\n");
        let named = "stderr log/120000.log\ncsvlog log/120000.csv\njsonlog log/120000.json\n";
        assert_eq!(test.read("current_logfiles"), named);
        let mode = fs::metadata(test.folder.path().join("log/120000.log")).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o640);
        let mut next = test.settings.clone();
        next.set("log_destination", "csvlog", Source::CommandLine).unwrap();
        writer.configure(FileSettings::of(&next));
        assert_eq!(test.read("current_logfiles"), "csvlog log/120000.csv\n");
    }

    #[test]
    fn a_file_ends_with_its_size_its_age_and_on_request() {
        let test = Test::new(&[("log_rotation_size", "1kB"), ("log_rotation_age", "1h")]);
        let mut writer = test.writer();
        assert_eq!(writer.until_rotation(), Some(Duration::from_secs(3600)));
        writer.put(Format::Stderr, &"x".repeat(1000));
        test.clock.advance(Duration::from_secs(1));
        writer.put(Format::Stderr, &"y".repeat(100));
        assert_eq!(test.read("log/120000.log").len(), 1100);
        assert_eq!(writer.current(), [(Format::Stderr, "log/120001.log".to_owned())]);
        test.clock.advance(Duration::from_secs(3600));
        writer.rotate_if_due();
        assert_eq!(writer.current(), [(Format::Stderr, "log/130000.log".to_owned())]);
        writer.rotate_if_due();
        test.clock.advance(Duration::from_secs(1));
        writer.rotate_all();
        assert_eq!(writer.current(), [(Format::Stderr, "log/130002.log".to_owned())]);
        assert_eq!(*test.told.lock(), "");
    }

    #[test]
    fn a_name_that_comes_again_is_appended_to_or_begun_anew() {
        for (truncates, left) in [("off", "old\nnew\n"), ("on", "new\n")] {
            let set = [
                ("log_filename", "%M.log"),
                ("log_rotation_age", "1h"),
                ("log_truncate_on_rotation", truncates),
            ];
            let test = Test::new(&set);
            test.clock.advance(Duration::from_secs(60));
            let mut writer = test.writer();
            fs::write(test.folder.path().join("log/00.log"), "old\n").unwrap();
            test.clock.advance(Duration::from_secs(3600));
            writer.rotate_if_due();
            writer.put(Format::Stderr, "new\n");
            writer.flush();
            assert_eq!(test.read("log/00.log"), left, "{truncates}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told() {
        let test = Test::new(&[]);
        let mut writer = test.writer();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let real = std::mem::replace(&mut writer.files[0].file, full);
        writer.put(Format::Stderr, "lost\n");
        writer.flush();
        writer.put(Format::Stderr, "lost\n");
        writer.flush();
        let told = std::mem::take(&mut *test.told.lock());
        assert_eq!(told, "could not write to log file \"log/120000.log\": No space left on device\n");
        writer.files[0].file = real;
        writer.put(Format::Stderr, "here\n");
        writer.flush();
        let log = test.read("log/120000.log");
        assert!(log.starts_with("here\n") && log.contains("WARNING:  10 bytes of log were lost"), "{log}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_leaves_the_log_where_it_was() {
        let test = Test::new(&[("log_directory", "/proc/no/such")]);
        let mut writer = test.writer();
        writer.put(Format::Stderr, "line\n");
        let told = test.told.lock().clone();
        assert!(told.starts_with("could not open log file \"/proc/no/such/120000.log\""), "{told}");
        assert!(told.ends_with("\nline\n"), "{told}");
    }
}
