use super::*;
use std::time::Duration;

/// Redo that ends for a promotion while the receiver still acknowledges would lose what it acknowledged.
#[tokio::test]
async fn nobody_who_stops_a_receiver_goes_on_before_its_end() {
    let options = ReceiverOptions {
        system: wal::SystemId::new(1),
        segment_size: wal::SegmentSize::new(1 << 20).unwrap(),
        slot: None,
        follow_latest: true,
        status_interval: None,
        timeout: None,
        retry_interval: Duration::ZERO,
        feedback: false,
    };
    let settings = ReceiveSettings {
        conninfo: String::new(),
        application_name: String::new(),
        options,
        copy_slots: false,
        fsync: true,
    };
    let (running, runs) = watch::channel(());
    let handle = ReceiveHandle {
        cancel: CancellationToken::new(),
        settings: watch::Sender::new(settings),
        shown: Arc::default(),
        failed: watch::channel(None).1,
        runs,
    };
    let (mut first, mut second) = (std::pin::pin!(handle.stop()), std::pin::pin!(handle.stop()));
    tokio::select! {
        biased;
        () = &mut first => panic!("it runs"),
        () = &mut second => panic!("it runs, whoever else stops it"),
        () = std::future::ready(()) => assert!(handle.cancel.is_cancelled()),
    }
    drop(running);
    first.await;
    second.await;
}
