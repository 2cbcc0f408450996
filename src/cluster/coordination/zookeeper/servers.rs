//! The members of the ensemble: which is tried next, and how it is reached.
//!
//! Names are resolved each time, and all their addresses are tried. The crate would resolve each name once, take the
//! first address only, and refuse to begin if one name is unknown.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::config::host_and_port;
use crate::text::shown;

/// The members of the ensemble, in the order in which they are tried.
#[derive(Debug)]
pub(super) struct Servers {
    /// Each a host and a port.
    names: Vec<String>,
    /// The member that is tried next.
    next: usize,
    connect_timeout: Duration,
}

/// A connection to a member.
#[derive(Debug)]
pub(super) struct Reached {
    pub socket: TcpStream,
    /// The member, as the options name it.
    pub name: String,
    /// The host in `name`.
    pub host: String,
}

impl Servers {
    /// Begins with the member that `seed` picks, so that not all processes use the first one.
    pub fn new(names: &[String], connect_timeout: Duration, seed: u64) -> Servers {
        let next = (seed % names.len().max(1) as u64) as usize;
        Servers { names: names.to_vec(), next, connect_timeout }
    }

    /// Connects to the next member that accepts a connection. Each is tried once.
    ///
    /// # Errors
    /// If none accepts, why, for each.
    pub fn connect(&mut self) -> Result<Reached, String> {
        let mut why = Vec::new();
        for _ in 0..self.names.len() {
            let name = self.names[self.next].clone();
            self.next = (self.next + 1) % self.names.len();
            match self.reach(&name) {
                Ok(reached) => return Ok(reached),
                Err(error) => why.push(format!("{name}: {error}")),
            }
        }
        Err(why.join("; "))
    }

    fn reach(&self, name: &str) -> Result<Reached, String> {
        let (host, port) = host_and_port(name).ok_or("it is not a host and a port")?;
        let addresses = (host, port).to_socket_addrs().map_err(|error| shown(&error))?;
        let mut why = "the name has no address".to_owned();
        for address in addresses {
            match TcpStream::connect_timeout(&address, self.connect_timeout) {
                Ok(socket) => return Ok(Reached { socket, name: name.to_owned(), host: host.to_owned() }),
                Err(error) => why = shown(&error),
            }
        }
        Err(why)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn each_is_tried_in_turn_and_what_cannot_be_reached_is_passed_over() {
        let listeners: Vec<TcpListener> =
            (0..2).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        let name = |listener: &TcpListener| listener.local_addr().expect("it is bound").to_string();
        let names = [name(&listeners[0]), "a..b:1".to_owned(), name(&listeners[1])];
        let mut servers = Servers::new(&names, Duration::from_secs(30), 3);
        let reached: Vec<String> = (0..4).map(|_| servers.connect().expect("two listen").name).collect();
        assert_eq!(reached, [&*names[0], &*names[2], &*names[0], &*names[2]]);
        let last = Servers::new(&names, Duration::from_secs(30), 5).connect().expect("it listens");
        assert_eq!((last.name, last.host), (names[2].clone(), "127.0.0.1".to_owned()));
    }

    #[test]
    fn if_none_is_reached_the_reasons_are_given() {
        let closed =
            TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it is bound").to_string();
        let names = [closed.clone(), "a..b:1".to_owned()];
        let why = Servers::new(&names, Duration::from_secs(30), 0).connect().expect_err("none listens");
        assert!(why.contains(&format!("{closed}: ")) && why.contains("; a..b:1: "), "{why}");
    }
}
