//! Programs of users on a host: each is put together from its pieces once, and started as often as it is needed.
//!
//! ```text
//!   <supervisor.directory>/programs/<hash>/<name>
//! ```
//!
//! 1. A program that is started has the hash that was submitted, and speaks the protocol of this supervisor: it was asked.
//! 2. Reading pieces may take long, so threads of their own do that. Nobody waits for them.
//! 3. What no process of this host refers to is removed. A program that runs does not need its file.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;

use crate::cluster::blobs::ReadBlob;
use crate::cluster::daemons::supervisor::background::Background;
use crate::cluster::daemons::supervisor::process_group::wait_with_group;
use crate::cluster::daemons::supervisor::wake::Wake;
use crate::cluster::platform::PROCESS_PROTOCOL;
use crate::cluster::program::{ProgramFile, ProgramSum};
use crate::cluster::topologies::BlobHash;
use crate::files::{make_private_directory, open_regular, read_regular};
use crate::text::shown;

/// The directory of programs.
const PROGRAMS: &str = "programs";
/// The name of a file that is not whole ends so.
const UNFINISHED: &str = ".new";
/// The file with what a program has answered.
const ANSWER: &str = "protocol.json";
/// Bytes of the longest answer.
const ANSWER_MAX: u64 = 4096;
/// How long a program may take to answer, on a busy machine.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// The programs of a supervisor.
pub(super) struct Programs {
    directory: PathBuf,
    read_blob: ReadBlob,
    /// Those that were checked.
    ready: BTreeSet<BlobHash>,
    /// Those that are being fetched.
    fetched: BTreeSet<BlobHash>,
    fetches: Background<Fetched>,
}

/// What became of a program.
pub(super) struct Fetched {
    pub hash: BlobHash,
    pub result: Result<(), String>,
}

impl Programs {
    /// The programs below the directory of a supervisor. `wake` is used when one is there.
    pub fn new(directory: &Path, read_blob: ReadBlob, wake: Arc<Wake>) -> Programs {
        Programs {
            directory: directory.join(PROGRAMS),
            read_blob,
            ready: BTreeSet::new(),
            fetched: BTreeSet::new(),
            fetches: Background::new("squall-program", wake),
        }
    }

    /// Where a program is. `None`: it is being fetched, and [`Programs::finished`] has what comes of it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn find(&mut self, file: &ProgramFile) -> Result<Option<PathBuf>, String> {
        let path = self.path_of(file);
        if self.ready.contains(file.hash()) && path.exists() {
            return Ok(Some(path));
        }
        if !self.fetched.contains(file.hash()) {
            self.fetch(file.clone())?;
            self.fetched.insert(file.hash().clone());
        }
        Ok(None)
    }

    /// What has come of programs since the last call.
    pub fn finished(&mut self) -> Vec<Fetched> {
        let finished: Vec<Fetched> = self.fetches.finished();
        for Fetched { hash, result } in &finished {
            self.fetched.remove(hash);
            if result.is_ok() {
                self.ready.insert(hash.clone());
            }
        }
        finished
    }

    /// Removes all programs but these.
    ///
    /// # Errors
    /// When the directory cannot be read, or something in it cannot be removed.
    pub fn retain(&mut self, used: &BTreeSet<BlobHash>) -> io::Result<()> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let hash = entry.file_name().to_str().and_then(|name| name.parse::<BlobHash>().ok());
            // What is not called by a hash is somebody else's.
            let Some(hash) = hash else { continue };
            if !used.contains(&hash) && !self.fetched.contains(&hash) {
                self.ready.remove(&hash);
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    fn path_of(&self, file: &ProgramFile) -> PathBuf {
        self.directory.join(file.hash().as_str()).join(file.name())
    }

    fn fetch(&self, file: ProgramFile) -> Result<(), String> {
        let (path, read_blob) = (self.path_of(&file), Arc::clone(&self.read_blob));
        self.fetches.begin(move || {
            let result = make(&path, &file, &read_blob).and_then(|()| ask(&path));
            Fetched { hash: file.hash().clone(), result }
        })
    }
}

/// Has a program be there, with the hash that it should have.
fn make(path: &Path, file: &ProgramFile, read_blob: &ReadBlob) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot make the program `{}`: {error}", path.display());
    if has_content(path, file) {
        return Ok(());
    }
    let home = path.parent().expect("a program is in a directory of its own");
    make_private_directory(home).map_err(failed)?;
    let unfinished = home.join(format!("{}{UNFINISHED}", file.name()));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut made = options.write(true).create_new(true).mode(0o600).open(&unfinished).map_err(failed)?;
    let mut sum = ProgramSum::default();
    for piece in file.pieces() {
        let bytes = read_blob(piece)?;
        sum.add(&bytes);
        made.write_all(&bytes).map_err(failed)?;
    }
    sum.check(file).map_err(|error| error.to_string())?;
    let published = made
        .set_permissions(Permissions::from_mode(0o500))
        .and_then(|()| made.sync_all())
        .and_then(|()| {
            // While it is open for writing it cannot be started.
            drop(made);
            fs::rename(&unfinished, path)
        })
        .and_then(|()| File::open(home)?.sync_all());
    published.map_err(failed)
}

