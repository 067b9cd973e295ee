//! One query to many servers at once.

use std::panic::resume_unwind;

use tokio::task::JoinError;

use super::error::QueryError;
use super::remote_server::RemoteServer;

/// Queries all servers at once, and returns their answers in the servers' order. Takes
/// as long as the slowest of them, which its time limit bounds.
pub(crate) async fn query_all<T, F>(
    servers: &[RemoteServer],
    query: impl Fn(RemoteServer) -> F,
) -> Vec<Result<T, QueryError>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, QueryError>> + Send + 'static,
{
    let tasks: Vec<_> = servers
        .iter()
        .map(|server| tokio::spawn(query(server.clone())))
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap_or_else(resume_panic));
    }
    answers
}

/// Continues the panic of a task.
pub(crate) fn resume_panic<T>(error: JoinError) -> T {
    resume_unwind(error.into_panic())
}
