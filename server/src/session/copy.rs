//! COPY FROM STDIN: data from the client until it says that there is no more.

use super::{Failure, Session, limited};
use protocol::backend::{self, CopyDirection};
use protocol::frontend::FrontendMessage;
use protocol::{Format, Report, SqlState};
use sql_interface::CommandTag;
use sql_session::Portal;
use std::pin::pin;

/// Messages that may come while a COPY's data does: those of COPY itself, and Flush and Sync of a client that
/// pipelines.
const OF_COPY: &[u8] = b"dcfHS";

impl Session {
    /// Whoever says something else takes the COPY for over: neither side knows any more what the other one
    /// is at.
    fn lost_in_copy(&mut self, kind: u8) -> Failure {
        self.sql.fail();
        if kind == b'X' {
            return super::Exit::Gone.into();
        }
        let what = format!("unexpected message type 0x{kind:02X} during COPY from stdin");
        if let Err(exit) = self.failed(Report::error(SqlState::PROTOCOL_VIOLATION, what)) {
            return exit.into();
        }
        let lost = "terminating connection because protocol synchronization was lost";
        super::Exit::Fatal(Box::new(Report::fatal(SqlState::PROTOCOL_VIOLATION, lost))).into()
    }

    /// Takes a COPY's data. After an error the rest of the data, if any, meets a session that ignores it.
    pub(super) async fn copy_in(
        &mut self,
        portal: &mut Portal,
        columns: u16,
        format: Format,
    ) -> Result<CommandTag, Failure> {
        backend::copy_response(&mut self.wire.out, CopyDirection::In, format, usize::from(columns));
        self.wire.flush().await?;
        loop {
            let (kind, body) = self.wire.next(self.frame_limits).await?;
            if !OF_COPY.contains(&kind) {
                return Err(self.lost_in_copy(kind));
            }
            let message = FrontendMessage::decode(kind, &body).map_err(|error| {
                self.sql.fail();
                Report::error(SqlState::PROTOCOL_VIOLATION, error.to_string())
            })?;
            match message {
                FrontendMessage::CopyData(data) => {
                    limited(self.deadline, &self.canceller, pin!(self.sql.copy_feed(portal, data))).await?;
                    self.wire.done_with(body);
                }
                FrontendMessage::CopyDone => {
                    return Ok(
                        limited(self.deadline, &self.canceller, pin!(self.sql.copy_finish(portal))).await?
                    );
                }
                FrontendMessage::CopyFail(why) => return Err(self.sql.copy_fail(portal, why).into()),
                // A client that pipelines may have sent these ahead.
                FrontendMessage::Flush | FrontendMessage::Sync => {}
                _ => return Err(self.lost_in_copy(kind)),
            }
        }
    }
}
