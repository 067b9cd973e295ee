//! Parameters of calls. What a parameter does not permit is an error that names it and its rule.

use std::ops::RangeInclusive;

use http::Uri;
use percent_encoding::percent_decode_str;

use crate::model::bounding_box::BoundingBox;
use crate::model::client::{ClientId, MAX_CLIENT_BYTES};

use super::problem::Problem;

/// The parameters of one call, decoded, each at most once.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads the query of a URI, which may have the `known` parameters.
    pub(super) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let mut all: Vec<(String, String)> = Vec::new();
        let query = uri.query().unwrap_or_default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode("a parameter", name)?;
            if !known.contains(&name.as_str()) {
                let known = match known {
                    [] => "it has none".to_owned(),
                    known => format!("they are {}", known.join(", ")),
                };
                let name = name.escape_debug();
                return Err(Problem::bad_request(format!(
                    "this call has no parameter \"{name}\"; {known}"
                )));
            }
            if all.iter().any(|(other, _)| *other == name) {
                return Err(invalid(&name, "is given twice"));
            }
            let value = decode(&name, value)?;
            if value.is_empty() {
                return Err(invalid(&name, "is empty"));
            }
            all.push((name, value));
        }
        Ok(Self(all))
    }

    /// Returns the text of a parameter.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns a box; the whole world by default.
    pub(super) fn bbox(&self) -> Result<BoundingBox, Problem> {
        let Some(text) = self.text("bbox") else {
            return Ok(BoundingBox::WORLD);
        };
        let numbers: Vec<f64> = numbers(text)
            .filter(|numbers| numbers.len() == 4)
            .ok_or_else(|| {
                invalid(
                    "bbox",
                    "must be W,S,E,N in decimal degrees, as in -119,33.5,-117.5,34.5",
                )
            })?;
        let edges = [numbers[0], numbers[1], numbers[2], numbers[3]];
        for (nth, edge) in edges.into_iter().enumerate() {
            check_degrees("bbox", nth % 2 == 1, edge)?;
        }
        BoundingBox::new(edges).ok_or_else(|| {
            let [_, south, _, north] = edges;
            invalid(
                "bbox",
                &format!("south {south} is greater than north {north}"),
            )
        })
    }

    /// Returns a point: latitude and longitude.
    pub(super) fn point(&self) -> Result<Option<(f64, f64)>, Problem> {
        let Some(text) = self.text("point") else {
            return Ok(None);
        };
        let numbers = numbers(text).filter(|numbers| numbers.len() == 2);
        let numbers = numbers.ok_or_else(|| {
            invalid(
                "point",
                "must be LAT,LON in decimal degrees, as in 34.07,-118.45",
            )
        })?;
        let point = (numbers[0], numbers[1]);
        check_degrees("point", true, point.0)?;
        check_degrees("point", false, point.1)?;
        Ok(Some(point))
    }

    /// Returns a client ID.
    pub(super) fn client(&self) -> Result<Option<&str>, Problem> {
        self.text("client")
            .map(|id| client("client", id))
            .transpose()
    }

    /// Returns the beginning of client IDs; empty by default.
    pub(super) fn prefix(&self) -> Result<String, Problem> {
        let prefix = self.text("prefix").unwrap_or_default();
        if prefix.len() > MAX_CLIENT_BYTES {
            let rule = format!("must have at most {MAX_CLIENT_BYTES} bytes");
            return Err(invalid("prefix", &rule));
        }
        Ok(prefix.to_owned())
    }

    /// Returns a number of results.
    pub(super) fn limit(
        &self,
        bounds: RangeInclusive<usize>,
        default: usize,
    ) -> Result<usize, Problem> {
        let Some(text) = self.text("limit") else {
            return Ok(default);
        };
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_number);
        number
            .filter(|limit| bounds.contains(limit))
            .ok_or_else(|| {
                let (least, most) = (bounds.start(), bounds.end());
                invalid("limit", &format!("must be a number from {least} to {most}"))
            })
    }

    /// Returns a radius in kilometres that `is_valid`; `rule` describes it.
    pub(super) fn radius(
        &self,
        is_valid: impl Fn(f64) -> bool,
        rule: &str,
    ) -> Result<Option<f64>, Problem> {
        let Some(text) = self.text("radius") else {
            return Ok(None);
        };
        let radius = number(text).filter(|&radius| is_valid(radius));
        radius.map(Some).ok_or_else(|| invalid("radius", rule))
    }
}

