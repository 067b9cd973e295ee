//! Places as GeoJSON (RFC 7946): a `FeatureCollection`, or a single `Feature`.
//!
//! Each feature is one point with `properties`: `name`; and, optionally, `place_id` or `id` (or the
//! feature's own `id`), `types` (a list, or one string separated by `|` or `;`), `vicinity` or
//! `address`. Names are case-insensitive. Other properties are ignored. A `MultiPoint` of one point
//! is that point, as some programs write them. One of several points, like every line and area, is
//! rejected, since it does not identify which of its points is the place.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::builder::{CatalogueBuilder, types_from};
use super::{FileFault, line_of};
use crate::places::catalogue::Catalogue;
use crate::places::error::SourceLocation;
use crate::places::place::Place;

/// The outer structure of a document. Features stay text until they are read, so that they are
/// never all in memory in parsed form.
#[derive(Deserialize)]
#[serde(expecting = "a GeoJSON FeatureCollection")]
struct Document<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    features: Option<Vec<&'a RawValue>>,
}

/// Reads all places of a document.
pub(super) fn read(text: &str) -> Result<Catalogue, FileFault> {
    let document: Document<'_> = serde_json::from_str(text).map_err(|error| FileFault {
        location: SourceLocation::Line(error.line().max(1)),
        message: format!("this is no GeoJSON: {error}"),
    })?;
    let features = match (&*document.kind, document.features) {
        ("FeatureCollection", Some(features)) => features.into_iter().map(RawValue::get).collect(),
        ("Feature", None) => vec![text],
        _ => return Err(not_features(&document.kind)),
    };
    let mut builder = CatalogueBuilder::default();
    for (number, feature) in (1..).zip(features) {
        add(&mut builder, feature).map_err(|message| {
            let line = line_of(text.as_bytes(), offset_in(text, feature));
            let location = SourceLocation::Feature { number, line };
            FileFault { location, message }
        })?;
    }
    Ok(builder.finish())
}

fn not_features(kind: &str) -> FileFault {
    FileFault {
        location: SourceLocation::File,
        message: format!(
            "this is a {kind:?}: write a \"FeatureCollection\" with its \"features\", or one \"Feature\""
        ),
    }
}

/// Returns the offset at which a part of a text begins.
fn offset_in(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

fn add(builder: &mut CatalogueBuilder, feature: &str) -> Result<(), String> {
    let feature: Value = serde_json::from_str(feature).map_err(|error| error.to_string())?;
    if feature["type"] != "Feature" {
        return Err(format!(
            "its type is {}: write \"Feature\"",
            feature["type"]
        ));
    }
    let (latitude, longitude) = point(&feature["geometry"])?;
    let nothing = Map::new();
    let properties = feature["properties"].as_object().unwrap_or(&nothing);
    let id = match property(properties, &["place_id", "id"]) {
        Value::Null => &feature["id"],
        id => id,
    };
    builder.add(&Place {
        name: text("name", property(properties, &["name"]))?.trim(),
        latitude,
        longitude,
        given_id: &id_text(id)?,
        types: &types(property(properties, &["types"]))?,
        vicinity: text("vicinity", property(properties, &["vicinity", "address"]))?.trim(),
    })
}

/// Returns the latitude and longitude of a geometry that is one point.
fn point(geometry: &Value) -> Result<(f64, f64), String> {
    let coordinates = &geometry["coordinates"];
    let position = match (geometry["type"].as_str(), coordinates.as_array()) {
        (Some("Point"), _) => coordinates,
        (Some("MultiPoint"), Some(points)) if points.len() == 1 => &points[0],
        (Some("MultiPoint"), Some(points)) => {
            let count = points.len();
            return Err(format!(
                "its MultiPoint has {count} points: write a feature with a Point for each"
            ));
        }
        _ => {
            let kind = &geometry["type"];
            return Err(format!(
                "its geometry is {kind}: write a \"Point\" with \"coordinates\""
            ));
        }
    };
    match (position[0].as_f64(), position[1].as_f64()) {
        (Some(longitude), Some(latitude)) => Ok((latitude, longitude)),
        _ => Err(format!(
            "its coordinates are {position}: write [longitude, latitude], in degrees"
        )),
    }
}

/// Returns the first property that has one of these names, or null if there is none.
fn property<'a>(properties: &'a Map<String, Value>, names: &[&str]) -> &'a Value {
    let of_name = |name: &&str| {
        properties
            .iter()
            .find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null())
    };
    names
        .iter()
        .find_map(of_name)
        .map_or(&Value::Null, |(_, value)| value)
}

fn text<'a>(what: &str, value: &'a Value) -> Result<&'a str, String> {
    match value {
        Value::Null => Ok(""),
        Value::String(text) => Ok(text),
        other => Err(format!("its {what} is {other}: write a text")),
    }
}

fn id_text(id: &Value) -> Result<Cow<'_, str>, String> {
    match id {
        Value::Number(number) => Ok(number.to_string().into()),
        other => Ok(text("id", other)?.trim().into()),
    }
}

