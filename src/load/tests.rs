//! The generator against the sink, on real loopback sockets without a relay between them.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::message::Framing;

/// Against hanging for ever only; no test passes because of it.
const HANG: Duration = Duration::from_secs(60);

fn sink(framing: Framing) -> SinkHandle {
    listen(SocketAddr::from(([127, 0, 0, 1], 0)), framing).unwrap()
}

fn plan(sink: &SinkHandle, framing: Framing) -> SendPlan {
    SendPlan { framing, patience: HANG, ..SendPlan::new(sink.address()) }
}

/// Twenty connections, each message once, in order, acknowledged and received.
fn arrives_exactly(style: Style, framing: Framing, messages: u64, size: usize) {
    let sink = sink(framing);
    let connections = 20;
    let sent = send(SendPlan {
        connections,
        messages_per_connection: Some(messages),
        style,
        size,
        ..plan(&sink, framing)
    });
    let sent = sent.unwrap();
    let total = messages * u64::from(connections);
    assert!(sink.wait_for(total, HANG), "{:?}", sink.tally());
    let report = sink.finish();
    assert_eq!((sent.written_messages(), sent.acked_messages()), (total, total));
    assert_eq!(sent.count(End::Finished), 20);
    assert_eq!((report.tally.messages, report.tally.connections, report.tally.foreign), (total, 20, 0));
    assert_eq!(report.tally.bytes, sent.connections.iter().map(|one| one.written_bytes).sum::<u64>());
    assert!(report.tally.is_whole(), "{:?}", report.tally);
    assert_eq!(report.lost(&sent), 0);
    assert!((0..20).all(|one| report.stream(sent.run, one).unwrap().messages == messages));
}

#[test]
fn bulk_lines_arrive_exactly() {
    arrives_exactly(Style::Bulk, Framing::Line, 5000, 256);
}

#[test]
fn bulk_counted_messages_arrive_exactly() {
    arrives_exactly(Style::Bulk, Framing::Octet, 5000, Stamp::LEN);
}

#[test]
fn single_lines_arrive_exactly() {
    arrives_exactly(Style::Single, Framing::Line, 200, 300);
}

#[test]
fn single_counted_messages_arrive_exactly() {
    arrives_exactly(Style::Single, Framing::Octet, 200, 300);
}

#[test]
fn paced_lines_arrive_exactly() {
    arrives_exactly(Style::Paced { per_second: 20_000 }, Framing::Line, 100, 64);
}

#[test]
fn paced_counted_messages_arrive_exactly() {
    arrives_exactly(Style::Paced { per_second: 20_000 }, Framing::Octet, 100, 64);
}

#[test]
fn dribbled_lines_arrive_exactly() {
    arrives_exactly(Style::Dribble, Framing::Line, 100, 500);
}

#[test]
fn dribbled_counted_messages_arrive_exactly() {
    arrives_exactly(Style::Dribble, Framing::Octet, 100, 500);
}

#[test]
fn messages_larger_than_every_buffer_arrive_exactly() {
    arrives_exactly(Style::Bulk, Framing::Octet, 2, 1_000_000);
}

#[test]
fn a_thousand_connections_share_the_threads() {
    let sink = sink(Framing::Line);
    let sent =
        send(SendPlan { connections: 1000, messages_per_connection: Some(20), ..plan(&sink, Framing::Line) });
    assert_eq!(sent.unwrap().count(End::Finished), 1000);
    assert!(sink.wait_for(20_000, HANG));
    let tally = sink.finish().tally;
    assert_eq!((tally.messages, tally.connections), (20_000, 1000));
    assert!(tally.is_whole(), "{tally:?}");
}

#[test]
fn a_pace_is_kept() {
    let sink = sink(Framing::Line);
    let style = Style::Paced { per_second: 2000 };
    let sent = send(SendPlan {
        connections: 4,
        messages_per_connection: Some(100),
        style,
        ..plan(&sink, Framing::Line)
    });
    // The last of 400 messages is due after 199.5 ms.
    assert!(sent.unwrap().micros >= 199_500);
}

