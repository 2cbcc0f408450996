//! How a process shows its supervisor that it lives: it touches a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};

use crate::cluster::topologies::orders::ALIVE_FILE;

/// The file that this process touches.
#[derive(Debug)]
pub struct LifeSign(File);

impl LifeSign {
    /// The file in this directory. It is made if it is not there.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(directory: &Path) -> io::Result<LifeSign> {
        let file = File::options().create(true).append(true).mode(0o600).open(directory.join(ALIVE_FILE))?;
        Ok(LifeSign(file))
    }

    /// This process lives now.
    pub fn give(&self) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        // If it fails, the supervisor sees no sign, and looks at the process itself.
        let _ = futimens(&self.0, &Timestamps { last_access: now, last_modification: now });
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_sign_is_the_time_of_modification() {
        let directory = tempfile::tempdir().expect("a directory");
        let sign = LifeSign::open(directory.path()).expect("it is made");
        let file = directory.path().join(ALIVE_FILE);
        let times = File::options().append(true).open(&file).expect("it is there");
        times.set_modified(SystemTime::UNIX_EPOCH).expect("it is ours");
        sign.give();
        let modified = file.metadata().expect("it is there").modified().expect("it has a time");
        assert!(modified > SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    }
}
