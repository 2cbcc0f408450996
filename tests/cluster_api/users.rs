//! Who may do what: each request of the table with each kind of user, and what somebody sends who is none.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use slog::{Discard, Logger, o};
use squall::cluster::access::{
    Caller, Right, Role, Token, TopologyAccess, UserEntry, Users, UsersFile, UsersFileError,
};
use squall::cluster::api::{ApiOptions, ApiServer, open_api};
use squall::cluster::topologies::{BlobHash, TopologyPhase};
use tempfile::TempDir;

use crate::commands::Place;
use crate::fake::{Fake, any_port};
use crate::http::{Answer, exchange};
use crate::tls::Files;

/// A file with users: an administrator, the owner of the topology `words`, one of its users, one of its readers, one who
/// may submit, and one who may nothing. Each has the token of its number.
const NAMES: [(&str, Option<Role>); 7] = [
    ("root", Some(Role::Admin)),
    ("ada", Some(Role::Submit)),
    ("bob", None),
    ("eve", None),
    ("sam", Some(Role::Submit)),
    ("zoe", None),
    ("hal", Some(Role::Host)),
];

pub struct Desk {
    directory: TempDir,
}

fn token(number: usize) -> String {
    Token::new(&[u8::try_from(number).expect("there are few") + 1; 32]).reveal().to_owned()
}

impl Desk {
    pub fn new() -> Desk {
        let desk = Desk { directory: tempfile::tempdir().expect("a directory") };
        desk.change(|users| {
            for (number, (name, role)) in NAMES.into_iter().enumerate() {
                let token_sha256 = token(number).parse::<Token>().expect("a token").hash();
                let entry =
                    UserEntry { token_sha256, roles: role.into_iter().collect(), added_at: String::new() };
                users.users.insert(name.parse().expect("a name"), entry);
            }
        });
        desk
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("users.toml")
    }

    fn change(&self, change: impl FnOnce(&mut Users)) {
        let changed: Result<(), UsersFileError> = UsersFile::change(&self.path(), |users| {
            change(users);
            Ok(())
        });
        changed.expect("it is written");
    }

    fn options(&self) -> ApiOptions {
        let users = UsersFile::open(&self.path(), &Logger::root(Discard, o!())).expect("it is good");
        ApiOptions { users: Some(users), ..ApiOptions::on(any_port()) }
    }

    /// A file with the token of a user.
    fn token_file(&self, number: usize) -> String {
        let path = self.directory.path().join(format!("{number}.token"));
        fs::write(&path, token(number)).expect("it is written");
        let only_ours = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&path, only_ours).expect("it is ours");
        path.display().to_string()
    }
}

/// A topology `words` of ada, with a user and a reader.
fn with_words(fake: &Fake) {
    fake.has("words", TopologyPhase::Active);
    fake.change(|inside| {
        let info = inside.topologies.get_mut("words").expect("it is there");
        info.owner = "ada".to_owned();
        info.access = TopologyAccess {
            users: vec!["bob".parse().expect("a name")],
            readers: vec!["eve".parse().expect("a name")],
        };
    });
}

/// Sends a request with these headers.
fn ask_with(server: &ApiServer, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(server.address(), head.as_bytes())
}

fn ask_as(server: &ApiServer, number: usize, method: &str, path: &str, body: &str) -> Answer {
    ask_with(server, method, path, &format!("authorization: Bearer {}\r\n", token(number)), body)
}

// ---- The table ----

/// Which right each request needs. What is not here is not allowed to be in the table of the API.
const NEEDED: &[(&str, &str, Right)] = &[
    ("delete", "/v1/topologies/{name}", Right::Operate),
    ("get", "/v1/blobs/{hash}", Right::Submit),
    ("get", "/v1/blobs/{hash}/bytes", Right::ReadBlobs),
    ("get", "/v1/cluster", Right::BeUser),
    ("get", "/v1/healthz", Right::Nothing),
    ("get", "/v1/openapi.json", Right::Nothing),
    ("get", "/v1/topologies", Right::BeUser),
    ("get", "/v1/topologies/{name}", Right::Read),
    ("get", "/v1/topologies/{name}/stats", Right::Read),
    ("post", "/v1/topologies", Right::Submit),
    ("post", "/v1/topologies/{name}/access", Right::Own),
    ("post", "/v1/topologies/{name}/logs", Right::Read),
    ("post", "/v1/topologies/{name}/rebalance", Right::Operate),
    ("post", "/v1/topologies/{name}/restart", Right::Operate),
    ("post", "/v1/topologies/{name}/savepoints", Right::Operate),
    ("post", "/v1/topologies/{name}/upgrade", Right::Operate),
    ("put", "/v1/blobs/{hash}", Right::Submit),
    ("put", "/v1/supervisors/{id}/drained", Right::Admin),
    ("put", "/v1/topologies/{name}/log-level", Right::Operate),
    ("put", "/v1/topologies/{name}/wanted", Right::Operate),
];

