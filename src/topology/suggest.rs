//! "did you mean": what a person may have wanted to write.

/// How alike two names must be, from 0 to 1, for one to be suggested for the other.
const LIKENESS_MIN: f64 = 0.7;
/// How many names are listed in a message before the rest is only counted.
const LISTED_MAX: usize = 12;
/// Longer names are neither compared nor shown in full; no legal name is as long.
const NAME_SHOWN_MAX: usize = 80;
/// Candidates that are compared with a wrong name, so that a document made of wrong names ends.
const CANDIDATES_MAX: usize = 512;

/// The candidate that is most like `name`, if any is.
pub(crate) fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_SHOWN_MAX {
        return None;
    }
    let plain = normal(name);
    let likeness = |candidate: &'a str| {
        let alike = strsim::normalized_damerau_levenshtein(&plain, &normal(candidate))
            .max(strsim::jaro_winkler(&plain, &normal(candidate)) - 0.1);
        (alike, candidate)
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= NAME_SHOWN_MAX)
        .take(CANDIDATES_MAX)
        .map(likeness)
        .filter(|(alike, _)| *alike >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A help line: the closest candidate, or else what there is to choose from.
pub(crate) fn help<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
    all: &str,
) -> Option<String> {
    match closest(name, candidates.clone()) {
        Some(candidate) => Some(format!("did you mean `{candidate}`?")),
        None => {
            let names = list(candidates);
            (!names.is_empty()).then(|| format!("{all}: {names}"))
        }
    }
}

/// Names as a text for people: all of them when they are few.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown: Vec<String> = names.iter().take(LISTED_MAX).map(|name| shown(name)).collect();
    match names.len().saturating_sub(LISTED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A name as it is shown in a message: cut when it is longer than any legal name, and without
/// characters that a terminal would act upon.
pub(crate) fn shown(name: &str) -> String {
    let mut shown = String::new();
    for (count, c) in name.chars().enumerate() {
        if count == NAME_SHOWN_MAX {
            shown.push('…');
            break;
        }
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

fn normal(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised_and_other_names_are_not() {
        let check = |name: &str, candidates: &[&str], expected: Option<&str>| {
            assert_eq!(closest(name, candidates.iter().copied()), expected, "{name}");
        };
        check("kafak", &["file", "kafka"], Some("kafka"));
        check("click", &["clicks", "parse"], Some("clicks"));
        check("parallelizm", &["parallelism", "tasks"], Some("parallelism"));
        check("userid", &["user_id", "url"], Some("user_id"));
        check("shufle", &["shuffle", "all"], Some("shuffle"));
        check("message-timeout", &["message_timeout"], Some("message_timeout"));
        check("tabel", &["table", "url"], Some("table"));
        check("walrus", &["file", "kafka"], None);
        check("", &["file"], None);
        check(&"x".repeat(1000), &["x"], None);
    }

    #[test]
    fn long_names_and_long_lists_are_cut() {
        assert_eq!(list(["a", "b"]), "a, b");
        let many: Vec<String> = (0..20).map(|i| i.to_string()).collect();
        assert!(list(many.iter().map(String::as_str)).ends_with("11 and 8 more"));
        assert_eq!(shown(&"ü".repeat(100)).chars().count(), NAME_SHOWN_MAX + 1);
        assert_eq!(shown("a\u{1b}[31m"), "a\\u{1b}[31m");
    }
}
