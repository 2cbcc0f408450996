//! A client of ZooKeeper's protocol that shares no code with squall: what it reads is what the server has.
//!
//! It opens one connection, waits for each answer, and panics when the connection fails: a test makes it where the
//! server is well, uses it and drops it. It can also take over a session of somebody else and end it, because the
//! server derives the password of a session from its number.
//!
//! Formats: `zookeeper.jute` of ZooKeeper 3.8. A number is big-endian; a text or a byte string follows its length in
//! four bytes, which is -1 for none.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::PATIENCE;

/// A connection with a session.
pub struct Witness {
    stream: TcpStream,
    session: i64,
    requests: i32,
}

/// What the server says of a node. See `Stat` in ZooKeeper's documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The transaction that created it.
    pub created: i64,
    /// The transaction that wrote it last.
    pub written: i64,
    pub version: i32,
    /// The session that it ends with, or 0.
    pub owner: i64,
    pub children: i32,
}

/// Who may do what with a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Of 1 read, 2 write, 4 create, 8 delete, 16 administer.
    pub permissions: i32,
    pub scheme: String,
    pub id: String,
}

impl Right {
    /// Everybody may do everything.
    pub fn open() -> Right {
        Right { permissions: 31, scheme: "world".to_owned(), id: "anyone".to_owned() }
    }

    /// Who is authenticated now may do everything. The server writes down who that is.
    pub fn authenticated() -> Right {
        Right { permissions: 31, scheme: "auth".to_owned(), id: String::new() }
    }
}

/// An error that the server answers with: `KeeperException.Code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal(pub i32);

pub const NO_NODE: Refusal = Refusal(-101);
pub const NO_AUTH: Refusal = Refusal(-102);
pub const BAD_VERSION: Refusal = Refusal(-103);
pub const NODE_EXISTS: Refusal = Refusal(-110);

const CREATE: i32 = 1;
const DELETE: i32 = 2;
const EXISTS: i32 = 3;
const GET: i32 = 4;
const SET: i32 = 5;
const GET_RIGHTS: i32 = 6;
const SET_RIGHTS: i32 = 7;
const CHILDREN: i32 = 8;
const SYNC: i32 = 9;
const AUTHENTICATE: i32 = 100;
const CLOSE: i32 = -11;

/// The session is asked to last so long without a word. It ends with the connection, in order.
const SESSION_MS: i32 = 60_000;

impl Witness {
    /// A session of its own at this server.
    pub fn at(server: SocketAddr) -> Witness {
        Witness::with_session(server, 0).unwrap_or_else(|error| panic!("{server}: {error}"))
    }

    /// The same, as a user.
    pub fn with_user(server: SocketAddr, user: &str, password: &str) -> Witness {
        let mut witness = Witness::at(server);
        witness.authenticate(user, password).expect("any user is taken");
        witness
    }

    /// Ends a session of somebody else, as the server does when it has expired. Returns whether there was one.
    pub fn end_session(server: SocketAddr, session: i64) -> bool {
        let taken =
            Witness::with_session(server, session).unwrap_or_else(|error| panic!("{server}: {error}"));
        // The answer to a session that is not there has none, either.
        taken.session == session
    }

    fn with_session(server: SocketAddr, session: i64) -> io::Result<Witness> {
        let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut witness = Witness { stream, session, requests: 0 };
        let mut hello = Record::default();
        // The protocol, the last transaction seen, the time-out, the session.
        hello.int(0).long(0).int(SESSION_MS).long(session);
        let password = if session == 0 { [0; 16] } else { password_of(session) };
        hello.bytes(&password).bool(false);
        witness.send(&hello)?;
        let mut answer = Answer(witness.receive()?);
        let (_protocol, _timeout) = (answer.int(), answer.int());
        witness.session = answer.long();
        Ok(witness)
    }

    /// Its session.
    pub fn session(&self) -> i64 {
        self.session
    }

