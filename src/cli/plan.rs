//! `squall plan TOPOLOGY... --hosts FILE`.

use serde_json::{Map, Value, json};

use crate::cli::context::Context;
use crate::cli::error::{CommandError, CommandOutcome};
use crate::cli::load::{Files, Overrides};
use crate::cli::table::table;
use crate::cli::terminal::{self, Stream};
use crate::cluster::schedule::{
    ClusterPlan, ClusterView, Demand, Host, HostPlan, HostShortage, Move, Resource, Slot, TopologyPlan,
    WorkerPlan, plan,
};
use crate::config::Cpu;
use crate::config::units::show_size;
use crate::text::shown;
use crate::topology::declare::load_hosts;
use crate::topology::plan::{ACKER_COMPONENT, Part};
use crate::topology::{Plan, Topology, TopologyErrors};

const EXAMPLES: &str = "\
Examples:
  squall plan topology.toml --hosts hosts.toml
  squall plan a.toml b.toml --hosts hosts.toml --set topology.workers=8
  squall plan topology.toml --hosts hosts.toml --without node-1     what moves when node-1 is lost
  squall plan topology.toml --hosts hosts.toml --json | jq .fits

A file of hosts:
  [defaults]           # of all hosts; these are the values that hold if nothing is said
  slots = 4
  cpu = 4              # cores
  memory = \"4GiB\"
  [host.node]
  count = 20           # node-1 to node-20
  rack = \"r1\"
  [host.large]
  cpu = 32
  memory = \"64GiB\"

Exit codes: 0 everything fits; 1 something does not, or a file is invalid; 2 the command line is wrong.";

/// Show where topologies would run on given hosts, and what is short
///
/// Places the workers of topologies on the hosts of a file, by the rules of `[topology.scheduling]`. Shows the slot
/// and the executors of each worker, the load of each host, and what is short if something does not fit. Of topologies
/// with the same priority, the first goes first. Nothing is started.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Topology documents, `-` for stdin, and names of topologies that the program registers
    #[arg(value_name = "TOPOLOGY", required = true)]
    topologies: Vec<String>,

    /// The file with the hosts
    #[arg(long, value_name = "FILE")]
    hosts: String,

    #[command(flatten)]
    overrides: Overrides,

    /// Plan once more without this host, and show what moves; may be repeated
    #[arg(long, value_name = "HOST")]
    without: Vec<String>,

    /// Print JSON on stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &Args, context: &Context) -> Result<CommandOutcome, CommandError> {
    let Some((view, topologies)) = read(args, context) else { return Ok(CommandOutcome::Failed) };
    refuse_equal_names(&topologies)?;
    let mut planned = plan(&view, &demands(&topologies, None));
    if !args.without.is_empty() {
        let view = without(view, args)?;
        planned = plan(&view, &demands(&topologies, Some(&planned)));
    }
    if args.json {
        terminal::print_json(&in_json(&topologies, &planned))?;
    } else {
        terminal::print(&for_people(&topologies, &planned))?;
        shortages(&planned).iter().for_each(|text| terminal::write_message(&format!("short: {text}")));
    }
    Ok(CommandOutcome::done_if(planned.fits()))
}

/// The hosts and the topologies. `None` if something is wrong with them, which has been reported.
fn read(args: &Args, context: &Context) -> Option<(ClusterView, Vec<Topology>)> {
    let report = |errors: TopologyErrors| {
        terminal::write_message(&errors.render(context.colors(Stream::Err)));
    };
    let hosts = load_hosts(&Files, &args.hosts).map_err(report).ok();
    let topologies: Vec<Option<Topology>> = args
        .topologies
        .iter()
        .map(|file| args.overrides.load(file, &context.registry).map_err(report).ok())
        .collect();
    let hosts = hosts?.iter().map(|(id, options)| Host::new(id, options)).collect();
    Some((ClusterView { hosts, guarantees: Vec::new() }, topologies.into_iter().collect::<Option<_>>()?))
}

fn refuse_equal_names(topologies: &[Topology]) -> Result<(), CommandError> {
    let twice = topologies
        .iter()
        .enumerate()
        .find(|(at, topology)| topologies[..*at].iter().any(|other| other.name() == topology.name()));
    twice.map_or(Ok(()), |(_, topology)| {
        let message =
            format!("there are two topologies `{}`: names are unique in a cluster", topology.name());
        Err(CommandError::Refused(message))
    })
}

