//! Places as GeoJSON (RFC 7946): a `FeatureCollection`, a single `Feature`, or a sequence of them,
//! with line ends or the record separators of RFC 8142 between them.
//!
//! Each place is a feature whose geometry is a point, with `properties`: `name`; and, optionally,
//! `place_id` or `id` (or the feature's own `id`), `types` (an array, or a list in one text; see
//! [types]), `vicinity` or `address`. Names are case-insensitive. Of two names for one attribute,
//! the second one counts if the first one is missing or empty. Other properties are ignored. A
//! `MultiPoint` of one point is that point, as some programs write them.
//!
//! A feature of any other geometry, such as an area or null, is valid GeoJSON and no place: it is
//! counted and passed over.
//!
//! [types]: super::types

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Deserializer, Map, Value};

use super::builder::CatalogueBuilder;
use super::types::{join, types_from};
use super::{excerpt, line_of, shortened};
use crate::format::list;
use crate::places::error::SourceLocation;
use crate::places::place::Place;

/// The character before each text of a sequence (RFC 8142).
const RECORD_SEPARATOR: char = '\u{1e}';

/// The geometries that are no single point, and may have several (RFC 7946, section 3.1).
const OTHER_GEOMETRIES: [&str; 6] = [
    "GeometryCollection",
    "LineString",
    "MultiLineString",
    "MultiPoint",
    "MultiPolygon",
    "Polygon",
];

/// Values that some programs write for a missing number and JSON does not have.
const NO_NUMBERS: [&str; 6] = ["NaN", "-NaN", "nan", "Infinity", "-Infinity", "None"];

/// The maximum number of members that a fault lists.
const MAX_LISTED_MEMBERS: usize = 10;

/// The outer structure of a document. Features stay text until they are read, so that they are
/// never all in memory in parsed form.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    features: Option<Vec<&'a RawValue>>,
}

/// Reads all places of a text.
pub(super) fn read(text: &str, builder: &mut CatalogueBuilder) {
    let mut reader = GeoJsonReader {
        text,
        builder,
        features: 0,
    };
    for part in text.split(RECORD_SEPARATOR) {
        reader.read_documents(part);
    }
}

struct GeoJsonReader<'a, 'b> {
    text: &'a str,
    builder: &'b mut CatalogueBuilder,
    /// The number of features so far.
    features: usize,
}

impl<'a> GeoJsonReader<'a, '_> {
    fn read_documents(&mut self, part: &'a str) {
        let mut rest = part.trim_start();
        while !rest.is_empty() {
            let mut documents = Deserializer::from_str(rest).into_iter::<Document<'_>>();
            let next = documents.next();
            rest = match next {
                Some(Ok(document)) => {
                    let (read, after) = rest.split_at(documents.byte_offset());
                    self.read_document(document, read);
                    after.trim_start()
                }
                Some(Err(error)) => {
                    self.reject_document(rest, &error);
                    next_line_of_sequence(rest, &error)
                }
                None => "",
            };
        }
    }

    fn read_document(&mut self, document: Document<'a>, text: &'a str) {
        match (&*document.kind, document.features) {
            ("FeatureCollection", Some(features)) => {
                for feature in features {
                    self.read_feature(feature.get());
                }
            }
            ("Feature", None) => self.read_feature(text),
            _ => self.fault_at(text, 0, no_features(text)),
        }
    }

    fn read_feature(&mut self, feature: &'a str) {
        self.features += 1;
        if let Err(message) = add(self.builder, feature) {
            let (number, text) = (self.features, self.text);
            let location = || SourceLocation::Feature {
                number,
                line: line_of(text.as_bytes(), offset_in(text, feature)),
            };
            self.builder.fault(location, message);
        }
    }

    fn reject_document(&mut self, document: &'a str, error: &serde_json::Error) {
        if error.is_data() {
            return self.fault_at(document, 0, no_features(document));
        }
        let offset = offset_of(document, error);
        let token = token_at(document, offset);
        let message = if error.is_eof() {
            "this ends within its JSON: the file is cut off, or a bracket or quote is not closed"
                .to_owned()
        } else if NO_NUMBERS.contains(&token) {
            format!("this is no JSON, which has no {token}: write null for a missing value")
        } else {
            format!("this is no JSON: {} at {}", cause(error), excerpt(token))
        };
        self.fault_at(document, offset, message);
    }

    /// Reports a fault at an offset in a part of the text.
    fn fault_at(&mut self, part: &str, offset: usize, message: String) {
        let text = self.text;
        let location = || {
            let offset = offset_in(text, part) + offset;
            SourceLocation::Line(line_of(text.as_bytes(), offset))
        };
        self.builder.fault(location, message);
    }
}

