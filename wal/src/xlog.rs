//! Records of the log itself (resource manager XLOG).

/// xl_info of XLOG_SWITCH.
pub const SWITCH: u8 = 0x40;
