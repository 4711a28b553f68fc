//! Functions that look at files of the data directory and tell how large they are.

use super::control::database;
use super::{Asked, Function, Returns, no_defaults, one, readable_path, refuse};
use host::{FileKind, OpenMode, Timestamp};
use protocol::SqlState;
use sql_interface::{NodeCall, NodeRows, SettingActor, SqlError};
use sql_types::{Datum, TypeId, VALUE_BYTES_MAX, work};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// PostgreSQL's words for an operation that failed with a file.
fn failed(what: &str, name: &str, error: &io::Error) -> SqlError {
    let (code, why) = match error.kind() {
        io::ErrorKind::NotFound => (SqlState::UNDEFINED_FILE, "No such file or directory".to_owned()),
        io::ErrorKind::PermissionDenied => (SqlState::INSUFFICIENT_PRIVILEGE, "Permission denied".to_owned()),
        io::ErrorKind::NotADirectory => (SqlState::WRONG_OBJECT_TYPE, "Not a directory".to_owned()),
        io::ErrorKind::IsADirectory => (SqlState::WRONG_OBJECT_TYPE, "Is a directory".to_owned()),
        _ => (SqlState::IO_ERROR, error.to_string()),
    };
    SqlError::new(code, format!("could not {what} \"{name}\": {why}"))
}

fn name_of(arguments: &[Datum]) -> &str {
    arguments.first().and_then(Datum::as_str).unwrap_or_default()
}

fn flag(arguments: &[Datum], at: usize) -> bool {
    arguments.get(at).and_then(Datum::as_bool).unwrap_or(false)
}

/// Whether a file that is not there is none to complain about.
fn missing_ok<T>(found: io::Result<T>, tolerated: bool) -> io::Result<Option<T>> {
    match found {
        Err(error) if tolerated && error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

fn modified(found: &host::Metadata) -> Datum {
    let since_unix = found.modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let at = Timestamp::from_unix_micros(i64::try_from(since_unix.as_micros()).unwrap_or(i64::MAX));
    Datum::Timestamptz(at.micros())
}

fn bytes(count: u64) -> Datum {
    Datum::Int8(i64::try_from(count).unwrap_or(i64::MAX))
}

/// pg_ls_dir
fn list(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum]) -> Result<NodeRows, SqlError> {
    let name = name_of(arguments);
    let path = readable_path(asked, actor, name)?;
    let entries = missing_ok(asked.ground.host.disk.list(&path), flag(arguments, 1))
        .map_err(|error| failed("open directory", name, &error))?;
    let Some(entries) = entries else { return Ok(Vec::new()) };
    let dots = if flag(arguments, 2) { &[".", ".."][..] } else { &[] };
    let found = entries.into_iter().map(|entry| vec![Datum::text(entry.name)]);
    Ok(dots.iter().map(|name| vec![Datum::text(*name)]).chain(found).collect())
}

/// Files of a folder with sizes and times, as pg_ls_waldir and its kin give them.
fn files(asked: &Asked<'_>, name: &str, tolerated: bool) -> Result<NodeRows, SqlError> {
    let (disk, folder) = (&asked.ground.host.disk, asked.ground.data_dir.join(name));
    let entries = missing_ok(disk.list(&folder), tolerated);
    let entries = entries.map_err(|error| failed("open directory", name, &error))?.unwrap_or_default();
    let mut rows = Vec::new();
    for entry in
        entries.into_iter().filter(|entry| entry.kind == FileKind::File && !entry.name.starts_with('.'))
    {
        // It may have gone between the two looks.
        let Ok(found) = disk.metadata(&folder.join(&entry.name)) else { continue };
        rows.push(vec![Datum::text(entry.name), bytes(found.len), modified(&found)]);
    }
    Ok(rows)
}

/// pg_stat_file
fn stat(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum]) -> Result<NodeRows, SqlError> {
    let name = name_of(arguments);
    let path = readable_path(asked, actor, name)?;
    let found = missing_ok(asked.ground.host.disk.metadata(&path), flag(arguments, 1))
        .map_err(|error| failed("stat file", name, &error))?;
    let Some(found) = found else { return Ok(vec![vec![Datum::Null; STAT.len()]]) };
    let at = modified(&found);
    let is_folder = Datum::Bool(found.kind == FileKind::Directory);
    // Times of access and of changes are not kept by the file layer: the last write stands for them.
    Ok(vec![vec![bytes(found.len), at.clone(), at.clone(), at, Datum::Null, is_folder]])
}