/// Adds the place of a feature, or counts the feature if it has none.
fn add(builder: &mut CatalogueBuilder, feature: &str) -> Result<(), String> {
    let feature: Value = serde_json::from_str(feature)
        .map_err(|error| format!("it cannot be read as JSON: {}", cause(&error)))?;
    if feature["type"] != "Feature" {
        return Err(format!(
            "its type is {}: write \"Feature\"",
            shown(&feature["type"])
        ));
    }
    let (latitude, longitude) = match location(&feature)? {
        FeatureLocation::Point(latitude, longitude) => (latitude, longitude),
        FeatureLocation::None(geometry) => {
            builder.pass_over(geometry);
            return Ok(());
        }
    };
    let no_properties = Map::new();
    let properties = feature["properties"].as_object().unwrap_or(&no_properties);
    let name = property(properties, "name").ok_or_else(|| no_name(properties))?;
    let own_id = feature.get("id").filter(|id| !id.is_null());
    let ids = ["place_id", "id"].map(|name| property(properties, name));
    let vicinities = ["vicinity", "address"].map(|name| property(properties, name));
    builder.add(&Place {
        name: text("name", name)?.trim(),
        latitude,
        longitude,
        given_id: first(ids.into_iter().chain([own_id]), id_text)?.trim(),
        types: &property(properties, "types").map_or(Ok(String::new()), types)?,
        vicinity: first(vicinities, |value| Ok(text("vicinity", value)?.into()))?.trim(),
    })
}

/// The location of a valid feature.
enum FeatureLocation {
    /// Its latitude and longitude.
    Point(f64, f64),
    /// It has none, or several: the kind of its geometry.
    None(&'static str),
}

fn location(feature: &Value) -> Result<FeatureLocation, String> {
    let geometry = match feature.get("geometry") {
        None => return Err("it has no \"geometry\": write a \"Point\", or null".to_owned()),
        Some(Value::Null) => return Ok(FeatureLocation::None("null")),
        Some(geometry) => geometry,
    };
    let kind = geometry["type"].as_str().unwrap_or_default();
    let coordinates = &geometry["coordinates"];
    let points = coordinates.as_array().map_or(&[][..], Vec::as_slice);
    let position = match (kind, points) {
        // Section 3.1 permits to read an empty array as a null object.
        ("Point", []) if coordinates.is_array() => return Ok(FeatureLocation::None("empty Point")),
        ("Point", _) => coordinates,
        ("MultiPoint", [point]) => point,
        _ => {
            let other = OTHER_GEOMETRIES.into_iter().find(|other| *other == kind);
            return other.map(FeatureLocation::None).ok_or_else(|| {
                let geometry = shown(geometry);
                format!("its geometry is {geometry}: write a \"Point\" with \"coordinates\"")
            });
        }
    };
    match (position[0].as_f64(), position[1].as_f64()) {
        (Some(longitude), Some(latitude)) => Ok(FeatureLocation::Point(latitude, longitude)),
        _ => Err(format!(
            "its coordinates are {}: write [longitude, latitude], in degrees",
            shown(position)
        )),
    }
}

/// Returns the property of a name, unless it is null.
fn property<'a>(properties: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let mut properties = properties.iter();
    let found = properties.find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null());
    found.map(|(_, value)| value)
}