fn types(value: &Value) -> Result<String, String> {
    let Value::Array(list) = value else {
        return Ok(types_from(text("list of types", value)?));
    };
    let list: Result<Vec<&str>, String> = list.iter().map(|kind| text("type", kind)).collect();
    Ok(types_from(&list?.join("|")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn feature(geometry: &Value, properties: &Value) -> Value {
        json!({"type": "Feature", "geometry": geometry, "properties": properties})
    }

    fn point_at(longitude: f64, latitude: f64) -> Value {
        json!({"type": "Point", "coordinates": [longitude, latitude]})
    }

    fn rejection(document: &Value) -> String {
        read(&document.to_string()).err().unwrap().message
    }

    #[test]
    fn reads_features_as_places() {
        let mut bare = feature(
            &json!({"type": "MultiPoint", "coordinates": [[2.5, 1.5, 100]]}),
            &json!({"NAME": " Bar ", "id": null, "types": null}),
        );
        bare["id"] = json!(7);
        let full = feature(
            &point_at(-118.443_627_300_000_01, 34.070_264_2),
            &json!({
                "name": "Powell Library",
                "place_id": "powell",
                "types": ["library", " university "],
                "Address": "10740 Dickson Plaza",
                "floors": {"count": 4},
            }),
        );
        let document = json!({
            "features": [full, bare],
            "type": "FeatureCollection",
            "crs": {"type": "name"},
        });
        let catalogue = read(&document.to_string()).unwrap();
        assert_eq!(catalogue.len(), 2);
        let powell = Place {
            name: "Powell Library",
            latitude: 34.070_264_2,
            longitude: -118.443_627_300_000_01,
            given_id: "powell",
            types: "library|university",
            vicinity: "10740 Dickson Plaza",
        };
        assert_eq!(catalogue.get(0), powell);
        let bar = Place {
            name: "Bar",
            latitude: 1.5,
            longitude: 2.5,
            given_id: "7",
            types: "",
            vicinity: "",
        };
        assert_eq!(catalogue.get(1), bar);
    }

    #[test]
    fn reads_a_single_feature() {
        let properties = json!({"name": "Bar", "types": "bar;food"});
        let document = feature(&point_at(2.0, 1.0), &properties).to_string();
        let catalogue = read(&document).unwrap();
        assert_eq!(catalogue.len(), 1);
        assert_eq!(catalogue.get(0).types, "bar|food");
    }

    #[test]
    fn reports_the_fault_in_a_feature() {
        let good = point_at(2.0, 1.0);
        let bar = json!({"name": "Bar"});
        let lines = json!({"type": "LineString", "coordinates": [[1, 2], [3, 4]]});
        let two = json!({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]});
        let no_numbers = json!({"type": "Point", "coordinates": ["1", "2"]});
        for (feature, message) in [
            (feature(&good, &json!({})), "the name is empty"),
            (feature(&good, &Value::Null), "the name is empty"),
            (feature(&good, &json!({"name": 5})), "its name is 5"),
            (
                feature(&good, &json!({"name": "A", "id": []})),
                "its id is []",
            ),
            (
                feature(&good, &json!({"name": "A", "types": [1]})),
                "its type is 1",
            ),
            (feature(&lines, &bar), "its geometry is \"LineString\""),
            (feature(&Value::Null, &bar), "its geometry is null"),
            (feature(&two, &bar), "its MultiPoint has 2 points"),
            (feature(&no_numbers, &bar), "[longitude, latitude]"),
            (
                feature(&point_at(34.0, -118.0), &bar),
                "-118 is no latitude",
            ),
            (json!({"type": "Point"}), "its type is \"Point\""),
            (json!(5), "its type is null"),
        ] {
            let document = json!({"type": "FeatureCollection", "features": [feature]});
            let actual = rejection(&document);
            assert!(actual.contains(message), "{actual}");
        }
    }

    #[test]
    fn reports_the_feature_of_a_fault() {
        let text = r#"{"type": "FeatureCollection", "features": [
{"type": "Feature", "geometry": {"type": "Point", "coordinates": [2, 1]}, "properties": {"name": "Bar"}},

{"type": "Feature",
 "geometry": null}]}"#;
        let problem = read(text).err().unwrap();
        assert_eq!(
            problem.location,
            SourceLocation::Feature { number: 2, line: 4 }
        );
    }

    #[test]
    fn rejects_text_that_is_not_geojson() {
        for text in [
            "",
            "[1, 2]",
            "{\"type\": 5}",
            "\n{\"type\": \"FeatureCollection\",",
        ] {
            let problem = read(text).err().unwrap();
            assert!(matches!(problem.location, SourceLocation::Line(1 | 2)));
            assert!(
                problem.message.contains("no GeoJSON"),
                "{}",
                problem.message
            );
        }
    }

    #[test]
    fn rejects_other_documents() {
        for document in [
            json!({"type": "Topology", "objects": {}}),
            json!({"type": "FeatureCollection"}),
            json!({"type": "Point", "coordinates": [1, 2]}),
        ] {
            assert!(rejection(&document).contains("write a \"FeatureCollection\""));
        }
    }
}
