//! GeoJSON (RFC 7946): the newest report of a client as a feature.

use serde::Serialize;

use crate::gateway::age;
use crate::model::position::Position;
use crate::model::timestamp::{Timestamp, UnixNanos};
use crate::proto::{KnownReport, as_seconds, rfc3339};

/// The content type of GeoJSON.
pub(super) const GEOJSON_TYPE: &str = "application/geo+json";

/// A feature at a point.
#[derive(Serialize)]
pub(super) struct Feature<'a, P> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bbox: Option<[f64; 4]>,
    geometry: Point,
    properties: P,
}

#[derive(Serialize)]
struct Point {
    r#type: &'static str,
    coordinates: [f64; 2],
}

/// The report of a client, and how the server learned of it.
#[derive(Serialize)]
pub(super) struct ReportProperties<'a> {
    position: &'a str,
    time: &'a str,
    origin: &'a str,
    skew_nanos: i64,
    sequence: u64,
    learned_at: Option<String>,
    learned_from: Option<&'a str>,
    recovered: bool,
    age_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    distance_meters: Option<f64>,
}

impl<'a, P> Feature<'a, P> {
    /// Creates a feature at a latitude and a longitude.
    pub(super) fn at(point: (f64, f64), properties: P) -> Self {
        Self {
            r#type: "Feature",
            id: None,
            bbox: None,
            geometry: Point {
                r#type: "Point",
                coordinates: coordinates(point),
            },
            properties,
        }
    }

    /// Adds the edges around the feature: west, south, east and north.
    pub(super) fn within(self, bbox: [f64; 4]) -> Self {
        let bbox = Some(bbox);
        Self { bbox, ..self }
    }
}

impl<'a> Feature<'a, ReportProperties<'a>> {
    /// Creates the feature of a report, with its age at `now`.
    pub(super) fn of(
        known: &'a KnownReport,
        now: UnixNanos,
        distance_meters: Option<f64>,
    ) -> Option<Self> {
        let report = known.report.as_ref()?;
        let position = Position::parse(report.position.as_bytes())?;
        let time = Timestamp::parse(report.time.as_bytes())?;
        let from = known.learned_from.as_str();
        let properties = ReportProperties {
            position: &report.position,
            time: &report.time,
            origin: &report.origin,
            skew_nanos: report.skew_nanos,
            sequence: known.sequence,
            learned_at: known.learned_at.as_ref().map(rfc3339),
            learned_from: (!from.is_empty()).then_some(from),
            recovered: known.recovered,
            age_seconds: as_seconds(&age(time, now)),
            distance_meters,
        };
        Some(Self {
            id: Some(&report.client),
            ..Self::at(position.degrees(), properties)
        })
    }
}

/// Returns longitude and latitude, as GeoJSON orders them.
pub(super) fn coordinates((latitude, longitude): (f64, f64)) -> [f64; 2] {
    [longitude, latitude]
}
