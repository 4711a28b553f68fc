//! The signals that PostgreSQL takes.

use crate::StopMode;
use crate::node::Node;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Reacts to signals until the node has stopped.
pub(crate) async fn listen(node: Arc<Node>, end: CancellationToken) {
    let kinds = [
        SignalKind::hangup(),
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
    ];
    let mut streams = Vec::with_capacity(kinds.len());
    for kind in kinds {
        match signal(kind) {
            Ok(stream) => streams.push(stream),
            Err(error) => return node.log.warning(format!("could not listen for signals: {error}")),
        }
    }
    let [hangup, terminate, interrupt, quit, user1] = streams.as_mut_slice() else { return };
    loop {
        tokio::select! {
            biased;
            () = end.cancelled() => return,
            _ = quit.recv() => node.request_stop(StopMode::Immediate),
            _ = interrupt.recv() => node.request_stop(StopMode::Fast),
            _ = terminate.recv() => node.request_stop(StopMode::Smart),
            _ = hangup.recv() => node.reload(),
            _ = user1.recv() => look_for_promotion(&node),
        }
    }
}

/// `pg_ctl promote` leaves a file and then signals.
fn look_for_promotion(node: &Node) {
    let path = node.data_dir.join("promote");
    match node.host.disk.remove_file(&path) {
        Ok(()) => {
            node.log.log("received promote request");
            node.request_promotion();
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => node.log.warning(format!("could not remove file \"promote\": {error}")),
    }
}