/// A file, or a part of it.
fn read(
    asked: &Asked<'_>,
    actor: SettingActor,
    name: &str,
    part: Option<(i64, i64)>,
    tolerated: bool,
) -> Result<Option<Vec<u8>>, SqlError> {
    let disk = &asked.ground.host.disk;
    let complain = |error: io::Error| failed("open file", name, &error);
    let path = readable_path(asked, actor, name)?;
    let opened = missing_ok(disk.open(&path, OpenMode::Read), tolerated);
    let Some(file) = opened.map_err(|error| {
        let error = complain(error);
        SqlError::new(error.code(), error.message().replacen("\": ", "\" for reading: ", 1))
    })?
    else {
        return Ok(None);
    };
    let whole = file.len().map_err(complain)?;
    let (from, wanted) = match part {
        Some((_, length)) if length < 0 => {
            let what = "requested length cannot be negative";
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what));
        }
        Some((offset, length)) => {
            // A negative offset counts from the end.
            let from = if offset < 0 {
                whole.saturating_sub(offset.unsigned_abs())
            } else {
                offset.unsigned_abs().min(whole)
            };
            (from, length.unsigned_abs().min(whole - from))
        }
        None => (0, whole),
    };
    let length = usize::try_from(wanted).ok().filter(|length| *length <= VALUE_BYTES_MAX);
    let Some(length) = length else {
        return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "file length too large"));
    };
    work::room_for(length)?;
    let mut content = vec![0; length];
    let done = work::large(length, || {
        let mut at = 0;
        // One that shrinks meanwhile is read as far as it goes.
        while let Some(rest) = content.get_mut(at..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, from + u64::try_from(at).unwrap_or(u64::MAX)) {
                Ok(0) => break,
                Ok(count) => at += count,
                Err(error) => return Err(failed("read file", name, &error)),
            }
        }
        Ok(at)
    })?;
    content.truncate(done);
    Ok(Some(content))
}

/// pg_read_file and pg_read_binary_file: name, and then a part of it, and whether it may be missing.
fn content(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum], as_text: bool) -> NodeCall {
    let number = |at: usize| arguments.get(at).and_then(Datum::as_i64).unwrap_or(0);
    let part = (arguments.len() > 2).then(|| (number(1), number(2)));
    let tolerated = flag(arguments, 3);
    let read = read(asked, actor, name_of(arguments), part, tolerated);
    match read {
        Err(error) => refuse(error),
        Ok(None) => one(Datum::Null),
        Ok(Some(content)) if as_text => match sql_types::binary::checked_text(&content) {
            Ok(text) => one(Datum::text(text)),
            Err(error) => refuse(error.into()),
        },
        Ok(Some(content)) => one(Datum::Bytea(Arc::from(content))),
    }
}

/// The bytes of all files below a folder.
fn size_below(disk: &dyn host::Disk, folder: &Path) -> u64 {
    let entries = disk.list(folder).unwrap_or_default();
    let size = |entry: &host::DirEntry| {
        let path = folder.join(&entry.name);
        match entry.kind {
            FileKind::Directory => size_below(disk, &path),
            _ => disk.metadata(&path).map_or(0, |found| found.len),
        }
    };
    entries.iter().map(size).sum()
}

/// pg_database_size; by number, NULL if there is none.
fn database_size(asked: &Asked<'_>, argument: Option<&Datum>) -> Result<Datum, SqlError> {
    let known = database(asked).map(|_| asked.engine)?.map(|engine| engine.databases()).unwrap_or_default();
    let found = match argument {
        Some(Datum::Oid(oid)) => known.iter().find(|(known, _)| known == oid),
        Some(Datum::Text(name)) => {
            let found = known.iter().find(|(_, known)| **known == **name);
            if found.is_none() {
                let what = format!("database \"{name}\" does not exist");
                return Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, what));
            }
            found
        }
        _ => None,
    };
    let folder = |oid: u32| asked.ground.data_dir.join("base").join(oid.to_string());
    Ok(found.map_or(Datum::Null, |(oid, _)| bytes(size_below(&*asked.ground.host.disk, &folder(*oid)))))
}

/// pg_tablespace_size; by number, NULL if there is none.
/// Everybody has a right to pg_default, in which the databases are.
fn tablespace_size(
    asked: &Asked<'_>,
    actor: SettingActor,
    argument: Option<&Datum>,
) -> Result<Datum, SqlError> {
    let folder = match argument {
        Some(Datum::Oid(1663)) => "base",
        Some(Datum::Oid(1664)) => "global",
        Some(Datum::Text(name)) if name == "pg_default" => "base",
        Some(Datum::Text(name)) if name == "pg_global" => "global",
        Some(Datum::Text(name)) => {
            let what = format!("tablespace \"{name}\" does not exist");
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, what));
        }
        _ => return Ok(Datum::Null),
    };
    if folder == "global" && !actor.superuser && !actor.reads_statistics {
        let what = "permission denied for tablespace pg_global";
        return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, what));
    }
    Ok(bytes(size_below(&*asked.ground.host.disk, &asked.ground.data_dir.join(folder))))
}

fn answer(value: Result<Datum, SqlError>) -> NodeCall {
    value.map_or_else(refuse, one)
}

const FILES: &[(&str, TypeId)] =
    &[("name", TypeId::Text), ("size", TypeId::Int8), ("modification", TypeId::Timestamptz)];
