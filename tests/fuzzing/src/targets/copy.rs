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

/// Lines one behind the other: many are empty, and what is kept of each is not to count.
#[derive(Default, PartialEq)]
struct Lines {
    text: Vec<u8>,
    /// Where each ends in the text.
    ends: Vec<u32>,
    /// There was an end, or an error.
    is_over: bool,
}

impl Lines {
    fn each(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.text[*start as usize..*end as usize])
    }
}

/// All lines, read in pieces; in one piece they must be the same.
fn take(options: &CopyOptions, size: usize, data: &[u8]) {
    let whole = lines(options, [data].into_iter());
    assert!(lines(options, data.chunks(size)) == whole, "lines differ by the pieces that they come in");
    let reader = LineReader::new(options.clone());
    let mut record = Record::default();
    for line in whole.each() {
        if reader.split(line, &mut record).is_ok() {
            assert!(record.field_count() > 0, "a line has no field");
            let bytes: usize = (0..record.field_count()).filter_map(|at| record.get(at)??.len().into()).sum();
            // An escape never makes more bytes than it is written with.
            assert!(bytes <= line.len(), "fields are longer than their line");
        }
    }
    let _ = CopyFormat::Csv;
}

/// The lines, until an error.
fn lines<'a>(options: &CopyOptions, pieces: impl Iterator<Item = &'a [u8]>) -> Lines {
    let mut reader = LineReader::new(options.clone());
    let mut lines = Lines::default();
    for piece in pieces {
        lines.is_over = reader.feed(piece).is_err();
        if !lines.is_over {
            drain(&mut reader, false, &mut lines);
        }
        if lines.is_over {
            return lines;
        }
    }
    drain(&mut reader, true, &mut lines);
    lines
}

fn drain(reader: &mut LineReader, last: bool, lines: &mut Lines) {
    loop {
        match reader.next(last) {
            Ok(Some(Line::Row(line))) => {
                lines.text.extend(line);
                lines.ends.push(lines.text.len() as u32);
            }
            Ok(Some(Line::End)) | Err(_) => {
                lines.is_over = true;
                return;
            }
            Ok(None) => return,
        }
    }
}
