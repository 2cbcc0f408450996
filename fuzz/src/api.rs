//! What somebody sends to the API of a nimbus.

use squall::cluster::access::{Caller, Token, Users, bearer_in};
use squall::cluster::api::WantedRequest;
use squall::cluster::operations::{RebalanceRequest, SavepointRequest, SubmitRequest};
use squall::cluster::topologies::{BlobHash, TopologyId};

/// A header `Authorization`, the body of a request, a name in a path, or a file with users, as the first byte says.
/// What is read is written and read again as the same, and no token is in anything that is shown.
pub fn api_request(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 4 {
        0 => header(data),
        1 => body(data),
        2 => name(data),
        _ => users(data),
    }
}

fn header(data: &[u8]) {
    match bearer_in(data) {
        Ok(token) => {
            let text = token.reveal();
            assert!(data.windows(text.len()).any(|part| part == text.as_bytes()), "it is in the header");
            assert!(text.len() == 71 && text.is_ascii());
            assert!(bearer_in(format!("Bearer {text}").as_bytes()).is_ok());
            assert!(!format!("{token:?}").contains(&text[7..]));
        }
        Err(error) => {
            assert_eq!(error.to_string().matches("squall_").count(), 1, "it shows nothing of the header")
        }
    }
}

fn body(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<SubmitRequest>(data) {
        let names = request.access.users.iter().chain(&request.access.readers);
        names.for_each(|name| assert!(is_plain(name.as_str(), 64)));
        assert!(request.source.as_str().len() == 64);
        same(&request);
    }
    let _ = serde_json::from_slice::<RebalanceRequest>(data).map(|request| same(&request));
    let _ = serde_json::from_slice::<SavepointRequest>(data).map(|request| same(&request));
    let _ = serde_json::from_slice::<WantedRequest>(data).map(|request| same(&request));
}

fn same<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(request: &T) {
    let text = serde_json::to_vec(request).expect("it is JSON");
    assert_eq!(serde_json::from_slice::<T>(&text).expect("it is read again"), *request);
}

fn name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if TopologyId::new(text, 0).is_ok() {
        assert!(is_plain(text, 64) && text != "." && text != "..");
    }
    if text.parse::<BlobHash>().is_ok() {
        assert!(text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}

fn users(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Users::parse(text) {
        Ok(users) => {
            users.users.keys().for_each(|name| assert!(is_plain(name.as_str(), 64)));
            assert_eq!(Users::parse(&users.to_text()), Ok(users.clone()));
            // Nobody has the token of zeros, unless its hash is there.
            let zeros = Token::new(&[0; 32]);
            let found = users.find(&zeros);
            let is_there = users.users.values().any(|user| user.token_sha256 == zeros.hash());
            assert_eq!(found.is_some(), is_there);
            assert!(!matches!(found, Some(Caller::Anybody)));
        }
        Err(why) => assert!(!why.contains('\n')),
    }
}

fn is_plain(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}
