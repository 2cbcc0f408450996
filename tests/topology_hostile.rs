//! Documents made to break the reader: each must end in an error, soon, and never in a panic.
//!
//! Times are not asserted; a reader whose work grows with the square of a document of 4 MiB would
//! not end while anybody waits for the tests. What components do with their settings is counted in
//! steps, and the steps are asserted.

mod topology_kit;

use proptest::prelude::*;
use squall::config::limits::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX};
use squall::prelude::Registry;
use squall::topology::TopologyErrors;
use squall::topology::declare::{MemorySource, load, load_within, parse_str};
use squall::topology::effort::{Effort, STEPS_MAX};
use topology_kit::registry;

fn errors(document: &str) -> TopologyErrors {
    let errors = parse_str("hostile", document, &registry()).unwrap_err();
    // Showing them must end soon as well.
    assert!(errors.render(false).len() < 1 << 20);
    errors
}

#[track_caller]
fn check(document: &str, expected: &str) {
    let errors = errors(document);
    assert!(errors.to_string().contains(expected), "{:.2000}", errors.to_string());
}

/// A document of nothing but this: as long as documents may be, or a quarter of that where the
/// code is not optimised.
fn full(unit: &str) -> String {
    let length = if cfg!(debug_assertions) { DOCUMENT_BYTES_MAX / 4 } else { DOCUMENT_BYTES_MAX };
    unit.repeat(length / unit.len())
}

#[test]
fn a_document_of_more_than_4_mib_is_refused() {
    check(&" ".repeat(DOCUMENT_BYTES_MAX + 1), "has more than 4194304 bytes");
    let half = "#".repeat(DOCUMENT_BYTES_MAX / 2);
    let source = MemorySource::new()
        .file("m", format!("topology = {{ include = ['a', 'b'] }}\n{half}"))
        .file("a", half.clone())
        .file("b", "");
    let errors = load(&source, "m", &registry(), &[]).unwrap_err();
    assert!(errors.to_string().contains("`a`: the topology with its includes has more than"), "{errors}");
}

#[test]
fn nesting_is_refused_before_it_is_parsed() {
    let message = "nests too deeply";
    check(&full("["), message);
    check(&full("{"), message);
    errors(&full("a="));
    check(&full("a.a={"), message);
    check(&full("[a.a"), message);
    check(&format!("x{} = 1", ".a".repeat(1 << 20)), message);
    check(&format!("x = {}", "[{a=".repeat(1 << 18)), message);
    check(&format!("[{}]", "a.".repeat(DOCUMENT_DEPTH_MAX)), message);
    check(&format!("x = \"{}", "[".repeat(1 << 20)), "invalid basic string");
}

#[test]
fn a_million_keys_end_in_a_few_errors() {
    let count = full("k123456=1\n").len() / 10;
    let keys: String = (100_000..100_000 + count).map(|i| format!("k{i}=1\n")).collect();
    let found = errors(&keys);
    assert_eq!(found.diagnostics().len(), 100);
    assert!(found.omitted() > 50_000, "{}", found.omitted());
    errors(&full("=\n"));
    errors(&full("a\n"));
    errors(&full("a=x\n"));
    errors(&full("a=\"\\x\"\n"));
    errors(&full("[a]\n"));
    errors(&full("[[a]]\n"));
    errors(&full("a=1\n"));
    errors(&format!("[topology]\n{keys}"));
    errors(&format!("[bolt.x.config]\n{keys}"));
    errors(&format!("[topology]\nsettings = {{{}", "\"\"=1,".repeat(1 << 18)));
}

#[test]
fn many_components_and_inputs_end_soon() {
    let bolts: String = (0..100_000).map(|i| format!("[bolt.b{i}]\ntype='x'\n")).collect();
    check(&bolts, "no bolt type");
    let inputs: String = (0..400_000).map(|i| format!("'{i}',")).collect();
    check(&format!("[bolt.b]\ntype='print'\ninputs=[{inputs}]"), "more than 32768 inputs");
    let dots: String = (0..30_000).map(|_| format!("'{}',", "a.".repeat(60))).collect();
    errors(&format!("[bolt.b]\ntype='print'\ninputs=[{dots}]"));
    let chain: String = (0..30_000)
        .map(|i| format!("[bolt.b{i}]\ntype='count'\ninputs=['b{}']\n", (i + 1) % 30_000))
        .collect();
    check(&chain, "the limit is 4096");
    let cycles: String =
        (0..4000).map(|i| format!("[bolt.b{i}]\ntype='count'\ninputs=['b{}']\n", i ^ 1)).collect();
    check(&cycles, "in a cycle");
    let dense: String = (0..180)
        .map(|i| {
            let all: String = (0..180).map(|j| format!("'b{j}',")).collect();
            format!("[bolt.b{i}]\ntype='count'\ninputs=[{all}]\n")
        })
        .collect();
    check(&dense, "in a cycle");
}

