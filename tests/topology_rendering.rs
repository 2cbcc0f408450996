//! How mistakes look on a terminal, and to a program.

mod topology_kit;

use snapbox::{assert_data_eq, str};
use squall::topology::TopologyErrors;
use squall::topology::declare::{MemorySource, load, parse_str};
use topology_kit::registry;

fn errors(document: &str) -> TopologyErrors {
    parse_str("bad.toml", document, &registry()).unwrap_err()
}

#[test]
fn each_mistake_is_shown_with_its_line_a_caret_and_a_suggestion() {
    let document = r#"[topology]
name = "clicks per minute"
message_timeout = "30 parsecs"
[spout.clicks]
type = "flie"
[bolt.parse]
type = "split"
inputs = ["click"]
parallelizm = 2
[bolt.sink]
type = "print"
inputs = [{ from = "parse", fields = ["word", "wrod"], grouping = "feilds" }]
"#;
    assert_data_eq!(
        errors(document).render(false),
        str![[r#"
error: a topology name may hold only letters, digits, `.`, `_` and `-`, unlike `clicks per minute`
 --> bad.toml:2:8
  |
2 | name = "clicks per minute"
  |        ^^^^^^^^^^^^^^^^^^^ not a legal name
  |
  = help: for example `clicks-per-minute`

error: `message_timeout`: not a duration: "30 parsecs" (expected for example "500ms", "30s" or "2m")
 --> bad.toml:3:19
  |
3 | message_timeout = "30 parsecs"
  |                   ^^^^^^^^^^^^

error: no spout type `flie` is known
 --> bad.toml:5:8
  |
5 | type = "flie"
  |        ^^^^^^ unknown type
  |
  = help: did you mean `file`?

error: input of bolt `parse`: there is no component `click`
 --> bad.toml:8:11
  |
8 | inputs = ["click"]
  |           ^^^^^^^ not defined in this topology
  |
  = help: did you mean `clicks`?

error: unknown key `parallelizm` of bolt `parse`
 --> bad.toml:9:1
  |
9 | parallelizm = 2
  | ^^^^^^^^^^^ unknown key
  |
  = help: did you mean `parallelism`?

error: input of bolt `sink`: `parse.default` has no field `wrod`
  --> bad.toml:12:47
   |
12 | inputs = [{ from = "parse", fields = ["word", "wrod"], grouping = "feilds" }]
   |                                               ^^^^^^ no such field
   |
   = help: did you mean `word`?

error: there is no grouping `feilds`
  --> bad.toml:12:67
   |
12 | inputs = [{ from = "parse", fields = ["word", "wrod"], grouping = "feilds" }]
   |                                                                   ^^^^^^^^
   |
   = help: did you mean `fields`?
"#]]
    );
}

#[test]
fn a_cycle_shows_its_edges_and_a_second_definition_the_first() {
    let document = r#"[topology]
name = "n"
[spout.s]
type = "picker"
[bolt.a]
type = "count"
inputs = [{ from = "s.picked", grouping = "direct" }, "b"]
[bolt.b]
type = "count"
inputs = ["a"]
[bolt.s]
type = "print"
inputs = ["b"]
"#;
    assert_data_eq!(
        errors(document).render(false),
        str![[r#"
error: tuples would go round in a cycle: `a` → `b` → `a`
  --> bad.toml:7:55
   |
 7 | inputs = [{ from = "s.picked", grouping = "direct" }, "b"]
   |                                                       ^^^ closes the cycle
   |
  ::: bad.toml:10:11
   |
10 | inputs = ["a"]
   |           --- `a` → `b`
   |
   = help: if it is meant, mark the input that leads back with `feedback = true` (`.feedback()` in Rust)

error: component `s` is defined twice
  --> bad.toml:11:7
   |
11 | [bolt.s]
   |       ^ defined again
   |
  ::: bad.toml:3:8
   |
 3 | [spout.s]
   |        - spout `s` is defined here first
   |
   = help: ids are shared by spouts and bolts; each may be used once
"#]]
    );
}

#[test]
fn overrides_and_includes_are_shown_in_their_own_text() {
    let source = MemorySource::new()
        .file("main.toml", "[topology]\nname = 'n'\ninclude = ['part.toml']\n[spout.s]\ntype = 'picker'\n")
        .file("part.toml", "[spout.s]\ntype = 'picker'\n[topology]\nname = 'm'\n");
    let set = ["topology.max_replay=3".to_owned()];
    let errors = load(&source, "main.toml", &registry(), &set).unwrap_err();
    assert_data_eq!(
        errors.render(false),
        str![[r#"
error: spout `s` is given in two files
 --> part.toml:1:8
  |
1 | [spout.s]
  |        ^ given again
  |
 ::: main.toml:4:8
  |
4 | [spout.s]
  |        - given here first

error: `topology.name` is given in two files
 --> part.toml:4:1
  |
4 | name = 'm'
  | ^^^^ given again
  |
 ::: main.toml:2:1
  |
2 | name = 'n'
  | ---- given here first

error: unknown key `max_replay`
 --> --set topology.max_replay=3:1:10
  |
1 | topology.max_replay=3
  |          ^^^^^^^^^^ unknown key
  |
  = help: did you mean `max_replays`?
"#]]
    );
}

#[test]
fn programs_get_the_same_as_data() {
    let errors = errors(
        "[topology]\nname = 'n'\ndelivry = 'x'\n[spout.s]\ntype = 'picker'\n[bolt.s]\ntype = 'print'\ninputs = ['t']\n",
    );
    let json = serde_json::to_string_pretty(errors.diagnostics()).unwrap();
    assert_data_eq!(
        json,
        str![[r#"
[
  {
    "file": "bad.toml",
    "line": 3,
    "column": 1,
    "message": "unknown key `delivry`",
    "help": "did you mean `delivery`?"
  },
  {
    "file": "bad.toml",
    "line": 6,
    "column": 7,
    "message": "component `s` is defined twice",
    "help": "ids are shared by spouts and bolts; each may be used once",
    "related": [
      {
        "file": "bad.toml",
        "line": 4,
        "column": 8,
        "label": "spout `s` is defined here first"
      }
    ]
  },
  {
    "file": "bad.toml",
    "line": 8,
    "column": 11,
    "message": "input of bolt `s`: there is no component `t`"
  }
]
"#]]
    );
}

#[test]
fn colour_is_added_only_when_asked_for() {
    let errors = errors("x = 1");
    assert!(errors.render(true).contains('\u{1b}'));
    assert!(!errors.render(false).contains('\u{1b}'));
}
