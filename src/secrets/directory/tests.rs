//! What a directory of secrets accepts, refuses and never shows.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
    secrets: SecretDirectory,
}

/// A directory that is not made yet.
fn place() -> Place {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("own/secrets");
    Place { secrets: SecretDirectory::new(&path), path, _directory: directory }
}

fn name(text: &str) -> SecretName {
    text.parse().expect("a name")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it can be changed");
}

#[test]
fn a_value_is_read_as_it_was_set_without_one_line_end() {
    let Place { secrets, .. } = &place();
    let check = |written: &str, read: &str| {
        secrets.set(&name("a"), written.as_bytes()).expect(written);
        assert_eq!(secrets.read(&name("a")).expect(written).reveal(), read, "{written:?}");
    };
    check("hush", "hush");
    check("hush\n", "hush");
    check("hush\r\n", "hush");
    check("hush\n\n", "hush\n");
    check(" hu\nsh ", " hu\nsh ");
    let longest = "x".repeat(64 << 10);
    check(&longest, &longest);
}

#[test]
fn what_is_written_is_for_this_user_alone() {
    let Place { path, secrets, .. } = &place();
    secrets.set(&name("a"), b"one").unwrap();
    assert_eq!((mode(path), mode(&path.join("a"))), (0o700, 0o600));
    // A file that was open to others is closed by a new value.
    set_mode(&path.join("a"), 0o644);
    secrets.set(&name("a"), b"two").unwrap();
    assert_eq!(mode(&path.join("a")), 0o600);
    let there: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, ["a"], "nothing unfinished is left");
}

