//! What somebody sends who means no good, or whose client is broken.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use squall::cluster::api::ApiLimits;
use squall::cluster::topologies::{BlobHash, TopologyPhase};

use crate::fake::Fake;
use crate::http::{answer, ask, begin, exchange, read, request};

#[test]
fn no_name_leads_elsewhere() {
    let fake = Fake::new();
    let server = fake.serve();
    let long = "x".repeat(44);
    let names = [
        "..",
        "%2e%2e",
        "..%2f..%2fetc",
        "%2f",
        "a%2fb",
        "a%00b",
        "%00",
        "a%0ab",
        "a%20b",
        "%C3%A9",
        "a%5Cb",
        "a:b",
        &long,
    ];
    for name in names {
        for (method, path) in [
            ("GET", format!("/v1/topologies/{name}")),
            ("DELETE", format!("/v1/topologies/{name}")),
            ("PUT", format!("/v1/topologies/{name}/wanted")),
            ("PUT", format!("/v1/blobs/{name}")),
        ] {
            let answer = ask(server.address(), method, &path, r#"{"wanted":"killed"}"#);
            assert_eq!((answer.status, &*answer.code()), (422, "invalid"), "{method} {path}");
            assert!(!answer.message().contains(char::is_control), "{}", answer.message());
        }
    }
    for path in ["/v1/topologies/%ff", "/v1/blobs/%c3%28"] {
        let method = if path.contains("blobs") { "PUT" } else { "GET" };
        assert_eq!(ask(server.address(), method, path, "").code(), "malformed", "{path}");
    }
    assert_eq!(fake.inside().begun, 0, "nothing of that reaches an operation");
}

#[test]
fn a_blob_is_what_its_hash_says() {
    let fake = Fake::new();
    let server = fake.serve();
    let hash = BlobHash::of(b"one");
    let put = |hash: &str, body: &str| ask(server.address(), "PUT", &format!("/v1/blobs/{hash}"), body);
    assert_eq!(put(hash.as_str(), "another").code(), "invalid");
    assert_eq!(put(&hash.as_str().to_uppercase(), "one").code(), "invalid");
    assert_eq!(put(&hash.as_str()[1..], "one").code(), "invalid");
    assert!(fake.inside().blobs.is_empty());
}

#[test]
fn pages_of_others_are_refused() {
    let fake = Fake::new();
    let server = fake.serve();
    let check = |head: &str| {
        let answer = exchange(server.address(), format!("{head}\r\n\r\n").as_bytes());
        assert_eq!((answer.status, &*answer.code()), (403, "forbidden"), "{head}");
        assert!(!answer.head.to_lowercase().contains("access-control"), "{}", answer.head);
    };
    // A name of somebody else that leads to this address.
    check("GET /v1/topologies HTTP/1.1\r\nhost: evil.example");
    check("GET /v1/topologies HTTP/1.1\r\nhost: evil.example:7070");
    check("GET /v1/topologies HTTP/1.1\r\nhost: localhost.evil.example");
    check("GET http://evil.example/v1/topologies HTTP/1.1\r\nhost: localhost");
    check("GET /v1/topologies HTTP/1.1");
    check("GET /v1/topologies HTTP/1.1\r\nhost: localhost\r\nhost: localhost");
    check("GET /v1/topologies HTTP/1.0");
    // A page that sends something.
    check(
        "POST /v1/topologies HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\ncontent-length: 0",
    );
    check("OPTIONS /v1/topologies HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example");
    check("DELETE /v1/topologies/words HTTP/1.1\r\nhost: localhost\r\norigin: null");
    check("GET /nowhere HTTP/1.1\r\nhost: evil.example");
    assert_eq!(fake.inside().begun, 0, "nothing of that reaches an operation");
    let own = format!("GET /v1/topologies HTTP/1.1\r\nhost: {}\r\n\r\n", server.address());
    assert_eq!(exchange(server.address(), own.as_bytes()).status, 200);
}

#[test]
fn what_is_no_http_is_refused() {
    let fake = Fake::new();
    let server = fake.serve();
    let refused = |bytes: &[u8], statuses: &[u16]| {
        let bytes = bytes.to_vec();
        let answer = exchange(server.address(), &bytes);
        assert!(statuses.contains(&answer.status), "{}: {answer:?}", String::from_utf8_lossy(&bytes));
    };
    refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", &[400]);
    refused(b"GET /v1/clu\0ster HTTP/1.1\r\nhost: localhost\r\n\r\n", &[400]);
    refused(b"GET /v1/cluster HTTP/9.9\r\nhost: localhost\r\n\r\n", &[400]);
    refused(b"GET /v1/cluster HTTP/1.1\r\nhost : localhost\r\n\r\n", &[400]);
    // Two lengths, by which one request could be hidden in another.
    let two = b"PUT /v1/topologies/a/wanted HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n";
    refused(two, &[400]);
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    refused(format!("GET /v1/cluster HTTP/1.1\r\nhost: localhost\r\n{many}\r\n").as_bytes(), &[431]);
    assert_eq!(fake.inside().begun, 0, "nothing of that reaches an operation");
    assert_eq!(ask(server.address(), "GET", "/v1/cluster", "").status, 200);
}

/// A head of any size would be kept in memory until it is whole.
#[test]
fn a_head_has_a_bound() {
    let server = Fake::new().serve();
    let huge = format!("GET /v1/cluster HTTP/1.1\r\nhost: localhost\r\nx: {}", "x".repeat(16 << 10));
    assert_eq!(exchange(server.address(), huge.as_bytes()).status, 431);
}

fn small() -> ApiLimits {
    ApiLimits { blob_bytes_max: 1000, json_bytes_max: 100, ..ApiLimits::default() }
}

#[test]
fn a_body_has_a_bound() {
    let fake = Fake::new();
    fake.has("words", TopologyPhase::Active);
    let server = fake.serve_within(small());
    let too_large = |bytes: &[u8], bound: &str| {
        let answer = exchange(server.address(), bytes);
        assert_eq!((answer.status, &*answer.code()), (413, "too_large"));
        assert!(answer.message().contains(bound), "{}", answer.message());
    };
    // It is refused before it comes, if its length is announced.
    let announced = |path: &str, length: u64| {
        format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n").into_bytes()
    };
    let hash = BlobHash::of(&[b'x'; 1000]);
    too_large(&announced("/v1/topologies/words/wanted", 101), "100 bytes");
    too_large(&announced(&format!("/v1/blobs/{hash}"), 1001), "1000 bytes");
    too_large(&announced(&format!("/v1/blobs/{hash}"), u64::MAX / 2), "1000 bytes");
    // Otherwise when there is too much of it.
    let chunked = |length: usize| {
        let head =
            format!("PUT /v1/blobs/{hash} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
        [head.as_bytes(), format!("{length:x}\r\n").as_bytes(), &vec![b'x'; length], b"\r\n0\r\n\r\n"]
            .concat()
    };
    too_large(&chunked(1001), "1000 bytes");
    too_large(&chunked(50_000), "1000 bytes");
    assert_eq!(fake.inside().begun, 0, "nothing of that reaches an operation");
    assert_eq!(exchange(server.address(), &chunked(1000)).status, 204);
}

/// A client that sends a byte now and then kept a connection for as long as it liked.
#[test]
fn a_slow_client_is_cut() {
    let fake = Fake::new();
    let soon = Duration::from_millis(50);
    // Each of these would wait for ever: nothing more is sent.
    let server = fake.serve_within(ApiLimits { head_time: soon, ..ApiLimits::default() });
    assert_eq!(read(begin(server.address(), b"")), b"");
    let cut = read(begin(server.address(), b"GET /v1/cluster HTTP/1.1\r\nho"));
    assert!(cut.is_empty() || cut.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&cut));
    let server = fake.serve_within(ApiLimits { body_time: soon, ..ApiLimits::default() });
    let body = b"POST /v1/topologies HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n{";
    let slow = answer(begin(server.address(), body));
    assert_eq!((slow.status, &*slow.code()), (408, "too_slow"));
    assert_eq!(ask(server.address(), "GET", "/v1/cluster", "").status, 200);
}

/// A client that does not read its answer is cut, too.
#[test]
fn a_connection_lasts_for_a_bounded_time() {
    let fake = Fake::new();
    fake.change(|inside| inside.holds = true);
    let limits = ApiLimits { connection_time: Duration::from_millis(50), ..ApiLimits::default() };
    let server = fake.serve_within(limits);
    let cut = read(begin(server.address(), b"GET /v1/cluster HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    assert_eq!(cut, b"", "the call has not ended");
    fake.change(|inside| inside.holds = false);
}

#[test]
fn a_connection_serves_one_request() {
    let fake = Fake::new();
    let server = fake.serve();
    let one = "GET /v1/cluster HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answers = String::from_utf8(read(begin(server.address(), one.repeat(3).as_bytes()))).expect("text");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
    assert!(answers.to_lowercase().contains("connection: close"), "{answers}");
}

#[test]
fn more_calls_than_can_wait_are_refused() {
    let fake = Fake::new();
    fake.change(|inside| inside.holds = true);
    let limits = ApiLimits { calls_max: 3, call_threads: 2, ..ApiLimits::default() };
    let server = fake.serve_within(limits);
    let cluster = b"GET /v1/cluster HTTP/1.1\r\nhost: localhost\r\n\r\n";
    // Two run, and a third waits for a thread. Which of four is refused is left to the server.
    let (sender, answers) = std::sync::mpsc::channel();
    for _ in 0..4 {
        let (sender, stream) = (sender.clone(), begin(server.address(), cluster));
        std::thread::spawn(move || sender.send(answer(stream)));
    }
    fake.wait_until_begun(2);
    let refused = answers.recv().expect("one is answered at once");
    assert_eq!((refused.status, &*refused.code()), (503, "busy"));
    fake.change(|inside| inside.holds = false);
    let rest: Vec<u16> = (0..3).map(|_| answers.recv().expect("it is answered").status).collect();
    assert_eq!(rest, [200, 200, 200]);
    assert_eq!(ask(server.address(), "GET", "/v1/cluster", "").status, 200);
}

#[test]
fn a_call_that_takes_too_long_is_left_alone() {
    let fake = Fake::new();
    fake.change(|inside| inside.holds = true);
    let limits = ApiLimits { call_time: Duration::from_millis(20), ..ApiLimits::default() };
    let server = fake.serve_within(limits);
    let late = ask(server.address(), "GET", "/v1/cluster", "");
    assert_eq!((late.status, &*late.code()), (504, "unfinished"));
    assert!(late.message().contains("20ms"), "{}", late.message());
    fake.change(|inside| inside.holds = false);
}

/// Each blob that is received is in memory as a whole.
#[test]
fn blobs_are_received_one_after_the_other() {
    let fake = Fake::new();
    fake.change(|inside| inside.holds = true);
    let server = fake.serve_within(ApiLimits { blobs_max: 1, ..ApiLimits::default() });
    let path = format!("/v1/blobs/{}", BlobHash::of(b"x"));
    let first = begin(server.address(), &request("PUT", &path, b"x"));
    fake.wait_until_begun(1);
    // The server asks for a body when it begins to read it.
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n"
    );
    let mut second = begin(server.address(), head.as_bytes());
    // Connections are served in the order in which they come, so the second one was looked at before this one.
    assert_eq!(ask(server.address(), "GET", "/v1/healthz", "").status, 200);
    let mut asked = [0; 25];
    second.set_nonblocking(true).expect("it can be");
    let early = second.read(&mut asked).expect_err("the first blob is not received yet");
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    second.set_nonblocking(false).expect("it can be");
    fake.change(|inside| inside.holds = false);
    assert_eq!(answer(first).status, 204);
    second.read_exact(&mut asked).expect("it is asked for its body");
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    second.write_all(b"x").expect("it reads");
    assert_eq!(answer(second).status, 204);
}

/// Each blob that is sent is in memory as a whole until its client has taken it.
#[test]
fn blobs_are_sent_one_after_the_other() {
    let fake = Fake::new();
    let large = vec![7; 32 << 20];
    let hash = BlobHash::of(&large);
    fake.change(|inside| _ = inside.blobs.insert(hash.clone(), large.clone()));
    let server = fake.serve_within(ApiLimits { blobs_max: 1, ..ApiLimits::default() });
    let path = format!("/v1/blobs/{hash}/bytes");
    let mut first = begin(server.address(), &request("GET", &path, b""));
    let mut some = [0; 12];
    first.read_exact(&mut some).expect("it is answered");
    assert_eq!(&some, b"HTTP/1.1 200");
    let second = begin(server.address(), &request("GET", &path, b""));
    // Connections are served in the order in which they come, so the second one was looked at before this one.
    assert_eq!(ask(server.address(), "GET", "/v1/healthz", "").status, 200);
    second.set_nonblocking(true).expect("it can be");
    let early = (&second).read(&mut some).expect_err("the first one is not sent yet");
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    second.set_nonblocking(false).expect("it can be");
    assert!(read(first).ends_with(&large));
    assert!(answer(second).body == large);
}

/// All places are taken by clients that send nothing. They are cut, and the next one is served.
#[test]
fn connections_are_bounded() {
    let fake = Fake::new();
    let limits =
        ApiLimits { connections_max: 2, head_time: Duration::from_millis(100), ..ApiLimits::default() };
    let server = fake.serve_within(limits);
    let idle: Vec<_> = (0..5).map(|_| begin(server.address(), b"")).collect();
    // If this process is slow, it is cut like the others, and tries again.
    let request = request("GET", "/v1/cluster", b"");
    while read(begin(server.address(), &request)).is_empty() {}
    drop(idle);
}
