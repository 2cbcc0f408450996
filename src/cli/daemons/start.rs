//! What both daemons are started with.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::{StdRng, SysRng};
use rand::{Rng as _, SeedableRng as _};
use slog::FilterLevel;

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::load;
use crate::cli::log_format::LogFormatFlag;
use crate::cli::terminal::Stream;
use crate::clock::Clock;
use crate::cluster::blobs::BlobStore;
use crate::cluster::control::LogSpec;
use crate::cluster::coordination::NodePath;
use crate::cluster::coordination::zookeeper::ZooKeeperClient;
use crate::cluster::daemons::belonging::Belonging;
use crate::cluster::daemons::{self, EndRequest};
use crate::cluster::topologies::{ClusterKey, ClusterKeyError};
use crate::components::stream::Stream as OutputStream;
use crate::config::{EngineOptions, is_daemon_id};
use crate::files::make_private_directory;
use crate::logging::{Levels, Logging};
use crate::runtime::state_home;
use crate::text::{shown, with_causes};
use crate::tuple::Timestamp;

/// The flags of both daemons.
#[derive(clap::Args, Debug)]
pub(super) struct DaemonFlags {
    /// The engine's file, `squall.toml`
    #[arg(long, value_name = "FILE", env = "SQUALL_CONFIG", hide_env_values = true)]
    config: Option<String>,

    /// The level of what is logged: off, critical, error, warn, info, debug or trace
    #[arg(long, value_name = "SPEC", env = "SQUALL_LOG", hide_env_values = true)]
    log: Option<Levels>,

    #[command(flatten)]
    log_format: LogFormatFlag,
}

/// What a daemon has when it begins.
pub(super) struct Beginning {
    pub(super) client: Arc<ZooKeeperClient>,
    pub(super) clock: Clock,
    pub(super) logging: Logging,
    pub(super) end: EndRequest,
    /// Random numbers, for tokens.
    pub(super) rng: StdRng,
}

impl DaemonFlags {
    /// The engine's file. `None`: it has mistakes, which were reported.
    pub(super) fn engine(&self, context: &Context) -> Option<EngineOptions> {
        load::engine(self.config.as_deref(), context)
    }

    /// What the processes of topologies log.
    pub(super) fn log_spec(&self) -> LogSpec {
        let levels = self.log.clone().unwrap_or_else(|| Levels::all(FilterLevel::Info));
        LogSpec { levels, format: self.log_format.format(), color: false }
    }

    /// Begins to log, catches signals, and begins to connect.
    pub(super) fn begin(&self, engine: &EngineOptions, context: &Context) -> Result<Beginning, CommandError> {
        let end = EndRequest::on_signals().map_err(CommandError::io("catch signals"))?;
        let levels = self.log.clone().unwrap_or_else(|| Levels::all(FilterLevel::Info));
        let color = context.colors(Stream::Err);
        let mut logging = Logging::start(levels, self.log_format.format(), color, OutputStream::stderr());
        logging.log_panics();
        let mut rng = StdRng::try_from_rng(&mut SysRng)
            .map_err(|error| CommandError::Refused(format!("the system gives no random numbers: {error}")))?;
        let clock = Clock::real();
        let client = ZooKeeperClient::open(&engine.zookeeper, &clock, &logging.logger, rng.next_u64())
            .map_err(|error| CommandError::Refused(error.to_string()))?;
        Ok(Beginning { client: Arc::new(client), clock, logging, end, rng })
    }
}

impl Beginning {
    /// The time, for people.
    pub(super) fn started_at(&self) -> String {
        Timestamp(self.clock.wall_nanos()).to_string()
    }

    /// Steps until a signal ends the daemon.
    pub(super) fn run(&self, watched: &[NodePath], step: impl FnMut() -> Duration) {
        daemons::run(&*self.client, watched, &self.end, step);
    }
}

/// The id of a daemon: that of the options, or the name of this host.
pub(super) fn id_of(key: &str, id: Option<&str>) -> Result<String, CommandError> {
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let id = id.map_or_else(host, str::to_owned);
    match is_daemon_id(&id) {
        true => Ok(id),
        false => Err(CommandError::Refused(format!(
            "this host is called `{}`, which is no name that squall can use: set `{key}`",
            shown(&id)
        ))),
    }
}

/// What the daemon remembers of its cluster in this directory, or in one below the user's state directory.
pub(super) fn belonging_in(
    key: &str,
    directory: Option<&Path>,
    own: &str,
) -> Result<Belonging, CommandError> {
    let directory = directory_of(key, directory, own)?;
    Belonging::read(&directory).map_err(|error| CommandError::Refused(error.to_string()))
}

/// The directory of a daemon, which is made.
pub(super) fn directory_of(key: &str, directory: Option<&Path>, own: &str) -> Result<PathBuf, CommandError> {
    let directory = directory_or_own(key, directory, own)?;
    make_private_directory(&directory)
        .map_err(CommandError::io(format!("make the directory `{}`", directory.display())))?;
    Ok(directory)
}

/// Where the key of the cluster is, or should be.
pub(in crate::cli) fn key_file_of(engine: &EngineOptions) -> Result<PathBuf, CommandError> {
    directory_or_own("cluster.key_file", engine.cluster.key_file.as_deref(), "cluster.key")
}

/// The key of the cluster.
pub(super) fn key_of(engine: &EngineOptions) -> Result<ClusterKey, CommandError> {
    let file = key_file_of(engine)?;
    match ClusterKey::read(&file) {
        Err(ClusterKeyError::Unreadable(_, error)) if error.kind() == io::ErrorKind::NotFound => {
            Err(CommandError::Refused(format!(
                "there is no key of the cluster in `{}`: copy the file from a host with a nimbus, which has made it, \
                 and let nobody else read it (`chmod 600`); `cluster.key_file` names another place",
                file.display()
            )))
        }
        Err(error) => Err(CommandError::Refused(with_causes(&error))),
        Ok(key) => Ok(key),
    }
}

/// Makes the key of the cluster if there is none. Returns where, if it was made.
pub(super) fn make_key(engine: &EngineOptions, rng: &mut StdRng) -> Result<Option<PathBuf>, CommandError> {
    let file = key_file_of(engine)?;
    if let Some(directory) = file.parent() {
        make_private_directory(directory)
            .map_err(CommandError::io(format!("make the directory `{}`", directory.display())))?;
    }
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    let made = ClusterKey::make(&file, &bytes).map_err(|error| CommandError::Refused(with_causes(&error)))?;
    // One that is there must be one.
    ClusterKey::read(&file).map_err(|error| CommandError::Refused(with_causes(&error)))?;
    Ok(made.then_some(file))
}

/// What the topologies of the cluster are made of. Nothing is made yet.
pub(super) fn blobs_of(engine: &EngineOptions) -> Result<BlobStore, CommandError> {
    let directory = engine.cluster.blobs.as_deref();
    Ok(BlobStore::new(directory_or_own("cluster.blobs", directory, "blobs")?))
}

/// A directory or file that the options name, or one of this name below the user's state directory.
fn directory_or_own(key: &str, directory: Option<&Path>, own: &str) -> Result<PathBuf, CommandError> {
    match (directory, state_home()) {
        (Some(directory), _) => Ok(directory.to_owned()),
        (None, Some(home)) => Ok(home.join("squall").join(own)),
        (None, None) => {
            let why = format!("neither XDG_STATE_HOME nor HOME is set: name a directory by `{key}`");
            Err(CommandError::Refused(why))
        }
    }
}