#[test]
fn values_that_cannot_be_read_back_are_refused_and_not_shown() {
    let Place { path, secrets, .. } = &place();
    let check = |value: &[u8], expected: &str| {
        let error = secrets.set(&name("a"), value).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(b"", "the value is empty");
    check(b"\n", "the value is empty");
    check(b"hush\xff", "the value is not UTF-8");
    check(&vec![b'x'; (64 << 10) + 1], "the value is longer than 65536 bytes");
    assert!(!path.exists(), "nothing was made");
}

#[test]
fn a_missing_secret_names_the_file_and_the_command() {
    let Place { path, secrets, .. } = &place();
    let expected = |file: &Path| {
        let directory = path.display();
        (
            format!("there is no secret `a`: the file `{}` is not there", file.display()),
            Some(format!("make it by `squall secret set a --directory {directory}`")),
        )
    };
    let error = |secrets: &SecretDirectory| {
        let error = secrets.read(&name("a")).unwrap_err();
        assert!(secrets.check(&name("a")).is_err());
        (error.to_string(), error.remedy())
    };
    assert_eq!(error(secrets), expected(&path.join("a")));
    secrets.set(&name("b"), b"x").unwrap();
    assert_eq!(error(secrets), expected(&path.join("a")));
    let none = SecretDirectory::none().read(&name("a")).unwrap_err();
    assert!(none.with_remedy().contains("`directory` in `[secrets]`"), "{}", none.with_remedy());
}

#[test]
fn a_file_that_others_may_read_is_not_used() {
    let Place { path, secrets, .. } = &place();
    secrets.set(&name("a"), b"hush").unwrap();
    for mode in [0o640, 0o604, 0o660, 0o620, 0o601] {
        set_mode(&path.join("a"), mode);
        for error in [secrets.read(&name("a")).unwrap_err(), secrets.check(&name("a")).unwrap_err()] {
            let text = error.with_remedy();
            assert!(text.contains(&format!("its mode is {mode:o}")) && text.contains("chmod 600"), "{text}");
            assert!(!text.contains("hush"), "{text}");
        }
    }
    set_mode(&path.join("a"), 0o400);
    assert_eq!(secrets.read(&name("a")).unwrap().reveal(), "hush");
}

#[test]
fn a_directory_that_others_may_write_to_is_not_used() {
    let Place { path, secrets, .. } = &place();
    secrets.set(&name("a"), b"hush").unwrap();
    for mode in [0o770, 0o702, 0o1777] {
        set_mode(path, mode);
        let errors = [
            secrets.read(&name("a")).unwrap_err(),
            secrets.check(&name("a")).unwrap_err(),
            secrets.names().unwrap_err(),
            secrets.set(&name("a"), b"other").unwrap_err(),
        ];
        for error in errors {
            let text = error.to_string();
            assert!(text.contains(&format!("its mode is {mode:o}")) && text.contains("chmod 700"), "{text}");
        }
    }
    set_mode(path, 0o755);
    assert_eq!(secrets.read(&name("a")).unwrap().reveal(), "hush");
}

#[test]
fn what_is_no_regular_file_or_no_text_is_not_used_and_not_waited_for() {
    let Place { path, secrets, .. } = &place();
    secrets.set(&name("good"), b"hush").unwrap();
    let check = |name_of: &str, expected: &str| {
        let text = secrets.read(&name(name_of)).unwrap_err().to_string();
        assert!(text.contains(expected) && !text.contains("hush"), "{name_of}: {text}");
    };
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    check("pipe", "it is a pipe, not a regular file");
    fs::create_dir(path.join("directory")).unwrap();
    check("directory", "it is a directory, not a file");
    let write = |file: &str, bytes: &[u8]| {
        fs::write(path.join(file), bytes).unwrap();
        set_mode(&path.join(file), 0o600);
    };
    write("bytes", b"hush\xff");
    check("bytes", "it is not UTF-8");
    write("empty", b"");
    check("empty", "it is empty");
    write("line-end", b"\n");
    check("line-end", "it is empty");
    write("long", &vec![b'x'; (64 << 10) + 1]);
    check("long", "it is longer than 65536 bytes");
    assert!(secrets.check(&name("long")).is_err() && secrets.check(&name("empty")).is_err());
    symlink(path.join("good"), path.join("link")).unwrap();
    assert_eq!(secrets.read(&name("link")).unwrap().reveal(), "hush");
    secrets.check(&name("link")).unwrap();
}

#[test]
fn names_are_listed_and_removed() {
    let Place { path, secrets, .. } = &place();
    assert_eq!(secrets.names().unwrap(), []);
    assert!(!secrets.remove(&name("a")).unwrap());
    for each in ["b", "a", "c"] {
        secrets.set(&name(each), b"x").unwrap();
    }
    fs::write(path.join(".hidden"), "x").unwrap();
    fs::write(path.join("no name"), "x").unwrap();
    fs::create_dir(path.join("checkpoints")).unwrap();
    assert_eq!(secrets.names().unwrap(), ["a", "b", "c"].map(name));
    assert!(secrets.remove(&name("b")).unwrap());
    assert!(!secrets.remove(&name("b")).unwrap());
    assert_eq!(secrets.names().unwrap(), ["a", "c"].map(name));
}

#[test]
fn a_text_of_a_document_needs_no_file() {
    let value = SecretDirectory::none().value_of(&Secret::from("hush".to_owned())).unwrap();
    assert_eq!(value.reveal(), "hush");
}

/// Two that set one secret at once shared their unfinished file.
#[test]
fn a_value_is_whole_whoever_writes_at_the_same_time() {
    let Place { secrets, .. } = &place();
    let values: Vec<String> = (0..8).map(|n| n.to_string().repeat(40_000)).collect();
    secrets.set(&name("a"), values[0].as_bytes()).unwrap();
    std::thread::scope(|scope| {
        for value in &values {
            scope.spawn(move || secrets.set(&name("a"), value.as_bytes()).unwrap());
        }
        for _ in 0..50 {
            let read = secrets.read(&name("a")).unwrap();
            assert!(values.iter().any(|value| value == read.reveal()), "a value is torn");
        }
    });
}
