//! The end of the server: in order, and within its time.

use std::net::TcpStream;
use std::time::Duration;

use slog::{Discard, Logger, o};
use squall::cluster::api::{ApiLimits, ApiOptions, ApiServer};

use crate::fake::Fake;
use crate::http::{answer, begin, read};

const CLUSTER: &[u8] = b"GET /v1/cluster HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[test]
fn a_request_that_has_begun_is_answered() {
    let fake = Fake::new();
    fake.change(|inside| inside.holds = true);
    let server = fake.serve();
    let address = server.address();
    let (asked, idle) = (begin(address, CLUSTER), begin(address, b""));
    fake.wait_until_begun(1);
    let ending = std::thread::spawn(move || drop(server));
    // The connection without a request ends at once, while the other one is still waited for.
    assert_eq!(read(idle), b"");
    assert!(!ending.is_finished());
    fake.change(|inside| inside.holds = false);
    assert_eq!(answer(asked).status, 200);
    ending.join().expect("it ends");
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let fake = Fake::new();
    fake.change(|inside| inside.holds = true);
    let limits = ApiLimits { end_time: Duration::from_millis(20), ..ApiLimits::default() };
    let server = fake.serve_within(limits);
    let asked = begin(server.address(), CLUSTER);
    fake.wait_until_begun(1);
    drop(server);
    assert_eq!(read(asked), b"");
    fake.change(|inside| inside.holds = false);
}

#[test]
fn an_address_that_is_in_use_is_an_error_that_says_so() {
    let fake = Fake::new();
    let first = fake.serve();
    let logger = Logger::root(Discard, o!());
    let second = ApiServer::start(ApiOptions::on(first.address()), fake.clone(), &logger);
    let error = second.expect_err("the first one has it");
    let cause = std::error::Error::source(&error).expect("there is one").to_string();
    assert!(error.to_string().contains(&first.address().to_string()), "{error}");
    assert!(cause.contains("in use"), "{cause}");
}
