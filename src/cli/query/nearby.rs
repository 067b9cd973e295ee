//! `proxyherd nearby`: the clients near a client or a point.

use serde::Serialize;

use crate::operator_client::{CheckedReport, HeldReport, NearbyReport, QueryError};
use crate::proto::nearby_request::Center;
use crate::proto::{GetStatusResponse, NearbyRequest, Point};
use crate::table::{Left, Right, TextTable};

use super::fan_out::{describe, first_that_answers};
use super::outcome::{CommandError, EXIT_CODES, Outcome};
use super::targets::Targets;
use super::terminal::{Highlight, Screen};
use super::{format, json, units};

/// Show the clients near a client or a point
///
/// Prints clients by the distance of their newest reports, nearest first, with the age
/// of the reports by the server's clock. Queries the first server of the config that
/// answers, or the one that --server names: every server has every client.
///
/// No client nearby is an answer (exit code 0); no report of the client in the center is
/// a problem (1).
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = EXIT_CODES)]
#[group(id = "center", required = true, multiple = false, args = ["client", "point"])]
pub(in crate::cli) struct NearbyArguments {
    /// Near this client, which is not in the answer itself
    #[arg(value_parser = units::client)]
    client: Option<String>,
    /// Near this point, in decimal degrees
    #[arg(long, value_name = "LAT,LON", allow_hyphen_values = true, value_parser = units::point)]
    point: Option<Point>,
    /// Maximum distance, such as 800m or 5km [default: unlimited]
    #[arg(long, value_name = "DISTANCE", value_parser = units::distance)]
    radius: Option<f64>,
    /// Maximum number of clients, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    pub(super) targets: Targets,
}

pub(super) async fn run(
    arguments: NearbyArguments,
    screen: &Screen,
) -> Result<Outcome, CommandError> {
    let servers = arguments.targets.servers()?;
    let (server, status) = first_that_answers(&servers).await?;
    let near = match server.nearby(arguments.request()).await {
        Ok(near) => near,
        Err(QueryError::UnknownClient) => {
            let client = arguments.client.as_deref().unwrap_or_default();
            let message = format!("{} has no report of client {client}", status.name);
            return Err(CommandError::failure(message));
        }
        Err(error) => return Err(CommandError::failure(describe(&server, &error))),
    };
    let text = if arguments.targets.json {
        json::pretty(&nearby_json(&near, &status))
    } else {
        page(&near, &status, &arguments, screen)
    };
    screen.print(text).await?;
    Ok(Outcome::Success)
}

impl NearbyArguments {
    fn request(&self) -> NearbyRequest {
        let client = self.client.clone().map(Center::Client);
        NearbyRequest {
            center: self.point.map(Center::Point).or(client),
            radius_meters: self.radius.unwrap_or(0.0),
            limit: self.limit,
        }
    }

    fn center(&self) -> String {
        match (&self.client, &self.point) {
            (Some(client), _) => format::escaped(client),
            (None, Some(point)) => format!("{:+}{:+}", point.latitude, point.longitude),
            (None, None) => String::new(),
        }
    }
}

fn page(
    near: &[NearbyReport],
    status: &GetStatusResponse,
    arguments: &NearbyArguments,
    screen: &Screen,
) -> String {
    let title = format!(
        "{} {}, according to {}",
        found(near.len() as u64, arguments),
        arguments.center(),
        status.name
    );
    let mut text = screen.paint(Highlight::Title, &title) + "\n";
    if !near.is_empty() {
        text += &format!("\n{}", table(near, status).text(""));
    }
    text
}

/// Returns how many clients were found, up to the preposition before the center.
fn found(count: u64, arguments: &NearbyArguments) -> String {
    let within = arguments.radius.map(|radius| {
        let radius = format::distance(radius);
        format!("within {radius} of")
    });
    // There may be more than the limit.
    if count == u64::from(arguments.limit) {
        let nearest = format::count(count, "nearest client");
        return format!("the {nearest} {}", within.as_deref().unwrap_or("to"));
    }
    let clients = match count {
        0 => "no clients".to_owned(),
        _ => format::count(count, "client"),
    };
    format!("{clients} {}", within.as_deref().unwrap_or("near"))
}

fn table(near: &[NearbyReport], status: &GetStatusResponse) -> TextTable {
    let mut table = TextTable::new(&[
        ("distance", Right),
        ("age", Right),
        ("position", Left),
        ("client", Left),
    ]);
    for near in near {
        let report = &near.held.report;
        table.row([
            format::distance(near.distance_meters),
            age_seconds(report, status).map_or_else(String::new, format::span),
            report.position().to_owned(),
            format::escaped(report.client()),
        ]);
    }
    table
}

/// Returns the age of a report by the server's clock.
fn age_seconds(report: &CheckedReport, status: &GetStatusResponse) -> Option<f64> {
    let now = status.now.as_ref()?;
    let nanos = format::unix_nanos(now) - report.client_time().as_nanos();
    Some(nanos as f64 / 1e9)
}

fn nearby_json<'a>(near: &'a [NearbyReport], status: &'a GetStatusResponse) -> NearbyJson<'a> {
    let client = |near: &'a NearbyReport| NearbyClientJson {
        distance_meters: near.distance_meters,
        age_seconds: age_seconds(&near.held.report, status),
        report: &near.held,
    };
    NearbyJson {
        server: &status.name,
        clients: near.iter().map(client).collect(),
    }
}

#[derive(Serialize)]
struct NearbyJson<'a> {
    server: &'a str,
    clients: Vec<NearbyClientJson<'a>>,
}

#[derive(Serialize)]
struct NearbyClientJson<'a> {
    distance_meters: f64,
    age_seconds: Option<f64>,
    #[serde(flatten)]
    report: &'a HeldReport,
}
