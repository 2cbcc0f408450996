//! The objects that all tasks of a worker share.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::secrets::SecretDirectory;

/// What tasks share.
#[derive(Clone, Default)]
struct Shared {
    objects: BTreeMap<String, Arc<dyn Any + Send + Sync>>,
    /// Where the secrets of the process are.
    secrets: SecretDirectory,
}

/// Objects that all tasks of a worker share, by key: a connection pool, a model, a cache.
///
/// A program registers a function that makes an object by
/// [`Registry::resource`](crate::topology::registry::Registry::resource), or by
/// [`TopologyBuilder::resource`](crate::topology::TopologyBuilder::resource) for one topology. The
/// function runs once in every worker process, before any task is prepared.
///
/// # Examples
/// ```
/// use squall::prelude::*;
///
/// /// What all tasks of a worker share.
/// struct Model {
///     words: usize,
/// }
///
/// let mut registry = Registry::with_standard();
/// registry.resource("model", |_| Ok::<_, TaskError>(Model { words: 100_000 }));
///
/// fn prepare(context: &TaskContext) -> Result<usize, TaskError> {
///     let model = context.resources().get::<Model>("model");
///     Ok(model.ok_or_else(|| TaskError::fatal("there is no model"))?.words)
/// }
/// # let options = squall::testing::HarnessOptions::default();
/// # options.resources.set("model", Model { words: 7 });
/// # assert_eq!(prepare(&options.task_context())?, 7);
/// # Ok::<(), TaskError>(())
/// ```
#[derive(Clone, Default)]
pub struct WorkerResources(Arc<Mutex<Shared>>);

impl WorkerResources {
    /// Stores an object under a key, and replaces any object that had this key.
    ///
    /// # Examples
    /// ```
    /// use squall::api::WorkerResources;
    ///
    /// let resources = WorkerResources::default();
    /// resources.set("limit", 10_u64);
    /// resources.set("limit", 20_u64);
    /// assert_eq!(resources.get::<u64>("limit").as_deref(), Some(&20));
    /// ```
    pub fn set<T: Any + Send + Sync>(&self, key: &str, object: T) {
        self.set_shared(key, Arc::new(object));
    }

    /// The object under a key, if it is of that type.
    ///
    /// # Examples
    /// ```
    /// use squall::api::WorkerResources;
    ///
    /// let resources = WorkerResources::default();
    /// resources.set("limit", 10_u64);
    /// assert_eq!(resources.get::<u64>("limit").as_deref(), Some(&10));
    /// assert!(resources.get::<String>("limit").is_none(), "it is of another type");
    /// ```
    pub fn get<T: Any + Send + Sync>(&self, key: &str) -> Option<Arc<T>> {
        let object = self.lock().objects.get(key).cloned();
        object?.downcast().ok()
    }

    /// Whether there is an object of whatever type under a key.
    ///
    /// # Examples
    /// ```
    /// use squall::api::WorkerResources;
    ///
    /// let resources = WorkerResources::default();
    /// resources.set("limit", 10_u64);
    /// assert!(resources.contains("limit") && !resources.contains("model"));
    /// ```
    pub fn contains(&self, key: &str) -> bool {
        self.lock().objects.contains_key(key)
    }

    /// Sets where the secrets of this process are. `squall run` and the workers of a cluster do so; a program that starts a
    /// topology itself does it before.
    ///
    /// # Examples
    /// ```no_run
    /// use squall::api::WorkerResources;
    /// use squall::runtime::{LocalOptions, RunningTopology};
    /// use squall::secrets::SecretDirectory;
    ///
    /// # fn start(topology: squall::topology::Topology) -> Result<(), Box<dyn std::error::Error>> {
    /// let resources = WorkerResources::default();
    /// resources.set_secrets(SecretDirectory::new("/etc/orders/secrets"));
    /// RunningTopology::start(topology, LocalOptions { resources, ..LocalOptions::default() })?.join();
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_secrets(&self, secrets: SecretDirectory) {
        self.lock().secrets = secrets;
    }

    /// Where the secrets of this process are: nowhere, unless that was set.
    pub(crate) fn secrets(&self) -> SecretDirectory {
        self.lock().secrets.clone()
    }

    pub(crate) fn set_shared(&self, key: &str, object: Arc<dyn Any + Send + Sync>) {
        self.lock().objects.insert(key.to_owned(), object);
    }

    /// The same objects for another worker, which adds its own.
    pub(crate) fn for_another_worker(&self) -> WorkerResources {
        WorkerResources(Arc::new(Mutex::new(self.lock().clone())))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
