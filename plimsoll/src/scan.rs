//! Walking over a range of keys.

use crate::record::Record;
use crate::{Datum, Result};
use server::LocalSession;
use sql_interface::{Fetch, Flow, RowSink};
use sql_session::Portal;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;

/// Rows fetched at a time: what a scan holds in memory.
const BATCH: usize = 128;

/// Which way a scan walks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the least key up.
    #[default]
    Ascending,
    /// From the greatest key down.
    Descending,
}

/// A running scan: rows in the order of their keys, all of one snapshot. It borrows its transaction; whoever
/// wants to write meanwhile collects first.
pub struct Scan<'t, K, V> {
    session: &'t mut LocalSession,
    portal: Box<Portal>,
    rows: Batch,
    done: bool,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> fmt::Debug for Scan<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("done", &self.done).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Batch(VecDeque<Vec<Datum>>);

impl RowSink for Batch {
    fn row(&mut self, values: &[Datum]) -> sql_interface::Result<Flow> {
        self.0.push_back(values.to_vec());
        Ok(Flow::More)
    }
    fn copy_data(&mut self, _line: &[u8]) -> Flow {
        Flow::More
    }
}

impl<'t, K: Record, V: Record> Scan<'t, K, V> {
    pub(crate) fn new(session: &'t mut LocalSession, portal: Box<Portal>) -> Self {
        Self { session, portal, rows: Batch::default(), done: false, types: PhantomData }
    }

    /// The next key with its value; None at the end.
    pub async fn next(&mut self) -> Result<Option<(K, V)>> {
        loop {
            if let Some(row) = self.rows.0.pop_front() {
                let mut values = row.into_iter();
                let key = K::read(&mut values, "key")?;
                return Ok(Some((key, V::read(&mut values, "value")?)));
            }
            if self.done {
                return Ok(None);
            }
            if let Fetch::Complete(_) = self.session.fetch(&mut self.portal, BATCH, &mut self.rows).await? {
                self.done = true;
            }
        }
    }

    /// All that is left.
    pub async fn collect(mut self) -> Result<Vec<(K, V)>> {
        let mut all = Vec::new();
        while let Some(row) = self.next().await? {
            all.push(row);
        }
        Ok(all)
    }
}