fn no_name(properties: &Map<String, Value>) -> String {
    format!(
        "it has no name: sought \"name\" among its properties, found {}; add one, or leave the \
         feature out",
        quoted(properties.keys())
    )
}

/// Returns the first text that is not empty.
fn first<'a>(
    values: impl IntoIterator<Item = Option<&'a Value>>,
    text: impl Fn(&'a Value) -> Result<Cow<'a, str>, String>,
) -> Result<Cow<'a, str>, String> {
    for value in values.into_iter().flatten() {
        let text = text(value)?;
        if !text.trim().is_empty() {
            return Ok(text);
        }
    }
    Ok("".into())
}

fn text<'a>(what: &str, value: &'a Value) -> Result<&'a str, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("its {what} is {}: write a text", shown(other))),
    }
}

fn id_text(id: &Value) -> Result<Cow<'_, str>, String> {
    match id {
        Value::Number(number) => Ok(number.to_string().into()),
        other => Ok(text("id", other)?.into()),
    }
}

fn types(value: &Value) -> Result<String, String> {
    let Value::Array(items) = value else {
        return types_from(text("list of types", value)?);
    };
    let items: Result<Vec<&str>, String> = items.iter().map(|kind| text("type", kind)).collect();
    Ok(join(items?))
}

/// Returns the fault of a document that is JSON and has no features.
fn no_features(document: &str) -> String {
    let mut members = Deserializer::from_str(document).into_iter::<BTreeMap<String, &RawValue>>();
    let found = match members.next() {
        Some(Ok(members)) => {
            let kind = members.get("type").map(|kind| shortened(kind.get()));
            let kind = kind.map_or(String::new(), |kind| format!("\"type\": {kind} in "));
            format!("{kind}an object of {}", quoted(members.keys()))
        }
        _ => shortened(document).into_owned(),
    };
    format!(
        "this is no GeoJSON of features: sought \"type\": \"FeatureCollection\" in an object of \
         \"type\" and \"features\", or \"type\": \"Feature\"; found {found}"
    )
}

/// Returns the text after the first line, if both are lines of a sequence; otherwise nothing, since
/// a document of several lines cannot be read after a fault.
fn next_line_of_sequence<'a>(document: &'a str, error: &serde_json::Error) -> &'a str {
    let (line, rest) = document.split_once('\n').unwrap_or_default();
    let is_sequence = error.line() == 1 && line.trim_end().ends_with('}') && rest.starts_with('{');
    if is_sequence { rest } else { "" }
}

/// Returns the cause of an error, without its position.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let cause = text.split(" at line ").next();
    cause.unwrap_or_default().to_owned()
}

/// Returns the offset of an error in its text.
fn offset_of(text: &str, error: &serde_json::Error) -> usize {
    let before = text.split_inclusive('\n').take(error.line() - 1);
    let offset = before.map(str::len).sum::<usize>() + error.column();
    text.floor_char_boundary(offset.saturating_sub(1))
}

/// Returns the word or number at an offset, or the character.
fn token_at(text: &str, offset: usize) -> &str {
    let is_part = |c: char| c.is_alphanumeric() || "+-._".contains(c);
    let text = &text[text[..offset].trim_end_matches(is_part).len()..];
    let end = text.len() - text.trim_start_matches(is_part).len();
    let first = text.chars().next().map_or(0, char::len_utf8);
    &text[..end.max(first)]
}

/// Returns the offset at which a part of a text begins.
fn offset_in(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

/// Returns names in quotes, with the number of those beyond the first ten.
fn quoted<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = names.len().saturating_sub(MAX_LISTED_MEMBERS);
    let mut listed: Vec<String> = names
        .take(MAX_LISTED_MEMBERS)
        .map(|name| excerpt(name))
        .collect();
    if more > 0 {
        listed.push(format!("{more} more"));
    }
    list(listed, "and")
}

