use std::sync::Arc;

use super::*;
use crate::api::{CheckInput, SourceMeta};
use crate::ids::TaskId;

const FIELDS: [&str; 13] = [
    "status",
    "path",
    "size",
    "none",
    "at",
    "tags",
    "who",
    "raw",
    "default",
    "user-agent",
    "größe",
    "@timestamp",
    "user.name",
];

fn eval(source: &str) -> Result<Value, String> {
    let mut expressions =
        Expressions::compile(&[source], &Effort::of_document()).map_err(|(_, error)| error)?;
    let mut row = [
        Value::from(404),
        "/api/users".into(),
        1536.0.into(),
        Value::Null,
        Timestamp(1_500_000_000).into(),
        Value::list(["a".into(), 2.into()]),
        Value::map([("name", Value::from("Ada"))]),
        Value::bytes(&b"\x01\x02"[..]),
        "d".into(),
        "curl".into(),
        7.into(),
        "now".into(),
        "flat".into(),
    ];
    let (component, stream) = (SmolStr::new("c"), SmolStr::new("default"));
    let meta =
        Arc::new(SourceMeta { component, stream, stream_index: 0, task: TaskId(1), fields: FIELDS.into() });
    expressions.bind(&Input::owned(&mut row, &meta));
    expressions.eval(0).map_err(|error| error.to_string())
}

#[track_caller]
fn check(source: &str, expected: impl Into<Value>) {
    assert_eq!(eval(source), Ok(expected.into()), "{source}");
}

#[track_caller]
fn fails(source: &str, why: &str) {
    let error = eval(source).expect_err(source);
    assert!(error.contains(why), "{source}: {error}");
}

#[test]
fn expressions_compute_over_fields() {
    check("status >= 400", true);
    check("status >= 400 && path.starts_with(\"/api\")", true);
    check("size / 1024", 1.5);
    check("size / 1024.0 + 1", 2.5);
    check("`${path}:${status}`", "/api/users:404");
    check("path.to_upper()", "/API/USERS");
    check("path.len()", 10);
    check("path.matches(\"^/api/[a-z]+$\")", true);
    check("if status < 400 { \"ok\" } else { \"bad\" }", "bad");
    check("tags[0]", "a");
    check("tags", Value::list(["a".into(), 2.into()]));
    check("who.name", "Ada");
    check("who", Value::map([("name", Value::from("Ada"))]));
    check("raw", Value::bytes(&b"\x01\x02"[..]));
    check("path[1]", "a");
    check("path[1] == \"a\"", true);
    check("unix(at)", 1.5);
    check("at", Timestamp(1_500_000_000));
    check("at - at", 0.0);
    check("at == at && !(at < at)", true);
}

#[test]
fn what_fails_says_where() {
    fails("status >=", "line 1");
    fails("statuss > 1", "Variable not found: statuss (line 1, position 1)");
    fails("status / 0", "ivision by zero");
    fails("status + 9223372036854775807", "overflow");
    fails("let x = 1", "line 1, position 1");
    fails("|x| x", "line 1");
    fails("switch status { 404 => 1, _ => 2 }", "line 1");
    fails("path.matches(\"[\")", "regex parse error");
    fails("matches(path, \"(\")", "regex parse error");
}

/// Text that looks like a number was silently less, greater and unequal to any number.
#[test]
fn a_comparison_of_two_types_fails_and_names_them() {
    for operator in ["==", "!=", "<", "<=", ">", ">="] {
        fails(&format!("path {operator} 500"), "cannot compare string with i64");
        fails(&format!("500 {operator} path"), "cannot compare i64 with string");
        fails(&format!("size {operator} path"), "cannot compare f64 with string");
        fails(&format!("status {operator} true"), "cannot compare i64 with bool");
        fails(&format!("\"1\" {operator} 1"), "cannot compare string with i64");
        fails(&format!("at {operator} 5"), "cannot compare timestamp with i64");
        fails(&format!("tags {operator} 5"), "cannot compare list with i64");
        fails(&format!("who {operator} \"Ada\""), "cannot compare map with string");
        fails(&format!("raw {operator} \"Ada\""), "cannot compare bytes with string");
    }
    check("\"a\" in tags", true);
    check("2 in tags", true);
    fails("\"x\" in tags", "cannot compare i64 with string");
    check("status in [200, 404]", true);
    fails("path in [200, 404]", "cannot compare i64 with string");
}

#[test]
fn null_equals_null_alone_and_has_no_order() {
    check("none == ()", true);
    check("none != ()", false);
    check("status == ()", false);
    check("path != ()", true);
    check("size == () || tags == () || who == () || at == () || raw == ()", false);
    for operator in ["<", "<=", ">", ">="] {
        check(&format!("none {operator} 5"), false);
        check(&format!("none {operator} ()"), false);
        check(&format!("path {operator} none"), false);
    }
    check("() in [1, ()]", true);
    check("() in [1, \"a\"]", false);
}