const STAT: &[(&str, TypeId)] = &[
    ("size", TypeId::Int8),
    ("access", TypeId::Timestamptz),
    ("modification", TypeId::Timestamptz),
    ("change", TypeId::Timestamptz),
    ("creation", TypeId::Timestamptz),
    ("isdir", TypeId::Bool),
];

macro_rules! function {
    ($name:literal, $about:literal, [$($argument:literal: $ty:ident),*] -> $returns:expr, $call:expr) => {
        Function {
            name: $name,
            about: $about,
            arguments: &[$(($argument, TypeId::$ty)),*],
            required: <[&str]>::len(&[$($argument),*]),
            defaults: no_defaults,
            strict: true,
            returns: $returns,
            call: $call,
        }
    };
}

macro_rules! of_folder {
    ($name:literal, $about:literal, $folder:expr) => {
        function!($name, $about, [] -> Returns::Set(FILES), |asked, _, _| {
            NodeCall::Now(files(asked, $folder, true))
        })
    };
}

const LIST: Returns = Returns::Set(&[("pg_ls_dir", TypeId::Text)]);

pub(super) static FUNCTIONS: &[Function] = &[
    function!("pg_ls_dir", "Names in a folder of the server.", ["dirname": Text] -> LIST, |asked, actor, arguments| {
        NodeCall::Now(list(asked, actor, arguments))
    }),
    function!("pg_ls_dir", "The same; it may be missing, and . and .. may be among them.",
        ["dirname": Text, "missing_ok": Bool, "include_dot_dirs": Bool] -> LIST, |asked, actor, arguments| {
        NodeCall::Now(list(asked, actor, arguments))
    }),
    of_folder!(
        "pg_ls_archive_statusdir",
        "The files that tell what of the log is archived.",
        "pg_wal/archive_status"
    ),
    of_folder!("pg_ls_tmpdir", "Temporary files of large sorts.", "base/pgsql_tmp"),
    function!("pg_ls_logdir", "The files of the server's log in log_directory.", [] -> Returns::Set(FILES), |asked, _, _| {
        let folder = (asked.setting_rows)(true).into_iter().find(|row| row.name == "log_directory");
        let folder = folder.map_or_else(|| "log".to_owned(), |row| row.setting);
        NodeCall::Now(files(asked, &folder, false))
    }),
    function!("pg_stat_file", "Size and times of a file of the server.", ["filename": Text] -> Returns::Record(STAT),
        |asked, actor, arguments| {
        NodeCall::Now(stat(asked, actor, arguments))
    }),
    function!("pg_stat_file", "The same; NULL if it may be missing and is.",
        ["filename": Text, "missing_ok": Bool] -> Returns::Record(STAT), |asked, actor, arguments| {
        NodeCall::Now(stat(asked, actor, arguments))
    }),
    function!("pg_read_file", "A file of the server, as text.", ["filename": Text] -> Returns::One(TypeId::Text),
        |asked, actor, arguments| content(asked, actor, arguments, true)),
    function!("pg_read_file", "A part of a file of the server, as text.",
        ["filename": Text, "offset": Int8, "length": Int8] -> Returns::One(TypeId::Text),
        |asked, actor, arguments| content(asked, actor, arguments, true)),
    function!("pg_read_file", "The same; NULL if the file may be missing and is.",
        ["filename": Text, "offset": Int8, "length": Int8, "missing_ok": Bool] -> Returns::One(TypeId::Text),
        |asked, actor, arguments| content(asked, actor, arguments, true)),
    function!("pg_read_binary_file", "A file of the server.", ["filename": Text] -> Returns::One(TypeId::Bytea),
        |asked, actor, arguments| content(asked, actor, arguments, false)),
    function!("pg_read_binary_file", "A part of a file of the server.",
        ["filename": Text, "offset": Int8, "length": Int8] -> Returns::One(TypeId::Bytea),
        |asked, actor, arguments| content(asked, actor, arguments, false)),
    function!("pg_read_binary_file", "The same; NULL if the file may be missing and is.",
        ["filename": Text, "offset": Int8, "length": Int8, "missing_ok": Bool] -> Returns::One(TypeId::Bytea),
        |asked, actor, arguments| content(asked, actor, arguments, false)),
    function!("pg_database_size", "Bytes of a database's files, by its name.", ["name": Name] -> Returns::One(TypeId::Int8),
        |asked, _, arguments| answer(database_size(asked, arguments.first()))),
    function!("pg_database_size", "Bytes of a database's files, by its number.", ["oid": Oid] -> Returns::One(TypeId::Int8),
        |asked, _, arguments| answer(database_size(asked, arguments.first()))),
    function!("pg_tablespace_size", "Bytes of a tablespace's files, by its name.", ["name": Name] -> Returns::One(TypeId::Int8),
        |asked, actor, arguments| answer(tablespace_size(asked, actor, arguments.first()))),
    function!("pg_tablespace_size", "Bytes of a tablespace's files, by its number.", ["oid": Oid] -> Returns::One(TypeId::Int8),
        |asked, actor, arguments| answer(tablespace_size(asked, actor, arguments.first()))),
];
