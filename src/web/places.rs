//! Places near a point or a client, and names for a map.

use axum::body::Body;
use axum::extract::State;
use http::{Response, Uri};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::spawn_blocking;

use crate::model::client::ClientId;
use crate::model::decimal::Decimal;
use crate::model::position::Position;
use crate::places::PlacesQuery;

use super::answer::json;
use super::clients::{Center, unknown};
use super::feature::{Feature, GEOJSON_TYPE, coordinates};
use super::parameters::Parameters;
use super::problem::Problem;
use super::state::Web;

/// The bounds of WHATSAT.
const MAX_RADIUS_KM: f64 = 50.0;
const MAX_PLACES: usize = 20;

/// The default radius in kilometres.
const DEFAULT_RADIUS_KM: f64 = 10.0;

/// Maximum and default number of names.
const MAX_NAMES: usize = 1000;
const DEFAULT_NAMES: usize = 200;

#[derive(Serialize)]
struct Places<'a> {
    server: &'a str,
    center: [f64; 2],
    at_line: Option<&'a str>,
    places: Box<RawValue>,
}

#[derive(Serialize)]
struct NameCollection<'a> {
    r#type: &'static str,
    features: Vec<Feature<'a, NameProperties<'a>>>,
}

#[derive(Serialize)]
struct NameProperties<'a> {
    name: &'a str,
}

/// Answers `/api/v1/places` with the response of a WHATSAT.
pub(super) async fn places(State(web): Web, uri: Uri) -> Result<Response<Body>, Problem> {
    let parameters = Parameters::read(&uri, &["point", "client", "radius", "limit"])?;
    let rule = format!("must be a number of kilometres from 0 to {MAX_RADIUS_KM}");
    let radius = parameters.radius(|radius| (0.0..=MAX_RADIUS_KM).contains(&radius), &rule)?;
    // Digits without an exponent, as a client writes them.
    let radius = billionths(radius.unwrap_or(DEFAULT_RADIUS_KM))
        .abs()
        .to_string();
    let radius = Decimal::parse(radius.as_bytes()).ok_or_else(Problem::internal)?;
    let limit = parameters.limit(0..=MAX_PLACES, MAX_PLACES)?;
    let gateway = web.gateway();
    let (at_line, query) = match Center::read(&parameters)? {
        Center::Point((latitude, longitude)) => {
            let [latitude, longitude] = [latitude, longitude].map(billionths);
            let text = format!("{latitude:+}{longitude:+}");
            let position = Position::parse(text.as_bytes()).ok_or_else(Problem::internal)?;
            (None, PlacesQuery::new(position, radius, limit))
        }
        Center::Client(client) => {
            let id = ClientId::parse(client.as_bytes());
            let found = id.and_then(|id| gateway.whatsat(id, radius, limit));
            let (at_line, query) = found.ok_or_else(|| unknown(gateway, client))?;
            (Some(at_line), query)
        }
    };
    let response = web.source.places().nearby(&query).await;
    let at_line = at_line.map(|line| String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
    let answer = Places {
        server: gateway.replica().name().as_str(),
        center: coordinates(query.degrees()),
        at_line: at_line.as_deref(),
        places: RawValue::from_string(response.json).map_err(|_| Problem::internal())?,
    };
    Ok(json("application/json", &answer))
}

/// Rounds to nine decimals. The text of a small number would be too long for a field of a line.
fn billionths(number: f64) -> f64 {
    (number * 1e9).round() / 1e9
}

/// Answers `/api/v1/names`.
pub(super) async fn names(State(web): Web, uri: Uri) -> Result<Response<Body>, Problem> {
    let parameters = Parameters::read(&uri, &["bbox", "limit"])?;
    let bounds = parameters.bbox()?;
    let limit = parameters.limit(1..=MAX_NAMES, DEFAULT_NAMES)?;
    let places = web.source.places().clone();
    let answer = spawn_blocking(move || {
        let names = places.names(&bounds, limit);
        let features = names.iter().map(|place| {
            let point = (place.latitude, place.longitude);
            Feature::at(point, NameProperties { name: &place.name })
        });
        json(
            GEOJSON_TYPE,
            &NameCollection {
                r#type: "FeatureCollection",
                features: features.collect(),
            },
        )
    });
    answer.await.map_err(|_| Problem::internal())
}
