//! The translation of a place of the new API to a result of Nearby Search (legacy).
//!
//! Attributes that are absent in the source are absent in the result: nothing is invented. Numbers
//! keep their digits.
//!
//! Google's page: "Migrate Places API responses".

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// An element of `places` in a response.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewPlace {
    business_status: Option<String>,
    current_opening_hours: Option<CurrentOpeningHours>,
    display_name: Option<DisplayName>,
    formatted_address: Option<String>,
    icon_background_color: Option<String>,
    icon_mask_base_uri: Option<String>,
    id: Option<String>,
    location: Option<LatLng>,
    photos: Option<Vec<Photo>>,
    plus_code: Option<PlusCode>,
    price_level: Option<String>,
    rating: Option<Number>,
    short_formatted_address: Option<String>,
    types: Option<Vec<String>>,
    user_rating_count: Option<Number>,
    viewport: Option<Viewport>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CurrentOpeningHours {
    open_now: Option<bool>,
}

#[derive(Deserialize)]
struct DisplayName {
    text: Option<String>,
}

#[derive(Deserialize)]
struct LatLng {
    latitude: Option<Number>,
    longitude: Option<Number>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Photo {
    author_attributions: Option<Vec<Author>>,
    height_px: Option<Number>,
    name: Option<String>,
    width_px: Option<Number>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Author {
    display_name: Option<String>,
    uri: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all(deserialize = "camelCase"))]
struct PlusCode {
    #[serde(skip_serializing_if = "Option::is_none")]
    compound_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    global_code: Option<String>,
}

#[derive(Deserialize)]
struct Viewport {
    high: Option<LatLng>,
    low: Option<LatLng>,
}

/// An element of `results`. The keys are in alphabetical order as Google prints them, at every
/// level.
#[derive(Serialize)]
pub(super) struct LegacyResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    business_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    geometry: Option<LegacyGeometry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon_background_color: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon_mask_base_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opening_hours: Option<OpeningHours>,
    #[serde(skip_serializing_if = "Option::is_none")]
    photos: Option<Vec<LegacyPhoto>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plus_code: Option<PlusCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price_level: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rating: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_ratings_total: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vicinity: Option<String>,
}

#[derive(Serialize)]
struct LegacyGeometry {
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<LegacyPoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    viewport: Option<Corners>,
}

#[derive(Serialize)]
struct LegacyPoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    lat: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lng: Option<Number>,
}

#[derive(Serialize)]
struct Corners {
    #[serde(skip_serializing_if = "Option::is_none")]
    northeast: Option<LegacyPoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    southwest: Option<LegacyPoint>,
}

#[derive(Serialize)]
struct OpeningHours {
    open_now: bool,
}

#[derive(Serialize)]
struct LegacyPhoto {
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html_attributions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    photo_reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<Number>,
}

impl LegacyResult {
    /// Translates a place to the legacy format.
    pub(super) fn of(place: NewPlace) -> Self {
        let open_now = place.current_opening_hours.and_then(|hours| hours.open_now);
        LegacyResult {
            business_status: place.business_status,
            geometry: LegacyGeometry::of(place.location, place.viewport),
            icon_background_color: place.icon_background_color,
            icon_mask_base_uri: place.icon_mask_base_uri,
            name: place.display_name.and_then(|name| name.text),
            opening_hours: open_now.map(|open_now| OpeningHours { open_now }),
            photos: place
                .photos
                .map(|photos| photos.into_iter().map(LegacyPhoto::of).collect()),
            place_id: place.id.clone(),
            plus_code: place.plus_code,
            price_level: place.price_level.as_deref().and_then(price_level),
            rating: place.rating,
            reference: place.id,
            types: place.types,
            user_ratings_total: place.user_rating_count,
            vicinity: place.short_formatted_address.or(place.formatted_address),
        }
    }
}

impl LegacyGeometry {
    fn of(location: Option<LatLng>, viewport: Option<Viewport>) -> Option<Self> {
        let is_known = location.is_some() || viewport.is_some();
        is_known.then(|| LegacyGeometry {
            location: location.map(LegacyPoint::of),
            viewport: viewport.map(|viewport| Corners {
                northeast: viewport.high.map(LegacyPoint::of),
                southwest: viewport.low.map(LegacyPoint::of),
            }),
        })
    }
}

impl LegacyPoint {
    fn of(point: LatLng) -> Self {
        LegacyPoint {
            lat: point.latitude,
            lng: point.longitude,
        }
    }
}

impl LegacyPhoto {
    fn of(photo: Photo) -> Self {
        let authors = photo.author_attributions;
        let reference = |name: String| name.rsplit('/').next().map(str::to_owned);
        LegacyPhoto {
            height: photo.height_px,
            html_attributions: authors
                .map(|authors| authors.iter().filter_map(attribution).collect()),
            photo_reference: photo.name.and_then(reference),
            width: photo.width_px,
        }
    }
}

