//! Parsing, expressions, numbers, text and time.

use crate::kit::{Ended, Place};

/// A topology that reads `in`, runs it through the bolts, and prints what comes out of the last.
fn topology(bolts: &str, print: &str) -> String {
    format!(
        "[topology]\nname = \"values\"\nmax_replays = 0\n\
         [spout.lines]\ntype = \"lines\"\nconfig = {{ path = \"in\" }}\n{bolts}\n\
         [bolt.print]\ntype = \"print\"\ninputs = [{print}]\n"
    )
}

/// A bolt over the lines.
fn parse(config: &str) -> String {
    format!("[bolt.parse]\ntype = \"parse\"\ninputs = [\"lines\"]\nconfig = {config}\n")
}

/// Runs the bolts over this input.
fn run(input: &str, bolts: &str, print: &str) -> Ended {
    Place::with(&[("in", input), ("t.toml", &topology(bolts, print))]).run(&["run", "t.toml", "--json"])
}

/// What `validate` says of the bolts.
fn validate(bolts: &str, print: &str) -> Ended {
    Place::with(&[("in", ""), ("t.toml", &topology(bolts, print))]).run(&["validate", "t.toml"])
}

/// The values of the rows that were printed, each as JSON.
fn rows(ended: &Ended) -> Vec<String> {
    let lines = ended.stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter_map(|line| line.get("values").map(ToString::to_string)).collect()
}

