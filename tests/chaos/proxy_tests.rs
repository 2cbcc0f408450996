//! The proxy does what its modes say, and nothing else.

use std::io::Read as _;

use super::*;
use crate::kit::wait_until;

/// A peer that sends back what it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    address
}

struct Line {
    proxy: Proxy,
    stream: TcpStream,
    counts: Arc<Counts>,
}

fn line() -> Line {
    let counts = Arc::new(Counts::default());
    let proxy = Proxy::start(echo(), 7, Arc::clone(&counts));
    let stream = dial(&proxy);
    Line { proxy, stream, counts }
}

fn dial(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

impl Line {
    /// What comes back of these bytes, as many as there are.
    fn round_trip(&mut self, bytes: &[u8]) -> Vec<u8> {
        let (mut writer, sent) = (self.stream.try_clone().unwrap(), bytes.to_vec());
        let sender = thread::spawn(move || writer.write_all(&sent));
        let mut back = vec![0; bytes.len()];
        self.stream.read_exact(&mut back).unwrap();
        sender.join().unwrap().unwrap();
        back
    }

    /// How the stream ends: `None` in order.
    fn ending(&mut self) -> Option<ErrorKind> {
        std::io::copy(&mut self.stream, &mut std::io::sink()).err().map(|error| error.kind())
    }
}

fn seen(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[test]
fn bytes_pass_as_they_are() {
    let mut line = line();
    let bytes = sample(3 << 20);
    assert!(line.round_trip(&bytes) == bytes);
    let _ = line.stream.shutdown(Shutdown::Write);
    assert_eq!(line.ending(), None);
    assert_eq!(seen(&line.counts.passed), 6 << 20);
}

#[test]
fn delayed_bytes_come_later_and_in_order() {
    let mut line = line();
    let (mean, jitter) = (Duration::from_millis(60), Duration::from_millis(50));
    line.proxy.set(Way::Forward, Mode::Delay { mean, jitter });
    let begin = Instant::now();
    let bytes = sample(1 << 20);
    assert!(line.round_trip(&bytes) == bytes);
    assert!(begin.elapsed() >= mean - jitter);
    assert!(seen(&line.counts.delayed) > 0);
    line.proxy.heal();
    assert!(line.round_trip(&bytes) == bytes, "what passes does not overtake what was held back");
}

#[test]
fn a_cut_ends_in_the_way_it_says() {
    for (how, kind) in [(Cut::Reset, Some(ErrorKind::ConnectionReset)), (Cut::Finish, None)] {
        let mut line = line();
        line.round_trip(&sample(10));
        line.proxy.cut(how);
        assert_eq!(line.ending(), kind);
        line.stream = dial(&line.proxy);
        line.round_trip(&sample(10));
        assert_eq!(seen(&line.counts.connections), 2, "a new one is welcome");
    }
}

#[test]
fn refused_is_refused_until_it_heals() {
    let mut line = line();
    line.round_trip(&sample(10));
    line.proxy.set(Way::Backward, Mode::Refuse(Cut::Finish));
    assert_eq!(line.ending(), None);
    line.stream = dial(&line.proxy);
    assert_eq!(line.ending(), None);
    line.proxy.heal();
    line.stream = dial(&line.proxy);
    line.round_trip(&sample(10));
}

#[test]
fn a_half_open_line_swallows_one_way_only() {
    let mut line = line();
    line.proxy.set(Way::Backward, Mode::Blackhole);
    line.stream.write_all(&sample(100)).unwrap();
    wait_until("the answer is swallowed", || seen(&line.counts.swallowed) == 100);
    assert_eq!(seen(&line.counts.passed), 100, "the question was passed");
    line.proxy.heal();
    line.stream.write_all(&[5]).unwrap();
    assert_eq!(line.ending(), Some(ErrorKind::ConnectionReset), "a stream does not go on behind a hole");
}

#[test]
fn some_bytes_become_others() {
    let mut line = line();
    line.proxy.set(Way::Forward, Mode::Flip { every: 4096 });
    let bytes = sample(1 << 20);
    let back = line.round_trip(&bytes);
    let differ = back.iter().zip(&bytes).filter(|(left, right)| left != right).count() as u64;
    assert_eq!(differ, seen(&line.counts.flipped));
    assert!((64..1024).contains(&differ), "about one in 4096 of a million: {differ}");
}

/// A tour of all modes once went on before a byte was flipped, because connections that ended
/// early began to count anew: on a busy machine no byte was ever hit.
#[test]
fn bytes_are_flipped_however_short_connections_live() {
    let mut line = line();
    line.proxy.set(Way::Backward, Mode::Flip { every: 1024 });
    let mut passed = 0;
    while !line.proxy.has_struck() {
        assert!(passed < 2 * 1024, "one of the first 2048 bytes is hit, over all connections");
        line.stream = dial(&line.proxy);
        line.round_trip(&sample(64));
        passed += 64;
    }
    assert_eq!(seen(&line.counts.flipped), 1);
}

#[test]
fn a_mode_has_struck_once_it_met_something() {
    let modes = [
        Mode::Delay { mean: Duration::ZERO, jitter: Duration::ZERO },
        Mode::Refuse(Cut::Finish),
        Mode::Blackhole,
        Mode::Flip { every: 1 },
        Mode::Truncate { after: 1 },
        Mode::Slow { per_second: 1 << 20 },
        Mode::Clog,
    ];
    for mode in modes {
        let mut line = line();
        line.round_trip(&sample(10));
        assert!(!line.proxy.has_struck(), "to pass is not to strike");
        line.proxy.set(Way::Backward, mode);
        if !matches!(mode, Mode::Refuse(_) | Mode::Clog) {
            assert!(!line.proxy.has_struck(), "{mode:?} met nothing yet");
        }
        let _ = line.stream.write_all(&sample(10));
        wait_until("it has struck", || line.proxy.has_struck());
        line.proxy.heal();
        assert!(!line.proxy.has_struck(), "what is over is forgotten");
    }
}

#[test]
fn a_truncated_stream_is_a_prefix() {
    let mut line = line();
    line.proxy.set(Way::Backward, Mode::Truncate { after: 64 << 10 });
    let bytes = sample(1 << 20);
    let (mut writer, sent) = (line.stream.try_clone().unwrap(), bytes.clone());
    let sender = thread::spawn(move || writer.write_all(&sent));
    let mut back = Vec::new();
    let ended = line.stream.read_to_end(&mut back).map_err(|error| error.kind());
    assert_eq!(ended, Err(ErrorKind::ConnectionReset));
    assert!(back.len() < 64 << 10 && bytes.starts_with(&back));
    assert_eq!(seen(&line.counts.truncated), 1);
    drop(sender.join());
}

#[test]
fn a_slow_line_takes_its_time() {
    let mut line = line();
    line.proxy.set(Way::Forward, Mode::Slow { per_second: 125_000 });
    let begin = Instant::now();
    let bytes = sample(25_000);
    assert!(line.round_trip(&bytes) == bytes);
    assert!(begin.elapsed() >= Duration::from_millis(190));
}

#[test]
fn a_clogged_line_holds_everything_up_and_loses_nothing() {
    let mut line = line();
    // Its pump waits for bytes when it is clogged, and reads those that come next.
    line.round_trip(&sample(10));
    wait_until("all is counted", || seen(&line.counts.passed) == 20);
    line.proxy.set(Way::Forward, Mode::Clog);
    line.stream.write_all(&sample(1000)).unwrap();
    wait_until("it is clogged", || seen(&line.counts.clogged) > 10);
    assert_eq!(seen(&line.counts.passed), 20);
    line.proxy.heal();
    let mut back = vec![0; 1000];
    line.stream.read_exact(&mut back).unwrap();
    assert!(back == sample(1000));
}

#[test]
fn a_new_target_is_for_new_connections() {
    let mut line = line();
    line.round_trip(&sample(10));
    line.proxy.lead_to(echo());
    line.round_trip(&sample(10));
    line.proxy.cut(Cut::Reset);
    line.stream = dial(&line.proxy);
    line.round_trip(&sample(10));
    drop(line.proxy);
    assert!(TcpStream::connect(line.stream.peer_addr().unwrap()).is_err(), "nobody listens any more");
}