#[test]
fn numbers_compare_by_their_exact_value() {
    check("0.1 + 0.2 == 0.3", false);
    check("1.0000000000000002 > 1.0", true);
    check("9007199254740993 == 9007199254740992.0", false);
    check("9007199254740993 > 9007199254740992.0", true);
    check("9007199254740992.0 < 9007199254740993", true);
    check("9223372036854775807 < 9223372036854775808.0", true);
    check("-9223372036854775807 > -9223372036854775808.0", true);
    check("2 == 2.0 && 2.0 == 2 && 2 < 2.5 && -2 > -2.5 && 2.5 >= 2", true);
    check("max(9007199254740993, 1.5)", 9_007_199_254_740_993_i64);
    check("min(1, 1.5)", 1);
}

#[test]
fn arithmetic_is_exact_or_fails() {
    fails("1 << 70", "1 << 70 loses bits");
    fails("1 << 63", "loses bits");
    fails("1 << -1", "loses bits");
    fails("1 >> 64", "0 to 63 places");
    check("1 << 62", 1_i64 << 62);
    check("-1 << 63", i64::MIN);
    check("-8 >> 1", -4);
    fails("9223372036854775807 * 2", "overflow");
    fails("2 ** 63", "overflow");
    fails("-(0 - 9223372036854775807 - 1)", "verflow");
    fails("size / 0", "division by zero");
    fails("size % 0.0", "division by zero");
    fails("1e308 * 10", "overflow: 1e308 * 10");
    fails("10.0 ** 400", "overflow");
    fails("9007199254740993 + 0.5", "more digits than an f64 can hold");
    fails("9007199254740993.to_float()", "more digits");
    check("9007199254740992 + 0.0", 9_007_199_254_740_992.0);
    fails("1e300.to_int()", "does not fit an i64");
    fails("9223372036854775808.0.to_int()", "does not fit an i64");
    check("(-2.9).to_int()", -2);
    fails("parse_int(\"9223372036854775808\")", "number too large");
    fails("parse_float(\"1e999\")", "is no f64");
    check("parse_int(\"12\") > 5", true);
    fails("9223372036854775808", "9223372036854775808 does not fit an i64 (line 1, position 1)");
}

#[test]
fn any_field_can_be_named() {
    check("default == \"d\"", true);
    check("größe == 7", true);
    check("field(\"größe\") == 7", true);
    check("field(\"user-agent\") == \"curl\"", true);
    check("field( \"@timestamp\" )", "now");
    check("field(\"user.name\") != who.name", true);
    check("`${field(\"user-agent\")}/${status}`", "curl/404");
    check("field(\"path\").len() + status", 414);
    fails("field(status)", "takes the name of a field in quotes");
    fails("field()", "takes the name of a field in quotes");
    fails("@timestamp == \"x\"", "a field whose name is no plain word is written field(\"NAME\")");
}

/// What an expression returns for inputs with the fields of [`FIELDS`].
fn refusals(source: &str) -> Vec<String> {
    let expressions =
        Expressions::compile(&[source], &Effort::of_document()).map_err(|(_, why)| why).expect(source);
    let fields = Some(FIELDS.into());
    let inputs = [CheckInput { component: "parse".into(), stream: "default".into(), fields, key: None }];
    let mut check = Check::new(&inputs, None, 1);
    expressions.check(0, "where", &mut check);
    check.into_parts().0.into_iter().map(|refusal| refusal.message).collect()
}

#[test]
fn unknown_fields_are_refused_before_the_first_tuple() {
    let check = |source: &str, expected: &[&str]| assert_eq!(refusals(source), expected, "{source}");
    check("status > 1 && who.name == default && `${path}` == \"statuss\" && \"x\" in tags", &[]);
    check("field(\"user-agent\") == \"agent\"", &[]);
    check("if status > 1 { sise } else { status }", &["`parse.default` has no field `sise`"]);
    check("`${pth}`", &["`parse.default` has no field `pth`"]);
    check(
        "tags[indx] + x.len()",
        &["`parse.default` has no field `indx`", "`parse.default` has no field `x`"],
    );
    let agent = "the field `user-agent` is written field(\"user-agent\")";
    check(
        "user-agent == \"curl\"",
        &[&format!("there is no field `agent`; {agent}"), &format!("there is no field `user`; {agent}")],
    );
    check(
        "user.name == \"Ada\"",
        &["there is no field `user`; the field `user.name` is written field(\"user.name\")"],
    );
}

#[test]
fn a_hostile_expression_ends_in_an_error() {
    let deep = format!("{}1{}", "(".repeat(500), ")".repeat(500));
    for source in [
        "while true {}",
        "loop {}",
        "sleep(1000)",
        "exit()",
        "eval(\"1\")",
        "timestamp()",
        "fn f() { f() } f()",
        "\"x\".pad(999999999, \"x\")",
        "[1, 2].pad(999999999, 1)",
        "import \"x\" as y",
        deep.as_str(),
    ] {
        assert!(eval(source).is_err(), "{source} is let through: {:?}", eval(source));
    }
}