/// Which of the users of [`NAMES`] have a right.
fn who_has(right: Right) -> &'static [&'static str] {
    match right {
        Right::Nothing | Right::BeUser => &["root", "ada", "bob", "eve", "sam", "zoe", "hal"],
        Right::Submit => &["root", "ada", "sam"],
        Right::ReadBlobs => &["root", "hal"],
        Right::Read => &["root", "ada", "bob", "eve"],
        Right::Operate => &["root", "ada", "bob"],
        Right::Own => &["root", "ada"],
        Right::Admin => &["root"],
    }
}

/// A new request of the table fails here until somebody has written down who may ask.
#[test]
fn each_request_is_for_those_who_may_and_for_nobody_else() {
    let (desk, fake) = (Desk::new(), Fake::new());
    with_words(&fake);
    let server = fake.serve_with(desk.options());
    let document = open_api();
    let paths = document["paths"].as_object().expect("there are paths");
    let mut table: Vec<(String, String)> = Vec::new();
    for (path, methods) in paths {
        table.extend(
            methods.as_object().expect("methods").keys().map(|method| (method.clone(), path.clone())),
        );
    }
    table.sort();
    let expected: Vec<_> =
        NEEDED.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(table, expected);
    for (method, path, right) in NEEDED {
        let method = method.to_uppercase();
        let hash = BlobHash::of(b"");
        let asked = path.replace("{name}", "words").replace("{hash}", hash.as_str());
        let is_open = *right == Right::Nothing;
        assert_eq!(document["paths"][*path][method.to_lowercase()]["security"].is_null(), is_open, "{path}");
        for headers in ["", "authorization: Bearer x\r\n", "authorization: Basic YTpi\r\n"] {
            let begun = fake.inside().begun;
            let answer = ask_with(&server, &method, &asked, headers, "");
            assert_eq!(answer.status < 400, is_open, "{method} {path} with `{headers}`: {answer:?}");
            if !is_open {
                assert!(["unauthorized", "too_many_attempts"].contains(&&*answer.code()), "{answer:?}");
                assert_eq!(fake.inside().begun, begun, "nobody has reached an operation: {method} {path}");
            }
        }
        for (number, (name, _)) in NAMES.iter().enumerate() {
            let may = who_has(*right).contains(name);
            let before = fake.inside().submitted.len();
            let answer = ask_as(&server, number, &method, &asked, "");
            // Those who may are told what is wrong with the body, or that the topology has not ended.
            let is_denied = answer.status == 403;
            assert_eq!(is_denied, !may, "{method} {path} as {name}: {answer:?}");
            if is_denied {
                assert_eq!(answer.code(), "denied", "{method} {path} as {name}");
                assert!(answer.message().starts_with(&format!("user `{name}` may not ")), "{answer:?}");
            }
            assert_eq!(fake.inside().submitted.len(), before);
        }
        if method == "GET" {
            let head = ask_with(&server, "HEAD", &asked, "", "");
            assert_eq!(head.status < 400, is_open, "HEAD {path}: {head:?}");
        }
    }
}

#[test]
fn a_list_has_what_its_reader_may_see() {
    let (desk, fake) = (Desk::new(), Fake::new());
    with_words(&fake);
    fake.has("other", TopologyPhase::Active);
    let server = fake.serve_with(desk.options());
    let names = |number: usize| {
        let list = ask_as(&server, number, "GET", "/v1/topologies", "").json();
        let names = list["topologies"].as_array().expect("a list").iter().map(|info| info["name"].clone());
        Value::from(names.collect::<Vec<_>>())
    };
    assert_eq!(names(0), json!(["other", "words"]));
    (1..=3).for_each(|number| assert_eq!(names(number), json!(["words"]), "{:?}", NAMES[number]));
    (4..=6).for_each(|number| assert_eq!(names(number), json!([]), "{:?}", NAMES[number]));
    // What is not there is not there for users, too.
    assert_eq!(ask_as(&server, 4, "GET", "/v1/topologies/nothing", "").code(), "no_topology");
    assert_eq!(ask_as(&server, 4, "GET", "/v1/topologies/..", "").code(), "invalid");
}

