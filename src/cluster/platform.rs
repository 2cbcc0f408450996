//! What a program needs of a machine, and what a machine has: the processor, the C library, and the protocol by which
//! supervisors speak with their processes.
//!
//! A program that is linked against the GNU C library runs with a library that has all the versions of symbols that it
//! names. So it needs the highest of these, and a machine has the highest that its library defines.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{EM_AARCH64, EM_RISCV, EM_X86_64, FileHeader64};
use object::read::elf::{FileHeader as _, SectionTable};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::shown;

/// The protocol of a supervisor with its masters and workers: orders, reports and signs of life, and the arguments of the
/// processes. One more with each change after which the two would not understand each other.
pub const PROCESS_PROTOCOL: u32 = 1;

/// Where the GNU C library is, if this process is not linked against it.
const LIBRARIES: &[&str] = &[
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/lib/aarch64-linux-gnu/libc.so.6",
    "/lib/riscv64-linux-gnu/libc.so.6",
    "/lib64/libc.so.6",
    "/usr/lib/libc.so.6",
];
/// Bytes of the largest library that is read.
const LIBRARY_MAX: u64 = 64 << 20;

/// A version of the GNU C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Glibc {
    /// The part before the point.
    pub major: u32,
    /// The part after it.
    pub minor: u32,
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a machine has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Platform {
    /// Its processor, by Rust's names: `x86_64`, `aarch64`.
    pub arch: String,
    /// Its GNU C library. `None`: it has none, or it was not found.
    pub glibc: Option<Glibc>,
    /// [`PROCESS_PROTOCOL`] of its supervisor.
    pub protocol: u32,
}

impl Platform {
    /// That of this machine.
    pub fn of_this_machine() -> Platform {
        let glibc = own_library().and_then(|library| glibc_defined(&library));
        Platform { arch: std::env::consts::ARCH.to_owned(), glibc, protocol: PROCESS_PROTOCOL }
    }

    /// Why it cannot run a program with these needs; `None`: it can, as far as is known.
    pub fn lacks(&self, needs: &ProgramNeeds) -> Option<String> {
        if self.arch != needs.arch {
            return Some(format!("its processor is {}, and the program is for {}", self.arch, needs.arch));
        }
        match (needs.glibc, self.glibc) {
            (Some(needed), Some(has)) if needed > has => {
                Some(format!("it has glibc {has}, and the program needs {needed} or later"))
            }
            _ if self.protocol != needs.protocol => Some(format!(
                "its supervisor speaks protocol {}, and the program {}: both have to be built with squall of the same \
                 protocol",
                self.protocol, needs.protocol
            )),
            _ => None,
        }
    }
}

/// What a program needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramNeeds {
    /// The processor that it is for.
    pub arch: String,
    /// The version of the GNU C library; `None`: it is not linked against one.
    pub glibc: Option<Glibc>,
    /// [`PROCESS_PROTOCOL`] of the squall that is in it.
    pub protocol: u32,
}

/// Why a file is no program that a cluster could run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProgramError {
    /// It has another form.
    #[error("it is no ELF program of 64 bits, as the Rust compiler makes for Linux: {0}")]
    NotElf(String),
    /// Its processor is not one that squall knows.
    #[error("it is for a processor that squall does not know (number {0} of ELF)")]
    Processor(u16),
}

impl ProgramNeeds {
    /// What a program of this squall needs, given its file.
    ///
    /// # Errors
    /// When it is no program.
    pub fn of(file: &[u8]) -> Result<ProgramNeeds, NoProgramError> {
        let not_elf = |error: object::Error| NoProgramError::NotElf(shown(error));
        let header = FileHeader64::<Endianness>::parse(file).map_err(not_elf)?;
        let endian = header.endian().map_err(not_elf)?;
        let arch = match header.e_machine(endian) {
            EM_X86_64 => "x86_64",
            EM_AARCH64 => "aarch64",
            EM_RISCV => "riscv64",
            other => return Err(NoProgramError::Processor(other.0)),
        };
        let sections = header.sections(endian, file).map_err(not_elf)?;
        let glibc = highest(needed_versions(&sections, endian, file).map_err(not_elf)?);
        Ok(ProgramNeeds { arch: arch.to_owned(), glibc, protocol: PROCESS_PROTOCOL })
    }
}

type Sections<'a> = SectionTable<'a, FileHeader64<Endianness>>;

/// The versions of symbols that a program names.
fn needed_versions(sections: &Sections<'_>, endian: Endianness, file: &[u8]) -> object::Result<Vec<String>> {
    let mut names = Vec::new();
    let Some((mut needed, link)) = sections.gnu_verneed(endian, file)? else { return Ok(names) };
    let strings = sections.strings(endian, file, link)?;
    while let Some((_, mut versions)) = needed.next()? {
        while let Some(version) = versions.next()? {
            names.push(String::from_utf8_lossy(version.name(endian, strings)?).into_owned());
        }
    }
    Ok(names)
}

