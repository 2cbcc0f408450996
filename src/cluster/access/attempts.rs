//! How many attempts with a token that is nobody's are answered and logged.
//!
//! A token cannot be guessed, so this protects the log and the patience of operators, not the tokens. An attempt with a
//! token that is right is never refused: otherwise somebody behind the same address could lock out everybody else.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Time;

/// Attempts that fail, from one address, before further ones are told to wait.
const FREE: u32 = 10;
/// After so long, one more is free.
const EVERY: Duration = Duration::from_secs(6);
/// Addresses that are remembered. If there are more, the one that was quiet for longest is forgotten.
const ADDRESSES_MAX: usize = 1024;

/// What becomes of an attempt that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is answered and logged.
    Logged,
    /// It is the first of too many: it is logged that there are too many, and it is told to wait.
    FirstOfTooMany,
    /// It is told to wait.
    TooMany,
}

/// The attempts of all addresses.
#[derive(Debug, Default)]
pub struct Attempts {
    of: BTreeMap<IpAddr, Failed>,
}

#[derive(Debug)]
struct Failed {
    count: u32,
    /// When `count` was last reduced.
    since: Time,
    last: Time,
}

impl Attempts {
    /// An attempt from this address has failed.
    pub fn failed(&mut self, from: IpAddr, now: Time) -> Attempt {
        let from = network_of(from);
        if !self.of.contains_key(&from) && self.of.len() >= ADDRESSES_MAX {
            let quiet = self.of.iter().min_by_key(|(_, failed)| failed.last).map(|(address, _)| *address);
            quiet.and_then(|address| self.of.remove(&address));
        }
        let failed = self.of.entry(from).or_insert(Failed { count: 0, since: now, last: now });
        let over = now.since(failed.since).as_nanos() / EVERY.as_nanos();
        let over = u32::try_from(over).unwrap_or(u32::MAX);
        failed.count = failed.count.saturating_sub(over);
        failed.since = if failed.count == 0 { now } else { failed.since.after(EVERY.saturating_mul(over)) };
        failed.last = now;
        // One over the bound is remembered, so that the next one is not the first.
        failed.count = failed.count.saturating_add(1).min(FREE + 2);
        match failed.count {
            count if count <= FREE => Attempt::Logged,
            count if count == FREE + 1 => Attempt::FirstOfTooMany,
            _ => Attempt::TooMany,
        }
    }
}

/// Who has one address of IPv6 has all of its network.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(whole) => match whole.to_ipv4_mapped() {
            Some(inner) => inner.into(),
            None => IpAddr::from((u128::from(whole) & !u128::from(u64::MAX)).to_be_bytes()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO.after(Duration::from_secs(seconds))
    }

    #[test]
    fn the_first_are_logged_and_the_rest_has_to_wait() {
        let mut attempts = Attempts::default();
        let mut fail = |from: &str, seconds| attempts.failed(from.parse().expect("an address"), at(seconds));
        let answers: Vec<Attempt> = (0..13).map(|_| fail("10.0.0.1", 0)).collect();
        assert!(answers[..10].iter().all(|answer| *answer == Attempt::Logged), "{answers:?}");
        assert_eq!(answers[10..], [Attempt::FirstOfTooMany, Attempt::TooMany, Attempt::TooMany]);
        assert_eq!(fail("10.0.0.2", 0), Attempt::Logged, "another address is another one");
        // 12 are remembered: after two times six seconds, there is room for none, and after a third for one.
        assert_eq!(fail("10.0.0.1", 12), Attempt::FirstOfTooMany);
        assert_eq!(fail("10.0.0.1", 24), Attempt::Logged);
        assert_eq!(fail("10.0.0.1", 3600), Attempt::Logged);
    }

    #[test]
    fn a_network_counts_as_one_and_memory_is_bounded() {
        let mut attempts = Attempts::default();
        for at_end in 0..=FREE {
            let address = format!("2001:db8:1:2::{at_end:x}").parse().expect("an address");
            let answer = attempts.failed(address, at(0));
            assert_eq!(answer == Attempt::Logged, at_end < FREE);
        }
        for number in 0..3000_u32 {
            attempts.failed(IpAddr::from((number + (1 << 24)).to_be_bytes()), at(number.into()));
        }
        assert_eq!(attempts.of.len(), ADDRESSES_MAX);
    }
}