#[test]
fn huge_values_are_not_repeated_in_full() {
    let huge = "x".repeat(1 << 20);
    for line in [
        format!("name = '{huge}'"),
        format!("delivery = '{huge}'"),
        format!("message_timeout = '{huge}'"),
        format!("queue.memory = '{huge}'"),
        format!("workers = {}", "9".repeat(1 << 20)),
        format!("threads = {}", "9".repeat(1 << 20)),
        format!("{huge} = 1"),
        format!("\"{huge}\" = 1"),
        format!("include = ['{huge}']"),
    ] {
        let errors = errors(&format!("[topology]\n{line}\n"));
        assert!(errors.to_string().len() < 20_000, "{:.3000}", errors.to_string());
    }
    for component in [
        format!("[bolt.{huge}]\ntype = 'print'\ninputs = ['{huge}']"),
        format!("[bolt.b]\ntype = '{huge}'"),
        format!("[spout.b]\ntype = 'file'\nconfig.path = 'a'\nconfig.follow = '{huge}'"),
        format!("[spout.b]\ntype = 'file'\nconfig.{huge} = 1"),
        format!("[bolt.b]\ntype = 'print'\ninputs = [{{ from = 'b', fields = ['{huge}'] }}]"),
        format!("[bolt.b]\ntype = 'print'\ninputs = [{{ from = '{huge}', grouping = '{huge}' }}]"),
    ] {
        let errors = errors(&component);
        assert!(errors.to_string().len() < 20_000, "{:.3000}", errors.to_string());
    }
    let source = MemorySource::new().file("m", "");
    for argument in [huge.clone(), format!("{huge}=1"), format!("topology.name={huge}"), "a.".repeat(1 << 20)]
    {
        assert!(load(&source, "m", &registry(), &[argument]).unwrap_err().render(true).len() < 5_000_000);
    }
}

#[test]
fn escape_sequences_do_not_reach_the_terminal() {
    let errors = errors("[topology]\nname = \"\\u001b[31m\"\n[bolt.\"\\u001b[2J\"]\ntype = \"\\u001b[2J\"\n");
    assert!(!errors.render(false).contains('\u{1b}'));
    assert!(errors.diagnostics().iter().all(|diagnostic| !diagnostic.to_string().contains('\u{1b}')));
}

/// Reads a document of the components that squall ships, and checks what is said and what it cost.
#[track_caller]
fn check_effort(document: &str, expected: &str) {
    let source = MemorySource::new().file("hostile", document);
    let effort = Effort::of_document();
    let errors =
        load_within(&source, "hostile", &Registry::with_standard(), &[], &effort).expect_err("it is refused");
    let rendered = errors.render(false);
    assert!(rendered.contains(expected), "{rendered:.2000}");
    assert!(rendered.len() < 1 << 20);
    assert!(effort.spent() <= STEPS_MAX);
}

/// Bolts, each with this type and this `config`.
fn bolts(count: usize, kind: &str, config: &str) -> String {
    let bolt = |n| format!("[bolt.b{n}]\ntype = '{kind}'\ninputs = ['s']\nconfig = {config}\n");
    let bolts: String = (0..count).map(bolt).collect();
    format!("[topology]\nname = 'h'\n[spout.s]\ntype = 'lines'\nconfig.path = 'x'\n{bolts}")
}

