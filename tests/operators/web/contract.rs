//! `docs/openapi.json` and the answers of the API agree: every field of an answer is in its schema,
//! and every required field of the schema is in the answer.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::{herd, with_web};
use crate::common::{ALONE, Herd, http_get, http_send, places_from};

/// The contract.
struct Contract(Value);

impl Contract {
    fn read() -> Self {
        let text = include_str!("../../../docs/openapi.json");
        Self(serde_json::from_str(text).unwrap())
    }

    /// Returns what a schema or a response refers to.
    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(path) => self.0.pointer(&path[1..]).expect("what is referred to"),
            None => schema,
        }
    }

    /// Returns the response of a path with a status.
    fn response(&self, path: &str, status: u16) -> Option<&Value> {
        let response = &self.0["paths"][path]["get"]["responses"][status.to_string()];
        (!response.is_null()).then(|| self.resolved(response))
    }

    /// Adds what is wrong with a value to `faults`.
    fn check(&self, value: &Value, schema: &Value, at: &str, faults: &mut Vec<String>) {
        let schema = self.resolved(schema);
        if let Some(choices) = schema["anyOf"].as_array() {
            let fits = |choice: &Value| {
                let mut faults = Vec::new();
                self.check(value, choice, at, &mut faults);
                faults.is_empty()
            };
            if !choices.iter().any(fits) {
                // The faults of the choice that is closest say most.
                self.check(value, &choices[0], at, faults);
            }
            return;
        }
        let mut fault = |text: String| faults.push(format!("{at}: {text}"));
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let types: Vec<&str> = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        let is_number = kind == "integer" && types.contains(&"number");
        if !types.is_empty() && !types.contains(&kind) && !is_number {
            fault(format!("{value} is not of type {types:?}"));
        }
        if !schema["const"].is_null() && schema["const"] != *value {
            fault(format!("{value} is not {}", schema["const"]));
        }
        if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
            && !Regex::new(pattern).unwrap().is_match(text)
        {
            fault(format!("{text} does not match {pattern}"));
        }
        if let Some(number) = value.as_f64() {
            let bound = |name: &str| schema[name].as_f64();
            if bound("minimum").is_some_and(|least| number < least)
                || bound("maximum").is_some_and(|most| number > most)
            {
                fault(format!("{number} is out of bounds"));
            }
        }
        if let Some(items) = value.as_array() {
            let prefix = schema["prefixItems"].as_array();
            for (nth, item) in items.iter().enumerate() {
                let of_prefix = prefix.and_then(|prefix| prefix.get(nth));
                let item_schema = of_prefix.unwrap_or(&schema["items"]);
                if !item_schema.is_null() {
                    self.check(item, item_schema, &format!("{at}[{nth}]"), faults);
                }
            }
        }
        if let Some(fields) = value.as_object() {
            let (known, required) = self.fields(schema);
            for name in required.iter().filter(|name| !fields.contains_key(**name)) {
                faults.push(format!("{at}: {name} is missing"));
            }
            // Results of a places provider have fields of their own.
            let is_open = at.contains("places");
            for (name, field) in fields {
                match known.iter().find(|(known, _)| known == name) {
                    Some((_, schema)) => self.check(field, schema, &format!("{at}.{name}"), faults),
                    None if is_open => {}
                    None => faults.push(format!("{at}: {name} is not in the contract")),
                }
            }
        }
    }

    /// Returns the fields of an object, and the names of those that are required.
    fn fields<'a>(&'a self, schema: &'a Value) -> (Vec<(&'a str, &'a Value)>, BTreeSet<&'a str>) {
        let schema = self.resolved(schema);
        let own = schema["properties"].as_object();
        let mut fields: Vec<(&str, &Value)> = Vec::new();
        fields.extend(
            own.into_iter()
                .flatten()
                .map(|(name, field)| (name.as_str(), field)),
        );
        let mut required: BTreeSet<&str> = BTreeSet::new();
        let names = schema["required"].as_array();
        required.extend(names.into_iter().flatten().filter_map(Value::as_str));
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let (others, names) = self.fields(part);
            fields.extend(others);
            required.extend(names);
        }
        (fields, required)
    }
}

