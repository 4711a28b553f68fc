//! Logical messages (replication/message.h): records of users' own, which redo passes over.
//!
//! | bytes | what                                    |
//! |-------|-----------------------------------------|
//! | 4     | database                                |
//! | 1     | transactional; then 3 bytes of padding  |
//! | 8     | length of the prefix with its zero byte |
//! | 8     | length of the message                   |
//! |       | prefix, zero byte, message              |

use crate::codec::PutFields;
use crate::record::{BuildError, EncodedRecord, RecordBuilder, Rmgr};

/// xl_info of XLOG_LOGICAL_MESSAGE.
pub const LOGICAL_MESSAGE: u8 = 0x00;

/// Builds the record of a message: of a transaction's (the low half of its xid), which counts once that is
/// committed, or of one that counts at once.
///
/// # Errors
/// Fails if it is too long for a record.
pub fn logical_message(
    database: u32,
    transaction: Option<u32>,
    prefix: &str,
    message: &[u8],
) -> Result<EncodedRecord, BuildError> {
    let mut data = Vec::with_capacity(24 + prefix.len() + 1 + message.len());
    data.put_u32(database);
    data.put_u32(u32::from(transaction.is_some()));
    data.put_u64(prefix.len() as u64 + 1);
    data.put_u64(message.len() as u64);
    data.extend_from_slice(prefix.as_bytes());
    data.push(0);
    data.extend_from_slice(message);
    RecordBuilder::new(Rmgr::LOGICALMSG, LOGICAL_MESSAGE, transaction.unwrap_or(0)).main_data(&data).encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_laid_out_as_pg_waldump_reads_it() {
        let record = logical_message(5, Some(741), "ab", b"xyz").unwrap();
        let data = record.bytes();
        assert_eq!(&data[4..8], &741u32.to_le_bytes());
        let body = &data[data.len() - 30..];
        assert_eq!(&body[..8], &[5, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(&body[8..24], &[3, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&body[24..], b"ab\0xyz");
    }
}
