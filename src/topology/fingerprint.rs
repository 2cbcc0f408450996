//! A number that two workers compare before they exchange a tuple.
//!
//! Workers number tasks, links and fields by what they know of the topology, each for itself. If
//! one was started from another document, another build or another program, a tuple would arrive
//! at the wrong task or with the wrong fields. So each works out the hash of all that they must
//! agree on, and a handshake with another hash is refused.
//!
//! 1. Whatever changes the plan, the chains, the links, the fields of a stream, the choice of a task or the
//!    credit of a link changes the text; what is each worker's own affair does not (time-outs,
//!    ticks, threads, settings).
//! 2. The text is canonical: one line for each thing, in the order of declaration, names quoted, so
//!    that no two topologies have the same.
//! 3. The version of this crate is part of it: releases may number links differently.
//!
//! It is no protection against anybody who wants to be let in; that is the handshake's secret.

use std::fmt::{self, Write};

use xxhash_rust::xxh3::xxh3_64;

use crate::config::AutoOr;
use crate::topology::graph::{Component, Grouping, Topology};
use crate::tuple::Fields;

impl Topology {
    /// The hash of everything that the workers of a topology must agree on. Not the same in another
    /// release of squall, and not to be stored.
    ///
    /// # Examples
    /// ```
    /// use squall::prelude::*;
    /// use squall::topology::declare::parse_str;
    ///
    /// let text = "[topology]\nname = 'a'\n[spout.s]\ntype = 'generate'\nconfig.fields = { n = 'n' }";
    /// let topology = |text: &str| parse_str("a", text, &Registry::with_standard()).unwrap();
    /// let one = topology(text).fingerprint();
    /// assert_eq!(topology(text).fingerprint(), one);
    /// assert_ne!(topology(&format!("{text}\nparallelism = 2")).fingerprint(), one);
    /// ```
    pub fn fingerprint(&self) -> u64 {
        let mut text = String::new();
        self.write_canonical(&mut text).expect("a string takes whatever is written");
        xxh3_64(text.as_bytes())
    }

    fn write_canonical(&self, out: &mut String) -> fmt::Result {
        let options = &self.options;
        writeln!(out, "squall {}", env!("CARGO_PKG_VERSION"))?;
        writeln!(out, "topology {:?}", self.name)?;
        writeln!(out, "delivery {}", options.delivery)?;
        match options.ackers {
            AutoOr::Auto => writeln!(out, "ackers auto")?,
            AutoOr::Fixed(ackers) => writeln!(out, "ackers {ackers}")?,
        }
        writeln!(out, "cap {:?}", options.max_task_parallelism)?;
        writeln!(out, "key groups {}", options.key_groups)?;
        let queue = &options.queue;
        let (batch, capacity, memory) = (queue.batch, queue.capacity, queue.memory);
        writeln!(out, "queue {batch} {capacity} {memory} {}", queue.tuple_size_max)?;
        self.components.iter().try_for_each(|component| self.write_component(component, out))
    }

    fn write_component(&self, component: &Component, out: &mut String) -> fmt::Result {
        let kind = if component.is_spout() { "spout" } else { "bolt" };
        let options = &component.options;
        let (tasks, executors) = (options.task_count(), options.parallelism);
        write!(out, "{kind} {:?} {:?} {tasks} on {executors}", component.id, component.type_name)?;
        writeln!(out, " {}", if self.allows_chain(component) { "chained" } else { "alone" })?;
        for stream in component.streams.iter() {
            write!(out, "stream {:?} {}", stream.name, if stream.direct { "direct" } else { "grouped" })?;
            write_names(&stream.fields, out)?;
        }
        for input in &component.inputs {
            write!(out, "input {:?} {:?} feedback {}", input.component, input.stream, input.feedback)?;
            write_grouping(&input.grouping, out)?;
        }
        Ok(())
    }
}

fn write_grouping(grouping: &Grouping, out: &mut String) -> fmt::Result {
    match grouping {
        Grouping::Fields(fields) => {
            write!(out, " fields")?;
            write_names(fields, out)
        }
        Grouping::PartialKey(fields) => {
            write!(out, " partial-key")?;
            write_names(fields, out)
        }
        Grouping::Custom(name, _) => writeln!(out, " custom {name:?}"),
        Grouping::Shuffle
        | Grouping::All
        | Grouping::Global
        | Grouping::None
        | Grouping::LocalOrShuffle
        | Grouping::Direct => writeln!(out, " {grouping}"),
    }
}