/// 3 KB of regular expressions took 3.1 s of a processor to validate, and 23 KB more than a minute.
#[test]
fn what_settings_cost_is_bounded_over_the_whole_document() {
    let steps = &format!("take more than {STEPS_MAX} steps to read");
    let nested = r"{ pattern = '(?:(?:\w{30}){30}){30}' }";
    check_effort(
        &bolts(1, "split", nested),
        "the pattern is too large: compiled it has more than 4194304 bytes",
    );
    check_effort(&bolts(60, "split", nested), steps);
    check_effort(&bolts(2000, "parse", r"{ pattern = '(?<a>[\w\d]{50})' }"), steps);
    let folded = format!("{{ pattern = '(?i){}' }}", r"\pL".repeat(4000));
    check_effort(&bolts(1, "split", &folded), steps);
    let matches = r#"{ where = 'line.matches("(?:\\w{30}){30}")', fields = ["line"] }"#;
    check_effort(&bolts(200, "filter", matches), "too large");
    let long = format!("{{ where = '{} true', fields = ['line'] }}", "true && ".repeat(20));
    check_effort(&bolts(4000, "filter", &long), steps);
    let names: String = (0..20_000).map(|n| format!("'f{n}',")).collect();
    check_effort(&bolts(1, "project", &format!("{{ fields = [{names}] }}")), steps);
    let fields: String = (0..20_000).map(|n| format!("f{n} = 1,")).collect();
    let rows =
        format!("[topology]\nname = 'h'\n[spout.s]\ntype = 'generate'\nconfig.rows = [{{ {fields} }}]");
    check_effort(&rows, steps);
}

#[test]
fn an_ordinary_topology_takes_a_small_part_of_the_steps() {
    let patterns = bolts(100, "split", r"{ pattern = '[^\w\x27]+' }");
    let source = MemorySource::new().file("t", patterns);
    let effort = Effort::of_document();
    load_within(&source, "t", &Registry::with_standard(), &[], &effort).expect("it is a topology");
    assert!(effort.spent() < STEPS_MAX / 2, "{}", effort.spent());
}

const SEED: &str = r#"
[topology]
name = "word-count"
include = []
message_timeout = "${T:-30s}"
queue = { batch = 5, memory = "64MiB" }
[spout.lines]
type = "file"
config = { path = "data/*.txt", rotation = { size = 3 } }
[bolt.split]
type = "split"
inputs = ["lines", 'lines.__system']
[bolt.count]
type = "count"
settings.a.b = 1979-05-27T07:32:00Z
inputs = [{ from = "split", fields = ["word"], feedback = true }]
"#;

/// Reads a document; there is an error or a topology, and the error can be shown.
fn survives(document: &str) {
    if let Err(errors) = parse_str("fuzz", document, &registry()) {
        assert!(!errors.diagnostics().is_empty());
        errors.render(true);
        serde_json::to_string(errors.diagnostics()).expect("diagnostics are plain data");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_ends_in_a_topology_or_an_error(text in "\\PC{0,200}") {
        survives(&text);
    }

    #[test]
    fn any_bytes_end_in_a_topology_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn tokens_in_any_order_end_in_a_topology_or_an_error(
        tokens in proptest::collection::vec(
            prop::sample::select(vec![
                "[", "]", "[[", "{", "}", "=", ",", ".", "\n", "\"", "'", "'''", "a", "topology", "bolt",
                "spout", "type", "inputs", "config", "name", "1", "${", "}", "$", "true", " ", "#", "ü", "\r\n",
            ]),
            0..60,
        )
    ) {
        survives(&tokens.concat());
    }

    #[test]
    fn a_document_with_a_piece_cut_out_or_doubled_ends_too(
        start in 0..SEED.len(), length in 0..40_usize, doubled in any::<bool>(), noise in "\\PC{0,3}",
    ) {
        let end = (start + length).min(SEED.len());
        let middle = if doubled { SEED[start..end].repeat(2) } else { noise };
        survives(&format!("{}{middle}{}", &SEED[..start], &SEED[end..]));
    }

    #[test]
    fn any_override_ends_in_a_topology_or_an_error(argument in "\\PC{0,40}", key in "[a-z.'\"]{0,20}", value in "\\PC{0,20}") {
        let source = MemorySource::new().file("t", SEED);
        for argument in [argument, format!("{key}={value}"), format!("bolt.count.{key}={value}")] {
            if let Err(errors) = load(&source, "t", &registry(), &[argument]) {
                assert!(!errors.diagnostics().is_empty());
                errors.render(true);
            }
        }
    }
}
