//! Requests byte by byte, so that a test can send what no client would.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The line of the status and the headers.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null if there is none.
    pub fn json(&self) -> Value {
        match self.body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}")),
        }
    }

    /// The code of an error.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("no code: {self:?}")).to_owned()
    }

    /// The message of an error.
    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_else(|| panic!("no message: {self:?}")).to_owned()
    }
}

/// A connection with these bytes on their way. The server may end it before it has them all.
pub fn begin(server: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server).expect("it listens");
    // A defect fails, and does not hang.
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("it is not zero");
    let _ = stream.write_all(bytes);
    stream
}

/// All that comes until the server ends the connection. It resets one that it has not read to the end.
pub fn read(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => bytes,
    }
}

/// The answer on a connection.
pub fn answer(stream: TcpStream) -> Answer {
    let bytes = read(stream);
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| {
        panic!("no answer: {}", String::from_utf8_lossy(&bytes));
    });
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head is text");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

/// Sends these bytes, and reads the answer.
pub fn exchange(server: SocketAddr, bytes: &[u8]) -> Answer {
    answer(begin(server, bytes))
}

/// A request as a client sends it.
pub fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Sends a request, and reads the answer.
pub fn ask(server: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    exchange(server, &request(method, path, body.as_bytes()))
}