fn write_names(fields: &Fields, out: &mut String) -> fmt::Result {
    fields.iter().try_for_each(|name| write!(out, " {name:?}"))?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::api::Streams;
    use crate::config::{ChainMode, Delivery};
    use crate::topology::graph::testing::topology;

    fn words() -> Topology {
        let mut topology = topology(&[("lines", &[]), ("count", &["lines"])]);
        topology.components[1].inputs[0].grouping = Grouping::Fields(Fields::from(["value"]));
        topology
    }

    #[test]
    fn the_text_says_what_must_be_agreed_on() {
        let mut text = String::new();
        words().write_canonical(&mut text).unwrap();
        let expected = format!(
            "squall {}
topology \"test\"
delivery at-least-once
ackers auto
cap None
key groups 1024
queue 512 4096 67108864 8388608
spout \"lines\" \"rust\" 1 on 1 chained
stream \"default\" grouped \"value\"
bolt \"count\" \"rust\" 1 on 1 chained
stream \"default\" grouped \"value\"
input \"lines\" \"default\" feedback false fields \"value\"
",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(text, expected);
        assert_eq!(words().fingerprint(), xxh3_64(expected.as_bytes()));
    }

    #[test]
    fn every_change_of_it_changes_the_number() {
        type Change = fn(&mut Topology);
        let changes: &[Change] = &[
            |t| t.name = "other".into(),
            |t| t.options.delivery = Delivery::AtMostOnce,
            |t| t.options.ackers = AutoOr::Fixed(1),
            |t| t.options.max_task_parallelism = Some(1),
            |t| t.options.key_groups = 512,
            |t| t.options.chain = ChainMode::Off,
            |t| t.options.queue.batch = 1,
            |t| t.options.queue.capacity = 512,
            |t| t.options.queue.memory = 1 << 30,
            |t| t.options.queue.tuple_size_max = 1 << 10,
            |t| t.components.swap(0, 1),
            |t| t.components[0].id = "line".into(),
            |t| t.components[0].type_name = "generate".into(),
            |t| t.components[0].options.parallelism = 2,
            |t| t.components[0].options.tasks = Some(2),
            |t| t.components[0].options.chain = Some(ChainMode::Off),
            |t| t.components[1].options.blocking = true,
            |t| t.components[0].streams = Streams::none(),
            |t| t.components[0].streams = Streams::new(["values"]),
            |t| t.components[0].streams = Streams::new(["value", "more"]),
            |t| t.components[0].streams = Streams::none().stream("other", ["value"]),
            |t| t.components[0].streams = Streams::none().direct_stream("default", ["value"]),
            |t| t.components[1].inputs.clear(),
            |t| t.components[1].inputs[0].component = "count".into(),
            |t| t.components[1].inputs[0].stream = "other".into(),
            |t| t.components[1].inputs[0].feedback = true,
            |t| t.components[1].inputs[0].grouping = Grouping::Shuffle,
            |t| t.components[1].inputs[0].grouping = Grouping::All,
            |t| t.components[1].inputs[0].grouping = Grouping::PartialKey(Fields::from(["value"])),
            |t| t.components[1].inputs[0].grouping = Grouping::Fields(Fields::from(["value", "value"])),
            |t| {
                t.components[1].inputs[0].grouping = Grouping::Custom(
                    "fields \"value\"".into(),
                    Arc::new(|| unreachable!("it is never built")),
                );
            },
        ];
        let mut seen = vec![words().fingerprint()];
        for (at, change) in changes.iter().enumerate() {
            let mut changed = words();
            change(&mut changed);
            let fingerprint = changed.fingerprint();
            assert!(!seen.contains(&fingerprint), "change {at}");
            seen.push(fingerprint);
        }
    }

    #[test]
    fn what_is_each_workers_own_does_not() {
        let mut topology = words();
        topology.options.message_timeout = Some(Duration::from_secs(7));
        topology.options.threads = AutoOr::Fixed(3);
        topology.options.load_aware = false;
        topology.components[1].options.tick = Some(Duration::from_secs(1));
        assert_eq!(topology.fingerprint(), words().fingerprint());
    }
}