#[test]
fn a_fin_of_the_peer_ends_every_connection_at_a_boundary() {
    let sink = sink(Framing::Line);
    let sending = start(SendPlan { connections: 8, size: 1000, ..plan(&sink, Framing::Line) }).unwrap();
    assert!(sink.wait_for_connections(8, HANG));
    assert!(sink.wait_for(10_000, HANG));
    sink.close_all();
    let sent = sending.finish();
    assert_eq!(sent.count(End::PeerClosed), 8, "{sent:?}");
    for one in &sent.connections {
        assert_eq!(one.acked_bytes, one.written_bytes);
        assert_eq!(one.written_bytes, one.written_messages * 1001);
    }
    let report = sink.finish();
    assert_eq!(report.tally.messages, sent.written_messages());
    assert!(report.tally.is_whole(), "{:?}", report.tally);
}

#[test]
fn a_reset_is_reported_as_reset() {
    let sink = sink(Framing::Octet);
    let sending = start(SendPlan { connections: 4, ..plan(&sink, Framing::Octet) }).unwrap();
    assert!(sink.wait_for_connections(4, HANG));
    assert!(sink.wait_for(1000, HANG));
    sink.reset_all();
    assert_eq!(sink.open_connections(), 0);
    let sent = sending.finish();
    assert_eq!(sent.count(End::Reset), 4, "{sent:?}");
    let report = sink.finish();
    assert!(report.tally.messages <= sent.written_messages());
    assert_eq!((report.tally.holes, report.tally.duplicates, report.tally.torn), (0, 0, 0));
}

#[test]
fn a_cut_loses_nothing_that_was_acknowledged() {
    let sink = sink(Framing::Line);
    let sending = start(SendPlan { connections: 4, ..plan(&sink, Framing::Line) }).unwrap();
    assert!(sink.wait_for_connections(4, HANG));
    assert!(sink.wait_for(10_000, HANG));
    sink.cut_all();
    let sent = sending.finish();
    // One that is cut while its sender still sets it up never was a connection to that.
    assert_eq!(sent.count(End::Reset) + sent.count(End::Unconnected), 4, "{sent:?}");
    let report = sink.finish();
    assert_eq!(report.lost(&sent), 0);
    // What came last may never have been acknowledged: our kernel delays that.
    let acknowledged_or_written = sent.acked_messages()..=sent.written_messages();
    assert!(acknowledged_or_written.contains(&report.tally.messages), "{:?}, {sent:?}", report.tally);
    assert!(report.tally.is_whole(), "{:?}", report.tally);
}

#[test]
fn a_stalled_sink_reads_nothing_until_it_is_resumed() {
    let sink = sink(Framing::Line);
    sink.stall();
    let mut sending =
        start(SendPlan { messages_per_connection: Some(100_000), size: 1000, ..plan(&sink, Framing::Line) })
            .unwrap();
    assert!(sink.wait_for_connections(1, HANG));
    // Long enough to write 100 MB ten times over, were it read.
    assert!(!sending.wait(Duration::from_millis(500)));
    assert_eq!(sink.tally().bytes, 0);
    sink.resume();
    assert_eq!(sending.finish().count(End::Finished), 1);
    assert!(sink.wait_for(100_000, HANG));
    assert!(sink.finish().tally.is_whole());
}

#[test]
fn a_stalled_connection_can_be_reset() {
    let sink = sink(Framing::Line);
    let sending = start(plan(&sink, Framing::Line)).unwrap();
    assert!(sink.wait_for(1, HANG));
    sink.stall();
    sink.reset_all();
    assert_eq!(sending.finish().count(End::Reset), 1);
}

#[test]
fn a_stop_ends_a_flowing_run_at_a_boundary() {
    let sink = sink(Framing::Line);
    let sending = start(SendPlan { connections: 4, ..plan(&sink, Framing::Line) }).unwrap();
    assert!(sink.wait_for_connections(4, HANG));
    assert!(sink.wait_for(10_000, HANG));
    sending.stopper().stop();
    let sent = sending.finish();
    assert_eq!(sent.count(End::Stopped), 4, "{sent:?}");
    assert_eq!(sink.finish().tally.messages, sent.written_messages());
}

