//! Clients in a box, and clients near a point.

use axum::body::Body;
use axum::extract::State;
use http::{Response, Uri};
use serde::Serialize;

use crate::gateway::{Gateway, give_way, known_report};
use crate::model::client::ClientId;
use crate::model::timestamp::UnixNanos;
use crate::proto::KnownReport;
use crate::queries::extract::{self, Cell, Extract, ExtractContents, ExtractQuery};
use crate::queries::nearby::{self, NearbyQuery};
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

use super::answer::json;
use super::feature::{Feature, GEOJSON_TYPE, coordinates};
use super::parameters::Parameters;
use super::problem::Problem;
use super::state::Web;

/// Maximum and default number of clients in an extract.
const MAX_EXTRACT: usize = 20_000;
const DEFAULT_EXTRACT: usize = 1000;

/// Maximum and default number of nearby clients.
const MAX_NEAR: usize = 10_000;
const DEFAULT_NEAR: usize = 100;

/// Half of the earth's circumference, in kilometres, rounded up: every client is within it.
const MAX_RADIUS_KM: f64 = 20_038.0;

/// An extract as a feature collection.
#[derive(Serialize)]
struct ClientCollection<'a, F> {
    r#type: &'static str,
    server: &'a str,
    matched: u64,
    cell_degrees: Option<f64>,
    cursor: String,
    features: Vec<F>,
}

/// Nearby clients as a feature collection.
#[derive(Serialize)]
struct NearCollection<'a, F> {
    r#type: &'static str,
    server: &'a str,
    center: [f64; 2],
    features: Vec<F>,
}

#[derive(Serialize)]
struct CellProperties {
    count: u64,
}

/// Answers `/api/v1/clients`.
pub(super) async fn list(State(web): Web, uri: Uri) -> Result<Response<Body>, Problem> {
    let parameters = Parameters::read(&uri, &["bbox", "prefix", "limit"])?;
    let query = ExtractQuery {
        bounds: parameters.bbox()?,
        prefix: parameters.prefix()?,
        limit: parameters.limit(1..=MAX_EXTRACT, DEFAULT_EXTRACT)?,
    };
    let turn = web.turn().await?;
    let now = web.gateway().clock().now();
    let answer = web.gateway().scan(move |replica| {
        let _turn = turn;
        // Read before the scan, so that a watch from here sends what the scan may have missed.
        let cursor = cursor(replica, replica.store().last());
        let make = |stored: &StoredReport<'_>| known_report(replica, stored);
        let found = extract::scan(replica, now, &query, make, give_way);
        collection(replica, now, cursor, found)
    });
    answer.await.map_err(|_| Problem::internal())
}

/// Returns a position in the feed of this incarnation.
pub(super) fn cursor(replica: &Replica, sequence: u64) -> String {
    format!("{:016x}-{sequence}", replica.incarnation().get())
}

fn collection(
    replica: &Replica,
    now: UnixNanos,
    cursor: String,
    extract: Extract<KnownReport>,
) -> Response<Body> {
    let server = replica.name().as_str();
    let matched = extract.matched;
    match extract.contents {
        ExtractContents::Clients(clients) => {
            let features = clients.iter();
            let features = features.filter_map(|(_, known)| Feature::of(known, now, None));
            json(
                GEOJSON_TYPE,
                &ClientCollection {
                    r#type: "FeatureCollection",
                    server,
                    matched,
                    cell_degrees: None,
                    cursor,
                    features: features.collect(),
                },
            )
        }
        ExtractContents::Grid(side, cells) => json(
            GEOJSON_TYPE,
            &ClientCollection {
                r#type: "FeatureCollection",
                server,
                matched,
                cell_degrees: Some(side),
                cursor,
                features: cells.iter().map(|cell| cell_feature(cell, side)).collect(),
            },
        ),
    }
}

fn cell_feature(cell: &Cell, side: f64) -> Feature<'static, CellProperties> {
    let Cell {
        west,
        south,
        count,
        mean,
    } = *cell;
    let edges = [west, south, west + side, south + side];
    Feature::at(mean, CellProperties { count }).within(edges)
}

/// Answers `/api/v1/near`.
pub(super) async fn near(State(web): Web, uri: Uri) -> Result<Response<Body>, Problem> {
    let parameters = Parameters::read(&uri, &["point", "client", "radius", "limit"])?;
    let rule = format!("must be a number of kilometres above 0, at most {MAX_RADIUS_KM}");
    let is_valid = |radius| radius > 0.0 && radius <= MAX_RADIUS_KM;
    let radius = parameters.radius(is_valid, &rule)?;
    let limit = parameters.limit(1..=MAX_NEAR, DEFAULT_NEAR)?;
    let (centre, exclude) = match Center::read(&parameters)? {
        Center::Point(point) => (point, None),
        Center::Client(client) => {
            let position = |id| web.gateway().locate(id, |report| report.position.degrees());
            let located = ClientId::parse(client.as_bytes()).and_then(position);
            let centre = located.ok_or_else(|| unknown(web.gateway(), client))?;
            (centre, Some(client.to_owned()))
        }
    };
    let query = NearbyQuery {
        centre,
        radius_metres: radius.map_or(f64::INFINITY, |kilometres| kilometres * 1000.0),
        limit,
        exclude,
    };
    let turn = web.turn().await?;
    let now = web.gateway().clock().now();
    let answer = web.gateway().scan(move |replica| {
        let _turn = turn;
        let make = |stored: &StoredReport<'_>| known_report(replica, stored);
        let found = nearby::scan(replica, now, &query, make, give_way);
        let features = found.iter();
        let features =
            features.filter_map(|near| Feature::of(&near.client, now, Some(near.metres)));
        json(
            GEOJSON_TYPE,
            &NearCollection {
                r#type: "FeatureCollection",
                server: replica.name().as_str(),
                center: coordinates(query.centre),
                features: features.collect(),
            },
        )
    });
    answer.await.map_err(|_| Problem::internal())
}

/// The center of a call.
pub(super) enum Center<'a> {
    Point((f64, f64)),
    Client(&'a str),
}

impl<'a> Center<'a> {
    /// Reads exactly one of `point` and `client`.
    pub(super) fn read(parameters: &'a Parameters) -> Result<Self, Problem> {
        match (parameters.point()?, parameters.client()?) {
            (Some(point), None) => Ok(Self::Point(point)),
            (None, Some(client)) => Ok(Self::Client(client)),
            _ => Err(Problem::bad_request(
                "point, client: give exactly one of them",
            )),
        }
    }
}

/// Returns the problem of a client without a report at this server.
pub(super) fn unknown(gateway: &Gateway, client: &str) -> Problem {
    let server = gateway.replica().name();
    let client = client.escape_debug();
    Problem::not_found(format!("{server} has no report of client \"{client}\""))
}
