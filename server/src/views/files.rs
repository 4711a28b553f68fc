//! Functions that look at files of the data directory and tell how large they are.

use super::control::database;
use super::{Asked, Function, Returns, no_defaults, one, readable_path, refuse};
use host::{Disk, FileKind, OpenMode, Timestamp};
use protocol::SqlState;
use sql_interface::{NodeCall, NodeRows, SettingActor, SqlError};
use sql_types::{Datum, TypeId, VALUE_BYTES_MAX, work};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a function gives.
type Rows = Result<NodeRows, SqlError>;

/// PostgreSQL's words for an operation that failed with a file.
fn failed(what: &str, name: &str, error: &io::Error) -> SqlError {
    let (code, why) = match error.kind() {
        io::ErrorKind::NotFound => (SqlState::UNDEFINED_FILE, "No such file or directory".to_owned()),
        io::ErrorKind::PermissionDenied => (SqlState::INSUFFICIENT_PRIVILEGE, "Permission denied".to_owned()),
        io::ErrorKind::NotADirectory => (SqlState::WRONG_OBJECT_TYPE, "Not a directory".to_owned()),
        io::ErrorKind::IsADirectory => (SqlState::WRONG_OBJECT_TYPE, "Is a directory".to_owned()),
        _ => (SqlState::IO_ERROR, host::os_message(error)),
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

/// Does what waits for disks on a thread that serves nobody else. Who asks can leave meanwhile.
fn aside(asked: &Asked<'_>, work: impl FnOnce(&dyn Disk) -> Rows + Send + 'static) -> NodeCall {
    let (disk, mut keeper) = (asked.ground.host.disk.clone(), work::keeper());
    NodeCall::Later(Box::pin(async move {
        let done = host::task::blocking(move || {
            let _kept = work::Kept::new(&mut keeper);
            work(&*disk)
        });
        done.await.map_err(|error| SqlError::internal(error.to_string()))?
    }))
}

/// The same for one file or folder that the caller names.
fn with_path(
    asked: &Asked<'_>,
    actor: SettingActor,
    name: &str,
    work: impl FnOnce(&dyn Disk, &Path, &str) -> Rows + Send + 'static,
) -> NodeCall {
    let name = name.to_owned();
    match readable_path(asked, actor, &name) {
        // The empty name is that of no file, and not of the data directory.
        Ok(_) if name.is_empty() => aside(asked, move |disk| work(disk, Path::new(""), "")),
        Ok(path) => aside(asked, move |disk| work(disk, &path, &name)),
        Err(error) => refuse(error),
    }
}

/// pg_ls_dir
fn list(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum]) -> NodeCall {
    let (tolerated, with_dots) = (flag(arguments, 1), flag(arguments, 2));
    with_path(asked, actor, name_of(arguments), move |disk, path, name| {
        let entries =
            missing_ok(disk.list(path), tolerated).map_err(|error| failed("open directory", name, &error))?;
        let Some(entries) = entries else { return Ok(Vec::new()) };
        let dots = if with_dots { &[".", ".."][..] } else { &[] };
        let found = entries.into_iter().map(|entry| vec![Datum::text(entry.name)]);
        Ok(dots.iter().map(|name| vec![Datum::text(*name)]).chain(found).collect())
    })
}

/// Files of a folder with sizes and times, as pg_ls_waldir and its kin give them.
fn files(asked: &Asked<'_>, name: &str, tolerated: bool) -> NodeCall {
    let (folder, name) = (asked.ground.data_dir.join(name), name.to_owned());
    aside(asked, move |disk| {
        let entries = missing_ok(disk.list(&folder), tolerated);
        let entries = entries.map_err(|error| failed("open directory", &name, &error))?.unwrap_or_default();
        let mut rows = Vec::new();
        for entry in
            entries.into_iter().filter(|entry| entry.kind == FileKind::File && !entry.name.starts_with('.'))
        {
            // It may have gone between the two looks.
            let Ok(found) = disk.metadata(&folder.join(&entry.name)) else { continue };
            rows.push(vec![Datum::text(entry.name), bytes(found.len), modified(&found)]);
        }
        Ok(rows)
    })
}

/// pg_stat_file
fn stat(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum]) -> NodeCall {
    let tolerated = flag(arguments, 1);
    with_path(asked, actor, name_of(arguments), move |disk, path, name| {
        let found =
            missing_ok(disk.metadata(path), tolerated).map_err(|error| failed("stat file", name, &error))?;
        let Some(found) = found else { return Ok(vec![vec![Datum::Null; STAT.len()]]) };
        let at = modified(&found);
        let is_folder = Datum::Bool(found.kind == FileKind::Directory);
        // Times of access and of changes are not kept by the file layer: the last write stands for them.
        Ok(vec![vec![bytes(found.len), at.clone(), at.clone(), at, Datum::Null, is_folder]])
    })
}

