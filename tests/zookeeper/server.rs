//! ZooKeeper of a test's own, from Debian's packages: alone, or as an ensemble of three.
//!
//! 1. All its data is in a temporary directory, and it listens on addresses of its own of the loopback interface
//!    (see [`place`](crate::place)).
//! 2. It ends with the test, also if that panics or is killed (see [`processes`](crate::processes)).
//! 3. It does not wait until its writes are on the disk: what it has written outlives `kill -9`, and no test cuts
//!    the power.
//!
//! Sessions may be as short as half a second. A member of an ensemble that is frozen is left by the others after
//! three seconds.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::ops::{Index, IndexMut};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::certificates::Authority;
use crate::disk::Disk;
use crate::place::{CLIENT_PORT, TLS_PORT, new_address};
use crate::processes::{Process, dying_with_us};
use crate::{comes_true, wait_until};

/// The user `super` may read and write every node.
pub const SUPER_PASSWORD: &str = "secret";
/// `super:secret`, as a server wants it: its SHA-1 in base 64.
const SUPER_DIGEST: &str = "super:lK75jTNcA+U9vtVEw5vB51mj/w4=";

/// Debian's package does not name all that TLS needs.
const CLASS_PATH: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar:\
    /usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar:/usr/share/java/netty-transport-native-unix-common.jar";

/// What is not as usual.
#[derive(Default, Clone)]
pub struct Settings {
    /// Whose certificate each member has for its port for TLS. None: it has no such port.
    pub authority: Option<Arc<Authority>>,
    /// The names that are in that certificate. Empty: the address of the member.
    pub certificate_names: Vec<String>,
    /// A client needs a certificate of the same authority.
    pub client_certificates: bool,
    /// Its port for TLS takes TLS 1.3 only. ZooKeeper 3.8 takes TLS 1.2 only unless it is configured otherwise.
    pub only_tls_1_3: bool,
    /// The data is on a disk of so many KiB, which can be filled.
    pub disk_kib: Option<u32>,
}

/// The members of an ensemble, or a server that is alone. All end with it.
pub struct Servers {
    members: Vec<Member>,
    /// Dropped after the members, which write into it.
    directory: TempDir,
}

/// A server, alone or one of several.
pub struct Member {
    host: Ipv4Addr,
    has_tls: bool,
    /// Holds its configuration, its log and its data.
    directory: PathBuf,
    /// None while it is down.
    process: Option<Process>,
    disk: Option<Disk>,
}

impl Servers {
    /// One server that is alone, and serves.
    pub fn alone() -> Servers {
        Servers::alone_with(Settings::default())
    }

    pub fn alone_with(settings: Settings) -> Servers {
        Servers::start(1, &settings)
    }

    /// An ensemble of three whose members all serve.
    pub fn three() -> Servers {
        Servers::three_with(Settings::default())
    }

    pub fn three_with(settings: Settings) -> Servers {
        Servers::start(3, &settings)
    }

    fn start(count: usize, settings: &Settings) -> Servers {
        let directory =
            tempfile::Builder::new().prefix("squall-zookeeper-").tempdir().expect("a temporary directory");
        let hosts: Vec<Ipv4Addr> = (0..count).map(|_| new_address()).collect();
        let member = |index| Member::new(directory.path(), index, &hosts, settings);
        let mut servers = Servers { members: (0..count).map(member).collect(), directory };
        servers.restart_all();
        servers
    }

    /// Where all of them serve clients, in their order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(Member::address).collect()
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Holds everything that they write.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Kills all of them at once.
    pub fn kill_all(&mut self) {
        self.members.iter_mut().for_each(Member::kill);
    }

    /// Starts those that are down, on the same ports and data, and waits until all serve.
    pub fn restart_all(&mut self) {
        self.members.iter_mut().for_each(Member::launch);
        self.members.iter_mut().for_each(Member::wait_until_serving);
    }

    /// The place of the member that leads the ensemble, once there is one.
    pub fn leader(&self) -> usize {
        let mut leader = None;
        wait_until("the ensemble has a leader", || {
            leader = self.members.iter().position(|member| member.mode().as_deref() == Some("leader"));
            leader.is_some()
        });
        leader.expect("it has been waited for")
    }

    /// Waits until all members serve, one of them as the leader of the others.
    pub fn wait_until_whole(&self) {
        wait_until("the ensemble is whole", || {
            let mut modes: Vec<_> = self.members.iter().filter_map(Member::mode).collect();
            modes.sort_unstable();
            modes == ["follower", "follower", "leader"]
        });
    }

    /// The place of the member that has this session's connection, if one has it and is well.
    pub fn holder_of(&self, session: i64) -> Option<usize> {
        self.members.iter().position(|member| member.sessions().contains(&session))
    }