/// Returns `<a href="uri">name</a>`, or the part of it that is known. The name is untrusted text,
/// and the result is HTML.
fn attribution(author: &Author) -> Option<String> {
    let name = author.display_name.as_deref().map(html);
    match (author.uri.as_deref().map(html), name) {
        (Some(uri), Some(name)) => Some(format!("<a href=\"{uri}\">{name}</a>")),
        (Some(uri), None) => Some(format!("<a href=\"{uri}\">{uri}</a>")),
        (None, name) => name,
    }
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Returns `None` for a level that Google leaves unspecified or added later.
fn price_level(name: &str) -> Option<u8> {
    match name.strip_prefix("PRICE_LEVEL_").unwrap_or(name) {
        "FREE" => Some(0),
        "INEXPENSIVE" => Some(1),
        "MODERATE" => Some(2),
        "EXPENSIVE" => Some(3),
        "VERY_EXPENSIVE" => Some(4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::google_json;
    use super::*;

    fn translated(place: &str) -> String {
        google_json::print(&LegacyResult::of(serde_json::from_str(place).unwrap())).unwrap()
    }

    #[test]
    fn translates_every_field() {
        let place = r##"{
            "id": "ChIJ-1", "types": ["cafe", "food"], "rating": 4.50, "businessStatus": "OPERATIONAL",
            "formattedAddress": "long", "shortFormattedAddress": "short", "userRatingCount": 18446744073709551616,
            "location": {"latitude": -33.85873230000000000001, "longitude": 151},
            "viewport": {"low": {"latitude": 1, "longitude": 2}, "high": {"latitude": 3.0, "longitude": -0}},
            "displayName": {"text": "<Café> \"Ü\" 😀", "languageCode": "en"}, "priceLevel": "PRICE_LEVEL_EXPENSIVE",
            "currentOpeningHours": {"openNow": false, "periods": []},
            "plusCode": {"globalCode": "4RRH46J6+GP", "compoundCode": "46J6+GP Sydney"},
            "iconBackgroundColor": "#FF9E67", "iconMaskBaseUri": "https://maps.gstatic.com/cafe",
            "photos": [{"name": "places/ChIJ-1/photos/AUc7_x", "heightPx": 3024, "widthPx": 4032,
                "authorAttributions": [{"displayName": "A & <B>", "uri": "//maps.google.com/1?\"", "photoUri": "x"}]}],
            "unheardOf": {"deep": [1]}
        }"##;
        let expected = r##"{
   "business_status" : "OPERATIONAL",
   "geometry" : {
      "location" : {
         "lat" : -33.85873230000000000001,
         "lng" : 151
      },
      "viewport" : {
         "northeast" : {
            "lat" : 3.0,
            "lng" : -0
         },
         "southwest" : {
            "lat" : 1,
            "lng" : 2
         }
      }
   },
   "icon_background_color" : "#FF9E67",
   "icon_mask_base_uri" : "https://maps.gstatic.com/cafe",
   "name" : "\u003cCafé\u003e \"Ü\" 😀",
   "opening_hours" : {
      "open_now" : false
   },
   "photos" : [
      {
         "height" : 3024,
         "html_attributions" : [
            "\u003ca href=\"//maps.google.com/1?&quot;\"\u003eA &amp; &lt;B&gt;\u003c/a\u003e"
         ],
         "photo_reference" : "AUc7_x",
         "width" : 4032
      }
   ],
   "place_id" : "ChIJ-1",
   "plus_code" : {
      "compound_code" : "46J6+GP Sydney",
      "global_code" : "4RRH46J6+GP"
   },
   "price_level" : 3,
   "rating" : 4.50,
   "reference" : "ChIJ-1",
   "types" : [
      "cafe",
      "food"
   ],
   "user_ratings_total" : 18446744073709551616,
   "vicinity" : "short"
}"##;
        assert_eq!(translated(place), expected);
    }

    #[test]
    fn omits_absent_fields() {
        assert_eq!(translated("{}"), "{}");
        let nulls = r#"{"id":null,"location":null,"photos":null,"rating":null,"plusCode":null}"#;
        assert_eq!(translated(nulls), "{}");
        assert_eq!(
            translated(r#"{"displayName":{},"currentOpeningHours":{},"priceLevel":"NEW"}"#),
            "{}"
        );
        assert_eq!(
            translated(r#"{"photos":[{"name":"bare"},{}],"location":{"longitude":2}}"#),
            r#"{
   "geometry" : {
      "location" : {
         "lng" : 2
      }
   },
   "photos" : [
      {
         "photo_reference" : "bare"
      },
      {}
   ]
}"#
        );
    }

    #[test]
    fn falls_back_to_the_long_address() {
        let vicinity = translated(r#"{"formattedAddress":"1 Long Street"}"#);
        assert_eq!(vicinity, "{\n   \"vicinity\" : \"1 Long Street\"\n}");
    }

    #[test]
    fn translates_price_levels_to_numbers() {
        for (name, level) in [
            ("FREE", 0),
            ("INEXPENSIVE", 1),
            ("MODERATE", 2),
            ("EXPENSIVE", 3),
            ("VERY_EXPENSIVE", 4),
        ] {
            assert_eq!(price_level(name), Some(level));
            assert_eq!(price_level(&format!("PRICE_LEVEL_{name}")), Some(level));
        }
        assert_eq!(price_level("PRICE_LEVEL_UNSPECIFIED"), None);
    }

    #[test]
    fn attributes_an_author_by_the_known_parts() {
        let author = |display_name: Option<&str>, uri: Option<&str>| {
            attribution(&Author {
                display_name: display_name.map(str::to_owned),
                uri: uri.map(str::to_owned),
            })
        };
        let both = author(Some("Ada"), Some("//a.org"));
        assert_eq!(both.unwrap(), "<a href=\"//a.org\">Ada</a>");
        assert_eq!(author(Some("A<"), None).unwrap(), "A&lt;");
        let uri = author(None, Some("//a.org"));
        assert_eq!(uri.unwrap(), "<a href=\"//a.org\">//a.org</a>");
        assert_eq!(author(None, None), None);
    }
}
