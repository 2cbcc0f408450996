//! The graph as text for a terminal, as Mermaid and as DOT.
//!
//! Ids are legal names, but type names, field names and the names of custom groupings may hold
//! anything, so every label is escaped; nodes are numbered instead of named.

use std::fmt::Write as _;

use crate::ids::DEFAULT_STREAM;
use crate::topology::graph::{Component, InputSpec, Topology};

impl Topology {
    /// As a list in the order in which tuples pass through: each component with its type, its
    /// executors and tasks, what it emits and what it takes.
    ///
    /// ```text
    /// word-count (at-least-once)
    /// lines: spout file
    ///   → default (line)
    /// count: bolt count, parallelism 4
    ///   ← lines by fields(line)
    ///   → default (word, count)
    /// ```
    pub fn to_text(&self) -> String {
        let mut text = format!("{} ({})\n", self.name(), self.options().delivery);
        let chains = self.chains();
        for at in self.topological_order() {
            let component = &self.components()[at];
            text += &format!("{}: {}", component.id, summary(component));
            if let Some(producer) = chains.get(&at) {
                text += &format!(", chained behind {}", self.components()[*producer].id);
            }
            text.push('\n');
            for input in &component.inputs {
                text += &format!("  ← {}\n", input_line(input));
            }
            for stream in component.streams.iter() {
                let direct = if stream.direct { ", direct" } else { "" };
                text += &format!("  → {} ({}){direct}\n", stream.name, plain(&stream.fields.to_string()));
            }
        }
        text
    }

    /// As a Mermaid flow chart. Edges that lead back are dotted, edges within a chain are thick.
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        let chains = self.chains();
        for (at, component) in self.components().iter().enumerate() {
            let (open, close) = if component.is_spout() { ("([", "])") } else { ("[", "]") };
            let label = format!("{}\n{}", component.id, short_summary(component));
            writeln!(text, "  c{at}{open}\"{}\"{close}", mermaid(&label)).expect(TO_STRING);
        }
        for edge in self.edges() {
            let label = mermaid(&edge_label(&self.components()[edge.to].inputs[edge.input]));
            let arrow = match edge.feedback {
                true => "-.->",
                false if chains.get(&edge.to) == Some(&edge.from) => "==>",
                false => "-->",
            };
            writeln!(text, "  c{} {arrow}|\"{label}\"| c{}", edge.from, edge.to).expect(TO_STRING);
        }
        text
    }

    /// As a DOT graph, for Graphviz. Edges that lead back are dashed and do not shape the layout, edges within
    /// a chain are bold.
    pub fn to_dot(&self) -> String {
        let chains = self.chains();
        let mut text = format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box];\n", dot(self.name()));
        for (at, component) in self.components().iter().enumerate() {
            let shape = if component.is_spout() { ", shape=ellipse" } else { "" };
            let label = dot(&format!("{}\n{}", component.id, short_summary(component)));
            writeln!(text, "  c{at} [label=\"{label}\"{shape}];").expect(TO_STRING);
        }
        for edge in self.edges() {
            let label = dot(&edge_label(&self.components()[edge.to].inputs[edge.input]));
            let style = match edge.feedback {
                true => ", style=dashed, constraint=false",
                false if chains.get(&edge.to) == Some(&edge.from) => ", style=bold",
                false => "",
            };
            writeln!(text, "  c{} -> c{} [label=\"{label}\"{style}];", edge.from, edge.to).expect(TO_STRING);
        }
        text + "}\n"
    }
}

const TO_STRING: &str = "writing to a string cannot fail";

/// `bolt split, parallelism 2, tasks 4`.
fn summary(component: &Component) -> String {
    let options = &component.options;
    let mut text = format!("{} {}", component.kind(), plain(&component.type_name));
    if options.parallelism > 1 {
        text += &format!(", parallelism {}", options.parallelism);
    }
    if let Some(tasks) = options.tasks {
        text += &format!(", tasks {tasks}");
    }
    if options.blocking {
        text += ", blocking";
    }
    if options.wal {
        text += ", wal";
    }
    text
}

