//! Greetings: accepted if herd, sender, receiver and protocol version are right, and otherwise
//! without effect.

use prost::Message;
use proxyherd::proto::{GreetRequest, GreetResponse};
use tonic::Code;

use super::reference::is_name;
use super::server::{BERNARD, HERD, JAQUEZ, RILEY, RILEYS_INCARNATION, Server};

/// Checks received bytes of a greeting.
pub(crate) fn check(bytes: &[u8]) {
    // The codec rejects bytes that are not a message.
    let Ok(greeting) = GreetRequest::decode(bytes) else {
        return;
    };
    let server = Server::new();
    let answer = server.greet(greeting.clone());
    let (status, expected) = match (&answer, reference(&greeting)) {
        (Ok(answer), None) => return check_response(answer),
        (Err(status), Some(expected)) => (status, expected),
        (answer, expected) => panic!("{answer:?} to {greeting:?}, not {expected:?}"),
    };
    assert!(
        expected.contains(&status.code()),
        "{status:?} to {greeting:?}"
    );
    let message = status.message();
    assert!(!message.contains(char::is_control), "{message:?}");
    for text in [&greeting.herd, &greeting.sender, &greeting.receiver] {
        // A text of one or two letters may occur in any message.
        assert!(
            is_name(text) || text.len() < 4 || !message.contains(text.as_str()),
            "{message:?}"
        );
    }
}

/// Returns the possible status codes, or `None` for a greeting that is accepted.
fn reference(greeting: &GreetRequest) -> Option<Vec<Code>> {
    let names = [&greeting.herd, &greeting.sender, &greeting.receiver];
    let mut codes = Vec::new();
    if names.iter().any(|name| !is_name(name)) || greeting.sender_incarnation == 0 {
        codes.push(Code::InvalidArgument);
    }
    if greeting.version_major != 2 {
        codes.push(Code::FailedPrecondition);
    }
    let [herd, sender, receiver] = names.map(String::as_str);
    let is_unknown = sender != JAQUEZ || sender == BERNARD || sender == RILEY;
    if herd != HERD || is_unknown || receiver != RILEY {
        codes.push(Code::PermissionDenied);
    }
    (!codes.is_empty()).then_some(codes)
}

fn check_response(answer: &GreetResponse) {
    assert_eq!((&*answer.herd, &*answer.receiver), (HERD, RILEY));
    assert_eq!(answer.receiver_incarnation, RILEYS_INCARNATION);
    assert_eq!(answer.applied_sequence, 0);
    let again = GreetResponse::decode(&answer.encode_to_vec()[..]).unwrap();
    assert_eq!(&again, answer);
}
