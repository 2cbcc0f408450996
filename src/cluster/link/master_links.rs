//! The master's end: what its thread has of the connections to its workers.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crate::cluster::link::arrival::Welcome;
use crate::cluster::link::commands::{Command, Commands, lock};
use crate::cluster::link::hello::Known;
use crate::cluster::link::links_thread::{LinkEvent, LinksThread};
use crate::cluster::link::log_reader::LogReader;
use crate::cluster::link::observers::Observers;
use crate::net::tls::Tls;

/// The name of the thread.
pub const LINKS_THREAD: &str = "squall-links";

/// The connections of a master. When it is dropped, all are closed.
#[derive(Debug)]
pub struct MasterLinks {
    address: SocketAddr,
    commands: Arc<Commands>,
}

impl MasterLinks {
    /// Listens, and starts the thread, which calls `events`. `directory`: the private one of this process, where it logs.
    ///
    /// # Errors
    /// When the address cannot be bound, or the system refuses a thread.
    pub fn listen(
        listen: SocketAddr,
        tls: Option<Tls>,
        known: Known,
        (epoch, seed): (u64, u64),
        directory: &Path,
        events: impl Fn(LinkEvent) + Send + 'static,
    ) -> io::Result<MasterLinks> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let commands = Arc::new(Commands::new()?);
        let of_thread = (Arc::clone(&commands), LogReader::new(directory));
        let events = Box::new(events);
        let thread = LinksThread::new(listener, tls, known, (epoch, seed), of_thread, events);
        thread::Builder::new().name(LINKS_THREAD.to_owned()).spawn(move || thread.run())?;
        Ok(MasterLinks { address, commands })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Those who ask how the topology goes.
    pub fn observers(&self) -> Observers {
        Observers::new(Arc::clone(&self.commands))
    }

    /// Answers a process that has arrived.
    pub fn welcome(&self, process: u64, welcome: Welcome) {
        self.commands.push(Command::Welcome(process, welcome));
    }

    /// Sends a line, with its end, to a process that was welcomed. Never waits.
    pub fn send(&self, process: u64, mut line: Vec<u8>) {
        line.pop();
        self.commands.push(Command::Send(process, line));
    }

    /// Ends the session of a process. If it comes again, it is a new arrival.
    pub fn fence(&self, process: u64) {
        self.commands.push(Command::Fence(process));
    }

    /// The process id of a process that runs on this host.
    pub fn pid_here(&self, process: u64) -> Option<u32> {
        lock(&self.commands.pids).get(&process).copied()
    }
}

impl Drop for MasterLinks {
    fn drop(&mut self) {
        self.commands.push(Command::End);
    }
}