fn without(mut view: ClusterView, args: &Args) -> Result<ClusterView, CommandError> {
    for lost in &args.without {
        let before = view.hosts.len();
        view.hosts.retain(|host| host.id != *lost);
        if view.hosts.len() == before {
            let message = format!("there is no host `{}` in {}", shown(lost), shown(&args.hosts));
            return Err(CommandError::Refused(message));
        }
    }
    Ok(view)
}

fn demands<'a>(topologies: &'a [Topology], before: Option<&'a ClusterPlan>) -> Vec<Demand<'a>> {
    let demand = |(at, topology): (usize, &'a Topology)| Demand {
        submitted: at as u64,
        current: before.and_then(|before| before.topologies[at].placement.as_ref()),
        ..Demand::new(topology)
    };
    topologies.iter().enumerate().map(demand).collect()
}

/// Executors of each component in a worker, in the order of the topology.
fn executors(topology: &Topology, plan: &Plan, worker: &WorkerPlan) -> Vec<(String, usize)> {
    let components = topology.components().iter().map(|component| component.id.to_string());
    let mut counts: Vec<(String, usize)> =
        components.chain([ACKER_COMPONENT.to_owned()]).map(|id| (id, 0)).collect();
    for executor in &worker.executors {
        let at = match plan.executors[executor.index()].part {
            Part::Component(at) => at,
            Part::Acker => topology.components().len(),
        };
        counts[at].1 += 1;
    }
    counts.retain(|(_, count)| *count > 0);
    counts
}

/// Everything that is short, a sentence each.
fn shortages(planned: &ClusterPlan) -> Vec<String> {
    let mut texts = Vec::new();
    for topology in &planned.topologies {
        let Some(shortage) = &topology.shortage else { continue };
        let evicted = topology.evicted_for.as_ref();
        let evicted = evicted.map_or_else(String::new, |other| format!(", evicted for `{other}`"));
        texts.push(format!("`{}`{evicted}: {shortage}", topology.name));
    }
    for host in &planned.hosts {
        for short in host.shortages() {
            let who = topologies_on(planned, host).join("` and `");
            texts.push(format!("host {short}, with the workers of `{who}`: `even` counts slots only"));
        }
    }
    texts
}

fn topologies_on<'a>(planned: &'a ClusterPlan, host: &HostPlan) -> Vec<&'a str> {
    let is_on = |topology: &&TopologyPlan| topology.workers.iter().any(|it| it.slot.host == host.host.id);
    planned.topologies.iter().filter(is_on).map(|topology| topology.name.as_str()).collect()
}

fn for_people(topologies: &[Topology], planned: &ClusterPlan) -> String {
    let mut text = workers_table(topologies, planned);
    text.push('\n');
    text.push_str(&hosts_table(planned));
    let moves: Vec<(&str, &Move)> = planned
        .topologies
        .iter()
        .flat_map(|topology| topology.moves.iter().map(|it| (topology.name.as_str(), it)))
        .collect();
    if !moves.is_empty() {
        text.push('\n');
        text.push_str(&moves_table(&moves));
    }
    text
}

fn workers_table(topologies: &[Topology], planned: &ClusterPlan) -> String {
    let mut rows = vec![["TOPOLOGY", "WORKER", "SLOT", "CPU", "MEMORY", "EXECUTORS"].map(str::to_owned)];
    for (topology, it) in topologies.iter().zip(&planned.topologies) {
        let Some(plan) = &it.plan else {
            rows.push([
                it.name.to_string(),
                "-".into(),
                "-".into(),
                "-".into(),
                "-".into(),
                "does not run".into(),
            ]);
            continue;
        };
        for worker in &it.workers {
            let executors = executors(topology, plan, worker).into_iter();
            let executors: Vec<String> = executors.map(|(id, count)| format!("{id} {count}")).collect();
            rows.push([
                it.name.to_string(),
                worker.worker.to_string(),
                worker.slot.to_string(),
                worker.needs.cpu.to_string(),
                show_size(worker.needs.memory),
                executors.join(", "),
            ]);
        }
    }
    table(&rows, &[1, 3, 4])
}

