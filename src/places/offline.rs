//! Responses from a list of places in memory: the nearest places, nearest first.
//!
//! A result holds the attributes of the list and nothing else: no ratings, no opening hours, no
//! pictures. The distance is measured to the one point of a place, whatever its extent.

use std::collections::HashSet;

use serde::{Serialize, Serializer};

use crate::model::bounding_box::BoundingBox;

use super::catalogue::Catalogue;
use super::index::{Index, IndexHit};
use super::place::{Place, PlaceId};
use super::{PlaceName, PlacesQuery, PlacesResponse};

/// A list of places and its index.
pub(super) struct Offline {
    catalogue: Catalogue,
    index: Index,
}

impl Offline {
    /// Indexes a list of places.
    pub(super) fn new(catalogue: Catalogue) -> Self {
        let catalogue = catalogue.arranged();
        let index = Index::new(catalogue.points());
        Offline { catalogue, index }
    }

    /// Returns the places within the radius, nearest first; those at the same distance by name and
    /// then by id.
    pub(super) fn answer(&self, query: &PlacesQuery) -> PlacesResponse {
        let places = self.nearest(query);
        let results: Vec<NearbyResult<'_>> = places.into_iter().map(NearbyResult::of).collect();
        PlacesResponse::found(&results)
    }

    /// Returns names in a box, with latitude and longitude, at most `limit`. If more are there, a
    /// choice that is spread over the box.
    pub(super) fn names(&self, bounds: &BoundingBox, limit: usize) -> Vec<PlaceName> {
        let points = self.catalogue.points().zip(0..);
        let inside = points.filter_map(|(point, number)| {
            let eastward = bounds.eastward(point)?;
            Some((number, point.0 - bounds.south(), eastward))
        });
        let mut chosen: Vec<(u32, f64, f64)> = inside.collect();
        if chosen.len() > limit {
            let cells = (limit as f64).sqrt().floor();
            let cell = |offset: f64, length: f64| (offset / length * cells) as usize;
            let mut taken = HashSet::new();
            chosen.retain(|&(_, northward, eastward)| {
                let (height, width) = (bounds.height(), bounds.width());
                taken.insert((cell(northward, height), cell(eastward, width)))
            });
            // The northern and the eastern edge are in cells of their own.
            chosen.truncate(limit);
        }
        let name = |&(number, ..): &(u32, f64, f64)| {
            let place = self.catalogue.get(number);
            PlaceName {
                name: place.name.to_owned(),
                latitude: place.latitude,
                longitude: place.longitude,
            }
        };
        chosen.iter().map(name).collect()
    }

    fn nearest(&self, query: &PlacesQuery) -> Vec<Place<'_>> {
        let (latitude, longitude) = query.degrees();
        let radius = query.radius_metres();
        let found = self.index.nearest(latitude, longitude, radius, query.limit);
        let mut places: Vec<(f64, Place<'_>)> = found
            .iter()
            .flat_map(|found| self.places_on(found, query.limit))
            .collect();
        places.sort_by(|(chord, place), (other_chord, other)| {
            let nearer = chord.total_cmp(other_chord);
            nearer.then_with(|| place.compare_by_name_and_id(other))
        });
        places.truncate(query.limit);
        places.into_iter().map(|(_, place)| place).collect()
    }

    /// Returns the first places on a point, by name and id as the catalogue is arranged; more than
    /// `limit` are never needed.
    fn places_on(&self, found: &IndexHit, limit: usize) -> impl Iterator<Item = (f64, Place<'_>)> {
        let chord = found.chord_squared;
        let numbers = found.numbers.clone().take(limit);
        numbers.map(move |number| (chord, self.catalogue.get(number)))
    }
}

/// An element of `results`. The keys are in alphabetical order as Google prints them.
#[derive(Serialize)]
struct NearbyResult<'a> {
    geometry: Geometry,
    name: &'a str,
    #[serde(serialize_with = "id")]
    place_id: PlaceId<'a>,
    #[serde(serialize_with = "types")]
    types: Place<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    vicinity: &'a str,
}

#[derive(Serialize)]
struct Geometry {
    location: Location,
}

#[derive(Serialize)]
struct Location {
    lat: f64,
    lng: f64,
}

impl<'a> NearbyResult<'a> {
    fn of(place: Place<'a>) -> Self {
        NearbyResult {
            geometry: Geometry {
                location: Location {
                    lat: place.latitude,
                    lng: place.longitude,
                },
            },
            name: place.name,
            place_id: place.id(),
            types: place,
            vicinity: place.vicinity,
        }
    }
}