/// Returns the beginning of a value as JSON.
fn shown(value: &Value) -> String {
    shortened(&value.to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use serde_json::json;

    use super::super::builder::{FileContent, FileFaults};
    use super::*;

    fn content(text: &str) -> Result<FileContent, FileFaults> {
        let mut builder = CatalogueBuilder::default();
        read(text, &mut builder);
        builder.finish()
    }

    fn feature(geometry: &Value, properties: &Value) -> Value {
        json!({"type": "Feature", "geometry": geometry, "properties": properties})
    }

    fn collection(features: &[Value]) -> Value {
        json!({"type": "FeatureCollection", "features": features})
    }

    fn point_at(longitude: f64, latitude: f64) -> Value {
        json!({"type": "Point", "coordinates": [longitude, latitude]})
    }

    fn bar() -> Value {
        feature(&point_at(2.0, 1.0), &json!({"name": "Bar"}))
    }

    const BAR: Place<'static> = Place {
        name: "Bar",
        latitude: 1.0,
        longitude: 2.0,
        given_id: "",
        types: "",
        vicinity: "",
    };

    /// Checks that these are the faults of a text: locations, and parts of messages.
    #[track_caller]
    fn assert_faults(text: &str, expected: &[(SourceLocation, &str)]) {
        let Err(faults) = content(text) else {
            panic!("{text}");
        };
        assert_eq!(faults.shown.len(), expected.len(), "{text}: {faults:?}");
        for (fault, (location, part)) in faults.shown.iter().zip(expected) {
            assert_eq!(fault.location, *location, "{text}: {fault:?}");
            assert!(fault.message.contains(part), "{text}: {fault:?}");
        }
    }

    fn line(line: usize) -> SourceLocation {
        SourceLocation::Line(line)
    }

    fn feature_at(number: usize, line: usize) -> SourceLocation {
        SourceLocation::Feature { number, line }
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
        let mut document = collection(&[full, bare]);
        document["crs"] = json!({"type": "name"});
        let catalogue = content(&document.to_string()).unwrap().catalogue;
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
            latitude: 1.5,
            longitude: 2.5,
            given_id: "7",
            ..BAR
        };
        assert_eq!(catalogue.get(1), bar);
    }

    #[test]
    fn a_place_id_counts_before_an_id_and_a_vicinity_before_an_address() {
        for (properties, given_id, vicinity) in [
            (json!({"id": 1, "place_id": "ChIJx"}), "ChIJx", ""),
            (json!({"id": 1, "place_id": ""}), "1", ""),
            (json!({"id": null, "place_id": null}), "own", ""),
            (json!({"id": " ", "place_id": null}), "own", ""),
            (
                json!({"address": "1 Main St", "vicinity": "LA"}),
                "own",
                "LA",
            ),
            (
                json!({"address": "1 Main St", "vicinity": " "}),
                "own",
                "1 Main St",
            ),
        ] {
            let mut feature = bar();
            feature["properties"] = properties;
            feature["properties"]["name"] = json!("Bar");
            feature["id"] = json!("own");
            let expected = Place {
                given_id,
                vicinity,
                ..BAR
            };
            let catalogue = content(&feature.to_string()).unwrap().catalogue;
            assert_eq!(catalogue.get(0), expected, "{feature}");
        }
    }

    #[test]
    fn reads_lists_of_types() {
        for (types, expected) in [
            (json!(["bar", "food"]), "bar|food"),
            (json!(["bar, grill"]), "bar, grill"),
            (json!("bar;food"), "bar|food"),
            (json!("['bar', 'food']"), "bar|food"),
            (json!([]), ""),
        ] {
            let mut feature = bar();
            feature["properties"]["types"] = types;
            let catalogue = content(&feature.to_string()).unwrap().catalogue;
            assert_eq!(catalogue.get(0).types, expected, "{feature}");
        }
    }

    #[test]
    fn reads_a_feature_and_sequences_of_features_and_collections() {
        let one = bar().to_string();
        let [two, three] = ["Pub", "Zoo"].map(|name| {
            let mut feature = bar();
            feature["properties"]["name"] = json!(name);
            feature
        });
        let both = collection(&[two.clone(), three.clone()]);
        for (text, expected) in [
            (one.clone(), 1),
            (serde_json::to_string_pretty(&bar()).unwrap(), 1),
            (format!("{one}\n{two}\r\n{three}\n"), 3),
            (format!("{one}{two}\n\n{three}"), 3),
            (format!("\u{1e}{one}\n\u{1e}{two:#}\n\u{1e}{three}\n"), 3),
            (format!("{one}\n{both}\n"), 3),
            (format!("{both}{one}"), 3),
        ] {
            assert_eq!(content(&text).unwrap().catalogue.len(), expected, "{text}");
        }
    }

    #[test]
    fn passes_over_features_without_a_point_and_counts_them() {
        let geometries = [
            (Value::Null, "null"),
            (json!({"type": "Point", "coordinates": []}), "empty Point"),
            (
                json!({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}),
                "MultiPoint",
            ),
            (
                json!({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}),
                "LineString",
            ),
            (
                json!({"type": "MultiLineString", "coordinates": []}),
                "MultiLineString",
            ),
            (
                json!({"type": "Polygon", "coordinates": [[[1, 2]]]}),
                "Polygon",
            ),
            (
                json!({"type": "MultiPolygon", "coordinates": []}),
                "MultiPolygon",
            ),
            (
                json!({"type": "GeometryCollection", "geometries": [point_at(1.0, 2.0)]}),
                "GeometryCollection",
            ),
        ];
        let mut features = vec![bar()];
        for (geometry, _) in &geometries {
            // Without a place it needs no name.
            features.extend([
                feature(geometry, &Value::Null),
                feature(geometry, &json!({})),
            ]);
        }
        let content = content(&collection(&features).to_string()).unwrap();
        assert_eq!(content.catalogue.len(), 1);
        let expected = geometries.into_iter().map(|(_, kind)| (kind, 2)).collect();
        assert_eq!(content.passed_over, expected);
    }

    #[test]
    fn reports_the_fault_in_a_feature() {
        let good = point_at(2.0, 1.0);
        let bar = json!({"name": "Bar"});
        let coordinates = |value| json!({"type": "Point", "coordinates": value});
        for (feature, message) in [
            (
                feature(&good, &json!({})),
                "it has no name: sought \"name\" among its properties, found none",
            ),
            (
                feature(&good, &Value::Null),
                "among its properties, found none",
            ),
            (feature(&good, &json!({"name": null})), "found \"name\""),
            (feature(&good, &json!({"name": " "})), "the name is empty"),
            // As Google Takeout and OpenStreetMap write them.
            (
                feature(
                    &good,
                    &json!({"Title": "Bar", "Location": {"Address": "1 Main St"}}),
                ),
                "it has no name: sought \"name\" among its properties, found \"Title\" and \
                 \"Location\"",
            ),
            (
                feature(&good, &json!({"location": {"name": "Bar"}, "date": "x"})),
                "found \"location\" and \"date\"",
            ),
            (
                feature(&good, &json!({"@id": "node/1", "amenity": "bench"})),
                "found \"@id\" and \"amenity\"",
            ),
            (feature(&good, &json!({"name": 5})), "its name is 5"),
            (
                feature(&good, &json!({"name": "A", "id": []})),
                "its id is []",
            ),
            (
                feature(&good, &json!({"name": "A", "types": [1]})),
                "its type is 1",
            ),
            (
                feature(&good, &json!({"name": "A", "types": "['a"})),
                "are no list",
            ),
            (
                feature(&json!({"type": "Place"}), &bar),
                "its geometry is {\"type\":\"Place\"}",
            ),
            (feature(&json!([1, 2]), &bar), "its geometry is [1,2]"),
            (
                json!({"type": "Feature", "properties": bar}),
                "it has no \"geometry\"",
            ),
            (
                feature(&coordinates(json!(["1", "2"])), &bar),
                "[longitude, latitude]",
            ),
            (
                feature(&coordinates(json!([null, null])), &bar),
                "its coordinates are [null,null]",
            ),
            (
                feature(&coordinates(json!([[1, 2]])), &bar),
                "its coordinates are [[1,2]]",
            ),
            (
                feature(&json!({"type": "Point"}), &bar),
                "its coordinates are null",
            ),
            (
                feature(&point_at(34.0, -118.0), &bar),
                "-118 is no latitude",
            ),
            (json!({"type": "Point"}), "its type is \"Point\""),
            (json!(5), "its type is null"),
        ] {
            assert_faults(
                &collection(&[feature]).to_string(),
                &[(feature_at(1, 1), message)],
            );
        }
    }

    #[test]
    fn lists_a_few_of_many_properties() {
        let names = (0..40).map(|number| (format!("key{number}"), json!(0)));
        let properties = Value::Object(names.collect());
        let text = feature(&point_at(2.0, 1.0), &properties).to_string();
        assert_faults(
            &text,
            &[(feature_at(1, 1), "\"key9\" and 30 more; add one")],
        );
    }

    #[test]
    fn reports_all_faulty_features_with_their_lines() {
        let text = r#"{"type": "FeatureCollection", "features": [
{"type": "Feature", "properties": {"name": "Bar"},
 "geometry": {"type": "Point", "coordinates": [2, 1]}},

{"type": "Feature",
 "properties": {}},
{"type": "Feature", "properties": {"name": "Bar"},
 "geometry": {"type": "Point", "coordinates": [2, 100]}}]}"#;
        let expected = [
            (feature_at(2, 5), "no \"geometry\""),
            (feature_at(3, 7), "100 is no latitude"),
        ];
        assert_faults(text, &expected);

        let Err(many) = content(&collection(&vec![json!(5); 1000]).to_string()) else {
            panic!("5 is no feature");
        };
        assert_eq!((many.shown.len(), many.more), (10, 990));
    }

    #[test]
    fn rejects_text_that_is_not_json() {
        for (text, location, message) in [
            (
                "name,lat,lon",
                line(1),
                "this is no JSON: expected ident at \"name\"",
            ),
            ("\n{'type': 1}", line(2), "key must be a string at \"'\""),
            (
                "{\"type\": \"Feature\",\n\n\"x\": 01}",
                line(3),
                "invalid number at \"01\"",
            ),
            (
                "\n{\"type\": \"FeatureCollection\",",
                line(2),
                "the file is cut off",
            ),
            (
                "{\"type\": \"Feature\", \"x\": \"a\nb\"}",
                line(1),
                "control character",
            ),
        ] {
            assert_faults(text, &[(location, message)]);
        }
        for token in ["NaN", "-NaN", "Infinity", "-Infinity", "nan", "None"] {
            let expected = format!("has no {token}: write null for a missing value");
            for value in [token.to_owned(), format!("[0, {token}, 1]")] {
                let feature = format!(
                    "{{\"type\": \"Feature\", \"geometry\": null,\n\
                     \"properties\": {{\"x\": {value}}}}}"
                );
                assert_faults(&feature, &[(line(2), &expected)]);
                let features =
                    format!("{{\"type\": \"FeatureCollection\", \"features\": [\n{feature}]}}");
                assert_faults(&features, &[(line(3), &expected)]);
            }
        }
    }

    #[test]
    fn rejects_strings_that_are_no_text() {
        let text = r#"{"type": "Feature", "geometry": null, "properties": {"name": "\ud800"}}"#;
        assert_faults(text, &[(feature_at(1, 1), "cannot be read as JSON: ")]);
    }

    #[test]
    fn a_broken_line_of_a_sequence_costs_only_that_line() {
        let one = bar().to_string();
        let broken = one.replace("2.0", "NaN");
        let nameless = one.replace("name", "Title");
        let text = format!("{one}\n{broken}\n{nameless}\n{broken}\n{one}\n");
        let expected = [
            (line(2), "has no NaN"),
            (feature_at(2, 3), "found \"Title\""),
            (line(4), "has no NaN"),
        ];
        assert_faults(&text, &expected);
        let text = format!("\u{1e}{one}\n\u{1e}{}\n\u{1e}{nameless}\n", &one[..18]);
        let expected = [
            (line(2), "is cut off"),
            (feature_at(2, 3), "found \"Title\""),
        ];
        assert_faults(&text, &expected);
    }

    #[test]
    fn rejects_other_documents_by_what_was_sought_and_found() {
        for (document, found) in [
            (
                json!({"type": "Topology", "objects": {}}),
                "found \"type\": \"Topology\" in an object of \"objects\" and \"type\"",
            ),
            (
                json!({"type": "FeatureCollection"}),
                "found \"type\": \"FeatureCollection\" in an object of \"type\"",
            ),
            (point_at(1.0, 2.0), "found \"type\": \"Point\" in"),
            (
                json!({"type": "GeometryCollection", "geometries": []}),
                "found \"type\": \"GeometryCollection\" in",
            ),
            (
                json!({"type": "FeatureCollection", "features": {}}),
                "\"features\" and \"type\"",
            ),
            (
                json!({"elements": [], "version": 0.6}),
                "an object of \"elements\" and \"version\"",
            ),
            (json!({"type": 5}), "found \"type\": 5 in"),
            (json!({}), "an object of none"),
            (json!([bar()]), "found [{\"type\":\"Feature\""),
            (json!(5), "found 5"),
            (json!("x"), "found \"x\""),
            (json!(null), "found null"),
        ] {
            let text = format!("\n{document}");
            assert_faults(&text, &[(line(2), found)]);
            assert_faults(
                &text,
                &[(line(2), "sought \"type\": \"FeatureCollection\"")],
            );
        }
    }

    /// A name, a vicinity, a latitude and a longitude.
    fn texts_and_point() -> impl Strategy<Value = (String, String, f64, f64)> {
        ("\\PC{1,20}", "\\PC{0,20}", -90.0..90.0, -180.0..180.0)
    }

    /// Parts that break JSON at most places.
    const EXTRA: [&str; 11] = [
        "", "\"", "{", "}", "]", ",", "NaN", "\n", "\u{1e}", "é", "\\",
    ];

    proptest! {
        #[test]
        fn every_feature_that_a_library_writes_comes_back(
            features in vec(texts_and_point(), 1..12),
            is_pretty in any::<bool>(),
            is_sequence in any::<bool>(),
        ) {
            let of = |(number, (name, vicinity, latitude, longitude)): (usize, &(_, _, _, _))| {
                let (name, vicinity): (&String, &String) = (name, vicinity);
                let properties = json!({"name": format!("{number}{name}"), "vicinity": vicinity});
                feature(&point_at(*longitude, *latitude), &properties)
            };
            let written: Vec<Value> = features.iter().enumerate().map(of).collect();
            let documents = if is_sequence { written } else { vec![collection(&written)] };
            let text = |document: &Value| {
                if is_pretty { format!("{document:#}\n") } else { format!("{document}\n") }
            };
            let text: String = documents.iter().map(text).collect();
            let content = content(&text).map_err(|faults| {
                TestCaseError::fail(format!("{text}: {faults:?}"))
            })?;
            prop_assert_eq!(content.catalogue.len(), features.len());
            for (number, (name, vicinity, latitude, longitude)) in (0..).zip(features) {
                let name = format!("{number}{name}");
                let expected = Place {
                    name: name.trim(),
                    latitude,
                    longitude,
                    vicinity: vicinity.trim(),
                    ..BAR
                };
                prop_assert_eq!(content.catalogue.get(number), expected);
            }
        }

        #[test]
        fn any_text_is_read_or_has_faults(
            extra in select(EXTRA.to_vec()),
            at in any::<Index>(),
            removed in 0_usize..20,
        ) {
            let text = format!("{}\n{}", collection(&[bar(), bar()]), bar()).replace("Bar", "Bär");
            let at = text.floor_char_boundary(at.index(text.len()));
            let end = text.floor_char_boundary((at + removed).min(text.len()));
            let text = [&text[..at], extra, &text[end..]].concat();
            match content(&text) {
                Ok(content) => prop_assert!(content.catalogue.len() > 0),
                Err(faults) => prop_assert!(!faults.shown.is_empty()),
            }
        }
    }
}
