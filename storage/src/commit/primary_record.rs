//! What a primary says of itself in the log, when it begins to take commits and before what it says changes:
//! by that a standby knows what it may have missed. It is a field of the state page, so standbys, backups and
//! a promoted node know it too.
//!
//! | bytes | contents of the field |
//! | ---- | ---- |
//! | 4 | the timeline that it writes |
//! | 1 | 1: it may acknowledge commits without its synchronous standbys (plimsoll.synchronous_timeout) |
//! | 8 | its id as a member of the cluster |
//! | 2 + ... | the name by which it would follow |

use wal::TimelineId;
use wal::codec::{Fields, PutFields, Short};

const NAME_BYTES_MAX: usize = 64;

/// A primary, by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryRecord {
    /// The timeline that it writes.
    pub timeline: TimelineId,
    /// It may acknowledge commits without its synchronous standbys.
    pub may_fall_back: bool,
    /// Its id as a member of the cluster.
    pub member: u64,
    /// The name by which it would follow a primary; nothing if it has none, or a longer one than fits.
    pub name: String,
}

impl PrimaryRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let name = if self.name.len() <= NAME_BYTES_MAX { self.name.as_bytes() } else { &[] };
        let mut out = Vec::new();
        out.put_u32(self.timeline.get());
        out.put_u8(u8::from(self.may_fall_back));
        out.put_u64(self.member);
        out.put_u16(u16::try_from(name.len()).unwrap_or(0));
        out.put(name);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(bytes);
        let timeline = TimelineId::new(fields.u32()?);
        let may_fall_back = fields.u8()? != 0;
        let member = fields.u64()?;
        let length = usize::from(fields.u16()?);
        let name = String::from_utf8_lossy(fields.take(length)?).into_owned();
        Ok(Self { timeline, may_fall_back, member, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_from_its_bytes_and_damage_is_told() {
        let record = PrimaryRecord {
            timeline: TimelineId::new(3),
            may_fall_back: true,
            member: 7,
            name: "ä".to_owned(),
        };
        let bytes = record.encode();
        assert_eq!(PrimaryRecord::decode(&bytes).unwrap(), record);
        assert!(PrimaryRecord::decode(&bytes[..bytes.len() - 1]).is_err());
        let long = PrimaryRecord { name: "a".repeat(65), ..record.clone() };
        assert_eq!(
            PrimaryRecord::decode(&long.encode()).unwrap(),
            PrimaryRecord { name: String::new(), ..record }
        );
    }
}