    /// Acts from now on as this user, too.
    pub fn authenticate(&mut self, user: &str, password: &str) -> Result<(), Refusal> {
        let mut request = Record::default();
        request.int(0).text("digest").bytes(format!("{user}:{password}").as_bytes());
        self.call(AUTHENTICATE, &request).map(drop)
    }

    /// Creates a node that stays.
    pub fn create(&mut self, path: &str, data: &[u8], rights: &[Right]) -> Result<(), Refusal> {
        self.create_with(path, data, rights, 0)
    }

    /// Creates a node that ends with this session.
    pub fn create_ephemeral(&mut self, path: &str, data: &[u8]) -> Result<(), Refusal> {
        self.create_with(path, data, &[Right::open()], 1)
    }

    fn create_with(&mut self, path: &str, data: &[u8], rights: &[Right], flags: i32) -> Result<(), Refusal> {
        let mut request = Record::default();
        request.text(path).bytes(data).rights(rights).int(flags);
        self.call(CREATE, &request).map(drop)
    }

    /// Creates many nodes without data, and waits for the answers at the end.
    pub fn create_all(&mut self, paths: impl Iterator<Item = String>, rights: &[Right]) {
        let first = self.requests + 1;
        for path in paths {
            self.requests += 1;
            let mut message = Record::default();
            message.int(self.requests).int(CREATE).text(&path).bytes(b"").rights(rights).int(0);
            self.send(&message).expect("the server is well");
        }
        for number in first..=self.requests {
            let mut answer = Answer(self.receive().expect("the server is well"));
            assert_eq!((answer.int(), answer.long() > 0, answer.int()), (number, true, 0));
        }
    }

    /// After this, reads see all that was acknowledged to anybody before. A member that was just started may lag.
    pub fn catch_up(&mut self, path: &str) {
        self.call(SYNC, Record::default().text(path)).expect("the server is well");
    }

    /// What the node holds.
    pub fn get(&mut self, path: &str) -> Result<(Vec<u8>, Stat), Refusal> {
        let mut answer = self.call(GET, Record::default().text(path).bool(false))?;
        Ok((answer.bytes(), answer.stat()))
    }

    /// Writes, whatever version the node has.
    pub fn set(&mut self, path: &str, data: &[u8]) -> Result<Stat, Refusal> {
        self.set_if(path, data, -1)
    }

    /// Writes if the node has this version.
    pub fn set_if(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, Refusal> {
        self.call(SET, Record::default().text(path).bytes(data).int(version)).map(|mut answer| answer.stat())
    }

    pub fn delete(&mut self, path: &str) -> Result<(), Refusal> {
        self.call(DELETE, Record::default().text(path).int(-1)).map(drop)
    }

    pub fn exists(&mut self, path: &str) -> bool {
        match self.call(EXISTS, Record::default().text(path).bool(false)) {
            Ok(_) => true,
            Err(NO_NODE) => false,
            Err(other) => panic!("{path}: {other:?}"),
        }
    }

    /// The names of its children, in order.
    pub fn children(&mut self, path: &str) -> Result<Vec<String>, Refusal> {
        let mut answer = self.call(CHILDREN, Record::default().text(path).bool(false))?;
        let mut names: Vec<String> = (0..answer.int()).map(|_| answer.text()).collect();
        names.sort();
        Ok(names)
    }

    pub fn rights(&mut self, path: &str) -> Result<Vec<Right>, Refusal> {
        let mut answer = self.call(GET_RIGHTS, Record::default().text(path))?;
        let count = answer.int();
        let mut right = || Right { permissions: answer.int(), scheme: answer.text(), id: answer.text() };
        Ok((0..count).map(|_| right()).collect())
    }

    pub fn set_rights(&mut self, path: &str, rights: &[Right]) -> Result<(), Refusal> {
        self.call(SET_RIGHTS, Record::default().text(path).rights(rights).int(-1)).map(drop)
    }

    /// All paths below this one, parents before their children.
    pub fn tree(&mut self, path: &str) -> Vec<String> {
        let mut found = vec![path.to_owned()];
        let mut next = 0;
        while let Some(parent) = found.get(next).cloned() {
            let parent = parent.trim_end_matches('/');
            let children = self.children(&found[next]).unwrap_or_default();
            found.extend(children.into_iter().map(|name| format!("{parent}/{name}")));
            next += 1;
        }
        found.split_off(1)
    }

    fn call(&mut self, kind: i32, request: &Record) -> Result<Answer, Refusal> {
        self.requests += 1;
        let mut message = Record::default();
        message.int(self.requests).int(kind);
        message.0.extend_from_slice(&request.0);
        let answer = self.send(&message).and_then(|()| self.receive());
        let mut answer = Answer(answer.unwrap_or_else(|error| panic!("the server was to be well: {error}")));
        let (number, _transaction, error) = (answer.int(), answer.long(), answer.int());
        assert_eq!(number, self.requests, "answers come in order");
        if error == 0 { Ok(answer) } else { Err(Refusal(error)) }
    }

    fn send(&mut self, message: &Record) -> io::Result<()> {
        let length = u32::try_from(message.0.len()).expect("it is small");
        self.stream.write_all(&[&length.to_be_bytes(), message.0.as_slice()].concat())
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut message)?;
        Ok(message)
    }
}

