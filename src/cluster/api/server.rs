//! The server: one thread, which accepts connections, serves each for a bounded time, and ends in order.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use slog::{Logger, warn};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::cluster::api::calls::Calls;
use crate::cluster::api::limits::ApiLimits;
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
    /// The system gives no thread, or no descriptors.
    #[error("cannot start the thread of the API")]
    Thread(#[source] io::Error),
}

/// The HTTP API of a nimbus. When it is dropped, the requests that have begun are answered, and the thread ends.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Listens on an address, with port 0 on any free port.
    ///
    /// # Errors
    /// When the address is in use, or the system has no resources.
    pub fn start(
        listen: SocketAddr,
        limits: ApiLimits,
        operations: Arc<dyn Operations>,
        logger: &Logger,
    ) -> Result<ApiServer, StartApiError> {
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
        let (end, ended) = watch::channel(false);
        let router = router(Arc::new(Calls::new(operations, limits)), address.ip(), logger.clone());
        let accepting = Accepting { listener, router, limits, ended, logger: logger.clone() };
        let thread = thread::Builder::new()
            .name("squall-api".to_owned())
            .spawn(move || accepting.run(runtime))
            .map_err(StartApiError::Thread)?;
        Ok(ApiServer { address, end, thread: Some(thread) })
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
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
    router: Router,
    limits: ApiLimits,
    ended: watch::Receiver<bool>,
    logger: Logger,
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
                Ok((stream, _)) => {
                    let connection = serve(stream, self.router.clone(), self.limits, self.ended.clone());
                    connections.spawn(async move {
                        connection.await;
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

/// Serves the one request of a connection.
async fn serve(stream: TcpStream, router: Router, limits: ApiLimits, mut ended: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .keep_alive(false)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let mut end = pin!(ended.wait_for(|ended| *ended));
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
    let _ = timeout(limits.connection_time, whole).await;
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
