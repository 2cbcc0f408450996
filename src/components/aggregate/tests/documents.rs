//! What is wrong with documents that use states, each with its place and a hint.

use crate::components::test_support::refusal;
use crate::topology::declare::parse_str;
use crate::topology::registry::Registry;

/// What is wrong with a document, in which `from` is replaced.
fn errors(from: &str, to: &str) -> String {
    let document = "[topology]\nname = 'words'\ndelivery = 'exactly-once'\n\
         [state.totals]\ntype = 'redb'\nmode = 'opaque'\npath = 'totals.redb'\n\
         [spout.words]\ntype = 'generate'\nconfig.fields = { word = 'x', n = '{seq}' }\n\
         [bolt.count]\ntype = 'aggregate'\nparallelism = 2\ninputs = [{ from = 'words', fields = ['word'] }]\n\
         config = { state = 'totals', by = ['word'], function = 'count' }\n";
    assert!(document.contains(from), "{from}");
    let read = parse_str("words.toml", &document.replacen(from, to, 1), &Registry::with_standard());
    read.err().map(|errors| errors.render(false)).unwrap_or_default()
}

#[test]
fn mistakes_have_a_place_and_a_hint() {
    let check = |from: &str, to: &str, expected: &[&str]| {
        let errors = errors(from, to);
        for part in expected {
            assert!(errors.contains(part), "{to}: no {part:?} in\n{errors}");
        }
    };
    assert_eq!(errors("", ""), "");
    check(
        "state = 'totals'",
        "state = 'total'",
        &["uses the state `total`, which there is not", "did you mean `totals`?", "words.toml:15"],
    );
    check("state = 'totals'", "state = 'total'", &["no bolt uses the state `totals`", "words.toml:4"]);
    let states = "'exactly-once'\n[state.totals]\ntype = 'redb'\nmode = 'opaque'";
    for delivery in ["at-least-once", "at-most-once"] {
        for mode in ["opaque", "transactional"] {
            check(
                states,
                &format!("'{delivery}'\n[state.totals]\ntype = 'redb'\nmode = '{mode}'"),
                &[
                    &format!("the mode `{mode}` needs `delivery = \"exactly-once\"`"),
                    &format!("with {delivery} there are none"),
                    "`mode = \"non-transactional\"` in `[state.totals]`",
                    "words.toml:15",
                ],
            );
        }
        let plain = format!("'{delivery}'\n[state.totals]\ntype = 'redb'\nmode = 'non-transactional'");
        assert_eq!(errors(states, &plain), "");
    }
    check("function = 'count'", "function = 'count', emit = 'word'", &["`word` is one of `by`, too"]);
    check(
        "mode = 'opaque'",
        "mode = 'opak'",
        &["there is no mode `opak` of state `totals`", "did you mean `opaque`?", "words.toml:6"],
    );
    check("mode = 'opaque'", "mode = 1", &["`mode` of state `totals` must be a string"]);
    check("type = 'redb'", "type = 'rebd'", &["no type `rebd` of states is known", "did you mean `redb`?"]);
    check("type = 'redb'\n", "", &["state `totals` has no `type`", "types: "]);
    check(
        "path = ",
        "pth = ",
        &["unknown key `pth` in state `totals` (type `redb`)", "did you mean `path`?", "words.toml:7"],
    );
    check("path = 'totals.redb'\n", "", &["state `totals` (type `redb`) needs `path`"]);
    check("path = 'totals.redb'", "path = ''", &["state `totals`: must not be empty", "words.toml:7"]);
    check("[state.totals]", "[state.memory]", &["`state.memory` must be a size"]);
    check(
        "[state.totals]",
        "[state]\nbakend = 'redb'\n[state.totals]",
        &["unknown key `state.bakend`", "did you mean `backend`?"],
    );
    check("[state.totals]", "[state.'to tals']", &["the name of a state"]);
    check(
        "'exactly-once'",
        "'exactly-once'\nworkers = 3",
        &["has 2 tasks in 3 workers", "or use the type `postgres`", "words.toml:16"],
    );
    check(
        "fields = ['word']",
        "grouping = 'shuffle'",
        &["a key has to come to one of the 2 tasks only", "fields = [\"word\"]"],
    );
    check("function = 'count'", "function = 'sum'", &["`field` that is added up"]);
    check(
        "function = 'count'",
        "function = 'count', field = 'n'",
        &["does not go with function = \"count\""],
    );
    check("function = 'count'", "function = 'sum', field = 'm'", &["has no field `m`"]);
    check("by = ['word']", "by = []", &["name at least one field"]);
    let two = "[bolt.count]\ntype = 'aggregate'\ninputs = [{ from = 'words', fields = ['word'] }]\n\
         config = { state = 'totals', by = ['word'], function = 'count' }\n[bolt.again]";
    check("[bolt.count]", two, &["bolt `again` uses the state `totals`, which bolt `count` uses already"]);
    assert_eq!(
        errors("parallelism = 2\ninputs = [{ from = 'words', fields = ['word'] }]", "inputs = ['words']"),
        ""
    );
}

