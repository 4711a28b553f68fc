//! Messages between Plimsoll nodes inside a stream, by their types. What they carry besides PostgreSQL's
//! messages.

/// Type of the extension message about the stages that commits wait for: one byte, [`Stages::to_byte`].
pub(super) const AWAITED: u8 = b'I';
/// Type of the extension message about confirmed positions. From the sender: 8 bytes, the position up to
/// which the quorum holds the log. From a standby: one byte, whether it wants to hear of each change at once.
pub(super) const CONFIRMED: u8 = b'C';
/// Type of the extension message about evidence. From the sender: 4 bytes, the latest timeline of its history
/// of which it is a witness ([`wal::NodeLog::witnessed`]), 0 for none.
pub(super) const WITNESSED: u8 = b'W';
/// Type of the extension message about a stream's begin. From the sender: 8 bytes, the position of the first
/// byte that it sends, if the standby named one before its start to compare from.
pub(super) const BEGINS: u8 = b'B';
/// Type of the extension message about the directory. From a standby: 8 bytes, the id of the directory
/// that it works on ([`crate::directory_id`]), before its first report and after [`FORMER`]; and again if it
/// draws another one.
pub(super) const DIRECTORY: u8 = b'D';
/// Type of the extension message about the cluster's nodes. From both: who the teller is, where it can be
/// reached, and the same of all others that it knows ([`crate::roster::statement`]).
pub(super) const ROSTER: u8 = b'R';
/// Type of the extension message about sockets. From a standby, before [`ROSTER`]: the name of the network in
/// which it listens ([`host::net::namespace`]), if it knows one.
pub(super) const NETWORK: u8 = b'N';
/// Type of the extension message about nodes that are no more. From both, before [`ROSTER`], and from a
/// standby before [`DIRECTORY`], too: who has their directories ([`crate::roster::former`]).
pub(super) const FORMER: u8 = b'F';
/// Type of the extension message about roles. From the sender, when a stream begins and before it tells where
/// its log ends: its server is the primary, and writes the timeline that is streamed. It has no contents. A
/// server that becomes the primary ends the streams of the timeline before, so it holds for a whole stream.
pub(super) const PRIMARY: u8 = b'P';
/// Type of the extension message about the way of the log. From the sender, when a stream begins and before
/// any log or keepalive, and when it changes: where it comes from, and over which servers
/// ([`crate::roster::route`]).
pub(super) const ROUTE: u8 = b'U';
/// Type of the extension message about slots. From a standby: one byte, whether it copies them. From the
/// sender: the node's slots.
pub(super) const SLOTS: u8 = b'S';
/// Type of the extension message about handovers. From the sender: 8 bytes, the end of its log, and 8 bytes,
/// the branch id of the log's timeline or 0, and 4 bytes, the newest timeline that it knows, and what an
/// administrator gave up there ([`crate::roster::heard_file::GivenUp`]): the standby that has exactly this
/// log may be promoted; or one byte, [`MAY_PROMOTE`]. From a standby: one byte of those below, after
/// [`REFUSES`] why, and after [`PROMOTES`] 4 bytes, the newest timeline that it knows.
pub(super) const HANDOVER: u8 = b'H';
/// The standby refuses the handover, and stays what it is.
pub(super) const REFUSES: u8 = 0;
/// The standby promotes itself once it is told that it may.
pub(super) const PROMOTES: u8 = 1;
/// The standby's answer came in time: it promotes itself.
pub(super) const MAY_PROMOTE: u8 = 3;
/// The standby can be handed the primary's role, and waits for [`MAY_PROMOTE`]: said at the stream's begin.
pub(super) const TAKES_OVER: u8 = 4;
