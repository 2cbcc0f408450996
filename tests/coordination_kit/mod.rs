//! The contract of `squall::cluster::coordination`, as checks that any implementation must pass.
//!
//! To run it against an implementation, make a [`World`], and call [`contract_tests`] in a test file of its own, with an
//! expression that makes one. Each check becomes a test with a world of its own:
//!
//! ```ignore
//! #[path = "../coordination_kit/mod.rs"]
//! mod coordination_kit;
//!
//! coordination_kit::contract_tests!(MyWorld::new());
//! ```
//!
//! How to make a world:
//!
//! * Its tree is empty, but for the root. Several worlds may share a server, each below a path of its own (chroot).
//! * A *client* is a process with a connection of its own. Put what cuts it, such as a proxy, between this client and
//!   the server, not between all clients and the server. Names are given out once in a world.
//! * `kill`, `cut` and `expire` return when it is done on the side of the service or the network. They do not wait
//!   until the client knows of it. A check waits for that itself.
//! * `wait_until` calls the condition again and again, with short pauses, and panics after a generous deadline. Where
//!   time is simulated it lets time pass, and lets all clients beat, between the calls. Conditions make calls of
//!   [`Coordination`], so they may be slow.
//! * Session time-outs should be short (1 or 2 s) where time is real. Nothing here depends on their length.
//!
//! Checks hold for servers whose followers lag: what another client has written is read after `catch_up`.

mod held;
mod nodes;
mod notices;
mod sessions;

pub use held::*;
pub use nodes::*;
pub use notices::*;
pub use sessions::*;

use std::sync::{Arc, Mutex, PoisonError};

use squall::clock::Time;
use squall::cluster::coordination::{
    Coordination, CoordinationError, Node, NodePath, Notice, Notify, Version,
};

/// Makes clients of one tree, and does to them what happens to processes.
pub trait World {
    /// A new process. It has no user: what it makes is everybody's.
    fn client(&self, name: &str) -> Arc<dyn Coordination>;

    /// A new process of this user: what it makes is for this user alone.
    fn client_of(&self, name: &str, user: &str) -> Arc<dyn Coordination>;

    /// The process dies without a goodbye: its session ends after its time-out, not before.
    fn kill(&self, name: &str);

    /// Nothing passes between the client and the service, in either direction, and no new connection is made.
    fn cut(&self, name: &str);

    /// The end of `cut`.
    fn heal(&self, name: &str);

    /// The service ends the session of the client, which is not cut off and begins the next one by itself.
    fn expire(&self, name: &str);

    /// Waits until the condition holds. Panics with `what` if it never does.
    fn wait_until(&self, what: &str, holds: &mut dyn FnMut() -> bool);

    /// The time of the clock by which sessions are judged.
    fn now(&self) -> Time;
}

