//! Values of arguments: points, distances, circles, client IDs and addresses.

use crate::model::address::Address;
use crate::model::client::ClientId;
use crate::proto::{Circle, Point};

/// Parses `LAT,LON` in decimal degrees.
pub(super) fn point(text: &str) -> Result<Point, String> {
    let parts = text.split_once(',').and_then(|(latitude, longitude)| {
        let latitude = within(latitude, 90.0)?;
        let longitude = within(longitude, 180.0)?;
        Some(Point {
            latitude,
            longitude,
        })
    });
    parts.ok_or_else(|| {
        "a point is LAT,LON in decimal degrees, as in 34.06893,-118.44513".to_owned()
    })
}

fn within(text: &str, bound: f64) -> Option<f64> {
    let degrees: f64 = text.trim().parse().ok()?;
    (degrees.abs() <= bound).then_some(degrees)
}

/// Parses a distance above 0, `800m`, `5km` or plain metres, in metres.
pub(super) fn distance(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix("km") {
        Some(number) => (number, 1000.0),
        None => (text.strip_suffix('m').unwrap_or(text), 1.0),
    };
    let meters = number
        .trim()
        .parse::<f64>()
        .ok()
        .map(|number| number * unit);
    meters
        .filter(|meters| meters.is_finite() && *meters > 0.0)
        .ok_or_else(|| {
            "a distance is more than 0, in metres or with a unit, as in 800m or 5km".to_owned()
        })
}

/// Parses `LAT,LON,METRES`.
pub(super) fn circle(text: &str) -> Result<Circle, String> {
    let expected =
        || "a circle is LAT,LON,METRES, as in 34.06893,-118.44513,5000 (or 5km)".to_owned();
    let (center, radius) = text.rsplit_once(',').ok_or_else(expected)?;
    Ok(Circle {
        center: Some(point(center).map_err(|_| expected())?),
        radius_meters: distance(radius)?,
    })
}

/// Parses the ID of a client.
pub(super) fn client(text: &str) -> Result<String, String> {
    match ClientId::parse(text.as_bytes()) {
        Some(id) => Ok(id.text().to_owned()),
        None => Err("a client ID is 1 to 255 bytes without white space".to_owned()),
    }
}

/// Parses the address of a peer port.
pub(super) fn address(text: &str) -> Result<Address, String> {
    match Address::parse(text) {
        Ok(address) if address.port() == 0 => Err("a port from 1 to 65535 is required".to_owned()),
        Ok(address) => Ok(address),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_distances_and_circles_are_parsed() {
        let ucla = point("+34.06893,-118.44513").unwrap();
        assert_eq!((ucla.latitude, ucla.longitude), (34.06893, -118.44513));
        assert_eq!(point("-33.9, 151.2").unwrap().longitude, 151.2);
        assert_eq!(distance("5km"), Ok(5000.0));
        assert_eq!(distance("0.5 km"), Ok(500.0));
        assert_eq!((distance("800m"), distance("800")), (Ok(800.0), Ok(800.0)));
        let circle = circle("1,2,3km").unwrap();
        assert_eq!(circle.radius_meters, 3000.0);
        assert_eq!(circle.center.unwrap().latitude, 1.0);
    }

    #[test]
    fn malformed_values_are_rejected() {
        for bad in ["", "1", "1,", "91,0", "0,181", "NaN,0", "1,2,3", "a,b"] {
            assert!(point(bad).is_err(), "{bad}");
        }
        for bad in ["", "km", "-1km", "0", "5mi", "inf", "NaN", "1e999"] {
            assert!(distance(bad).is_err(), "{bad}");
        }
        for bad in ["", "1,2", "1,2,", "1,2,-3", "1,2,3,4"] {
            assert!(circle(bad).is_err(), "{bad}");
        }
        assert!(client("a b").is_err() && client("").is_err() && client("kiwi").is_ok());
        assert!(address("127.0.0.1:0").is_err() && address("h:1").is_ok());
    }
}
