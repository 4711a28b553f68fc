//! COPY's formats: lines of text or CSV between the wire and values. Knows no tables and no transactions.

mod reader;
mod writer;

pub use reader::{Line, LineReader, Record};
pub use writer::LineWriter;
