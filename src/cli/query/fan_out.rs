//! The first server that answers.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::operator_client::{QueryError, RemoteServer, StatusResult, resume_panic};
use crate::proto::GetStatusResponse;

use super::outcome::CommandError;

/// Maximum wait for an earlier server of the order once a later one has answered.
const ORDER_GRACE: Duration = Duration::from_millis(250);

/// Returns the first server of the order that answers, and its status. A server that
/// hangs is skipped.
///
/// # Errors
///
/// Fails if none answers, with the reason of each.
pub(super) async fn first_that_answers(
    servers: &[RemoteServer],
) -> Result<(RemoteServer, GetStatusResponse), CommandError> {
    let mut tasks = JoinSet::new();
    for (i, server) in servers.iter().cloned().enumerate() {
        tasks.spawn(async move { (i, server.status().await) });
    }
    let mut answers: Vec<Option<StatusResult>> = vec![None; servers.len()];
    let mut limit = Duration::MAX;
    while let Ok(Some(joined)) = timeout(limit, tasks.join_next()).await {
        let (i, answer) = joined.unwrap_or_else(resume_panic);
        if answer.is_ok() {
            limit = ORDER_GRACE;
        }
        answers[i] = Some(answer);
        let mut leading = answers.iter().map_while(Option::as_ref);
        if leading.any(Result::is_ok) {
            break;
        }
    }
    let first = answers
        .iter()
        .position(|answer| matches!(answer, Some(Ok(_))));
    match first.and_then(|i| Some((i, answers.swap_remove(i)?.ok()?))) {
        Some((i, status)) => Ok((servers[i].clone(), status)),
        None => Err(none_answered(servers, answers)),
    }
}

fn none_answered(servers: &[RemoteServer], answers: Vec<Option<StatusResult>>) -> CommandError {
    let errors = answers
        .into_iter()
        .map(|answer| answer.and_then(Result::err));
    let reasons: Vec<String> = servers
        .iter()
        .zip(errors)
        .filter_map(|(server, error)| Some(describe(server, &error?)))
        .collect();
    CommandError::failure(format!("no server answered\n{}", reasons.join("\n")))
}

/// Returns a line that names a server and the reason why it gave no answer, not escaped.
pub(super) fn describe(server: &RemoteServer, error: &QueryError) -> String {
    let (title, address) = (server.title(), server.address().to_string());
    if title == address {
        format!("{title}: {error}")
    } else {
        format!("{title} ({address}): {error}")
    }
}
