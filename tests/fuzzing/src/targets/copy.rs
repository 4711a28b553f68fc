//! Data of COPY ... FROM: lines and fields of both text formats, in pieces of any size.

use crate::Target;
use sql_execution::copy::{Line, LineReader, Record};
use sql_language::parse::{CopyFormat, CopyOptions, SqlCommand, Utility, parse};

/// The first byte says which options, the second how large the pieces are.
pub const COPY: Target = Target {
    name: "copy",
    inputs: || {
        let data: [&[u8]; 6] = [
            b"1\tone\t\\N\n2\ttwo\\tx\t3\n\\.\n",
            b"a,\"b,\"\"c\"\r\nd,,\"\"\r\n",
            b"\\x41\\101\\b\\\\\n",
            b"x;y;N\n'q''q';z\n",
            b"no end of line",
            b"\"open\nquote",
        ];
        (0..4_u8).flat_map(|kind| data.map(|data| [&[kind, 3], data].concat())).collect()
    },
    words: &["\\N", "\\.", "\n", "\r\n", "\r", "\t", "\"", "\"\"", ",", "\\", "\\x4", "\\777", "\u{e9}"],
    memory_bytes: 64 << 10,
    memory_factor: 64,
    open: || {
        let options = [
            "copy t from stdin",
            "copy t from stdin (format csv, header)",
            "copy t from stdin (delimiter ';', null 'N')",
            "copy t from stdin (format csv, delimiter ';', quote '''', escape '\\', null 'N')",
        ]
        .map(options);
        Box::new(move |input| {
            let [kind, size, data @ ..] = input else { return };
            take(&options[usize::from(*kind) % options.len()], usize::from(*size).max(1), data);
        })
    },
};

fn options(sql: &str) -> CopyOptions {
    let parsed = parse(sql, 1 << 20).expect("a statement");
    match &parsed.first().expect("one statement").command {
        SqlCommand::Utility(Utility::Copy(copy)) => copy.options.clone().expect("the options are right"),
        other => panic!("{other:?} is no COPY"),
    }
}

/// All lines, read in pieces; in one piece they must be the same.
fn take(options: &CopyOptions, size: usize, data: &[u8]) {
    let whole = lines(options, [data].into_iter());
    assert_eq!(lines(options, data.chunks(size)), whole, "lines differ by the pieces that they come in");
    let reader = LineReader::new(options.clone());
    let mut record = Record::default();
    for line in whole.iter().flatten() {
        if reader.split(line, &mut record).is_ok() {
            assert!(record.field_count() > 0, "a line has no field");
            let bytes: usize = (0..record.field_count()).filter_map(|at| record.get(at)??.len().into()).sum();
            // An escape never makes more bytes than it is written with.
            assert!(bytes <= line.len(), "fields are longer than their line");
        }
    }
    let _ = CopyFormat::Csv;
}

/// The lines, until an error: None in its place.
fn lines<'a>(options: &CopyOptions, pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Option<Vec<u8>>> {
    let mut reader = LineReader::new(options.clone());
    let mut lines = Vec::new();
    for piece in pieces {
        if reader.feed(piece).is_err() {
            lines.push(None);
            return lines;
        }
        if !drain(&mut reader, false, &mut lines) {
            return lines;
        }
    }
    drain(&mut reader, true, &mut lines);
    lines
}

fn drain(reader: &mut LineReader, last: bool, lines: &mut Vec<Option<Vec<u8>>>) -> bool {
    loop {
        match reader.next(last) {
            Ok(Some(Line::Row(line))) => lines.push(Some(line)),
            Ok(Some(Line::End)) | Err(_) => {
                lines.push(None);
                return false;
            }
            Ok(None) => return true,
        }
    }
}