/// With inputs that were grouped by other fields, or in another order, the parts of a key came to two tasks, and one of
/// them was lost.
#[test]
fn several_tasks_need_inputs_that_are_grouped_alike() {
    let check = |first: &str, second: &str, tasks: u32| {
        let document = format!(
            "[topology]\nname = 'pairs'\ndelivery = 'exactly-once'\n[state.totals]\ntype = 'redb'\npath = 'x.redb'\n\
             [spout.one]\ntype = 'generate'\nconfig.fields = {{ a = 'x', b = 'y', c = 'z' }}\n\
             [spout.two]\ntype = 'generate'\nconfig.fields = {{ a = 'x', b = 'y', c = 'z' }}\n\
             [bolt.count]\ntype = 'aggregate'\nparallelism = {tasks}\n\
             inputs = [{{ from = 'one', fields = [{first}] }}, {{ from = 'two', fields = [{second}] }}]\n\
             config = {{ state = 'totals', by = ['a', 'b'], function = 'count' }}\n"
        );
        let read = parse_str("pairs.toml", &document, &Registry::with_standard());
        read.err().map(|errors| errors.render(false)).unwrap_or_default()
    };
    for (first, second, wanted) in [
        ("'a'", "'b'", "{ from = \"two\", fields = [\"a\"] }"),
        ("'a', 'b'", "'b', 'a'", "{ from = \"two\", fields = [\"a\", \"b\"] }"),
        ("'c'", "'c'", "{ from = \"one\", fields = [\"a\", \"b\"] }"),
    ] {
        let errors = check(first, second, 2);
        assert!(errors.contains("only") && errors.contains(wanted), "{first} and {second}: {errors}");
        assert_eq!(check(first, second, 1), "", "one task has all keys");
    }
    assert_eq!(check("'b'", "'b'", 2), "");
    assert_eq!(check("'b', 'a'", "'b', 'a'", 2), "");
}

/// The second found the file open, and waited for ever for another process that there was not.
#[test]
fn two_states_in_one_file_are_refused() {
    for (path, is_same) in [("totals.redb", true), ("./totals.redb", true), ("others.redb", false)] {
        let two = format!("[state.again]\ntype = 'redb'\npath = '{path}'\n[spout.words]");
        let errors = errors("[spout.words]", &two);
        let is_refused = errors.contains("totals.redb, in which the state `totals` is already");
        assert_eq!(is_refused, is_same, "{errors}");
    }
}

#[test]
fn a_task_without_its_state_says_so() {
    let error = refusal("aggregate", "state = 'totals'\nby = ['word']\nfunction = 'count'");
    assert!(error.contains("there is no state `totals`"), "{error}");
}
