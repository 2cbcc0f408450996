//! A proxy in front of a master, whose connections can be cut.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// See the module. Its threads end with the process.
pub struct Proxy {
    pub address: SocketAddr,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// In front of this address.
    pub fn new(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it has one");
        let connections: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let kept = Arc::clone(&connections);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(target) else { continue };
                let mut kept = kept.lock().expect("nobody panics");
                kept.extend([
                    near.try_clone().expect("a descriptor"),
                    far.try_clone().expect("a descriptor"),
                ]);
                pass(near.try_clone().expect("a descriptor"), far.try_clone().expect("a descriptor"));
                pass(far, near);
            }
        });
        Proxy { address, connections }
    }

    /// Cuts all connections, wherever in a line they are. Returns how many.
    pub fn cut(&self) -> usize {
        let cut: Vec<TcpStream> = self.connections.lock().expect("nobody panics").drain(..).collect();
        cut.iter().filter(|connection| connection.shutdown(Shutdown::Both).is_ok()).count() / 2
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}
