//! Plimsoll in a Rust program: a data directory opened in the process, with typed tables, transactions and
//! SQL, that standbys and PostgreSQL's own tools can follow over the network while the program works on it.
//!
//! ```no_run
//! # async fn example() -> plimsoll::Result<()> {
//! use plimsoll::{Database, Options};
//! let db = Options::new("data").create_if_missing().open().await?;
//! let stock = &db.table::<String, i64>("stock").await?;
//! db.transaction(|mut tx| async move {
//!     let pears = tx.get_for_update(stock, &"pears".to_owned()).await?.unwrap_or(0);
//!     tx.put(stock, &"pears".to_owned(), &(pears + 12)).await
//! })
//! .await?;
//! db.close().await
//! # }
//! ```
//!
//! A typed table is a SQL table: its key type's columns are the primary key, its value type's columns stand
//! beside them (see [`Record`]). What the program puts, psql selects, and the other way round; constraints,
//! isolation and locks are those of SQL, and a typed call is a prepared statement on the direct path by
//! primary key, without a socket.
//!
//! Durability: [`Database::transaction`] returns Ok when the commit has reached its [`SyncLevel`], and not
//! before; no other session reads it earlier. The engine below, page formats and the wire protocol are the
//! server's: this crate composes `server` and `sql` and knows neither pages nor messages.

mod database;
mod error;
mod follow;
mod options;
mod record;
mod scan;
mod session;
mod table;
mod transaction;

pub use database::Database;
pub use error::{Error, Result};
pub use options::Options;
pub use record::{Column, Field, Record};
pub use scan::{Direction, Scan};
pub use sql_types::{Datum, TypeId};
pub use storage::SyncLevel;
pub use table::Table;
pub use transaction::{Committed, Isolation, Savepoint, Transaction, TransactionOptions};

#[doc(hidden)]
pub mod macros {
    //! What `record!` expands to needs these names.
    pub use crate::record::{field_column, read_field};
}