/// Half of a log from the open net did not match.
#[test]
fn every_line_of_an_access_log_has_host_time_status_and_size() {
    let requests = [
        r"GET /index.html HTTP/1.1",
        r"",
        r"-",
        r"\x16\x03\x01\x00\xA5\x01\x00\x00\xA1",
        r"\x03\x00\x00\x13\x0E\xE0",
        r"GET /with blank HTTP/1.1",
        r#"GET /\"quoted\" HTTP/1.1"#,
        r"PRI * HTTP/2.0",
        r"hello",
        r"quit now",
    ];
    let heads =
        ["192.0.2.1 - -", "2001:db8::7%eth1 - -", "unix: - -", "192.0.2.1 - Ada King", r#"192.0.2.1 - """#];
    let tails =
        [r#""-" "-""#, r#""https://e.org/\"x\"" "Bot/1.0 (+https://e.org)""#, r#""-" "x" "10.0.0.2" 0.003"#];
    let mut log = String::new();
    for (n, request) in requests.iter().cycle().take(30).enumerate() {
        let (head, tail) = (heads[n % heads.len()], tails[n % tails.len()]);
        log += &format!("{head} [28/Nov/2026:10:00:{:02} +0000] \"{request}\" 400 {n} {tail}\n", n % 60);
    }
    let bolts = parse("{ format = \"combined\", unmatched = \"stream\" }")
        + "[bolt.short]\ntype = \"project\"\ninputs = [\"parse\"]\nconfig = { fields = [\"host\", \"time\", \"status\", \"size\"] }";
    let ended = run(&log, &bolts, "\"short\", \"parse.unmatched\"");
    ended.exits(0);
    let rows = rows(&ended);
    assert_eq!(rows.len(), 30, "{}", ended.all());
    assert!(rows.iter().all(|row| row.contains("\"status\":400") && !row.contains("null")), "{rows:#?}");
}

#[test]
fn a_time_format_is_tried_and_a_zone_can_be_given() {
    let with = |more: &str| {
        parse(&format!(
            "{{ pattern = '^(?<at>.*)$', types = {{ at = \"timestamp\" }}, unmatched = \"stream\"{more} }}"
        ))
    };
    let refused = |more: &str, why: &str| {
        validate(&with(more), "\"parse\"").exits(1).says(why);
    };
    refused(", time_format = \"%Y-%m-%d %!\"", "directive `!`");
    refused(", time_format = \"%Y-%m-%d %H:%M:%S\"", "has no zone; set `time_zone`");
    refused(", time_format = \"%H:%M\", time_zone = \"UTC\"", "config of bolt `parse`");
    refused(", time_zone = \"Mars/Olympus\"", "Mars/Olympus");
    let read = |more: &str, input: &str| rows(&run(input, &with(more), "\"parse\", \"parse.unmatched\""));
    let at = |time: &str| vec![format!("{{\"at\":\"{time}\"}}")];
    assert_eq!(
        read(", time_format = \"%F %T\", time_zone = \"+02:00\"", "2026-11-28 10:00:00\n"),
        at("2026-11-28T08:00:00Z")
    );
    assert_eq!(read(", time_format = \"%s.%f\"", "1764324000.25\n"), at("2025-11-28T10:00:00.25Z"));
    assert_eq!(read("", "1764324000\n"), at("2025-11-28T10:00:00Z"));
    assert_eq!(read(", time_format = \"unix_ms\"", "250\n"), at("1970-01-01T00:00:00.25Z"));
    let unmatched = |input: &str, why: &str| {
        let rows = read("", input);
        assert!(rows.len() == 1 && rows[0].contains(why), "{rows:?}");
    };
    unmatched("2500-01-01T00:00:00Z\n", "is out of range: timestamps go from the year 1677 to 2262");
    unmatched("2026-11-28T10:00:00\n", "has no zone; set `time_zone`");
}

/// Three ids beyond 2^63 became one key.
#[test]
fn an_integer_of_json_is_exact_or_its_line_does_not_match() {
    let ids = "{\"id\": 18446744073709551615}\n{\"id\": 18446744073709551614}\n{\"id\": 9007199254740993}\n";
    let ended = run(
        ids,
        &parse("{ format = \"json\", fields = [\"id\"], unmatched = \"stream\" }"),
        "\"parse\", \"parse.unmatched\"",
    );
    let rows_found = rows(&ended);
    assert!(rows_found.contains(&"{\"id\":9007199254740993}".to_owned()), "{rows_found:?}");
    let misfits = rows_found.iter().filter(|row| row.contains("does not fit an i64"));
    assert_eq!(misfits.count(), 2, "{rows_found:?}");
    let text = parse("{ format = \"json\", fields = [\"id\"], types = { id = \"string\" } }");
    let ended = run(ids, &text, "\"parse\"");
    ended.exits(0);
    assert!(rows(&ended).contains(&"{\"id\":\"18446744073709551614\"}".to_owned()), "{}", ended.all());
}

/// `ms > 500` over text was false for every tuple, and exit 0.
#[test]
fn a_comparison_across_types_fails_the_tuple_and_says_so() {
    for condition in ["ms > 500", "ms != 50"] {
        let filter = format!(
            "[bolt.slow]\ntype = \"filter\"\ninputs = [\"parse\"]\nconfig = {{ where = '{condition}', fields = [\"ms\"] }}\n"
        );
        let bolts = parse("{ pattern = '^(?<method>\\S+) (?<ms>\\d+)$' }") + &filter;
        let ended = run("GET 900\nGET 50\n", &bolts, "\"slow\", \"slow.dead-letter\"");
        let rows = rows(&ended);
        assert_eq!(rows.len(), 2, "{}", ended.all());
        assert!(rows.iter().all(|row| row.contains("cannot compare string with i64")), "{rows:?}");
    }
}

#[test]
fn any_field_can_be_named_and_an_unknown_one_is_found_by_validate() {
    let input = "{\"user\":{\"name\":\"Ada\"},\"@timestamp\":\"x\",\"user-agent\":\"curl\",\"default\":1,\"größe\":7,\"in\":2}\n";
    let fields = "[\"user.name\", \"@timestamp\", \"user-agent\", \"default\", \"größe\", \"in\"]";
    let bolts = |condition: &str| {
        parse(&format!("{{ format = \"json\", fields = {fields} }}"))
            + &format!(
                "[bolt.f]\ntype = \"filter\"\ninputs = [\"parse\"]\nconfig = {{ where = '''{condition}''', fields = [\"in\"] }}\n"
            )
    };
    for condition in [
        "field(\"user.name\") == \"Ada\"",
        "field(\"@timestamp\") == \"x\"",
        "field(\"user-agent\") == \"curl\"",
        "default == 1",
        "größe == 7",
        "field(\"in\") == 2",
    ] {
        assert_eq!(rows(&run(input, &bolts(condition), "\"f\"")), ["{\"in\":2}"], "{condition}");
    }
    let refused = |condition: &str, why: &str| {
        validate(&bolts(condition), "\"f\"").exits(1).says(why).says("t.toml");
    };
    refused("defaultt == 1", "did you mean `default`?");
    refused("user-agent == \"curl\"", "the field `user-agent` is written field(\"user-agent\")");
    refused("user.name == \"Ada\"", "the field `user.name` is written field(\"user.name\")");
    refused("@timestamp == \"x\"", "a field whose name is no plain word is written field(\"NAME\")");
    refused("1 << 70 == field(\"nothing\")", "no field `nothing`");
}

#[test]
fn every_setting_that_names_a_field_is_checked() {
    let parse = parse("{ pattern = '^(?<method>\\S+) (?<ms>\\d+)$' }");
    let bolt = |kind: &str, config: &str| {
        format!(
            "{parse}[bolt.b]\ntype = \"{kind}\"\ntick = \"1s\"\ninputs = [\"parse\"]\nconfig = {{ {config} }}\n"
        )
    };
    for (kind, config) in [
        ("project", "fields = [\"metod\"]"),
        ("project", "fields = { verb = \"metod\" }"),
        ("filter", "where = \"true\", fields = [\"metod\"]"),
        ("map", "set = { a = 'metod + 1' }"),
        ("map", "set = { a = '1' }, keep = [\"metod\"]"),
        ("count", "by = [\"metod\"]"),
        ("count", "by = [\"ms\"], sum = \"metod\""),
        ("split", "field = \"metod\""),
        ("split", "field = \"method\", keep = [\"metod\"]"),
        ("sample", "every = 2, fields = [\"metod\"]"),
        ("delay", "period = \"1s\", fields = [\"metod\"]"),
        ("parse", "field = \"metod\", pattern = '(?<a>.)'"),
        ("parse", "field = \"method\", pattern = '(?<a>.)', keep = [\"metod\"]"),
    ] {
        validate(&bolt(kind, config), "\"b\"").exits(1).says("did you mean `method`?");
    }
}

#[test]
fn what_needs_a_tick_is_refused_without_one() {
    let bolt = |kind: &str, config: &str, tick: &str| {
        format!("[bolt.b]\ntype = \"{kind}\"\n{tick}\ninputs = [\"lines\"]\nconfig = {{ {config} }}\n")
    };
    let count = "by = [\"line\"], emit = \"tick\"";
    validate(&bolt("count", count, ""), "\"b\"").exits(1).says("the component needs a `tick`");
    validate(&bolt("count", count, "tick = \"1s\""), "\"b\"").exits(0);
    validate(&bolt("count", "by = [\"line\"]", ""), "\"b\"").exits(0);
    let brief = format!("{count}, ttl = \"1s\"");
    validate(&bolt("count", &brief, "tick = \"1s\""), "\"b\"")
        .exits(1)
        .says("must be longer than the `tick` (1s)");
    validate(&bolt("count", &brief, "tick = \"500ms\""), "\"b\"").exits(0);
    let delay = "period = \"5s\", fields = [\"line\"]";
    validate(&bolt("delay", delay, ""), "\"b\"").exits(1).says("the component needs a `tick`");
    validate(&bolt("delay", delay, "tick = \"1s\""), "\"b\"").exits(0);
    let long = "period = \"1h\", fields = [\"line\"]";
    validate(&bolt("delay", long, "tick = \"1s\""), "\"b\"")
        .exits(1)
        .says("must be shorter than the `message_timeout`");
}

/// `${HOME}` in a template was silently the environment's.
#[test]
fn a_template_names_fields_and_variables_stay_outside_of_it() {
    let map = "[bolt.map]\ntype = \"map\"\ninputs = [\"parse\"]\nconfig = { set = { both = '`${method} ${HOME}`', env = '\"${NAME:-none}\" + `-${method}`' } }\n";
    let bolts = parse("{ pattern = '^(?<method>\\S+) (?<HOME>\\S+)$' }") + map;
    let ended = run("GET /x\n", &bolts, "\"map\"");
    ended.exits(0);
    assert_eq!(rows(&ended), ["{\"both\":\"GET /x\",\"env\":\"none-GET\"}"]);
}

#[test]
fn a_sum_or_a_shift_that_overflows_fails_the_tuple() {
    let input = "{\"k\":\"a\",\"v\":9223372036854775807}\n{\"k\":\"a\",\"v\":1}\n{\"k\":\"a\",\"v\":-5}\n";
    let json = parse("{ format = \"json\", fields = [\"k\", \"v\"] }");
    let count = "[bolt.count]\ntype = \"count\"\ninputs = [{ from = \"parse\", fields = [\"k\"] }]\nconfig = { by = [\"k\"], sum = \"v\" }\n";
    let ended = run(input, &(json.clone() + count), "\"count\", \"count.dead-letter\"");
    let found = rows(&ended);
    assert!(found.iter().any(|row| row.contains("the count would not fit an i64")), "{found:?}");
    assert!(found.contains(&"{\"k\":\"a\",\"count\":9223372036854775802}".to_owned()), "{found:?}");
    let map =
        "[bolt.map]\ntype = \"map\"\ninputs = [\"parse\"]\nconfig = { set = { x = '1 << (v + 69)' } }\n";
    let ended = run("{\"k\":\"a\",\"v\":1}\n", &(json + map), "\"map\", \"map.dead-letter\"");
    assert!(rows(&ended)[0].contains("1 << 70 loses bits"), "{}", ended.all());
}

#[test]
fn what_parse_leaves_out_is_counted() {
    let ended = run("7\nx\n", &parse("{ pattern = '^(?<n>\\d+)$', unmatched = \"drop\" }"), "\"parse\"");
    ended.exits(0);
    assert_eq!(rows(&ended), ["{\"n\":\"7\"}"]);
}
