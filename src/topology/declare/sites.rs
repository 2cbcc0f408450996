//! Where in the texts the parts of a draft were written.

use std::collections::HashMap;

use crate::topology::declare::texts::{Finding, Span};
use crate::topology::declare::tree::{Node, follow};
use crate::topology::validate::{Problem, Site};

/// Places by site.
#[derive(Default)]
pub(super) struct Sites<'t> {
    spans: HashMap<Site, Span>,
    /// The `config` tables by component, in which settings are looked up when one is refused.
    configs: HashMap<usize, Node<'t>>,
}

impl<'t> Sites<'t> {
    /// Notes where something was written.
    pub fn set(&mut self, site: Site, span: Span) {
        self.spans.insert(site, span);
    }

    /// Notes where the settings of a component were written.
    pub fn set_config(&mut self, component: usize, config: Node<'t>) {
        self.configs.insert(component, config);
    }

    /// The place of a site, or of what it is part of.
    pub fn span(&self, site: Site) -> Span {
        let mut at = Some(site);
        while let Some(site) = at {
            if let Some(span) = self.spans.get(&site).cloned().or_else(|| self.setting(&site)) {
                return span;
            }
            at = site.parent();
        }
        0..0
    }

    /// The place of the value of a setting.
    fn setting(&self, site: &Site) -> Option<Span> {
        let Site::Setting(component, path) = site else { return None };
        let followed = follow(self.configs.get(component)?, path);
        followed.key.map(|_| followed.node.span())
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