fn hosts_table(planned: &ClusterPlan) -> String {
    let mut rows = vec![["HOST", "RACK", "SLOTS", "CPU", "MEMORY", "TOPOLOGIES"].map(str::to_owned)];
    for host in &planned.hosts {
        let has = &host.host;
        let mut there = topologies_on(planned, host).join(", ");
        if let Some(isolated) = &host.isolated_for {
            there = format!("{isolated} alone");
        }
        rows.push([
            has.id.to_string(),
            shown(&has.rack),
            format!("{} of {}", host.workers, has.slots),
            format!("{} of {}", host.promised.cpu, has.resources.cpu),
            format!("{} of {}", show_size(host.promised.memory), show_size(has.resources.memory)),
            there,
        ]);
    }
    table(&rows, &[2, 3, 4])
}

fn moves_table(moves: &[(&str, &Move)]) -> String {
    let mut rows = vec![["MOVES", "EXECUTORS", "FROM", "TO", "WHY"].map(str::to_owned)];
    for (topology, it) in moves {
        let slot = |slot: &Option<Slot>| slot.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        rows.push([
            (*topology).to_owned(),
            it.executors.to_string(),
            slot(&it.from),
            slot(&it.to),
            it.why.to_string(),
        ]);
    }
    table(&rows, &[1])
}

fn in_json(topologies: &[Topology], planned: &ClusterPlan) -> Value {
    let each = topologies.iter().zip(&planned.topologies);
    let topologies: Vec<Value> = each.map(|(topology, it)| topology_json(topology, it)).collect();
    let hosts: Vec<Value> = planned.hosts.iter().map(|host| host_json(planned, host)).collect();
    json!({ "fits": planned.fits(), "topologies": topologies, "hosts": hosts })
}

fn topology_json(topology: &Topology, it: &TopologyPlan) -> Value {
    let worker = |worker: &WorkerPlan| {
        let counts = it.plan.as_ref().map_or_else(Vec::new, |plan| executors(topology, plan, worker));
        let counts: Map<String, Value> = counts.into_iter().map(|(id, count)| (id, json!(count))).collect();
        json!({
            "worker": worker.worker.0,
            "host": worker.slot.host,
            "slot": worker.slot.number,
            "cpu": cores(worker.needs.cpu),
            "memory": worker.needs.memory,
            "executors": counts,
        })
    };
    json!({
        "name": it.name,
        "runs": it.placement.is_some(),
        "workers": it.workers.iter().map(worker).collect::<Vec<_>>(),
        "moves": it.moves.iter().map(move_json).collect::<Vec<_>>(),
        "short": it.shortage.as_ref().map(ToString::to_string),
        "hosts_short": it.shortage.as_ref().map_or_else(Vec::new, |short| short.hosts.iter().map(short_json).collect()),
        "evicted_for": it.evicted_for,
    })
}

fn host_json(planned: &ClusterPlan, host: &HostPlan) -> Value {
    let has = &host.host;
    json!({
        "id": has.id,
        "rack": has.rack,
        "slots": has.slots,
        "workers": host.workers,
        "cpu": cores(has.resources.cpu),
        "cpu_promised": cores(host.promised.cpu),
        "memory": has.resources.memory,
        "memory_promised": host.promised.memory,
        "topologies": topologies_on(planned, host),
        "isolated_for": host.isolated_for,
        "short": host.shortages().iter().map(short_json).collect::<Vec<_>>(),
    })
}

fn move_json(it: &Move) -> Value {
    json!({
        "from": it.from.as_ref().map(ToString::to_string),
        "to": it.to.as_ref().map(ToString::to_string),
        "executors": it.executors,
        "why": it.why.to_string(),
    })
}

fn short_json(short: &HostShortage) -> Value {
    let number = |value: u64| match short.resource {
        Resource::Cpu => json!(cores(Cpu(value))),
        _ => json!(value),
    };
    json!({
        "host": short.host,
        "resource": short.resource,
        "needed": number(short.needed),
        "free": number(short.free),
    })
}

fn cores(cpu: Cpu) -> f64 {
    cpu.0 as f64 / 1000.0
}
