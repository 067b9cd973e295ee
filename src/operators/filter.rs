//! Which reports a watch wants.

use tonic::Status;

use crate::model::report::Report;
use crate::model::sphere::{chord_squared, on_unit_sphere, reach_squared};
use crate::proto::{Circle, watch_request};

use super::wire::{self, invalid};

/// A filter of reports.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum WatchFilter {
    All,
    Client(String),
    Prefix(String),
    /// A centre on the unit sphere, and the square of the longest chord to it.
    Circle([f64; 3], f64),
}

impl WatchFilter {
    /// Reads the filter of a request.
    pub(super) fn read(filter: Option<watch_request::Filter>) -> Result<Self, Status> {
        Ok(match filter {
            None => Self::All,
            Some(watch_request::Filter::Client(id)) => {
                Self::Client(wire::client("client", &id)?.text().to_owned())
            }
            Some(watch_request::Filter::Prefix(prefix)) => Self::Prefix(prefix),
            Some(watch_request::Filter::Circle(circle)) => Self::circle(circle)?,
        })
    }

    fn circle(circle: Circle) -> Result<Self, Status> {
        let center = wire::degrees("circle.center", circle.center)?;
        let radius = circle.radius_meters;
        if !(radius.is_finite() && radius > 0.0) {
            return Err(invalid(
                "circle.radius_meters must be a number of metres greater than 0",
            ));
        }
        Ok(Self::Circle(on_unit_sphere(center), reach_squared(radius)))
    }

    /// Returns `true` for a report that the watch wants.
    pub(super) fn wants(&self, report: &Report<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Client(id) => report.client.bytes() == id.as_bytes(),
            Self::Prefix(prefix) => report.client.bytes().starts_with(prefix.as_bytes()),
            Self::Circle(center, reach) => {
                let point = on_unit_sphere(report.position.degrees());
                chord_squared(*center, point) <= *reach
            }
        }
    }
}
