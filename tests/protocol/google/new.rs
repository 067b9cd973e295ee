//! The Places API (new): requests, and the translation of responses.

use proxyherd::places::google::{FieldMask, GoogleApi};

use super::provider::Provider;
use super::{KEY, T, answer_from, answer_of, herd_asking, message_of, new, places_at, status_of};

const SENT: &str = r##"{
  "places": [
    {
      "name": "places/ChIJ1",
      "id": "ChIJ1",
      "types": ["cafe", "food", "point_of_interest"],
      "formattedAddress": "1 Circular Quay W, The Rocks NSW 2000, Australia",
      "plusCode": {"globalCode": "4RRH46RC+GP", "compoundCode": "46RC+GP The Rocks"},
      "location": {"latitude": -33.85873219999999, "longitude": 151.2100055},
      "viewport": {
        "low": {"latitude": -33.8599, "longitude": 151.20},
        "high": {"latitude": -33.8572, "longitude": 151.2113549802915}
      },
      "rating": 4.0,
      "businessStatus": "OPERATIONAL",
      "priceLevel": "PRICE_LEVEL_MODERATE",
      "userRatingCount": 1269,
      "iconMaskBaseUri": "https://maps.gstatic.com/mapfiles/place_api/icons/v2/bar_pinlet",
      "iconBackgroundColor": "#FF9E67",
      "displayName": {"text": "Crüise \"Bar\" <1> 🍸", "languageCode": "en"},
      "currentOpeningHours": {"openNow": true, "weekdayDescriptions": ["Monday: Closed"]},
      "shortFormattedAddress": "1 Circular Quay W, The Rocks",
      "photos": [
        {
          "name": "places/ChIJ1/photos/AUc7tXU",
          "widthPx": 4032,
          "heightPx": 3024,
          "authorAttributions": [
            {"displayName": "Ada", "uri": "//maps.google.com/maps/contrib/100", "photoUri": "//lh3.example.org/a"},
            {"displayName": "Bo & Co", "uri": "//maps.google.com/maps/contrib/200"}
          ]
        },
        {"name": "places/ChIJ1/photos/AUc7tXV", "widthPx": 1, "heightPx": 2}
      ]
    },
    {"id": "ChIJ2", "formattedAddress": "Somewhere", "location": {"latitude": 1, "longitude": -2}, "priceLevel": "PRICE_LEVEL_FREE"},
    {}
  ]
}
"##;

const TRANSLATED: &str = r##"{
   "html_attributions" : [],
   "results" : [
      {
         "business_status" : "OPERATIONAL",
         "geometry" : {
            "location" : {
               "lat" : -33.85873219999999,
               "lng" : 151.2100055
            },
            "viewport" : {
               "northeast" : {
                  "lat" : -33.8572,
                  "lng" : 151.2113549802915
               },
               "southwest" : {
                  "lat" : -33.8599,
                  "lng" : 151.20
               }
            }
         },
         "icon_background_color" : "#FF9E67",
         "icon_mask_base_uri" : "https://maps.gstatic.com/mapfiles/place_api/icons/v2/bar_pinlet",
         "name" : "Crüise \"Bar\" \u003c1\u003e 🍸",
         "opening_hours" : {
            "open_now" : true
         },
         "photos" : [
            {
               "height" : 3024,
               "html_attributions" : [
                  "\u003ca href=\"//maps.google.com/maps/contrib/100\"\u003eAda\u003c/a\u003e",
                  "\u003ca href=\"//maps.google.com/maps/contrib/200\"\u003eBo &amp; Co\u003c/a\u003e"
               ],
               "photo_reference" : "AUc7tXU",
               "width" : 4032
            },
            {
               "height" : 2,
               "photo_reference" : "AUc7tXV",
               "width" : 1
            }
         ],
         "place_id" : "ChIJ1",
         "plus_code" : {
            "compound_code" : "46RC+GP The Rocks",
            "global_code" : "4RRH46RC+GP"
         },
         "price_level" : 2,
         "rating" : 4.0,
         "reference" : "ChIJ1",
         "types" : [
            "cafe",
            "food",
            "point_of_interest"
         ],
         "user_ratings_total" : 1269,
         "vicinity" : "1 Circular Quay W, The Rocks"
      },
      {
         "geometry" : {
            "location" : {
               "lat" : 1,
               "lng" : -2
            }
         },
         "place_id" : "ChIJ2",
         "price_level" : 0,
         "reference" : "ChIJ2",
         "vicinity" : "Somewhere"
      },
      {}
   ],
   "status" : "OK"
}"##;

#[test]
fn a_response_is_translated_to_the_legacy_format() {
    let provider = Provider::answering(200, SENT);
    assert_eq!(answer_from(&provider, new()), TRANSLATED);
}

