//! Where in the texts the parts of a draft were written.

use std::collections::HashMap;

use crate::topology::declare::named_secrets::NamedSecret;
use crate::topology::declare::texts::{Finding, Span};
use crate::topology::declare::tree::{Node, follow};
use crate::topology::validate::{Problem, Site};

/// Places by site.
#[derive(Default)]
pub(super) struct Sites<'t> {
    spans: HashMap<Site, Span>,
    /// The `config` tables by component, in which settings are looked up when one is refused.
    configs: HashMap<usize, Node<'t>>,
    /// In the order of components, states first.
    secrets: Vec<NamedSecret>,
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

    /// Notes where settings name secrets.
    pub fn add_secrets(&mut self, secrets: Vec<NamedSecret>) {
        self.secrets.extend(secrets);
    }

    /// The secrets that settings name.
    pub fn secrets(&self) -> &[NamedSecret] {
        &self.secrets
    }

    /// The place of a site, or of what it is part of. `None` if it was not written in a text.
    pub fn span(&self, site: Site) -> Option<Span> {
        let mut at = Some(site);
        while let Some(site) = at {
            if let Some(span) = self.spans.get(&site).cloned().or_else(|| self.setting(&site)) {
                return Some(span);
            }
            at = site.parent();
        }
        None
    }

    /// The place of the value of a setting.
    fn setting(&self, site: &Site) -> Option<Span> {
        let Site::Setting(component, path) = site else { return None };
        let followed = follow(self.configs.get(component)?, path);
        followed.key.map(|_| followed.node.span())
    }

    /// A problem of the validator, with its places.
    pub fn finding(&self, problem: Problem) -> Finding {
        let finding = match self.span(problem.site) {
            Some(span) => Finding::at(span, problem.message),
            None => Finding::nowhere(problem.message),
        };
        let related = problem.related.into_iter();
        related
            .filter_map(|(site, label)| Some((self.span(site)?, label)))
            .fold(finding.label(problem.label).help(problem.help), |finding, (span, label)| {
                finding.related(span, label)
            })
    }
}