/// Bytes that are read at once; between two pieces is asked whether there is memory for one more.
const PIECE_BYTES: usize = 1 << 20;

/// What stands before a value's bytes in PostgreSQL, which counts them.
const HEAD_BYTES: usize = 4;

/// What of a file is wanted: all of it, or so many bytes from an offset on, which counts from the end if it
/// is negative.
type Part = Option<(i64, u64)>;

/// The part that is asked for, as far as it can be had at all.
fn part(arguments: &[Datum]) -> Result<Part, SqlError> {
    if arguments.len() < 3 {
        return Ok(None);
    }
    let number = |at: usize| arguments.get(at).and_then(Datum::as_i64).unwrap_or(0);
    let wrong = |what: &str| Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what));
    match u64::try_from(number(2)) {
        Err(_) => wrong("requested length cannot be negative"),
        Ok(length) => Ok(Some((number(1), length))),
    }
}

/// A file, or a part of it. Its length says little of files that the system makes up as they are read.
fn read(
    disk: &dyn Disk,
    path: &Path,
    name: &str,
    part: Part,
    tolerated: bool,
) -> Result<Option<Vec<u8>>, SqlError> {
    if part.is_some_and(|(_, length)| length > (VALUE_BYTES_MAX - HEAD_BYTES) as u64) {
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "requested length too large"));
    }
    let opened = missing_ok(disk.open(path, OpenMode::Read), tolerated);
    let Some(file) = opened.map_err(|error| {
        let error = failed("open file", name, &error);
        SqlError::new(error.code(), error.message().replacen("\": ", "\" for reading: ", 1))
    })?
    else {
        return Ok(None);
    };
    let whole = file.len().map_err(|error| failed("stat file", name, &error))?;
    let (offset, wanted) = part.map_or((0, None), |(offset, length)| (offset, Some(length)));
    let from = match u64::try_from(offset) {
        Ok(from) => from,
        Err(_) => whole.checked_sub(offset.unsigned_abs()).ok_or_else(|| {
            SqlError::internal(format!("could not seek in file \"{name}\": Invalid argument"))
        })?,
    };
    let wanted = wanted.and_then(|wanted| usize::try_from(wanted).ok());
    let expected = usize::try_from(whole.saturating_sub(from)).unwrap_or(usize::MAX);
    if wanted.is_none() && expected > VALUE_BYTES_MAX {
        return Err(too_long());
    }
    let expected = expected.min(wanted.unwrap_or(usize::MAX));
    work::room_for(expected)?;
    let mut content = Vec::with_capacity(expected);
    while let Some(rest) = wanted.map_or(Some(PIECE_BYTES), |wanted| wanted.checked_sub(content.len())) {
        let done = content.len();
        if done > VALUE_BYTES_MAX {
            return Err(too_long());
        }
        if done >= expected {
            work::room_for(PIECE_BYTES)?;
        }
        content.resize(done + rest.min(PIECE_BYTES), 0);
        let piece = content.get_mut(done..).unwrap_or_default();
        let count = file.read_at(piece, from.saturating_add(done as u64));
        let count = count.map_err(|error| unreadable(name, &error))?;
        content.truncate(done + count);
        if count == 0 {
            break;
        }
        work::check()?;
    }
    Ok(Some(content))
}

fn too_long() -> SqlError {
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "file length too large")
}

/// What cannot be read at an offset is a pipe, which is read when somebody writes into it: that is not waited
/// for.
fn unreadable(name: &str, error: &io::Error) -> SqlError {
    match error.kind() {
        io::ErrorKind::NotSeekable | io::ErrorKind::WouldBlock => {
            SqlError::unsupported("reading a pipe, or a device that has to be waited for")
        }
        _ => failed("read file", name, error),
    }
}

/// pg_read_file and pg_read_binary_file: name, and then a part of it, and whether it may be missing.
fn content(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum], as_text: bool) -> NodeCall {
    let (part, tolerated) = match part(arguments) {
        Ok(part) => (part, flag(arguments, 3)),
        Err(error) => return refuse(error),
    };
    with_path(asked, actor, name_of(arguments), move |disk, path, name| {
        let value = match read(disk, path, name, part, tolerated)? {
            None => Datum::Null,
            Some(content) if as_text => Datum::text(sql_types::binary::checked_text(&content)?),
            Some(content) => Datum::Bytea(Arc::from(content)),
        };
        Ok(vec![vec![value]])
    })
}

