//! A small disk that a test can fill: a file system in memory, mounted where only the server sees it.
//!
//! To mount something needs root, or a system that lets users make user namespaces. Where neither holds, the test
//! fails and says so.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::processes::{Process, dying_with_us};

/// A mount namespace with a disk of its own at one directory. It ends with this.
pub struct Disk {
    /// Keeps the namespace while no server runs.
    holder: Process,
    directory: PathBuf,
}

impl Disk {
    /// A disk of so many KiB at the directory.
    pub fn mount(directory: &Path, kib: u32) -> Disk {
        let mut command = dying_with_us("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && echo mounted && exec sleep infinity"#);
        command.args(["sh", &format!("{kib}k")]).arg(directory);
        let (answer, says) = std::io::pipe().expect("a pipe");
        command.stdin(Stdio::null()).stdout(says.try_clone().expect("a descriptor")).stderr(says);
        let mut holder = Process::start(command);
        let mut said = String::new();
        let mut lines = BufReader::new(answer);
        let _ = lines.read_line(&mut said);
        if said != "mounted\n" {
            holder.kill();
            let _ = lines.read_to_string(&mut said);
            panic!(
                "a disk that is full needs root, or user namespaces (`unshare --map-root-user --mount`): {said}"
            );
        }
        Disk { holder, directory: directory.to_owned() }
    }

    /// The directory, as a process outside sees it.
    pub fn path(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.directory.strip_prefix("/").expect("it is absolute"))
    }

    /// A command that sees the disk.
    pub fn command(&self, program: &str) -> Command {
        let mut command = dying_with_us("nsenter");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--mount", "--target", &self.holder.id().to_string(), program]);
        command
    }

    /// Writes until there is no byte left.
    pub fn fill(&self) {
        let mut file = File::create(self.filling()).expect("the disk is ours");
        let full = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    }

    /// Gives back what [`fill`](Disk::fill) took.
    pub fn clear(&self) {
        fs::remove_file(self.filling()).expect("it has been filled");
    }

    fn filling(&self) -> PathBuf {
        self.path().join("filling")
    }
}
