//! Sockets as workers use them: they never block, have no Nagle delay, and the system closes them when
//! a peer acknowledges no data for `net.silence` (TCP_USER_TIMEOUT).

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::{AutoOr, NetOptions};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Bytes that may wait unsent in the system before a socket counts as full (TCP_NOTSENT_LOWAT). An ack
/// cannot overtake bytes that wait there, and on a slow path the system would queue megabytes.
const UNSENT_MAX: u32 = 256 << 10;

/// Binds the address of `[net]`.
///
/// # Errors
/// Errors of the system, with the address; and `PermissionDenied` when other machines could reach the
/// address without TLS and the options do not allow that.
pub(super) fn listen(options: &NetOptions) -> io::Result<TcpListener> {
    let address = options.listen;
    if !address.ip().is_loopback() && options.tls.is_none() && !options.insecure {
        let why = format!(
            "net.listen = \"{address}\" can be reached from outside, and without TLS anybody on the way can \
             read and change tuples: name `certificate`, `key` and `authority` in [net.tls], or listen on \
             127.0.0.1, or, if the network is trusted, write `insecure = true` in [net]"
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let bind = || {
        let socket = socket(address, options)?;
        // A restarted worker can bind its port again although old connections are in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|error: io::Error| {
        io::Error::new(error.kind(), format!("net.listen = \"{address}\": {error}"))
    })
}

/// Begins to connect. The socket becomes writable when the connection is made or has failed.
pub(super) fn connect(address: SocketAddr, options: &NetOptions) -> io::Result<TcpStream> {
    let socket = socket(address, options)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// Sets the options of every connection, dialed or accepted.
pub(super) fn tune<S: std::os::fd::AsFd>(stream: &S, options: &NetOptions) -> io::Result<()> {
    let stream = SockRef::from(stream);
    stream.set_tcp_nodelay(true)?;
    stream.set_tcp_user_timeout(Some(options.silence))?;
    stream.set_tcp_notsent_lowat(UNSENT_MAX)
}

/// Whether an error of `accept` or `connect` means that this process or the system has run out of
/// descriptors or memory, so that trying again at once would fail, too.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhausted.iter().any(|exhausted| error.raw_os_error() == Some(exhausted.raw_os_error()))
}

/// A socket with its buffer sizes set. They must be set before the TCP handshake, which negotiates the
/// window scale. An accepted socket inherits them from its listener.
fn socket(address: SocketAddr, options: &NetOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let AutoOr::Fixed(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let AutoOr::Fixed(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_bound_without_tls() {
        let check = |listen: &str, insecure, is_bound: bool| {
            let listen = listen.parse().unwrap();
            let bound = super::listen(&NetOptions { listen, insecure, ..NetOptions::default() });
            match bound {
                Ok(_) => assert!(is_bound, "{listen}"),
                Err(error) => assert!(!is_bound, "{listen}: {error}"),
            }
        };
        check("127.0.0.1:0", false, true);
        check("127.9.9.9:0", false, true);
        check("0.0.0.0:0", false, false);
        check("0.0.0.0:0", true, true);
        check("192.0.2.1:0", false, false);
        check("[::]:0", false, false);
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        let listen = "0.0.0.0:7000".parse().unwrap();
        let error = super::listen(&NetOptions { listen, ..NetOptions::default() }).unwrap_err().to_string();
        for word in ["net.listen = \"0.0.0.0:7000\"", "[net.tls]", "`insecure = true`"] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        let error = super::listen(&NetOptions { listen, ..NetOptions::default() }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&listen.to_string()), "{error}");
    }

    #[test]
    fn sockets_are_tuned() {
        let options = NetOptions { receive_buffer: AutoOr::Fixed(64 << 10), ..NetOptions::default() };
        let listener = super::listen(&options).unwrap();
        let dialed = connect(listener.local_addr().unwrap(), &options).unwrap();
        tune(&dialed, &options).unwrap();
        let socket = SockRef::from(&dialed);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(options.silence));
        // The system doubles it, for its own books.
        assert_eq!(socket.recv_buffer_size().unwrap(), 128 << 10);
    }
}