    /// Forgets everything that the members know. All must be down.
    pub fn wipe_all(&mut self) {
        self.members.iter_mut().for_each(Member::wipe);
    }

    /// Keeps a copy of the data of all. All must be down.
    pub fn copy_all(&self) -> Copy {
        let directory = tempfile::tempdir_in(self.directory.path()).expect("the directory is ours");
        for (index, member) in self.members.iter().enumerate() {
            member.assert_down();
            copy_files(&member.log_directory(), &directory.path().join(index.to_string()));
        }
        Copy(directory)
    }

    /// Puts back what a copy holds. All must be down.
    pub fn roll_back_all(&mut self, copy: &Copy) {
        self.wipe_all();
        for (index, member) in self.members.iter().enumerate() {
            copy_files(&copy.0.path().join(index.to_string()), &member.log_directory());
        }
    }
}

/// The data of [`Servers`] at some time.
pub struct Copy(TempDir);

impl Index<usize> for Servers {
    type Output = Member;

    fn index(&self, place: usize) -> &Member {
        &self.members[place]
    }
}

impl IndexMut<usize> for Servers {
    fn index_mut(&mut self, place: usize) -> &mut Member {
        &mut self.members[place]
    }
}

impl Member {
    fn new(parent: &Path, index: usize, hosts: &[Ipv4Addr], settings: &Settings) -> Member {
        let (host, number) = (hosts[index], index + 1);
        let directory = parent.join(format!("member-{number}"));
        let data = directory.join("data");
        fs::create_dir_all(&data).expect("the directory is ours");
        let disk = settings.disk_kib.map(|kib| Disk::mount(&data, kib));
        let member = Member { host, has_tls: settings.authority.is_some(), directory, process: None, disk };
        let mut lines = vec![
            "tickTime=100".to_owned(),
            "initLimit=50".to_owned(),
            "syncLimit=30".to_owned(),
            "minSessionTimeout=500".to_owned(),
            "maxSessionTimeout=120000".to_owned(),
            "maxClientCnxns=0".to_owned(),
            format!("dataDir={}", data.display()),
            format!("clientPort={CLIENT_PORT}"),
            format!("clientPortAddress={host}"),
            "admin.enableServer=false".to_owned(),
            "4lw.commands.whitelist=*".to_owned(),
        ];
        if hosts.len() > 1 {
            fs::write(member.data().join("myid"), number.to_string()).expect("the directory is ours");
            lines.extend((1..).zip(hosts).map(|(number, host)| format!("server.{number}={host}:2888:3888")));
        }
        if let Some(authority) = &settings.authority {
            lines.extend(member.tls_lines(authority, settings));
        }
        fs::write(member.configuration(), lines.join("\n")).expect("the directory is ours");
        member
    }

    /// Makes its certificate, and returns the settings that name it.
    fn tls_lines(&self, authority: &Authority, settings: &Settings) -> Vec<String> {
        let host = self.host.to_string();
        let mut names: Vec<&str> = settings.certificate_names.iter().map(String::as_str).collect();
        if names.is_empty() {
            names.push(&host);
        }
        let identity = authority.issue(&names);
        let (keys, trusted) = (self.directory.join("server.pem"), self.directory.join("trusted.pem"));
        fs::write(&keys, identity.key + &identity.certificate).expect("the directory is ours");
        fs::write(&trusted, authority.pem()).expect("the directory is ours");
        let mut lines = vec![
            format!("secureClientPort={TLS_PORT}"),
            format!("secureClientPortAddress={}", self.host),
            "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory".to_owned(),
            format!("ssl.keyStore.location={}", keys.display()),
            "ssl.keyStore.type=PEM".to_owned(),
            format!("ssl.trustStore.location={}", trusted.display()),
            "ssl.trustStore.type=PEM".to_owned(),
            format!("ssl.clientAuth={}", if settings.client_certificates { "need" } else { "none" }),
        ];
        if settings.only_tls_1_3 {
            lines.extend(["ssl.protocol=TLSv1.3", "ssl.enabledProtocols=TLSv1.3"].map(str::to_owned));
            lines.push("ssl.ciphersuites=TLS_AES_256_GCM_SHA384,TLS_AES_128_GCM_SHA256".to_owned());
        }
        lines
    }

    /// Where it serves clients.
    pub fn address(&self) -> SocketAddr {
        (self.host, CLIENT_PORT).into()
    }

    /// Where it serves clients over TLS.
    pub fn tls_address(&self) -> SocketAddr {
        (self.host, TLS_PORT).into()
    }

