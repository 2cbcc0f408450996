//! `squall cluster`.

use serde_json::{Value, json};

use crate::cli::context::Context;
use crate::cli::daemons::hosts::{hosted, state};
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::table::table;
use crate::cli::terminal;
use crate::cli::topologies::client::ClientError;
use crate::cli::topologies::reach::{DEFAULT_ADDRESS, TrustFlags};
use crate::cli::zk::access::{Access, Ensemble};
use crate::cluster::coordination::{
    CandidateRecord, ClusterRecord, LeaderRecord, NodePath, Record, candidates_of, decode_record,
};
use crate::cluster::daemons::SupervisorRecord;
use crate::cluster::daemons::belonging::{cluster_node, nimbus_node, supervisors_node};
use crate::cluster::operations::{ClusterInfo, NimbusInfo};
use crate::config::Endpoint;
use crate::config::units::show_size;
use crate::text::shown;

const EXAMPLES: &str = "\
Examples:
  squall cluster
  squall cluster --config etc/squall.toml --json | jq -r '.supervisors[].id'

A nimbus is asked, unless the ensemble is named by --servers, --root or --config. What is listed is
alive, or was until a session's time-out ago.

Exit codes: 0 a nimbus leads; 1 there is no cluster, nobody leads, or no server answers; 2 the command
line is wrong.";

/// List the nimbuses and supervisors of a cluster
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    access: Access,

    /// Where a nimbus is reached, which is asked instead of the ensemble; several are separated by commas [default:
    /// 127.0.0.1:7070 if nothing is said about the ensemble, and the ensemble if nobody answers there]
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        env = "SQUALL_NIMBUS",
        hide_env_values = true
    )]
    nimbus: Option<Vec<Endpoint>>,

    #[command(flatten)]
    trust: TrustFlags,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Shows what a nimbus has answered.
fn show(info: &ClusterInfo, json: bool) -> Result<CommandOutcome, CommandError> {
    let leads = |id: &str| info.leader.as_deref() == Some(id);
    if json {
        let nimbus = |it: &NimbusInfo| json!({ "id": it.id, "api": it.address, "leads": leads(&it.id) });
        terminal::print_json(&json!({
            "cluster": { "id": info.id },
            "epoch": info.epoch,
            "nimbuses": info.nimbuses.iter().map(nimbus).collect::<Value>(),
            "supervisors": info.supervisors,
            "missing": info.missing,
        }))?;
        return Ok(CommandOutcome::Done);
    }
    let nimbuses = info.nimbuses.iter().map(|it| (&*it.id, &*it.address, leads(&it.id)));
    let mut text = format!("cluster {}, epoch {}\n\n", shown(&info.id), info.epoch);
    text.push_str(&nimbus_table(nimbuses));
    let heading =
        ["SUPERVISOR", "RACK", "USED", "SLOTS", "CPU", "MEMORY", "SINCE", "STATE"].map(str::to_owned);
    let mut rows = vec![heading];
    rows.extend(info.supervisors.iter().map(|it| {
        [
            shown(&it.host.id),
            shown(&it.rack),
            it.used.to_string(),
            it.slots.to_string(),
            it.resources.cpu.to_string(),
            show_size(it.resources.memory),
            shown(&it.started_at),
            state(&it.host),
        ]
    }));
    rows.extend(info.missing.iter().map(|host| {
        let used: usize = host.runs.iter().map(|hosted| hosted.workers.len()).sum();
        let unknown = || "-".to_owned();
        let (id, used) = (shown(&host.id), used.to_string());
        [id, unknown(), used, unknown(), unknown(), unknown(), unknown(), state(host)]
    }));
    text.push('\n');
    text.push_str(&table(&rows, &[2, 3, 4, 5]));
    let all = info.supervisors.iter().map(|supervisor| &supervisor.host).chain(&info.missing);
    let draining = all.filter(|host| host.drained_since.is_some());
    let still = draining.flat_map(|host| host.runs.iter().map(move |there| (host, there)));
    for (at, (host, there)) in still.enumerate() {
        let before = if at == 0 { "\n" } else { "" };
        text.push_str(&format!("{before}still on {}: {}\n", shown(&host.id), hosted(there)));
    }
    text.push_str(&problems(info));
    terminal::print(&text)?;
    Ok(CommandOutcome::Done)
}

/// Which processes do not run as they should, by host.
fn problems(info: &ClusterInfo) -> String {
    let mut lines = Vec::new();
    for host in info.supervisors.iter().map(|supervisor| &supervisor.host) {
        lines
            .extend(host.problems.iter().map(|it| format!("{}: {}\n", shown(it.topology.name()), shown(it))));
        if host.problems_left_out > 0 {
            lines.push(format!("{}: {} more problems\n", shown(&host.id), host.problems_left_out));
        }
    }
    if lines.is_empty() { String::new() } else { format!("\nproblems:\n{}", lines.concat()) }
}