/// The versions of symbols that a library has.
fn defined_versions(sections: &Sections<'_>, endian: Endianness, file: &[u8]) -> object::Result<Vec<String>> {
    let mut names = Vec::new();
    let Some((mut defined, link)) = sections.gnu_verdef(endian, file)? else { return Ok(names) };
    let strings = sections.strings(endian, file, link)?;
    while let Some((_, mut versions)) = defined.next()? {
        while let Some(version) = versions.next()? {
            names.push(String::from_utf8_lossy(version.name(endian, strings)?).into_owned());
        }
    }
    Ok(names)
}

/// The highest `GLIBC_2.36`, without the point releases and what else has such a name.
fn highest(names: Vec<String>) -> Option<Glibc> {
    let version = |name: &String| {
        let (major, minor) = name.strip_prefix("GLIBC_")?.split_once('.')?;
        let minor = minor.split('.').next()?;
        Some(Glibc { major: major.parse().ok()?, minor: minor.parse().ok()? })
    };
    names.iter().filter_map(version).max()
}

fn glibc_defined(library: &Path) -> Option<Glibc> {
    let file = crate::files::read_regular(library, LIBRARY_MAX).ok()?;
    let file = file.as_slice();
    let header = FileHeader64::<Endianness>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, file).ok()?;
    highest(defined_versions(&sections, endian, file).ok()?)
}

/// The C library of this process, or of this machine.
fn own_library() -> Option<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mapped = maps.lines().filter_map(|line| line.split_once('/').map(|(_, path)| format!("/{path}")));
    let own = mapped.map(PathBuf::from).find(|path| path.file_name().is_some_and(|name| name == "libc.so.6"));
    own.or_else(|| LIBRARIES.iter().map(PathBuf::from).find(|path| path.exists()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(arch: &str, glibc: Option<(u32, u32)>) -> Platform {
        let glibc = glibc.map(|(major, minor)| Glibc { major, minor });
        Platform { arch: arch.to_owned(), glibc, protocol: PROCESS_PROTOCOL }
    }

    fn program(arch: &str, glibc: Option<(u32, u32)>) -> ProgramNeeds {
        let glibc = glibc.map(|(major, minor)| Glibc { major, minor });
        ProgramNeeds { arch: arch.to_owned(), glibc, protocol: PROCESS_PROTOCOL }
    }

    #[test]
    fn this_machine_can_run_this_program() {
        let file = fs::read("/proc/self/exe").expect("this program has a file");
        let needs = ProgramNeeds::of(&file).expect("it is a program");
        assert_eq!(needs.arch, std::env::consts::ARCH);
        let here = Platform::of_this_machine();
        assert_eq!(here.lacks(&needs), None, "{here:?} {needs:?}");
        // Otherwise the comparison of versions is never made.
        assert_eq!(needs.glibc.is_some(), cfg!(target_env = "gnu"));
        assert!(here.glibc.is_some() || cfg!(not(target_env = "gnu")), "{here:?}");
    }

    #[test]
    fn another_processor_and_an_older_library_cannot_run_it() {
        let check = |platform: &Platform, needs: &ProgramNeeds, expected: Option<&str>| {
            let why = platform.lacks(needs);
            assert_eq!(why.is_some(), expected.is_some(), "{why:?}");
            assert!(why.unwrap_or_default().contains(expected.unwrap_or_default()));
        };
        let here = machine("x86_64", Some((2, 36)));
        check(&here, &program("x86_64", Some((2, 36))), None);
        check(&here, &program("x86_64", Some((2, 4))), None);
        check(&here, &program("x86_64", None), None);
        check(&here, &program("x86_64", Some((2, 38))), Some("glibc 2.36"));
        check(&here, &program("aarch64", Some((2, 17))), Some("for aarch64"));
        check(&machine("x86_64", None), &program("x86_64", Some((2, 38))), None);
        let newer = ProgramNeeds { protocol: PROCESS_PROTOCOL + 1, ..program("x86_64", None) };
        check(&here, &newer, Some("protocol"));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let names =
            ["GLIBC_2.9", "GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_PRIVATE", "GCC_3.0", "GLIBC_ABI_DT_RELR"];
        let highest = highest(names.map(str::to_owned).into());
        assert_eq!(highest, Some(Glibc { major: 2, minor: 34 }));
    }

    #[test]
    fn what_is_no_program_is_refused_with_a_reason() {
        let long = vec![0x7f; 4096];
        let mut cut = fs::read("/proc/self/exe").expect("this program has a file");
        cut.truncate(200);
        for file in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &long, &cut] {
            let refused = ProgramNeeds::of(file);
            assert!(matches!(refused, Err(NoProgramError::NotElf(_))), "{refused:?}");
        }
    }
}
