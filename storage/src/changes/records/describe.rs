//! Records in words, for waldump.

use super::{ChainPush, Insert, Like, MAP_ID, PACKED_MAX, Prune, Repack, RootSplit, Split, Unlink, info};
use crate::pages::page::leaf;
use smallvec::SmallVec;
use std::fmt::Write;
use wal::codec::{Fields, Short};
use wal::describe::RmgrDescriber;
use wal::{Record, Rmgr};

/// The name of a record, as pg_waldump's rmgr_desc column has for built-in ones.
pub fn name(info: u8) -> Option<&'static str> {
    Some(match info & 0xF0 {
        info::INSERT => "INSERT",
        info::INSERT_MANY => "INSERT_MANY",
        info::SPLIT => "SPLIT",
        info::ROOT_SPLIT => "ROOT_SPLIT",
        info::PRUNE => "PRUNE",
        info::CHAIN_PUSH => "CHAIN_PUSH",
        info::CHAIN_CUT => "CHAIN_CUT",
        info::TREE_INIT => "TREE_INIT",
        info::LARGE => "LARGE",
        info::FREE => "FREE",
        info::STATE => "STATE",
        info::CHAIN_PRUNE => "CHAIN_PRUNE",
        info::UNLINK => "UNLINK",
        info::REPACK => "REPACK",
        info::TRIM => "TRIM",
        _ => return None,
    })
}

/// Bytes as text where they are plain, in hexadecimal elsewhere.
fn bytes_text(bytes: &[u8]) -> String {
    const SHOWN: usize = 64;
    let shown = bytes.get(..SHOWN).unwrap_or(bytes);
    let mut text = String::with_capacity(shown.len() + 16);
    if !shown.is_empty() && shown.iter().all(|byte| (0x20..0x7F).contains(byte) && *byte != b'\'') {
        text.push('\'');
        text.extend(shown.iter().map(|byte| char::from(*byte)));
        text.push('\'');
    } else {
        text.push_str("\\x");
        for byte in shown {
            let _ = write!(text, "{byte:02x}");
        }
    }
    if bytes.len() > SHOWN {
        let _ = write!(text, "... ({} bytes)", bytes.len());
    }
    text
}

/// Puts records of resource manager 128 into words for waldump.
#[derive(Clone, Copy, Debug, Default)]
pub struct EngineDescriber;

impl RmgrDescriber for EngineDescriber {
    fn rmgr(&self) -> Rmgr {
        Rmgr::ENGINE
    }
    fn name(&self) -> &str {
        "Plimsoll"
    }
    fn identify(&self, info: u8) -> Option<&str> {
        name(info)
    }
    fn describe(&self, record: &Record, out: &mut String) {
        match describe(record) {
            Ok(text) => out.push_str(&text),
            Err(error) => {
                let _ = write!(out, "malformed: {error}");
            }
        }
    }
}

/// One line that says what a record of resource manager 128 does.
fn describe(record: &Record) -> Result<String, Short> {
    let main = record.main_data();
    let mut fields = Fields::new(main);
    Ok(match record.rmgr_info() {
        info::INSERT => {
            let insert = Insert::decode(main)?;
            let kind = match insert.flags {
                leaf::DELETED => " deleted",
                leaf::LARGE => " large",
                _ => "",
            };
            let (index, cid, len) = (insert.index, insert.cid, insert.value.len());
            match insert.like {
                Some(Like { prefix, suffix }) => {
                    format!(
                        "off: {index}, cid: {cid}, value: {prefix} + {len} + {suffix} bytes, like the one before"
                    )
                }
                None => {
                    let key = bytes_text(insert.key);
                    format!("off: {index}, cid: {cid}, key: {key}, value: {len} bytes{kind}")
                }
            }
        }
        info::INSERT_MANY => {
            let (_epoch, cid, count) = (fields.u32()?, fields.u32()?, fields.u16()?);
            let (first, _) = (fields.u16()?, fields.u8()?);
            let (key_len, _) = (fields.u16()?, fields.u16()?);
            let key = bytes_text(fields.take(usize::from(key_len))?);
            format!("off: {first}, cid: {cid}, versions: {count}, first key: {key}")
        }
        info::SPLIT => {
            let split = Split::decode(main)?;
            let (level, at, right) = (split.level, split.split, split.right);
            let separator = bytes_text(split.separator);
            format!(
                "level: {level}, off: {at}, right: {right}, parent off: {}, separator: {separator}",
                split.parent_index
            )
        }
        info::ROOT_SPLIT => {
            let split = RootSplit::decode(main)?;
            let separator = bytes_text(split.separator);
            format!(
                "level: {}, left: {}, right: {}, separator: {separator}",
                split.level, split.left, split.right
            )
        }
        info::PRUNE | info::CHAIN_PRUNE => {
            let prune = Prune::decode(main)?;
            format!("horizon: {}, dead: {:?}", prune.horizon, prune.dead)
        }
        info::CHAIN_PUSH => {
            let push = ChainPush::decode(main)?;
            let (key, old) = (bytes_text(push.key), push.old.get() as i32);
            format!(
                "off: {}, moved: {}, chain: {}, next: {old}, key: {key}",
                push.index, push.count, push.new
            )
        }
        info::CHAIN_CUT => {
            let horizon = fields.u64()?;
            format!("horizon: {horizon}, next: {}", fields.u32()? as i32)
        }
        info::LARGE => format!("next: {}", fields.u32()? as i32),
        info::FREE => {
            let maps = record.blocks().filter(|block| block.id >= MAP_ID);
            format!("pages: {}", maps.map(|block| block.data.len() / 4).sum::<usize>())
        }
        info::UNLINK => {
            let unlink = Unlink::decode(main)?;
            format!("pages: {}, parent off: {}", unlink.rights.len(), unlink.parent_index)
        }
        info::REPACK => {
            let Repack { level, parent_index, count, packed, separator } = Repack::decode(main)?;
            let packed: SmallVec<[u32; PACKED_MAX]> = packed.iter().map(|block| block.get()).collect();
            let separator = if packed.len() > 1 { bytes_text(separator) } else { "none".to_owned() };
            format!(
                "level: {level}, siblings: {count}, packed: {packed:?}, parent off: {parent_index}, separator: {separator}"
            )
        }
        info::TRIM => format!("pages: {}", fields.u32()?),
        info::STATE => {
            let field = fields.u16()?;
            format!("field: {field}, value: {}", bytes_text(fields.rest()))
        }
        _ => String::new(),
    })
}