    /// Its answer to one of the four-letter commands. None: it does not answer.
    pub fn ask(&self, command: &str) -> Option<String> {
        let limit = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&self.address(), limit).ok()?;
        stream.set_read_timeout(Some(limit)).ok()?;
        stream.write_all(command.as_bytes()).ok()?;
        stream.shutdown(Shutdown::Write).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// `standalone`, `leader` or `follower`. None: it does not serve.
    pub fn mode(&self) -> Option<String> {
        let answer = self.ask("srvr")?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// The sessions whose connections it has. Empty if it does not answer.
    pub fn sessions(&self) -> Vec<i64> {
        self.connections().into_iter().map(|(_, session)| session).collect()
    }

    /// The session of the connection that comes from this address.
    pub fn session_of(&self, end: SocketAddr) -> Option<i64> {
        self.connections().into_iter().find_map(|(other, session)| (other == end).then_some(session))
    }

    /// Where each connection with a session comes from, and the session. A line of `cons` is like
    /// ` /127.0.0.1:36294[1](queued=0,recved=1,sent=1,sid=0x1000029d3120000,…)`.
    fn connections(&self) -> Vec<(SocketAddr, i64)> {
        let parse = |line: &str| {
            let end = line.trim_start().strip_prefix('/')?.split('[').next()?.parse().ok()?;
            let session = line.split("sid=0x").nth(1)?.split([',', ')']).next()?;
            Some((end, u64::from_str_radix(session, 16).ok()?.cast_signed()))
        };
        self.ask("cons").unwrap_or_default().lines().filter_map(parse).collect()
    }

    /// The only session that has a connection to it.
    pub fn only_session(&self) -> i64 {
        let mut sessions = Vec::new();
        wait_until("there is one session", || {
            sessions = self.sessions();
            sessions.len() == 1
        });
        sessions[0]
    }

    /// The id of its process.
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("it is not down").id()
    }

    pub fn is_down(&self) -> bool {
        self.process.is_none()
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Stops it in the middle of what it does, or lets it go on.
    pub fn freeze(&mut self, is_frozen: bool) {
        self.process.as_mut().expect("it is not down").freeze(is_frozen);
    }

    /// Starts it on the same ports and data, if it is down. It may not serve yet.
    pub fn launch(&mut self) {
        if self.process.is_some() {
            return;
        }
        let mut command = match &self.disk {
            Some(disk) => disk.command("java"),
            None => dying_with_us("java"),
        };
        command.args(["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
        command.arg("-Djava.net.preferIPv4Stack=true");
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        // Members that come and go are tried again at once, and small logs fit on a small disk.
        command.args(["-Dzookeeper.cnxTimeout=1000", "-Dzookeeper.electionPortBindRetry=0"]);
        command.args(["-Dzookeeper.forceSync=no", "-Dzookeeper.preAllocSize=64"]);
        command.arg(format!("-Dzookeeper.DigestAuthenticationProvider.superDigest={SUPER_DIGEST}"));
        command.args(["-cp", CLASS_PATH, "org.apache.zookeeper.server.quorum.QuorumPeerMain"]);
        command.arg(self.configuration());
        let log = File::options().create(true).append(true).open(self.log()).expect("the directory is ours");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        self.process = Some(Process::start(command));
    }

    /// Starts it as [`launch`](Member::launch), and waits until it serves.
    pub fn restart(&mut self) {
        self.launch();
        self.wait_until_serving();
    }

    pub fn wait_until_serving(&mut self) {
        let serves = comes_true(|| {
            if self.process.as_mut().expect("it has been started").ended().is_some() {
                panic!("ZooKeeper has ended: {}", self.last_words());
            }
            // The port for TLS opens a moment later than the other.
            self.mode().is_some() && (!self.has_tls || TcpStream::connect(self.tls_address()).is_ok())
        });
        assert!(serves, "ZooKeeper does not serve: {}", self.last_words());
    }

    /// Waits until it has ended by itself.
    pub fn wait_until_ended(&mut self) {
        let process = self.process.as_mut().expect("it has been started");
        wait_until("the server ends by itself", || process.ended().is_some());
        self.process = None;
    }

    /// Forgets all that it knows. It must be down.
    pub fn wipe(&mut self) {
        self.assert_down();
        fs::remove_dir_all(self.log_directory()).expect("the directory is ours");
    }

    /// Its disk, if it has one of its own.
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("the settings ask for one")
    }

    fn assert_down(&self) {
        assert!(self.is_down(), "a server that runs writes into its data");
    }

    fn configuration(&self) -> PathBuf {
        self.directory.join("zoo.cfg")
    }

    /// What it has written about itself.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// `dataDir`, as this process sees it.
    fn data(&self) -> PathBuf {
        self.disk.as_ref().map_or_else(|| self.directory.join("data"), Disk::path)
    }

    /// Where it keeps its snapshots and its log of transactions.
    fn log_directory(&self) -> PathBuf {
        self.data().join("version-2")
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// Copies the files of a directory, which has no directories.
fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the directory is ours");
    for entry in fs::read_dir(from).expect("the directory is ours") {
        let entry = entry.expect("the directory is ours");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("both directories are ours");
    }
}