/// The owner is who has the token, and not who the body says.
#[test]
fn who_submits_follows_from_the_token() {
    let (desk, fake) = (Desk::new(), Fake::new());
    let server = fake.serve_with(desk.options());
    let hash = BlobHash::of(b"the source");
    assert_eq!(ask_as(&server, 4, "PUT", &format!("/v1/blobs/{hash}"), "the source").status, 204);
    let body = json!({ "source": hash, "owner": "root", "access": { "readers": ["eve"] } }).to_string();
    assert_eq!(ask_as(&server, 4, "POST", "/v1/topologies", &body).status, 201);
    let asked_by = fake.inside().asked_by[0].clone();
    assert!(matches!(&asked_by, Caller::User { name, .. } if name.as_str() == "sam"), "{asked_by:?}");
    let wrong = json!({ "source": hash, "access": { "readers": ["a b"] } }).to_string();
    let answer = ask_as(&server, 4, "POST", "/v1/topologies", &wrong);
    assert!(answer.status == 400 && answer.message().contains("no name of a user"), "{answer:?}");
    let by = json!({ "source": hash, "by": "root" }).to_string();
    assert_eq!(ask_as(&server, 4, "POST", "/v1/topologies", &by).status, 400);
}

// ---- Tokens ----

#[test]
fn what_is_no_token_of_a_user_is_answered_with_401_and_then_429() {
    let (desk, fake) = (Desk::new(), Fake::new());
    let server = fake.serve_with(desk.options());
    let ask = |headers: &str| ask_with(&server, "GET", "/v1/cluster", headers, "");
    let none = ask("");
    assert_eq!((none.status, &*none.code()), (401, "unauthorized"));
    assert!(none.head.to_lowercase().contains("www-authenticate: bearer realm=\"squall\""), "{}", none.head);
    assert!(none.message().contains("SQUALL_TOKEN_FILE"), "{}", none.message());
    let right = format!("authorization: Bearer {}\r\n", token(0));
    // Nobody is told that a token is right but for one of two.
    assert_eq!(ask(&format!("{right}{right}")).status, 401);
    let nobodys = Token::new(&[99; 32]).reveal().to_owned();
    let wrong = format!("authorization: Bearer {nobodys}\r\n");
    for _ in 0..9 {
        let answer = ask(&wrong);
        assert_eq!((answer.status, &*answer.code()), (401, "unauthorized"));
        assert!(!answer.message().contains(&nobodys[7..]), "{}", answer.message());
    }
    let many = ask(&wrong);
    assert_eq!((many.status, &*many.code()), (429, "too_many_attempts"));
    assert!(many.head.to_lowercase().contains("retry-after: 6"), "{}", many.head);
    assert_eq!(fake.inside().begun, 0, "nothing of that reaches an operation");
    assert_eq!(ask(&right).status, 200, "who has a token is not locked out by others");
}

#[test]
fn who_is_removed_is_nobody_at_once() {
    let (desk, fake) = (Desk::new(), Fake::new());
    let server = fake.serve_with(desk.options());
    let status = |number: usize| ask_as(&server, number, "GET", "/v1/cluster", "").status;
    assert_eq!((status(0), status(1)), (200, 200));
    desk.change(|users| _ = users.users.remove(&"ada".parse().expect("a name")));
    assert_eq!((status(0), status(1)), (200, 401));
    fs::write(desk.path(), "[users").expect("it is written");
    assert_eq!((status(0), status(1)), (200, 401), "a damaged file changes nothing");
    fs::write(desk.path(), "").expect("it is written");
    assert_eq!((status(0), status(1)), (401, 401), "a file without users is nobody");
}

// ---- Commands ----

