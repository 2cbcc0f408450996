//! The server: one thread, which accepts connections, serves each for a bounded time, and ends in order.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use slog::{Logger, warn};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::cluster::api::calls::Calls;
use crate::cluster::api::gate::{Gate, Peer};
use crate::cluster::api::guard::OwnNames;
use crate::cluster::api::handshakes::Handshakes;
use crate::cluster::api::limits::ApiLimits;
use crate::cluster::api::options::ApiOptions;
use crate::cluster::api::routes::router;
use crate::cluster::operations::Operations;

/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Bytes of the line of a request and its headers.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The pause after a connection could not be accepted, for example because there are no descriptors left.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartApiError {
    /// The address cannot be listened on.
    #[error("cannot listen on {0} for the API: see `listen` in `[nimbus]`")]
    Listen(SocketAddr, #[source] io::Error),
    /// The certificate is made out to somebody else.
    #[error(
        "nimbus.tls.certificate: it is not made out to `{0}`, by which clients ask for this nimbus: get one that is, or name \
         the host that it is made out to by `nimbus.names`"
    )]
    OtherName(String),
    /// The system gives no thread, or no descriptors.
    #[error("cannot start the thread of the API")]
    Thread(#[source] io::Error),
}

/// The HTTP API of a nimbus. When it is dropped, the requests that have begun are answered, and the thread ends.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    endpoint: String,
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Starts a server.
    ///
    /// # Errors
    /// When the address is in use, the certificate is for another host, or the system has no resources.
    pub fn start(
        options: ApiOptions,
        operations: Arc<dyn Operations>,
        logger: &Logger,
    ) -> Result<ApiServer, StartApiError> {
        let ApiOptions { listen, limits, names, tls, users, clock } = options;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(limits.call_threads)
            .thread_name("squall-api-call")
            .build()
            .map_err(StartApiError::Thread)?;
        let listener = runtime
            .block_on(TcpListener::bind(listen))
            .map_err(|error| StartApiError::Listen(listen, error))?;
        let address = listener.local_addr().map_err(|error| StartApiError::Listen(listen, error))?;
        let own = OwnNames { address: address.ip(), names, tls: tls.clone() };
        if tls.as_ref().is_some_and(|tls| !tls.is_for(&own.first())) {
            return Err(StartApiError::OtherName(own.first()));
        }
        let endpoint = endpoint(&own, address.port());
        let (end, ended) = watch::channel(false);
        let gate = Gate::new(users, clock, logger.clone());
        let router = router(Arc::new(Calls::new(operations, limits)), gate, own, logger.clone());
        let tls = tls.map(|tls| Encrypting {
            acceptor: TlsAcceptor::from(tls.config()),
            handshakes: Handshakes::new(limits.handshakes_max),
        });
        let accepting = Accepting { listener, tls, router, limits, ended, logger: logger.clone() };
        let thread = thread::Builder::new()
            .name("squall-api".to_owned())
            .spawn(move || accepting.run(runtime))
            .map_err(StartApiError::Thread)?;
        Ok(ApiServer { address, endpoint, end, thread: Some(thread) })
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients ask for it, as other nimbuses name it: `HOST:PORT`, with TLS `https://HOST:PORT`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

fn endpoint(own: &OwnNames, port: u16) -> String {
    let host = own.first();
    let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host };
    let scheme = if own.tls.is_some() { "https://" } else { "" };
    format!("{scheme}{host}:{port}")
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.end.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // It has logged its panic, if it had one.
            let _ = thread.join();
        }
    }
}

/// What the thread has.
struct Accepting {
    listener: TcpListener,
    /// `None`: plain TCP.
    tls: Option<Encrypting>,
    router: Router,
    limits: ApiLimits,
    ended: watch::Receiver<bool>,
    logger: Logger,
}

/// What TLS needs.
#[derive(Clone)]
struct Encrypting {
    acceptor: TlsAcceptor,
    handshakes: Arc<Handshakes>,
}

impl Encrypting {
    /// The handshake of a connection. `None`: it failed, took too long, or had to make room.
    async fn shake_hands(&self, stream: TcpStream, time: Duration) -> Option<TlsStream<TcpStream>> {
        let mut place = self.handshakes.enter();
        let mut handshake = pin!(self.acceptor.accept(stream));
        let either = poll_fn(|context| {
            if Pin::new(&mut place.cut).poll(context).is_ready() {
                return Poll::Ready(None);
            }
            handshake.as_mut().poll(context).map(Result::ok)
        });
        timeout(time, either).await.ok().flatten()
    }
}

impl Accepting {
    fn run(self, runtime: Runtime) {
        runtime.block_on(self.accept());
        // Threads that still wait for the coordination service end by themselves, within the time of a call.
        runtime.shutdown_background();
    }

    async fn accept(self) {
        let places = Arc::new(Semaphore::new(self.limits.connections_max));
        let mut connections = JoinSet::new();
        let mut ended = self.ended.clone();
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
                (place, self.listener.accept().await)
            };
            let Some((place, accepted)) = unless_ended(&mut ended, next).await else { break };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        router: self.router.clone(),
                        limits: self.limits,
                        ended: self.ended.clone(),
                        peer: Peer(peer.ip()),
                    };
                    let tls = self.tls.clone();
                    connections.spawn(async move {
                        connection.accept(stream, tls).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(self.logger, "the API cannot accept a connection"; "why" => %error);
                    let _ = unless_ended(&mut ended, sleep(PAUSE)).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        drop(self.listener);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(self.limits.end_time, all).await.is_err() {
            warn!(self.logger, "requests were cut off by the end of the API"; "connections" => connections.len());
        }
    }
}

/// One connection, and what serves it.
struct Connection {
    router: Router,
    limits: ApiLimits,
    ended: watch::Receiver<bool>,
    peer: Peer,
}

impl Connection {
    /// Serves it, encrypted or not.
    async fn accept(mut self, stream: TcpStream, tls: Option<Encrypting>) {
        let Some(tls) = tls else { return self.serve(stream).await };
        let handshake = tls.shake_hands(stream, self.limits.handshake_time);
        if let Some(Some(stream)) = unless_ended(&mut self.ended, handshake).await {
            self.serve(stream).await;
        }
    }

    /// Serves its one request.
    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let (service, peer) = (TowerToHyperService::new(self.router), self.peer);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            service.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_time)
            .keep_alive(false)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut end = pin!(self.ended.wait_for(|ended| *ended));
        let mut is_ending = false;
        let whole = poll_fn(|context| {
            if !is_ending && end.as_mut().poll(context).is_ready() {
                is_ending = true;
                // A connection without a request ends at once, one with a request when it is answered.
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(context)
        });
        // What went wrong concerns the client alone: it is cut, or has ended the connection itself.
        let _ = timeout(self.limits.connection_time, whole).await;
    }
}

/// The result of a future, or `None` if the end comes first.
async fn unless_ended<T>(ended: &mut watch::Receiver<bool>, future: impl Future<Output = T>) -> Option<T> {
    let mut end = pin!(ended.wait_for(|ended| *ended));
    let mut future = pin!(future);
    poll_fn(|context| match Pin::as_mut(&mut end).poll(context) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(context).map(Some),
    })
    .await
}
