//! The program of a user's that runs a topology in a cluster: this one, which is sent there when the topology is
//! submitted.

use std::fs;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::terminal;
use crate::cli::topologies::client::{ClientError, NimbusClient};
use crate::cluster::TopologySource;
use crate::cluster::operations::SupervisorInfo;
use crate::cluster::platform::ProgramNeeds;
use crate::cluster::program::{PIECE_BYTES, PROGRAM_BYTES_MAX, Program, ProgramFile};
use crate::files::read_regular;
use crate::text::shown;
use crate::topology::{Topology, TopologyOutline};

/// Which program runs the topology.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ProgramFlag {
    /// The program that runs the topology on the hosts: this one, built for them
    ///
    /// A program that registers components of its own is sent to the cluster with its topologies. That is the file that
    /// runs this command, unless this flag names another one: the same program, built for the processor and the C library
    /// of the hosts. Topologies of `squall` itself run with the program of the supervisors.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

impl ProgramFlag {
    /// The source of a topology with the program that is to run it, which is sent to the cluster if it is not there.
    pub(super) fn attach(
        &self,
        source: TopologySource,
        topology: &Topology,
        context: &Context,
        client: &mut NimbusClient,
    ) -> Result<TopologySource, CommandError> {
        let path = match &self.program {
            Some(path) => path.clone(),
            None if context.registry.has_own() => PathBuf::from("/proc/self/exe"),
            None => return Ok(source),
        };
        let unread = |error| CommandError::io(format!("read the program `{}`", path.display()))(error);
        // It is followed once: what it leads to may be replaced by a build meanwhile.
        let place = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        let content = read_regular(&path, PROGRAM_BYTES_MAX).map_err(unread)?;
        let refused = |why: String| {
            CommandError::Refused(format!("`{}` cannot run in a cluster: {why}", shown(place.display())))
        };
        let needs = ProgramNeeds::of(&content).map_err(|error| refused(error.to_string()))?;
        let hosts = client.cluster()?.supervisors;
        if let Some(why) = why_not(&hosts, &needs) {
            return Err(refused(format!("{why}. Build it for the hosts, and name that file by --program")));
        }
        let file = ProgramFile::of(&name_of(&place), &content).map_err(|error| refused(error.to_string()))?;
        send(&file, &content, client)?;
        let outline = TopologyOutline::of(topology);
        Ok(source.with_program(Some(Program { file, outline })))
    }
}

/// How a program is called. The kernel marks the path of one whose file was replaced.
fn name_of(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(name)
}

/// Why a host cannot run a program: the first of them, and how many there are.
fn why_not(hosts: &[SupervisorInfo], needs: &ProgramNeeds) -> Option<String> {
    let lacks: Vec<(&str, String)> =
        hosts.iter().filter_map(|host| Some((&*host.host.id, host.platform.lacks(needs)?))).collect();
    let (host, why) = lacks.first()?;
    let others = match lacks.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more of {} hosts cannot run it", hosts.len()),
    };
    Some(format!("host `{}`: {why}{others}", shown(host)))
}

/// Sends the pieces that are not there.
fn send(file: &ProgramFile, content: &[u8], client: &mut NimbusClient) -> Result<(), ClientError> {
    let mut sent = 0;
    for (hash, piece) in file.pieces().iter().zip(content.chunks(PIECE_BYTES)) {
        if client.has_blob(hash)? {
            continue;
        }
        if sent == 0 {
            let size = ByteSize(file.bytes());
            terminal::write_message(&format!(
                "program `{}`: sending it to the cluster ({size})",
                file.name()
            ));
        }
        client.put_blob(piece)?;
        sent += piece.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::operations::HostInfo;
    use crate::cluster::platform::{Glibc, PROCESS_PROTOCOL, Platform};
    use crate::config::Resources;

    fn host(id: &str, minor: u32) -> SupervisorInfo {
        SupervisorInfo {
            host: HostInfo { id: id.to_owned(), ..HostInfo::default() },
            rack: "default-rack".to_owned(),
            slots: 4,
            used: 0,
            resources: Resources::default(),
            platform: Platform {
                arch: "x86_64".to_owned(),
                glibc: Some(Glibc { major: 2, minor }),
                protocol: PROCESS_PROTOCOL,
            },
            started_at: String::new(),
        }
    }

    #[test]
    fn the_first_host_that_cannot_run_it_is_named() {
        let needs = ProgramNeeds {
            arch: "x86_64".to_owned(),
            glibc: Some(Glibc { major: 2, minor: 36 }),
            protocol: PROCESS_PROTOCOL,
        };
        assert_eq!(why_not(&[], &needs), None);
        assert_eq!(why_not(&[host("a", 36), host("b", 40)], &needs), None);
        let hosts = [host("a", 36), host("b", 31), host("c", 28)];
        let why = why_not(&hosts, &needs).expect("two are too old");
        assert!(why.starts_with("host `b`: it has glibc 2.31") && why.contains("1 more of 3"), "{why}");
    }

    #[test]
    fn a_program_is_called_by_its_file() {
        assert_eq!(name_of(Path::new("/opt/words/target/release/words")), "words");
        assert_eq!(name_of(Path::new("/opt/words (deleted)")), "words");
    }
}