/// Whether a file is whole. An earlier supervisor may have made it, and anything may have happened since.
fn has_content(path: &Path, file: &ProgramFile) -> bool {
    let Ok(mut there) = open_regular(path) else { return false };
    let (mut sum, mut piece) = (ProgramSum::default(), vec![0; 1 << 16]);
    loop {
        match there.read(&mut piece) {
            Ok(0) => return sum.check(file).is_ok(),
            Ok(bytes) => sum.add(&piece[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// What a program answers to `worker --protocol`.
#[derive(Deserialize)]
struct Spoken {
    protocol: u32,
}

/// Asks a program which protocol it speaks: then it is known that it can be started here, too.
fn ask(path: &Path) -> Result<(), String> {
    let shown_path = path.display();
    let failed = |why: &str| {
        format!(
            "the program `{shown_path}` does not say which protocol it speaks: {why}. It has to hand over to \
             `squall::cli::run`, or call `squall::cli::run_worker` first"
        )
    };
    let answer = path.with_file_name(ANSWER);
    let output = File::create(&answer).map_err(|error| failed(&error.to_string()))?;
    let mut command = Command::new(path);
    command.args(["worker", "--protocol"]).process_group(0);
    command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
    let mut child =
        command.spawn().map_err(|error| format!("the program `{shown_path}` cannot be started: {error}"))?;
    let ended = wait(&mut child);
    let text = read_regular(&answer, ANSWER_MAX).map_err(|error| failed(&error.to_string()))?;
    if let Some(why) = ended {
        return Err(failed(&why));
    }
    let spoken: Spoken = serde_json::from_slice(&text).map_err(|error| failed(&shown(error)))?;
    match spoken.protocol {
        PROCESS_PROTOCOL => Ok(()),
        other => Err(format!(
            "the program `{shown_path}` speaks protocol {other}, and this supervisor {PROCESS_PROTOCOL}: build both with \
             squall of the same protocol"
        )),
    }
}

/// Waits for the end of a process, and kills it if it takes too long. Returns what was wrong.
fn wait(child: &mut Child) -> Option<String> {
    let number = Pid::from_child(child);
    // It is not reaped yet, so its number is its own.
    let ended = pidfd_open(number, PidfdFlags::empty()).and_then(|pidfd| {
        let limit = Timespec::try_from(ANSWER_TIME).expect("it is short");
        retry_on_intr(|| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)))
    });
    if ended != Ok(1) {
        // It fails only if the process has just ended.
        let _ = child.kill();
    }
    match (ended, wait_with_group(child)) {
        (Ok(0), _) => Some(format!("it was killed after {}", humantime::format_duration(ANSWER_TIME))),
        (Err(error), _) => Some(error.to_string()),
        (Ok(_), Ok(status)) => (!status.success()).then(|| status.to_string()),
        (Ok(_), Err(error)) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use super::*;

    const SPEAKS: &str = "#!/bin/sh\n[ \"$*\" = 'worker --protocol' ] && echo '{\"protocol\": PROTOCOL}'\n";

    struct World {
        place: tempfile::TempDir,
        blobs: Arc<Mutex<BTreeMap<BlobHash, Vec<u8>>>>,
        programs: Programs,
        wake: Arc<Wake>,
    }

    impl World {
        fn new() -> World {
            let blobs: Arc<Mutex<BTreeMap<BlobHash, Vec<u8>>>> = Arc::default();
            let place = tempfile::tempdir().expect("a directory");
            let wake = Arc::new(Wake::new().expect("one"));
            let programs = Programs::new(place.path(), reader(&blobs), Arc::clone(&wake));
            World { place, blobs, programs, wake }
        }

        /// The next supervisor, which finds what this one has left.
        fn start_again(&mut self) {
            self.programs = Programs::new(self.place.path(), reader(&self.blobs), Arc::clone(&self.wake));
        }

        fn submit(&self, content: &str) -> ProgramFile {
            let file = ProgramFile::of("words", content.as_bytes()).expect("it is one");
            let piece = file.pieces()[0].clone();
            self.blobs.lock().expect("nobody panics").insert(piece, content.as_bytes().to_vec());
            file
        }

        /// What comes of a program.
        fn fetch(&mut self, file: &ProgramFile) -> Result<PathBuf, String> {
            loop {
                if let Some(path) = self.programs.find(file)? {
                    return Ok(path);
                }
                // It wakes when something has come.
                let mut fds = [rustix::event::PollFd::new(&*self.wake, rustix::event::PollFlags::IN)];
                rustix::event::poll(&mut fds, None).expect("it is ours");
                self.wake.clear();
                for Fetched { result, .. } in self.programs.finished() {
                    result?;
                }
            }
        }
    }

    fn reader(blobs: &Arc<Mutex<BTreeMap<BlobHash, Vec<u8>>>>) -> ReadBlob {
        let blobs = Arc::clone(blobs);
        Arc::new(move |hash| {
            let blobs = blobs.lock().expect("nobody panics");
            blobs.get(hash).cloned().ok_or_else(|| format!("there is no blob {hash}"))
        })
    }

    fn speaks(protocol: u32) -> String {
        SPEAKS.replace("PROTOCOL", &protocol.to_string())
    }

    #[test]
    fn a_program_is_put_together_once_and_is_found_without_its_blobs() {
        let mut world = World::new();
        let file = world.submit(&speaks(PROCESS_PROTOCOL));
        let path = world.fetch(&file).expect("it comes");
        assert_eq!(path, world.place.path().join(format!("programs/{}/words", file.hash())));
        assert_eq!(fs::read_to_string(&path).expect("it is there"), speaks(PROCESS_PROTOCOL));
        world.blobs.lock().expect("nobody panics").clear();
        assert_eq!(world.fetch(&file), Ok(path.clone()));
        // The next supervisor looks at what is there.
        world.start_again();
        assert_eq!(world.fetch(&file), Ok(path));
    }

    #[test]
    fn a_program_that_is_damaged_is_made_again() {
        let mut world = World::new();
        let file = world.submit(&speaks(PROCESS_PROTOCOL));
        let path = world.fetch(&file).expect("it comes");
        fs::remove_file(&path).and_then(|()| fs::write(&path, "#!/bin/sh\nrm -r")).expect("it is ours");
        world.start_again();
        world.fetch(&file).expect("it comes again");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), speaks(PROCESS_PROTOCOL));
    }

    #[test]
    fn what_cannot_be_a_worker_is_an_error_and_is_tried_again_when_it_is_asked_for() {
        let mut world = World::new();
        let check = |world: &mut World, content: &str, expected: &str| {
            let file = world.submit(content);
            let why = world.fetch(&file).expect_err("it is refused");
            assert!(why.contains(expected), "{why}");
        };
        check(&mut world, &speaks(PROCESS_PROTOCOL + 1), "speaks protocol");
        check(&mut world, "#!/bin/sh\n", "does not say which protocol");
        check(&mut world, "#!/bin/sh\necho hello\n", "does not say which protocol");
        check(&mut world, "#!/bin/sh\nexit 3\n", "exit status: 3");
        check(&mut world, "no program", "");
        let file = world.submit(&speaks(PROCESS_PROTOCOL));
        let pieces = std::mem::take(&mut *world.blobs.lock().expect("nobody panics"));
        assert!(world.fetch(&file).expect_err("its piece is away").contains("there is no blob"));
        *world.blobs.lock().expect("nobody panics") = pieces;
        world.fetch(&file).expect("it comes");
    }

    #[test]
    fn pieces_of_another_program_are_not_started() {
        let mut world = World::new();
        let file = world.submit(&speaks(PROCESS_PROTOCOL));
        let other = speaks(PROCESS_PROTOCOL).replace("echo", "rm -r / ; echo").into_bytes();
        world.blobs.lock().expect("nobody panics").insert(file.pieces()[0].clone(), other);
        let why = world.fetch(&file).expect_err("it has another hash");
        assert!(why.contains("with the hash"), "{why}");
        assert!(!world.place.path().join(format!("programs/{}/words", file.hash())).exists());
    }

    #[test]
    fn what_nobody_refers_to_is_removed() {
        let mut world = World::new();
        let kept = world.submit(&speaks(PROCESS_PROTOCOL));
        let unused = world.submit(&format!("{}#\n", speaks(PROCESS_PROTOCOL)));
        let kept_path = world.fetch(&kept).expect("it comes");
        let unused_path = world.fetch(&unused).expect("it comes");
        let notes = world.place.path().join("programs/notes");
        fs::write(&notes, "of a person").expect("it is written");
        world.programs.retain(&BTreeSet::from([kept.hash().clone()])).expect("it is removed");
        assert!(kept_path.exists() && notes.exists() && !unused_path.exists());
        world.fetch(&unused).expect("it is made again");
    }
}