/// The bytes of all files below a folder.
fn size_below(disk: &dyn Disk, folder: &Path) -> u64 {
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

/// The folder of pg_database_size. By a number that no database has, superusers are told NULL.
fn database_size(
    asked: &Asked<'_>,
    actor: SettingActor,
    argument: Option<&Datum>,
) -> Result<Option<PathBuf>, SqlError> {
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
    let Some((oid, name)) = found else {
        return match argument {
            Some(Datum::Oid(oid)) if !actor.superuser => {
                let what = format!("database with OID {oid} does not exist");
                Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, what))
            }
            _ => Ok(None),
        };
    };
    let may_connect = asked.engine.is_some_and(|engine| engine.may_connect(actor.role, *oid));
    if !may_connect && !actor.superuser && !actor.reads_statistics {
        let what = format!("permission denied for database {name}");
        return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, what));
    }
    Ok(Some(asked.ground.data_dir.join("base").join(oid.to_string())))
}

/// The folder of pg_tablespace_size; by number, NULL if there is none.
/// Everybody has a right to pg_default, in which the databases are.
fn tablespace_size(
    asked: &Asked<'_>,
    actor: SettingActor,
    argument: Option<&Datum>,
) -> Result<Option<PathBuf>, SqlError> {
    let folder = match argument {
        Some(Datum::Oid(1663)) => "base",
        Some(Datum::Oid(1664)) => "global",
        Some(Datum::Text(name)) if name == "pg_default" => "base",
        Some(Datum::Text(name)) if name == "pg_global" => "global",
        Some(Datum::Text(name)) => {
            let what = format!("tablespace \"{name}\" does not exist");
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, what));
        }
        _ => return Ok(None),
    };
    if folder == "global" && !actor.superuser && !actor.reads_statistics {
        let what = "permission denied for tablespace pg_global";
        return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, what));
    }
    Ok(Some(asked.ground.data_dir.join(folder)))
}

/// The size of what is in a folder.
fn size_of(asked: &Asked<'_>, folder: Result<Option<PathBuf>, SqlError>) -> NodeCall {
    match folder {
        Ok(Some(folder)) => aside(asked, move |disk| Ok(vec![vec![bytes(size_below(disk, &folder))]])),
        Ok(None) => one(Datum::Null),
        Err(error) => refuse(error),
    }
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
            files(asked, $folder, true)
        })
    };
}

const LIST: Returns = Returns::Set(&[("pg_ls_dir", TypeId::Text)]);

pub(super) static FUNCTIONS: &[Function] = &[
    function!("pg_ls_dir", "Names in a folder of the server.", ["dirname": Text] -> LIST, |asked, actor, arguments| {
        list(asked, actor, arguments)
    }),
    function!("pg_ls_dir", "The same; it may be missing, and . and .. may be among them.",
        ["dirname": Text, "missing_ok": Bool, "include_dot_dirs": Bool] -> LIST, |asked, actor, arguments| {
        list(asked, actor, arguments)
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
        files(asked, &folder, false)
    }),
    function!("pg_stat_file", "Size and times of a file of the server.", ["filename": Text] -> Returns::Record(STAT),
        |asked, actor, arguments| {
        stat(asked, actor, arguments)
    }),
    function!("pg_stat_file", "The same; NULL if it may be missing and is.",
        ["filename": Text, "missing_ok": Bool] -> Returns::Record(STAT), |asked, actor, arguments| {
        stat(asked, actor, arguments)
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
        |asked, actor, arguments| size_of(asked, database_size(asked, actor, arguments.first()))),
    function!("pg_database_size", "Bytes of a database's files, by its number.", ["oid": Oid] -> Returns::One(TypeId::Int8),
        |asked, actor, arguments| size_of(asked, database_size(asked, actor, arguments.first()))),
    function!("pg_tablespace_size", "Bytes of a tablespace's files, by its name.", ["name": Name] -> Returns::One(TypeId::Int8),
        |asked, actor, arguments| size_of(asked, tablespace_size(asked, actor, arguments.first()))),
    function!("pg_tablespace_size", "Bytes of a tablespace's files, by its number.", ["oid": Oid] -> Returns::One(TypeId::Int8),
        |asked, actor, arguments| size_of(asked, tablespace_size(asked, actor, arguments.first()))),
];
