//! The session as callers see it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Time;
use crate::cluster::coordination::service;
use crate::cluster::coordination::zookeeper::session::Session;

/// What callers see of the session. Written by the keeper.
#[derive(Debug)]
pub(super) struct Seen(Mutex<SeenNow>);

#[derive(Debug)]
struct SeenNow {
    session: service::Session,
    server: Option<String>,
    /// Why there is no session.
    why_away: String,
}

impl Seen {
    /// No session has begun. `timeout`: of the one that is wanted.
    pub fn new(timeout: Duration) -> Seen {
        let session = service::Session { number: 0, is_connected: false, proven_at: Time::ZERO, timeout };
        Seen(Mutex::new(SeenNow { session, server: None, why_away: "no server was reached yet".to_owned() }))
    }

    fn lock(&self) -> MutexGuard<'_, SeenNow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session as it is now.
    pub fn session(&self) -> service::Session {
        self.lock().session
    }

    /// The member; `None` without a session.
    pub fn server(&self) -> Option<String> {
        self.lock().server.clone()
    }

    /// Why a call got no answer.
    pub fn why_away(&self) -> String {
        let seen = self.lock();
        match &seen.server {
            Some(server) => format!("{server} does not answer in time"),
            None => seen.why_away.clone(),
        }
    }

    /// A session has begun.
    pub fn begun(&self, session: &Session) {
        let mut seen = self.lock();
        seen.session.number += 1;
        seen.session.is_connected = true;
        seen.session.timeout = session.timeout();
        seen.session.proven_at = session.proven_at;
        seen.server = Some(session.server.clone());
    }

    /// A request was answered.
    pub fn answered(&self, session: &Session) {
        self.lock().session.proven_at = session.proven_at;
    }

    /// The session is over.
    pub fn lost(&self) {
        let mut seen = self.lock();
        seen.session.is_connected = false;
        seen.server = None;
    }

    /// Why there is none.
    pub fn away_because(&self, why: String) {
        self.lock().why_away = why;
    }
}
