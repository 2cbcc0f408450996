//! Where in the texts the parts of a draft were written.

use std::collections::HashMap;

use crate::topology::declare::texts::{Finding, Span};
use crate::topology::validate::{Problem, Site};

/// Places by site.
#[derive(Default)]
pub(super) struct Sites(HashMap<Site, Span>);

impl Sites {
    /// Notes where something was written.
    pub fn set(&mut self, site: Site, span: Span) {
        self.0.insert(site, span);
    }

    /// The place of a site, or of what it is part of.
    pub fn span(&self, site: Site) -> Span {
        let mut at = Some(site);
        while let Some(site) = at {
            if let Some(span) = self.0.get(&site) {
                return span.clone();
            }
            at = site.parent();
        }
        0..0
    }

    /// A problem of the validator, with its places.
    pub fn finding(&self, problem: Problem) -> Finding {
        let finding =
            Finding::at(self.span(problem.site), problem.message).label(problem.label).help(problem.help);
        problem
            .related
            .into_iter()
            .fold(finding, |finding, (site, label)| finding.related(self.span(site), label))
    }
}