/// Nimbuses: id, address of the API, and whether it leads.
fn nimbus_table<'a>(nimbuses: impl Iterator<Item = (&'a str, &'a str, bool)>) -> String {
    let mut rows = vec![["NIMBUS", "STATE", "API"].map(str::to_owned)];
    rows.extend(nimbuses.map(|(id, address, leads)| {
        let state = if leads { "leads" } else { "stands by" };
        [shown(id), state.to_owned(), shown(address)]
    }));
    table(&rows, &[])
}

/// What is there of a cluster.
struct Found {
    cluster: ClusterRecord,
    leader: Option<LeaderRecord>,
    nimbuses: Vec<CandidateRecord>,
    supervisors: Vec<SupervisorRecord>,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    if !args.access.is_named() {
        let default = || vec![DEFAULT_ADDRESS.parse().expect("it is an address")];
        let endpoints = args.nimbus.clone().unwrap_or_else(default);
        match args.trust.client(endpoints)?.cluster() {
            Ok(info) => return show(&info, args.json),
            Err(ClientError::Unreachable(_)) if args.nimbus.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let Some(ensemble) = args.access.open(context)? else { return Ok(CommandOutcome::Failed) };
    let found = look(&ensemble)?;
    match args.json {
        true => terminal::print_json(&in_json(&found))?,
        false => terminal::print(&for_people(&found))?,
    }
    if found.living_leader().is_none() {
        terminal::write_message("no nimbus leads: nothing is placed or changed until one does");
    }
    Ok(CommandOutcome::done_if(found.living_leader().is_some()))
}

impl Found {
    /// The id of the nimbus that leads, if it is alive.
    fn living_leader(&self) -> Option<&str> {
        let holder = self.leader.as_ref()?.holder.as_ref()?;
        self.nimbuses.iter().find(|nimbus| nimbus.id == holder.id).map(|nimbus| &*nimbus.id)
    }
}

fn look(ensemble: &Ensemble) -> Result<Found, CommandError> {
    let cluster = read(ensemble, &cluster_node())?.ok_or_else(|| {
        CommandError::Refused(
            "no nimbus has begun this cluster yet: start one with `squall nimbus`".to_owned(),
        )
    })?;
    let leader = read(ensemble, &nimbus_node())?;
    let candidates = candidates_of(&nimbus_node()).expect("it is a short path");
    let nimbuses = read_all(ensemble, &candidates)?;
    let supervisors = read_all(ensemble, &supervisors_node())?;
    Ok(Found { cluster, leader, nimbuses, supervisors })
}

fn read<R: Record>(ensemble: &Ensemble, path: &NodePath) -> Result<Option<R>, CommandError> {
    let Some(node) = ensemble.find(path)? else { return Ok(None) };
    decode_record(path, &node.data).map(Some).map_err(|error| CommandError::Refused(error.to_string()))
}

/// The records of the nodes below this one; none if it is not there.
fn read_all<R: Record>(ensemble: &Ensemble, path: &NodePath) -> Result<Vec<R>, CommandError> {
    if ensemble.find(path)?.is_none() {
        return Ok(Vec::new());
    }
    let mut records = Vec::new();
    for name in ensemble.children(path)? {
        let child = path.child(&name).map_err(|error| CommandError::Refused(error.to_string()))?;
        records.extend(read(ensemble, &child)?);
    }
    Ok(records)
}

fn in_json(found: &Found) -> Value {
    let nimbus = |nimbus: &CandidateRecord| json!({ "id": nimbus.id, "api": nimbus.address, "leads": found.living_leader() == Some(&nimbus.id) });
    json!({
        "cluster": found.cluster,
        "epoch": found.leader.as_ref().map(|leader| leader.epoch),
        "nimbuses": found.nimbuses.iter().map(nimbus).collect::<Value>(),
        "supervisors": found.supervisors,
    })
}

fn for_people(found: &Found) -> String {
    let epoch = found.leader.as_ref().map_or(0, |leader| leader.epoch);
    let mut text = format!(
        "cluster {}, begun {}, epoch {epoch}\n\n",
        shown(&found.cluster.id),
        shown(&found.cluster.created_at)
    );
    let leads = |id: &str| found.living_leader() == Some(id);
    text.push_str(&nimbus_table(found.nimbuses.iter().map(|it| (&*it.id, &*it.address, leads(&it.id)))));
    let heading = ["SUPERVISOR", "RACK", "SLOTS", "CPU", "MEMORY", "SINCE"].map(str::to_owned);
    let mut rows = vec![heading];
    rows.extend(found.supervisors.iter().map(|host| {
        [
            shown(&host.id),
            shown(&host.rack),
            host.slots.to_string(),
            host.resources.cpu.to_string(),
            show_size(host.resources.memory),
            shown(&host.started_at),
        ]
    }));
    text.push('\n');
    text.push_str(&table(&rows, &[2, 3, 4]));
    text
}