#[test]
fn a_stop_ends_a_blocked_write() {
    let sink = sink(Framing::Line);
    sink.stall();
    let sending = start(SendPlan { size: 1_000_000, ..plan(&sink, Framing::Line) }).unwrap();
    assert!(sink.wait_for_connections(1, HANG));
    sending.stopper().stop();
    let sent = sending.finish();
    assert_eq!(sent.connections.len(), 1);
    assert!(matches!(sent.connections[0].end, End::TimedOut | End::Stopped), "{sent:?}");
}

#[test]
fn a_peer_that_does_not_read_times_out() {
    let sink = sink(Framing::Line);
    sink.stall();
    let patience = Duration::from_millis(100);
    let sent = send(SendPlan { patience, ..plan(&sink, Framing::Line) }).unwrap();
    assert_eq!(sent.count(End::TimedOut), 1, "{sent:?}");
    assert!(sent.acked_messages() < sent.written_messages());
}

/// What a peer reads that begins once a connection of one message of `size` bytes has given up.
fn read_after_giving_up(size: usize) -> std::io::Result<u64> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = SendPlan::new(listener.local_addr().unwrap());
    let patience = Duration::from_millis(100);
    let sending = start(SendPlan { patience, size, messages_per_connection: Some(1), ..to }).unwrap();
    let mut peer = listener.accept().unwrap().0;
    assert_eq!(sending.finish().count(End::TimedOut), 1);
    std::io::copy(&mut peer, &mut std::io::sink())
}

#[test]
fn giving_up_in_the_midst_of_a_message_resets_so_that_it_does_not_pass_for_a_whole_one() {
    // More than the kernel holds for both ends (tcp_wmem, tcp_rmem).
    let read = read_after_giving_up(16_000_000);
    assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn giving_up_after_a_whole_message_leaves_it_to_the_kernel() {
    assert_eq!(read_after_giving_up(500_000).unwrap(), 500_001);
}

#[test]
fn a_duration_ends_a_run() {
    let sink = sink(Framing::Line);
    let duration = Some(Duration::from_millis(50));
    let sent = send(SendPlan { duration, ..plan(&sink, Framing::Line) }).unwrap();
    assert_eq!(sent.count(End::Finished), 1);
    assert_eq!(sink.finish().tally.messages, sent.written_messages());
}

#[test]
fn nobody_listening_is_a_figure_and_no_error() {
    let closed = sink(Framing::Line);
    let nowhere = plan(&closed, Framing::Line);
    drop(closed.finish());
    let mut sending = start(SendPlan { connections: 3, ..nowhere }).unwrap();
    assert!(sending.wait(HANG));
    assert_eq!(sending.refusal().map(std::io::Error::kind), Some(std::io::ErrorKind::ConnectionRefused));
    assert_eq!(sending.finish().count(End::Unconnected), 3);
}

#[test]
fn a_message_without_its_end_is_torn() {
    use std::io::Write;
    let sink = sink(Framing::Line);
    let mut peer = std::net::TcpStream::connect(sink.address()).unwrap();
    peer.write_all(b"whole\nhalf").unwrap();
    drop(peer);
    assert!(sink.wait_for(1, HANG));
    let tally = sink.finish().tally;
    assert_eq!((tally.messages, tally.foreign, tally.torn), (1, 1, 1));
}

#[test]
fn a_wait_for_numbered_messages_is_not_ended_by_foreign_ones() {
    use std::io::Write;
    let sink = sink(Framing::Line);
    let mut peer = std::net::TcpStream::connect(sink.address()).unwrap();
    peer.write_all(&b"none of ours\n".repeat(10)).unwrap();
    assert!(sink.wait_for(10, HANG));
    assert!(!sink.wait_for_numbered(1, Duration::ZERO));
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| sink.wait_for_numbered(5, HANG));
        send(SendPlan { messages_per_connection: Some(5), ..plan(&sink, Framing::Line) }).unwrap();
        waiting.join().unwrap()
    });
    assert!(waiting, "{:?}", sink.tally());
}

#[test]
fn an_interrupt_ends_a_wait() {
    let sink = sink(Framing::Line);
    sink.interrupter().interrupt();
    assert!(!sink.wait_for(1, HANG));
    assert!(sink.interrupter().is_interrupted());
}