fn id<S: Serializer>(id: &PlaceId<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn types<S: Serializer>(place: &Place<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(place.types())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::Value;

    use super::super::gazetteer;
    use super::super::query::tests::query;
    use super::*;

    static WORLD: LazyLock<Offline> = LazyLock::new(|| Offline::new(gazetteer::read().unwrap()));

    fn near_ucla(radius_km: &str, limit: usize) -> PlacesQuery {
        query("+34.068930-118.445127", radius_km, limit)
    }

    fn names(response: &PlacesResponse) -> Vec<String> {
        let response: Value = serde_json::from_str(&response.json).unwrap();
        let results = response["results"].as_array().unwrap();
        let name = |result: &Value| result["name"].as_str().unwrap().to_owned();
        results.iter().map(name).collect()
    }

    #[test]
    fn returns_the_places_near_ucla() {
        let response = WORLD.answer(&near_ucla("10", 20));
        assert_eq!(response.places, 8);
        assert_eq!(
            names(&response),
            [
                "Westwood, Los Angeles",
                "Century City",
                "Beverly Hills",
                "Santa Monica",
                "Culver City",
                "West Hollywood",
                "Sherman Oaks",
                "Marina del Rey",
            ]
        );
    }

    #[test]
    fn returns_the_expected_number_near_ucla() {
        for (radius, places) in [("10", 8), ("20", 30), ("50", 142)] {
            assert_eq!(WORLD.answer(&near_ucla(radius, 1000)).places, places);
        }
    }

    #[test]
    fn returns_at_most_the_limit() {
        let all = names(&WORLD.answer(&near_ucla("50", 20)));
        for limit in 1..=20 {
            let response = WORLD.answer(&near_ucla("50", limit));
            assert_eq!(response.places, limit);
            assert_eq!(names(&response), all[..limit]);
        }
    }

    #[test]
    fn returns_no_place_near_point_nemo() {
        let point_nemo = query("-48.8767-123.3933", "50", 20);
        assert_eq!(WORLD.answer(&point_nemo), PlacesResponse::none());
    }

    #[test]
    fn formats_a_response() {
        let expected = r#"{
   "html_attributions" : [],
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 34.05612,
               "lng" : -118.43063
            }
         },
         "name" : "Westwood, Los Angeles",
         "place_id" : "offline-1d9bb3905664332d",
         "types" : [
            "locality",
            "political"
         ],
         "vicinity" : "Los Angeles County, California, US"
      }
   ],
   "status" : "OK"
}"#;
        let response = WORLD.answer(&near_ucla("10", 1));
        assert_eq!(response.json, expected);
        assert_eq!(response.places, 1);
    }

    #[test]
    fn omits_unknown_attributes() {
        let mut catalogue = Catalogue::default();
        let bare = Place {
            name: "<b>Nowhere</b>",
            latitude: 0.0,
            longitude: 20.0,
            given_id: "n\"1",
            types: "",
            vicinity: "",
        };
        catalogue.push(&bare).unwrap();
        let query = query("+0+20", "0", 1);
        let expected = r#"{
   "html_attributions" : [],
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 0,
               "lng" : 20
            }
         },
         "name" : "\u003cb\u003eNowhere\u003c/b\u003e",
         "place_id" : "n\"1",
         "types" : []
      }
   ],
   "status" : "OK"
}"#;
        assert_eq!(Offline::new(catalogue).answer(&query).json, expected);
    }

    #[test]
    fn returns_the_first_by_name_of_many_places_on_one_point() {
        let mut catalogue = Catalogue::default();
        for letter in ('a'..='z').rev() {
            let place = Place {
                name: &letter.to_string(),
                latitude: 1.0,
                longitude: 1.0,
                given_id: "",
                types: "",
                vicinity: "",
            };
            catalogue.push(&place).unwrap();
        }
        let query = query("+1+1", "0", 3);
        let response = Offline::new(catalogue).answer(&query);
        assert_eq!(names(&response), ["a", "b", "c"]);
    }

    #[test]
    fn orders_places_at_one_distance_by_name_and_then_by_id() {
        let place = |name, given_id, longitude| Place {
            name,
            latitude: 0.0,
            longitude,
            given_id,
            types: "",
            vicinity: "",
        };
        let mut catalogue = Catalogue::default();
        for place in [
            place("Cellar", "1", 0.1),
            place("Bar", "4", 0.1),
            place("Attic", "3", -0.1),
            place("Bar", "6", -0.1),
            place("Zoo", "2", 0.0),
        ] {
            catalogue.push(&place).unwrap();
        }
        let offline = Offline::new(catalogue);
        let query = |limit| query("+0+0", "50", limit);
        let all = offline.answer(&query(20));
        assert_eq!(names(&all), ["Zoo", "Attic", "Bar", "Bar", "Cellar"]);
        assert!(all.json.find("\"4\"") < all.json.find("\"6\""));
        for limit in 1..=4 {
            assert_eq!(names(&offline.answer(&query(limit))), names(&all)[..limit]);
        }
    }
}