/// Makes a test of each check, in a world that the expression makes.
macro_rules! contract_tests {
    ($world:expr) => {
        $crate::coordination_kit::contract_tests!(@each $world;
            // nodes
            a_node_is_read_as_it_was_made,
            a_node_is_made_once_below_one_that_is_there,
            the_root_is_always_there,
            a_write_needs_the_version_that_is_there,
            every_write_counts_even_of_the_same_data,
            a_deletion_needs_the_version_and_no_children,
            versions_begin_at_0_again_after_a_deletion,
            children_are_sorted_names,
            data_have_a_limit,
            what_is_too_large_harms_nothing,
            paths_may_be_as_deep_and_names_as_long_as_they_say,
            of_many_who_make_a_node_one_does,
            of_many_who_write_a_version_one_does,
            two_clients_count_to_a_hundred,
            a_client_reads_what_it_wrote,
            after_catching_up_a_client_reads_what_others_wrote,
            nodes_of_a_user_are_closed_to_others,
            held_nodes_of_a_user_are_closed_to_others,
            // held
            a_held_node_is_there_until_it_is_released,
            releasing_what_is_not_held_does_nothing,
            a_held_node_has_no_children,
            a_held_node_vanishes_with_its_process,
            a_held_node_comes_back_after_a_cut,
            a_held_node_outlives_the_session_that_made_it,
            a_held_node_comes_back_with_the_data_that_replaced_the_first,
            a_held_node_that_was_taken_is_not_held_any_more,
            a_node_that_another_process_has_is_not_held,
            a_persistent_node_is_not_held,
            a_node_without_a_parent_is_not_held,
            what_an_earlier_process_left_behind_is_replaced,
            a_released_node_does_not_come_back,
            // notices
            each_change_is_noticed,
            changes_below_are_noticed,
            changes_beside_are_not_noticed,
            changes_are_noticed_by_all_who_watch,
            the_end_of_a_process_is_noticed,
            everything_is_to_be_read_again_with_each_session,
            changes_are_noticed_after_a_new_session,
            everything_is_to_be_read_again_from_time_to_time,
            a_dropped_notify_is_not_called,
            a_watch_of_what_is_not_there_notices_it,
            // sessions
            a_call_begins_the_first_session,
            sessions_are_numbered,
            a_session_is_good_while_it_is_proven,
            who_is_cut_off_is_not_answered_and_knows_it,
            who_is_healed_is_answered,
            a_service_that_is_gone_for_long_is_used_again,
        );
    };
    (@each $world:expr; $($check:ident),* $(,)?) => {
        $(
            #[test]
            fn $check() {
                $crate::coordination_kit::$check(&$world);
            }
        )*
    };
}
pub(crate) use contract_tests;

// ---- What checks share ----

fn path(text: &str) -> NodePath {
    text.parse().expect("a path")
}

/// Reads a node as it is now.
#[track_caller]
fn read(client: &dyn Coordination, of: &NodePath) -> Option<Node> {
    client.catch_up().expect("the service answers");
    client.get(of).expect("the service answers")
}

/// Reads the data of a node as they are now, as text.
#[track_caller]
fn text(client: &dyn Coordination, of: &NodePath) -> Option<String> {
    read(client, of).map(|node| String::from_utf8(node.data).expect("the data of this check are text"))
}

/// Whether a node is there with these data. Calls that are not answered do not count.
fn has(client: &dyn Coordination, of: &NodePath, data: Option<&[u8]>) -> bool {
    let found = client.catch_up().and_then(|()| client.get(of));
    found.is_ok_and(|node| node.as_ref().map(|node| &*node.data) == data)
}

/// Makes a node that must not be there.
#[track_caller]
fn make(client: &dyn Coordination, of: &NodePath, data: &[u8]) {
    assert_eq!(client.create(of, data), Ok(Version(0)), "{of}");
}

/// Waits until the call is answered, while a connection may come up or go down.
fn call<T>(
    world: &dyn World,
    what: &str,
    mut call: impl FnMut() -> Result<T, CoordinationError>,
) -> Result<T, CoordinationError> {
    let mut result = None;
    world.wait_until(what, &mut || {
        let answer = call();
        let is_answered = !matches!(&answer, Err(error) if error.is_passing());
        result = Some(answer);
        is_answered
    });
    result.expect("the condition was asked")
}

/// What a client was notified of, for as long as this exists.
struct Heard {
    notices: Arc<Mutex<Vec<Notice>>>,
    /// Kept because a watch ends with it.
    _notify: Arc<Notify>,
}

impl Heard {
    fn new(client: &dyn Coordination, of: &NodePath) -> Heard {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notices);
        let notify: Arc<Notify> =
            Arc::new(move |notice| sink.lock().unwrap_or_else(PoisonError::into_inner).push(notice));
        client.watch(of, &notify);
        // A watch is there when a later call has been answered.
        let _ = client.get(of);
        Heard { notices, _notify: notify }
    }

    /// All that came since the last call, in its order.
    fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn contains(&self, notice: &Notice) -> bool {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).contains(notice)
    }

    /// Waits for a notice, and forgets what came until then.
    fn wait_for(&self, world: &dyn World, notice: &Notice) {
        world.wait_until(&format!("the notice {notice:?}"), &mut || self.contains(notice));
        self.take();
    }
}
