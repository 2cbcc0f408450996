//! What the checks find.

/// What a sink or spout did not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// What was promised, and what happened instead.
    pub what: String,
    /// What was done before: the calls, and where the crash was.
    pub script: String,
}

/// All that a sink or spout did not keep, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", shown(.0))]
pub struct BrokenPromises(pub Vec<Broken>);

/// How many findings a text shows.
const SHOWN: usize = 5;

fn shown(broken: &[Broken]) -> String {
    let mut text = format!("{} scripts failed", broken.len());
    for Broken { what, script } in broken.iter().take(SHOWN) {
        text += &format!("\n  {what}\n    {script}");
    }
    if broken.len() > SHOWN {
        text += "\n  and so on";
    }
    text
}
