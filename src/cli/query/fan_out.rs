//! One question to many servers at once.

use std::panic::resume_unwind;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::proto::GetStatusResponse;

use super::failure::Failure;
use super::outcome::CommandError;
use super::server::Server;

/// How long a server that has answered waits for one before it in the order.
const GRACE: Duration = Duration::from_millis(250);

/// Asks all servers at once, and gives their answers in the servers' order. Takes
/// as long as the slowest of them, which its limit bounds.
pub(super) async fn ask_all<T, F>(
    servers: &[Server],
    question: impl Fn(Server) -> F,
) -> Vec<Result<T, Failure>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let asked: Vec<_> = servers
        .iter()
        .map(|server| tokio::spawn(question(server.clone())))
        .collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap_or_else(panicked));
    }
    answers
}

/// Asks all how they are.
pub(super) async fn statuses(servers: &[Server]) -> Vec<Result<GetStatusResponse, Failure>> {
    ask_all(servers, |server| async move { server.status().await }).await
}

/// The first server of the order that answers, and how it is; one that hangs is
/// passed over. Fails where none answers, with the reason of each.
pub(super) async fn first_that_answers(
    servers: &[Server],
) -> Result<(Server, GetStatusResponse), CommandError> {
    let mut asked = JoinSet::new();
    for (i, server) in servers.iter().cloned().enumerate() {
        asked.spawn(async move { (i, server.status().await) });
    }
    let mut answers: Vec<Option<Result<GetStatusResponse, Failure>>> = vec![None; servers.len()];
    let mut limit = Duration::MAX;
    while let Ok(Some(answered)) = timeout(limit, asked.join_next()).await {
        let (i, answer) = answered.unwrap_or_else(panicked);
        if answer.is_ok() {
            limit = GRACE;
        }
        answers[i] = Some(answer);
        let mut known = answers.iter().map_while(Option::as_ref);
        if known.any(Result::is_ok) {
            break;
        }
    }
    let first = answers
        .iter()
        .position(|answer| matches!(answer, Some(Ok(_))));
    match first.and_then(|i| Some((i, answers.swap_remove(i)?.ok()?))) {
        Some((i, status)) => Ok((servers[i].clone(), status)),
        None => Err(nobody(servers, answers)),
    }
}

fn nobody(
    servers: &[Server],
    answers: Vec<Option<Result<GetStatusResponse, Failure>>>,
) -> CommandError {
    let reasons = answers
        .into_iter()
        .map(|answer| answer.and_then(Result::err));
    let told: Vec<String> = servers
        .iter()
        .zip(reasons)
        .filter_map(|(server, reason)| Some(tell(server, &reason?)))
        .collect();
    CommandError::Failed(format!("no server answers\n{}", told.join("\n")).into())
}

/// Which server gave no answer, and why.
pub(super) fn tell(server: &Server, failure: &Failure) -> String {
    let (title, address) = (server.title(), server.address().to_string());
    match title == address {
        true => format!("{title}: {failure}"),
        false => format!("{title} ({address}): {failure}"),
    }
}

fn panicked<T>(error: JoinError) -> T {
    resume_unwind(error.into_panic())
}