impl Drop for Witness {
    /// Ends the session, and waits until the server has.
    fn drop(&mut self) {
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut message = Record::default();
        message.int(self.requests + 1).int(CLOSE);
        let _ = self.send(&message).and_then(|()| self.receive());
    }
}

/// The password that a server makes for a session: 16 bytes of Java's `Random`, seeded with the number of the session
/// and a constant (`SessionTrackerImpl` and `ZooKeeperServer.generatePasswd`).
fn password_of(session: i64) -> [u8; 16] {
    const MASK: u64 = (1 << 48) - 1;
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    let mut seed = ((session ^ 0xB341_5C00) as u64 ^ MULTIPLIER) & MASK;
    let mut password = [0; 16];
    for word in password.chunks_mut(4) {
        seed = seed.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        word.copy_from_slice(&((seed >> 16) as u32).to_le_bytes());
    }
    password
}

/// A message that is written.
#[derive(Default)]
struct Record(Vec<u8>);

impl Record {
    fn int(&mut self, value: i32) -> &mut Record {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn long(&mut self, value: i64) -> &mut Record {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn bool(&mut self, value: bool) -> &mut Record {
        self.0.push(value.into());
        self
    }

    fn bytes(&mut self, value: &[u8]) -> &mut Record {
        self.int(i32::try_from(value.len()).expect("it is small"));
        self.0.extend_from_slice(value);
        self
    }

    fn text(&mut self, value: &str) -> &mut Record {
        self.bytes(value.as_bytes())
    }

    fn rights(&mut self, rights: &[Right]) -> &mut Record {
        self.int(i32::try_from(rights.len()).expect("they are few"));
        for right in rights {
            self.int(right.permissions).text(&right.scheme).text(&right.id);
        }
        self
    }
}

/// What is left to read of a message.
struct Answer(Vec<u8>);

impl Answer {
    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.0.split_off(length);
        std::mem::replace(&mut self.0, rest)
    }

    fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn long(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().expect("eight bytes"))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::try_from(self.int()).unwrap_or(0);
        self.take(length)
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.bytes()).expect("names are UTF-8")
    }

    fn stat(&mut self) -> Stat {
        let (created, written) = (self.long(), self.long());
        let _times = (self.long(), self.long());
        let (version, _children_version, _rights_version) = (self.int(), self.int(), self.int());
        let (owner, _length, children) = (self.long(), self.int(), self.int());
        Stat { created, written, version, owner, children }
    }
}