#[test]
fn commands_send_the_token_of_a_file_and_to_nobody_without_tls() {
    let (desk, place, fake) = (Desk::new(), Place::new(), Fake::new());
    with_words(&fake);
    let server = fake.serve_with(desk.options());
    let address = [server.address()];
    let (ada, eve) = (desk.token_file(1), desk.token_file(3));
    place.squall(&address, &["status", "words"], 1).says("--token-file or SQUALL_TOKEN_FILE");
    let printed = place.squall(&address, &["status", "words", "--token-file", &ada], 0);
    assert!(printed.stdout.contains("users      bob\nreaders    eve\n"), "{}", printed.stdout);
    place
        .squall(&address, &["kill", "words", "--token-file", &eve], 1)
        .says("user `eve` may not have this topology");
    fs::set_permissions(&ada, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("it is ours");
    place.squall(&address, &["list", "--token-file", &ada], 1).says("others may read it (its mode is 644)");
    let eve_text = fs::read_to_string(&eve).expect("it is there");
    fs::write(&eve, &eve_text[1..]).expect("it is written");
    let printed = place.squall(&address, &["list", "--token-file", &eve], 1);
    assert!(
        printed.stderr.contains("no token") && !printed.stderr.contains(&eve_text[10..]),
        "{}",
        printed.stderr
    );
    // 192.0.2.1 is nobody's address, and is not asked.
    let far = ["list", "--nimbus", "192.0.2.1:7070", "--token-file", &desk.token_file(0)];
    place.squall(&[], &far, 4).says("so no token is sent to it");
}

/// As an operator does it: a file with users, TLS, and the commands with both.
#[test]
fn users_are_added_listed_and_removed_and_commands_are_theirs() {
    let (files, place, fake) = (Files::new(), Place::new(), Fake::new());
    let users = files.path("users.toml").display().to_string();
    let config = files.path("squall.toml").display().to_string();
    fs::write(&config, "[nimbus]\nusers_file = \"users.toml\"\ntls.authority = \"authority.pem\"\n")
        .expect("it is written");
    let token = files.path("root.token").display().to_string();
    let user = |args: &[&str], code: i32| {
        place.squall_with(&[("SQUALL_CONFIG", &config)], &[&["user"], args].concat(), code)
    };
    user(&["add", "root", "--admin", "--to", &token], 0).says("root was added");
    let printed = user(&["add", "sam"], 0);
    let sam = printed.stdout.trim_end().parse::<Token>().expect("stdout has the token alone");
    assert!(!fs::read_to_string(&users).expect("it is there").contains(&sam.reveal()[7..]), "a hash is kept");
    user(&["add", "sam"], 1).says("there is a user `sam` already");
    user(&["add", "sam", "--to", &token], 1).says("cannot make the file");
    user(&["add", "a b"], 2).says("is no name of a user");
    user(&["remove", "zoe"], 1).says("there is no user `zoe`");
    let listed = user(&["list", "--json"], 0).json();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["roles"], &listed[1]["roles"]),
        (&json!("root"), &json!(["admin"]), &json!(["submit"]))
    );

    let file = UsersFile::open(&files.path("users.toml"), &Logger::root(Discard, o!())).expect("it is good");
    let server = fake.serve_with(ApiOptions { users: Some(file), ..files.options() });
    let variables =
        [("SQUALL_CONFIG", &*config), ("SQUALL_NIMBUS", server.endpoint()), ("SQUALL_TOKEN_FILE", &token)];
    let args = ["submit", "words.toml", "--allow-user", "bob", "--allow-reader", "eve", "--no-wait"];
    place.squall_with(&variables, &args, 0);
    let inside = fake.inside();
    assert!(matches!(&inside.asked_by[0], Caller::User { name, .. } if name.as_str() == "root"));
    assert_eq!(inside.submitted[0].access.users[0].as_str(), "bob");
    assert_eq!(inside.submitted[0].access.readers[0].as_str(), "eve");
    drop(inside);
    place.squall_with(&variables, &["list"], 0);
    fake.has("words", TopologyPhase::Active);
    let access =
        |args: &[&str], code| place.squall_with(&variables, &[&["access", "words"], args].concat(), code);
    let changed = access(&["--allow-user", "bob", "--allow-user", "zoe", "--allow-reader", "eve"], 0);
    assert_eq!(changed.stdout, "owner    somebody\nusers    bob, zoe\nreaders  eve\n");
    access(&["--allow-reader", "bob", "--revoke", "zoe"], 0);
    assert_eq!(
        access(&["-o", "json"], 0).json()["access"],
        json!({ "users": [], "readers": ["bob", "eve"] })
    );
    access(&["--revoke", "a b"], 2).says("is no name of a user");
    user(&["add", "root", "--replace"], 0);
    place.squall_with(&variables, &["list"], 1).says("the token is nobody's");
    user(&["remove", "root"], 0);
}
