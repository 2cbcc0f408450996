//! Calls of `Operations`: they block, so they run in threads of their own, a bounded number at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::cluster::api::answer::{ApiError, ErrorCode};
use crate::cluster::api::limits::ApiLimits;
use crate::cluster::operations::{OperationError, Operations};

/// What all requests share.
pub(super) struct Calls {
    operations: Arc<dyn Operations>,
    /// A permit for each call that runs or waits.
    calls: Arc<Semaphore>,
    /// A permit for each blob that is received or sent.
    pub(super) blobs: Arc<Semaphore>,
    /// A permit for each call that waits for a master: one that does not answer must not keep all threads busy.
    masters: Semaphore,
    pub(super) limits: ApiLimits,
}

impl Calls {
    pub(super) fn new(operations: Arc<dyn Operations>, limits: ApiLimits) -> Calls {
        let calls = Arc::new(Semaphore::new(limits.calls_max));
        let (blobs, masters) =
            (Arc::new(Semaphore::new(limits.blobs_max)), Semaphore::new(limits.masters_max));
        Calls { operations, calls, blobs, masters, limits }
    }

    /// Makes a call that waits for a master. It waits for its turn for a short time.
    pub(super) async fn ask_master<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Operations) -> Result<T, OperationError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let Ok(permit) = timeout(self.limits.master_turn_time, self.masters.acquire()).await else {
            let message = format!("{} masters are asked already: ask again later", self.limits.masters_max);
            return Err(ApiError::new(ErrorCode::Busy, message));
        };
        let _permit = permit.expect("the semaphore is never closed");
        self.call(call).await
    }

    /// Makes a call in another thread, and waits for its result.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Operations) -> Result<T, OperationError> + Send + 'static,
    ) -> Result<T, ApiError> {
        // The permit belongs to the call, not to the request: a request that gives up leaves its call running.
        let Ok(permit) = Arc::clone(&self.calls).try_acquire_owned() else {
            let message = format!("{} calls are waiting already: ask again later", self.limits.calls_max);
            return Err(ApiError::new(ErrorCode::Busy, message));
        };
        let operations = Arc::clone(&self.operations);
        let running = spawn_blocking(move || {
            let _permit = permit;
            call(&*operations)
        });
        match timeout(self.limits.call_time, running).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_)) => {
                let message = "the call has failed by a defect of squall: see the log of this nimbus";
                Err(ApiError::new(ErrorCode::Internal, message))
            }
            Err(_) => {
                let time = humantime::format_duration(self.limits.call_time);
                let message = format!("there is no result after {time}: look later whether it was done");
                Err(ApiError::new(ErrorCode::Unfinished, message))
            }
        }
    }
}
