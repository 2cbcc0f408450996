//! How long a master waits for workers that run, and what it has learned of them: see `core::adoption`.

use std::time::Duration;

use crate::clock::Time;
use crate::cluster::master::events::CoreOptions;

/// The wait for workers that run.
#[derive(Debug)]
pub struct Adoption {
    /// Set with the first event.
    pub until: Option<Time>,
    /// How long it may take.
    pub grace: Duration,
    /// By worker: the highest incarnation that an adopted worker knows; 0: none.
    pub highest: Vec<u32>,
    /// Whether an adopted worker was told to close.
    pub closes: bool,
}

impl Adoption {
    /// The wait with which a master begins, if it has to.
    pub fn begin(options: &CoreOptions) -> Option<Adoption> {
        let appointment = options.appointment.filter(|appointment| appointment.epoch > 1)?;
        let highest = vec![0; options.sources.len()];
        Some(Adoption { until: None, grace: appointment.grace, highest, closes: false })
    }

    /// When it is over, whoever has arrived.
    pub fn until(&self) -> Time {
        self.until.unwrap_or(Time::ZERO)
    }
}