#[test]
fn the_number_of_places_limits_request_and_answer() {
    let provider = Provider::answering(200, SENT);
    let herd = herd_asking(places_at(&provider.url(), new()));
    for limit in [1, 2, 3, 20] {
        let answer = answer_of(&herd, &format!("10 {limit}"));
        let ids = answer.matches("\"place_id\"").count();
        assert_eq!(ids, limit.min(2));
        let body = provider.calls().pop().unwrap().body;
        assert!(
            body.contains(&format!("\"maxResultCount\":{limit}}}")),
            "{body}"
        );
    }
    assert_eq!(status_of(&answer_of(&herd, "10 0")), "ZERO_RESULTS");
    assert_eq!(provider.calls().len(), 4);
}

#[test]
fn the_request_has_the_client_s_own_digits() {
    let provider = Provider::answering(200, "{}");
    let herd = herd_asking(places_at(&provider.url(), new()));
    let mut client = herd.client("Riley");
    for (position, radius, circle) in [
        (
            "+34.068930-118.445127",
            "10",
            r#"{"center":{"latitude":34.068930,"longitude":-118.445127},"radius":10000}"#,
        ),
        (
            "-0+000.50/",
            "0.0001",
            r#"{"center":{"latitude":-0,"longitude":0.50},"radius":0.1}"#,
        ),
        (
            "+1.00000000000000000000000000001-00",
            "0",
            r#"{"center":{"latitude":1.00000000000000000000000000001,"longitude":-0},"radius":0}"#,
        ),
    ] {
        client.ask(&format!("IAMAT at{position} {position} {T}"));
        client.send(format!("WHATSAT at{position} {radius} 5\n"));
        client.places();
        let call = provider.calls().pop().unwrap();
        assert_eq!(call.line, "POST /v1/places:searchNearby HTTP/1.1");
        assert_eq!(call.header("x-goog-api-key"), Some(KEY));
        assert_eq!(call.header("content-type"), Some("application/json"));
        assert_eq!(call.header("accept-encoding"), None);
        let body = format!(r#"{{"locationRestriction":{{"circle":{circle}}},"maxResultCount":5}}"#);
        assert_eq!(call.body, body);
    }
}

#[test]
fn the_field_mask_has_the_fields_that_are_used_and_a_setting_reduces_it() {
    let mask = |fields: FieldMask| {
        let provider = Provider::answering(200, "{}");
        answer_from(&provider, GoogleApi::New(fields));
        let call = provider.calls().pop().unwrap();
        call.header("x-goog-fieldmask").unwrap().to_owned()
    };
    let all = mask(FieldMask::default());
    let names: Vec<&str> = all.split(',').collect();
    assert_eq!(names.len(), 20, "{all}");
    assert!(
        names.iter().all(|name| name.starts_with("places.")),
        "{all}"
    );
    assert!(!all.contains('*') && !all.contains(' '), "{all}");
    let fields = FieldMask::parse(["photos", "id"]).unwrap();
    assert_eq!(
        mask(fields),
        "places.id,places.photos.authorAttributions.displayName,\
         places.photos.authorAttributions.uri,places.photos.heightPx,places.photos.name,\
         places.photos.widthPx"
    );
}

#[test]
fn a_response_without_places_has_empty_results() {
    let expected = r#"{
   "html_attributions" : [],
   "results" : [],
   "status" : "ZERO_RESULTS"
}"#;
    for body in ["{}", "{\n}\n", r#"{"places":[]}"#] {
        let provider = Provider::answering(200, body);
        assert_eq!(answer_from(&provider, new()), expected);
    }
}

#[test]
fn errors_have_the_names_of_the_legacy_api() {
    for (code, status, legacy) in [
        (400, "INVALID_ARGUMENT", "INVALID_REQUEST"),
        (401, "UNAUTHENTICATED", "REQUEST_DENIED"),
        (403, "PERMISSION_DENIED", "REQUEST_DENIED"),
        (429, "RESOURCE_EXHAUSTED", "OVER_QUERY_LIMIT"),
        (404, "NOT_FOUND", "UNKNOWN_ERROR"),
        (503, "UNAVAILABLE", "UNKNOWN_ERROR"),
    ] {
        let body = format!(
            r#"{{"error": {{"code": {code}, "message": "It \"is\" so.\n", "status": "{status}", "details": []}}}}"#
        );
        let provider = Provider::answering(code, body);
        let answer = answer_from(&provider, new());
        assert_eq!(status_of(&answer), legacy);
        assert_eq!(message_of(&answer), r#"It \"is\" so.\n"#);
        let calls = if code == 503 { 2 } else { 1 };
        assert_eq!(provider.calls().len(), calls, "{code}");
    }
}
