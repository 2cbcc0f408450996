//! What can happen to workers and the pipes between them, for seeds and fuzz targets.

use std::time::Duration;

use arbitrary::Arbitrary;
use squall::net::PayloadKind;

use super::World;

/// One thing that happens. Numbers name a worker or a pipe modulo how many there are.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Operation {
    Send { from: u8, to: u8, kind: Kind, padding: u16 },
    Turn { node: u8, bytes: u16 },
    Step,
    Wait { millis: u8 },
    GiveBack { node: u8 },
    Status { node: u8 },
    Cut { pipe: u8, arrives: bool },
    Hold { pipe: u8, end: bool },
    BreakAt { bytes: Option<u16> },
    Apart { is_apart: bool },
    Flip { pipe: u8, end: bool, at: u16, mask: u8 },
    Stop { node: u8 },
    Replace { node: u8, stays_alive: bool },
    SetMembers { node: u8 },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Kind {
    Acks,
    Outcomes,
    Data,
}

impl World {
    /// Lets it happen. Not if it cannot: without a pipe, none is cut.
    pub fn apply(&mut self, operation: Operation) {
        let count = self.incarnations.len();
        let node = |node: u8| usize::from(node) % count;
        let pipe = |pipe: u8| usize::from(pipe).checked_rem(self.pipes.len());
        match operation {
            Operation::Send { from, to, kind, padding } => {
                let kind = match kind {
                    Kind::Acks => PayloadKind::Acks,
                    Kind::Outcomes => PayloadKind::Outcomes,
                    Kind::Data => PayloadKind::Data,
                };
                let to = (node(from) + 1 + usize::from(to) % (count - 1)) % count;
                self.send(node(from), to, kind, padding.into());
            }
            Operation::Turn { node: at, bytes } => self.turn(node(at), bytes.into()),
            Operation::Step => self.step(),
            Operation::Wait { millis } => self.now = self.now.after(Duration::from_millis(millis.into())),
            Operation::GiveBack { node: at } => self.nodes[node(at)].books.give_back_all(),
            Operation::Status { node: at } => {
                let now = self.now;
                let node = &mut self.nodes[node(at)];
                node.mesh.send_status(now, &mut node.books);
            }
            Operation::Cut { pipe: at, arrives } => {
                if let Some(at) = pipe(at) {
                    self.cut(at, arrives);
                }
            }
            Operation::Hold { pipe: at, end } => {
                if let Some(at) = pipe(at) {
                    self.pipes[at].is_held[usize::from(end)] ^= true;
                }
            }
            Operation::BreakAt { bytes } => self.breaks_at = bytes.map_or(u64::MAX, u64::from),
            Operation::Apart { is_apart } => self.is_apart = is_apart,
            Operation::Flip { pipe: at, end, at: byte, mask } => {
                if let Some(at) = pipe(at) {
                    self.flip(at, end.into(), byte.into(), mask);
                }
            }
            Operation::Stop { node: at } => self.nodes[node(at)].is_stopped ^= true,
            Operation::Replace { node: at, stays_alive } => self.replace(node(at), stays_alive),
            Operation::SetMembers { node: at } => self.set_members(node(at)),
        }
    }
}
