//! A connection's first packets, before anything is known of who it is: requests for encryption and for
//! cancelling, and the one that begins a session.

use crate::connection::wire::{Exit, Wire};
use crate::node::Node;
use protocol::startup::{self, Startup, StartupParameters};
use protocol::{Report, SqlState};

fn fatal(code: SqlState, message: impl Into<String>) -> Exit {
    Exit::Fatal(Box::new(Report::fatal(code, message)))
}

/// Reads startup packets until one asks for a session; None if the connection had another purpose.
pub(super) async fn parameters(node: &Node, wire: &mut Wire) -> Result<Option<StartupParameters>, Exit> {
    // Each kind of encryption may be asked for once, and none inside of TLS.
    let (mut tls_open, mut gss_open) = (true, true);
    loop {
        let packet = loop {
            match startup::peek(&wire.input) {
                Ok(Some(len)) => break wire.input.split_to(len),
                Ok(None) => {}
                // As in PostgreSQL nobody is told who may not even speak the protocol.
                Err(_) => {
                    node.ground.log.log("invalid length of startup packet");
                    return Err(Exit::Gone);
                }
            }
            wire.read_more().await?;
        };
        match startup::decode(&packet)? {
            Startup::Ssl if tls_open => {
                tls_open = false;
                // A handshake takes much, and for a moment.
                gss_open &= !Box::pin(encrypt(node, wire)).await?;
            }
            Startup::GssEncryption if gss_open => {
                gss_open = false;
                let early = !wire.input.is_empty();
                wire.out.extend_from_slice(b"N");
                wire.flush().await?;
                refuse_early(early)?;
            }
            Startup::Ssl => return Err(unsupported(1234, 5679)),
            Startup::GssEncryption => return Err(unsupported(1234, 5680)),
            Startup::Cancel(key) => {
                if !node.sessions.cancel(key) {
                    node.ground
                        .log
                        .log(format!("PID {} in cancel request did not match any process", key.pid));
                }
                return Ok(None);
            }
            Startup::Session(parameters) => return Ok(Some(parameters)),
        }
    }
}

/// Answers a request for TLS, and shakes hands if there is TLS here; whether the connection is encrypted now.
async fn encrypt(node: &Node, wire: &mut Wire) -> Result<bool, Exit> {
    let early = !wire.input.is_empty();
    let tls = node.ground.current().tls.filter(|_| wire.socket().peer().is_some());
    wire.out.extend_from_slice(if tls.is_some() { b"S" } else { b"N" });
    wire.flush().await?;
    if let Some(tls) = &tls {
        wire.input.clear();
        if let Err(error) = wire.encrypt(tls).await {
            node.ground.log.log(format!("could not accept SSL connection: {error}"));
            return Err(Exit::Gone);
        }
    }
    // Told over TLS, if there is: the client is the one who has to know.
    refuse_early(early)?;
    Ok(tls.is_some())
}

/// What came behind a request for encryption, in the clear, must not be taken for what follows it.
fn refuse_early(early: bool) -> Result<(), Exit> {
    if !early {
        return Ok(());
    }
    let what = "received unencrypted data after SSL request";
    let detail = "This could be either a client-software bug or evidence of an attempted \
                  man-in-the-middle attack.";
    Err(Exit::Fatal(Box::new(Report::fatal(SqlState::PROTOCOL_VIOLATION, what).with_detail(detail))))
}

/// A protocol that is not spoken.
pub(super) fn unsupported(major: u32, minor: u32) -> Exit {
    let what = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0");
    fatal(SqlState::FEATURE_NOT_SUPPORTED, what)
}
