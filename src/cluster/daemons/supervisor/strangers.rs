//! What is in the directory of private directories and is not known to the supervisor.

use std::fs;
use std::io;
use std::path::Path;

use slog::{Logger, warn};

use crate::cluster::daemons::supervisor::child::Role;
use crate::cluster::daemons::supervisor::local_record::LocalRecord;
use crate::cluster::topologies::{TopologyId, occupant_of};

/// Logs what is in the directory of private directories and is not known. It is left alone.
pub(super) fn log_strangers(topologies: &Path, record: &LocalRecord, logger: &Logger) -> io::Result<()> {
    let mut log = |path: &Path| {
        let occupant = occupant_of(path).ok().flatten();
        warn!(logger, "`{}` is not of this supervisor, as far as it knows: it is left alone", path.display();
            "pid" => occupant.map(|occupant| occupant.pid));
    };
    for entry in fs::read_dir(topologies)? {
        let entry = entry?;
        let id: Option<TopologyId> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let known = id.as_ref().and_then(|id| record.topologies.get(id));
        let Some(known) = known else {
            match entry.file_type()?.is_dir() {
                true => each_entry(&entry.path(), &mut log)?,
                false => log(&entry.path()),
            }
            continue;
        };
        for child in fs::read_dir(entry.path())? {
            let child = child?;
            let role: Option<Role> = child.file_name().to_str().and_then(|name| name.parse().ok());
            if role.is_none_or(|role| !known.children.contains_key(&role)) {
                log(&child.path());
            }
        }
    }
    Ok(())
}

fn each_entry(directory: &Path, log: &mut impl FnMut(&Path)) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        log(&entry?.path());
    }
    Ok(())
}
