//! The state of the herd, and one client at every server.

use axum::body::Body;
use axum::extract::State;
use http::{Response, Uri};
use serde::Serialize;

use crate::gateway::{Member, TilesUrl};
use crate::operator_client::{QueryError, ServerStatus, problems};
use crate::proto::GetStatusResponse;

use super::answer::json;
use super::herd_view::HerdRound;
use super::parameters::{Parameters, client, decode};
use super::problem::Problem;
use super::state::Web;

#[derive(Serialize)]
struct HerdJson<'a> {
    server: &'a str,
    herd: &'a str,
    now: String,
    healthy: bool,
    problems: Vec<HerdProblem>,
    tiles: Option<Tiles<'a>>,
    servers: Vec<ServerState<'a>>,
}

/// A problem, as `proxyherd status` prints it.
#[derive(Serialize)]
struct HerdProblem {
    subject: String,
    description: String,
    failure: bool,
}

#[derive(Serialize)]
struct Tiles<'a> {
    url: &'a str,
    attribution: &'a str,
}

/// One server: either `status` or `error` is null.
#[derive(Serialize)]
struct ServerState<'a> {
    server: &'a str,
    address: &'a str,
    neighbours: Vec<&'a str>,
    asked_at: &'a str,
    error: Option<&'a QueryError>,
    status: Option<&'a GetStatusResponse>,
}

/// Answers `/api/v1/herd`.
pub(super) async fn herd(State(web): Web, uri: Uri) -> Result<Response<Body>, Problem> {
    Parameters::read(&uri, &[])?;
    let round = web.herd.round().await?;
    let settings = web.gateway().settings();
    let replica = web.gateway().replica();
    let tiles = settings.web.tiles.as_ref().map(TilesUrl::as_str);
    let tiles = tiles.map(|url| Tiles {
        url,
        attribution: settings
            .web
            .tiles_attribution
            .as_deref()
            .unwrap_or_default(),
    });
    let servers = round.members.iter().zip(&round.statuses.servers);
    let problems = problems::all(&round.statuses).into_iter();
    let problems: Vec<_> = problems
        .map(|problem| HerdProblem {
            subject: problem.subject,
            description: problem.description,
            failure: problem.is_failure,
        })
        .collect();
    let answer = HerdJson {
        server: replica.name().as_str(),
        herd: replica.herd().as_str(),
        now: web.herd.now(),
        healthy: !problems.iter().any(|problem| problem.failure),
        problems,
        tiles,
        servers: servers
            .map(|(member, server)| server_state(&round, member, server))
            .collect(),
    };
    Ok(json("application/json", &answer))
}

fn server_state<'a>(
    round: &'a HerdRound,
    member: &'a Member,
    server: &'a ServerStatus,
) -> ServerState<'a> {
    ServerState {
        server: &server.title,
        address: &server.address,
        neighbours: member.neighbours.iter().map(|name| name.as_str()).collect(),
        asked_at: &round.asked_at,
        error: server.result.as_ref().err(),
        status: server.result.as_ref().ok(),
    }
}

/// Answers `/api/v1/clients/{id}`.
pub(super) async fn locate(State(web): Web, uri: Uri) -> Result<Response<Body>, Problem> {
    Parameters::read(&uri, &[])?;
    // Taken from the path as it was sent: an encoded slash belongs to the ID.
    let id = uri.path().rsplit('/').next().unwrap_or_default();
    let id = decode("id", id)?;
    let id = client("id", &id)?;
    let _turn = web.turn().await?;
    let located = web.herd.locate(id).await?;
    if located.holders.is_empty() {
        let id = id.escape_debug();
        return Err(Problem::not_found(format!(
            "no server that answered has a report of client \"{id}\""
        )));
    }
    Ok(json("application/json", &located.json()))
}