/// `split ×2`.
fn short_summary(component: &Component) -> String {
    match component.options.parallelism {
        1 => component.type_name.to_string(),
        parallelism => format!("{} ×{parallelism}", component.type_name),
    }
}

/// `split.long by shuffle, feedback`.
fn input_line(input: &InputSpec) -> String {
    let feedback = if input.feedback { ", feedback" } else { "" };
    let stream = if input.stream == DEFAULT_STREAM { String::new() } else { format!(".{}", input.stream) };
    format!("{}{stream} by {}{feedback}", input.component, plain(&input.grouping.to_string()))
}

/// `fields(word)`, after the stream if it is not the default one.
fn edge_label(input: &InputSpec) -> String {
    match input.stream.as_str() {
        DEFAULT_STREAM => input.grouping.to_string(),
        stream => format!("{stream}: {}", input.grouping),
    }
}

/// Without characters that a terminal would act upon.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Within quotes of Mermaid, which knows entities only.
fn mermaid(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\n' => escaped += "<br>",
            '"' | '<' | '>' | '&' | '#' | '`' | '\\' => {
                write!(escaped, "#{};", u32::from(c)).expect(TO_STRING);
            }
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Within quotes of DOT.
fn dot(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\n' => escaped += "\\n",
            '"' | '\\' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::graph::Grouping;
    use crate::topology::graph::testing::topology;
    use crate::tuple::Fields;

    fn word_count() -> Topology {
        let mut topology = topology(&[("lines", &[]), ("split", &["lines", "count"]), ("count", &["split"])]);
        topology.components[1].options.parallelism = 2;
        topology.components[1].options.tasks = Some(4);
        topology.components[1].inputs[1].feedback = true;
        topology.components[2].inputs[0].grouping = Grouping::Fields(Fields::from(["va\"l\n<ue>"]));
        topology.components[2].inputs[0].stream = "long".into();
        topology
    }

    #[test]
    fn as_text() {
        let expected = "test (at-least-once)
lines: spout rust
  → default (value)
split: bolt rust, parallelism 2, tasks 4
  ← lines by shuffle
  ← count by shuffle, feedback
  → default (value)
count: bolt rust
  ← split.long by fields(va\"l\u{fffd}<ue>)
  → default (value)
";
        assert_eq!(word_count().to_text(), expected);
    }

    #[test]
    fn chains_are_shown() {
        let chained = topology(&[("lines", &[]), ("split", &["lines"])]);
        let expected = "test (at-least-once)
lines: spout rust
  → default (value)
split: bolt rust, chained behind lines
  ← lines by shuffle
  → default (value)
";
        assert_eq!(chained.to_text(), expected);
        assert!(chained.to_mermaid().contains("c0 ==>|\"shuffle\"| c1"), "{}", chained.to_mermaid());
        assert!(
            chained.to_dot().contains("c0 -> c1 [label=\"shuffle\", style=bold];"),
            "{}",
            chained.to_dot()
        );
    }

    #[test]
    fn as_mermaid() {
        let expected = "flowchart LR
  c0([\"lines<br>rust\"])
  c1[\"split<br>rust ×2\"]
  c2[\"count<br>rust\"]
  c0 -->|\"shuffle\"| c1
  c2 -.->|\"shuffle\"| c1
  c1 -->|\"long: fields(va#34;l<br>#60;ue#62;)\"| c2
";
        assert_eq!(word_count().to_mermaid(), expected);
    }

    #[test]
    fn as_dot() {
        let expected = "digraph \"test\" {
  rankdir=LR;
  node [shape=box];
  c0 [label=\"lines\\nrust\", shape=ellipse];
  c1 [label=\"split\\nrust ×2\"];
  c2 [label=\"count\\nrust\"];
  c0 -> c1 [label=\"shuffle\"];
  c2 -> c1 [label=\"shuffle\", style=dashed, constraint=false];
  c1 -> c2 [label=\"long: fields(va\\\"l\\n<ue>)\"];
}
";
        assert_eq!(word_count().to_dot(), expected);
    }
}