/// Gets `url` and checks the answer against the contract of `path`.
#[track_caller]
fn check(contract: &Contract, herd: &Herd, path: &str, url: &str, status: u16) {
    let response = http_get(herd.web_address("Riley"), url);
    assert_eq!(response.status, status, "{url}: {}", response.body);
    let contract_of = contract.response(path, status);
    let described = contract_of.unwrap_or_else(|| panic!("{path} has no status {status}"));
    for (name, header) in described["headers"].as_object().into_iter().flatten() {
        let name = name.to_ascii_lowercase();
        let is_there = response.head.contains(&format!("\r\n{name}: "));
        assert!(is_there, "{url}: {name} {header}");
    }
    let (content_type, content) = described["content"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .unwrap();
    let header = format!("\r\ncontent-type: {content_type}\r\n");
    assert!(response.head.contains(&header), "{url}: {}", response.head);
    let value: Value = serde_json::from_str(&response.body).unwrap();
    let mut faults = Vec::new();
    contract.check(&value, &content["schema"], "", &mut faults);
    assert!(faults.is_empty(), "{url}: {faults:#?}\n{value:#}");
}

const PATHS: [&str; 7] = [
    "/api/v1/clients",
    "/api/v1/clients/{id}",
    "/api/v1/herd",
    "/api/v1/names",
    "/api/v1/near",
    "/api/v1/places",
    "/api/v1/watch",
];

#[test]
fn answers_have_the_fields_of_the_contract() {
    let contract = Contract::read();
    let herd = Herd::new(ALONE)
        .with_places(places_from("p.csv", "name,lat,lon\nWestwood,34.06,-118.44\n").unwrap())
        .adjust(with_web)
        .launch_all();
    let mut client = herd.client("Riley");
    for (id, at) in [
        ("kiwi", "+34.068930-118.445127"),
        ("emu", "-0+180"),
        ("ü", "+90+0"),
    ] {
        client.ask(&format!("IAMAT {id} {at} 1621464827.9"));
    }
    for (path, url, status) in [
        ("/api/v1/herd", "/api/v1/herd", 200),
        ("/api/v1/herd", "/api/v1/herd?x=1", 400),
        ("/api/v1/clients", "/api/v1/clients", 200),
        ("/api/v1/clients", "/api/v1/clients?limit=1", 200),
        ("/api/v1/clients", "/api/v1/clients?limit=0", 400),
        ("/api/v1/clients/{id}", "/api/v1/clients/kiwi", 200),
        ("/api/v1/clients/{id}", "/api/v1/clients/%C3%BC", 200),
        ("/api/v1/clients/{id}", "/api/v1/clients/dodo", 404),
        ("/api/v1/clients/{id}", "/api/v1/clients/%FF", 400),
        ("/api/v1/near", "/api/v1/near?point=0,0", 200),
        ("/api/v1/near", "/api/v1/near?client=dodo", 404),
        ("/api/v1/near", "/api/v1/near", 400),
        ("/api/v1/places", "/api/v1/places?client=kiwi", 200),
        ("/api/v1/places", "/api/v1/places?point=1,1", 200),
        ("/api/v1/places", "/api/v1/places?client=dodo", 404),
        ("/api/v1/places", "/api/v1/places", 400),
        ("/api/v1/names", "/api/v1/names", 200),
        ("/api/v1/names", "/api/v1/names?limit=0", 400),
        ("/api/v1/watch", "/api/v1/watch?x=1", 400),
    ] {
        check(&contract, &herd, path, url, status);
    }
}

#[test]
fn the_contract_has_the_paths_that_are_served_and_no_others() {
    let contract = Contract::read();
    let paths: Vec<&String> = contract.0["paths"].as_object().unwrap().keys().collect();
    let mut sorted = paths.clone();
    sorted.sort();
    assert_eq!(sorted, PATHS);
    let herd = herd(ALONE);
    let web = herd.web_address("Riley");
    for path in PATHS {
        let url = format!("{}?unknown=1", path.replace("{id}", "kiwi"));
        let response = http_get(web, &url);
        assert_eq!(response.status, 400, "{path} exists");
        // The parameters of the contract are those that the call names.
        let known = contract.0["paths"][path]["get"]["parameters"]
            .as_array()
            .unwrap();
        let known = known.iter().map(|parameter| contract.resolved(parameter));
        for parameter in known.filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            assert!(
                response.body.contains(name),
                "{path} {name}: {}",
                response.body
            );
        }
        let request = format!("POST {url} HTTP/1.1\r\nHost: {web}\r\n\r\n");
        assert_eq!(http_send(web, &request).status, 405);
        for status in [400, 401, 403, 429, 431, 500, 503] {
            assert!(contract.response(path, status).is_some(), "{path} {status}");
        }
    }
}