/// Checks a client ID.
pub(super) fn client<'a>(name: &str, id: &'a str) -> Result<&'a str, Problem> {
    let rule = format!("must be a client ID: 1 to {MAX_CLIENT_BYTES} bytes without white space");
    ClientId::parse(id.as_bytes())
        .map(ClientId::text)
        .ok_or_else(|| invalid(name, &rule))
}

/// Decodes a part of a URI. A plus sign stands for itself: no valid value has a space.
pub(super) fn decode(name: &str, text: &str) -> Result<String, Problem> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| invalid(name, "is not UTF-8"))?;
    Ok(decoded.into_owned())
}

fn invalid(name: &str, rule: &str) -> Problem {
    Problem::bad_request(format!("{name}: {rule}"))
}

fn numbers(text: &str) -> Option<Vec<f64>> {
    text.split(',').map(number).collect()
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn check_degrees(name: &str, is_latitude: bool, degrees: f64) -> Result<(), Problem> {
    let (what, bound) = if is_latitude {
        ("latitude", 90.0)
    } else {
        ("longitude", 180.0)
    };
    if degrees.abs() <= bound {
        return Ok(());
    }
    let rule = format!("{what} {degrees} is out of range; {what}s are -{bound} to {bound}");
    Err(invalid(name, &rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str, known: &[&str]) -> Option<Parameters> {
        let uri = format!("/x?{query}").parse().unwrap();
        Parameters::read(&uri, known).ok()
    }

    #[test]
    fn parameters_are_known_decoded_and_given_once() {
        let known = ["bbox", "prefix"];
        let both = read("prefix=a%2F+%C3%BC&bbox=1,2,3,4", &known).unwrap();
        assert_eq!(both.text("prefix"), Some("a/+ü"));
        assert_eq!(both.text("bbox"), Some("1,2,3,4"));
        assert!(read("", &known).unwrap().text("bbox").is_none());
        for bad in [
            "x=1",
            "prefix=a&prefix=b",
            "prefix=",
            "prefix",
            "prefix=%FF",
        ] {
            assert!(read(bad, &known).is_none(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_finite_and_within_their_bounds() {
        let is_box = |text: &str| {
            let parameters = read(&format!("bbox={text}"), &["bbox"]).unwrap();
            parameters.bbox().is_ok()
        };
        for good in ["-180,-90,180,90", "179,0,-179,0", "1e1,.5,1.5e1,%2B7"] {
            assert!(is_box(good), "{good}");
        }
        for bad in [
            "0,0,0",
            "0,0,0,0,0",
            "0,0,,0",
            "nan,0,0,0",
            "0,0,inf,0",
            "0,91,0,91",
            "181,0,0,0",
            "0,1,0,0",
            "a,0,0,0",
            "0, 0,0,0",
            "1e999,0,0,0",
        ] {
            assert!(!is_box(&bad.replace(' ', "%20")), "{bad}");
        }
        let limit = |text: &str| {
            let parameters = read(&format!("limit={text}"), &["limit"]).unwrap();
            parameters.limit(1..=20, 5).ok()
        };
        assert_eq!(["1", "20", "007"].map(limit), [Some(1), Some(20), Some(7)]);
        for bad in ["0", "21", "-1", "+1", "1.0", "1e1", "99999999999999999999"] {
            assert_eq!(limit(bad), None, "{bad}");
        }
    }
}
