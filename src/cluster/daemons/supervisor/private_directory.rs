//! The private directories of the processes of a host: what a supervisor puts there before it starts one.

use std::fs::{self, File};
use std::path::Path;

use crate::cluster::daemons::supervisor::actions::{Order, Preparation};
use crate::cluster::program::ProgramFile;
use crate::cluster::source::TopologySource;
use crate::cluster::topologies::{
    ORDER_FILE, PROGRAM_FILE, ProgramOrder, SOURCE_FILE, read_order, write_order, write_secret,
};
use crate::files::{make_private_directory, publish};
use crate::net::Secret;
use crate::text::{shown, with_causes};

/// Whether a process needs the source of its topology. A worker that was started with it before does not, so that it is
/// started again while the blobs are away.
pub(super) fn needs_source(directory: &Path, preparation: &Preparation) -> bool {
    let known: Option<ProgramOrder> = read_order(directory, PROGRAM_FILE).ok().flatten();
    is_master(preparation) || known.is_none_or(|known| known.source != preparation.source)
}

fn is_master(preparation: &Preparation) -> bool {
    matches!(preparation.order, Order::Master(_))
}

/// Puts there what a process needs. `source`: that of its topology, if it needs that.
pub(super) fn prepare(
    directory: &Path,
    preparation: &Preparation,
    secret: &Secret,
    source: Option<&[u8]>,
) -> Result<(), String> {
    make_private_directory(directory).map_err(|error| with_causes(&error))?;
    write_secret(directory, secret).map_err(|error| with_causes(&error))?;
    if let Some(bytes) = source {
        let file = program_named(bytes)?;
        let order = ProgramOrder { source: preparation.source.clone(), file };
        write_order(directory, PROGRAM_FILE, &order).map_err(|error| with_causes(&error))?;
        if is_master(preparation) {
            let opened = File::open(directory);
            let written =
                opened.and_then(|opened| publish(&opened, &format!("{SOURCE_FILE}.new"), SOURCE_FILE, bytes));
            written.map_err(|error| format!("cannot write its file `{SOURCE_FILE}`: {error}"))?;
        }
    }
    write_child_order(directory, &preparation.order)
}

/// The program that a source names.
fn program_named(source: &[u8]) -> Result<Option<ProgramFile>, String> {
    let source: TopologySource = serde_json::from_slice(source)
        .map_err(|error| format!("its blob is no source of a topology: {}", shown(error)))?;
    let Some(program) = source.program() else { return Ok(None) };
    program.file.check().map_err(|error| error.to_string())?;
    Ok(Some(program.file.clone()))
}

/// The program that the process of a directory runs. `None`: that of the supervisor.
pub(super) fn program_of(directory: &Path) -> Result<Option<ProgramFile>, String> {
    let order: Option<ProgramOrder> =
        read_order(directory, PROGRAM_FILE).map_err(|error| with_causes(&error))?;
    Ok(order.and_then(|order| order.file))
}

/// The programs of all private directories. `None`: one of them could not be read.
pub(super) fn programs_in(topologies: &Path) -> Option<Vec<ProgramFile>> {
    let mut programs = Vec::new();
    for topology in fs::read_dir(topologies).ok()? {
        let topology = topology.ok()?.path();
        if !topology.is_dir() {
            continue;
        }
        for child in fs::read_dir(topology).ok()? {
            programs.extend(program_of(&child.ok()?.path()).ok()?);
        }
    }
    Some(programs)
}

pub(super) fn write_child_order(directory: &Path, order: &Order) -> Result<(), String> {
    let written = match order {
        Order::Master(order) => write_order(directory, ORDER_FILE, order),
        Order::Worker(order) => write_order(directory, ORDER_FILE, order),
    };
    written.map_err(|error| with_causes(&error))
}
