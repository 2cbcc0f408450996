//! What a seed draws: which faults, how often, and for how long.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::scenario::mixed;

/// What can go wrong. The rows of the catalogue of faults that a kind belongs to stand behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// F30.
    NimbusKilled,
    /// A nimbus ends in order, and another one may lead at once.
    NimbusEnds,
    /// F31: stopped between two calls, and goes on later.
    NimbusStopped,
    /// F29.
    SupervisorKilled,
    /// F29: between two of the things that it does.
    SupervisorKilledMidway,
    SupervisorStopped,
    /// A master or a worker.
    ProcessKilled,
    /// A master or a worker that is stopped, and goes on later: an old master, an old worker.
    ProcessStopped,
    /// F53.
    HostLost,
    /// F34, of one process.
    Cut,
    /// F32, F34.
    ServiceAway,
    /// F36.
    ServiceFull,
    /// F33.
    Expired,
    /// A write or its answer is lost, or the write comes later.
    WriteLost,
    /// Reads that lag behind.
    Lagging,
    /// F24, F25: nothing gets from one host to another one.
    HostsCut,
    /// F40.
    ClockJump,
    /// F37, of marks and local records.
    DiskFull,
    /// F35.
    DataLost,
}

pub const FAULTS: [Fault; 19] = [
    Fault::NimbusKilled,
    Fault::NimbusEnds,
    Fault::NimbusStopped,
    Fault::SupervisorKilled,
    Fault::SupervisorKilledMidway,
    Fault::SupervisorStopped,
    Fault::ProcessKilled,
    Fault::ProcessStopped,
    Fault::HostLost,
    Fault::Cut,
    Fault::ServiceAway,
    Fault::ServiceFull,
    Fault::Expired,
    Fault::WriteLost,
    Fault::Lagging,
    Fault::HostsCut,
    Fault::ClockJump,
    Fault::DiskFull,
    Fault::DataLost,
];

/// Something that is planted, and that the seeds must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A leader writes assignments whatever version is there.
    WriteWithoutVersion,
    /// A leader does not write everything once when it begins.
    NoFirstWrites,
    /// A supervisor that is started again remembers no child.
    NoLocalRecord,
    /// A supervisor does not look whether a process of an earlier one has a directory, and processes do not, either.
    NoOccupancy,
    /// A supervisor starts a master although it could not write its epoch.
    NoClaim,
    /// A supervisor believes a service that has lost its data.
    BelievesLostData,
    /// A master that is not the first adopts nobody, and numbers from 1.
    NoEpoch,
    /// A supervisor leaves what is not assigned any more.
    LeavesOrphans,
    /// A supervisor notifies nobody of what its masters report.
    NoReports,
    /// A fenced worker goes on.
    IgnoresFence,
    /// A master publishes checkpoints of a topology that is on trial.
    PublishesOnTrial,
    /// A master reports the failure of a topology on trial as its end.
    EndsOnTrial,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub faults: Vec<Fault>,
    /// Of the time until all heals.
    pub span: Duration,
    /// From one fault to the next, on average.
    pub pause: Duration,
    /// The longest time that something is down, cut or stopped.
    pub down_max: Duration,
    /// The longest time that a message takes.
    pub delay_max: Duration,
    /// From one operation of the operator to the next, on average.
    pub operator: Duration,
}

impl Plan {
    pub fn from_seed(seed: u64) -> Plan {
        let random = &mut StdRng::seed_from_u64(mixed(seed, 11));
        let some = random.random_range(1..=8);
        let mut faults: Vec<Fault> = FAULTS.sample(random, some).copied().collect();
        if random.random_bool(0.15) {
            faults = FAULTS.to_vec();
        }
        let ms = |random: &mut StdRng, range: std::ops::Range<u64>| {
            Duration::from_millis(random.random_range(range))
        };
        Plan {
            seed,
            faults,
            span: ms(random, 20_000..70_000),
            pause: ms(random, 400..4_000),
            down_max: ms(random, 1_000..45_000),
            delay_max: ms(random, 20..400),
            operator: ms(random, 800..6_000),
        }
    }

    /// The same with these faults alone, one soon after the other.
    pub fn with_faults(seed: u64, faults: &[Fault]) -> Plan {
        let plan = Plan::from_seed(seed);
        let (pause, down_max) = (Duration::from_millis(1_500), Duration::from_secs(25));
        Plan { faults: faults.to_vec(), pause, down_max, operator: Duration::from_secs(3), ..plan }
    }
}
