//! `proxyherd nearby`: which clients are near a client or a point.

use serde::Serialize;

use crate::proto::nearby_request::Center;
use crate::proto::{GetStatusResponse, NearbyRequest, Point};

use super::failure::Failure;
use super::fan_out::{first_that_answers, tell};
use super::known::{self, View};
use super::outcome::{CODES, CommandError, Outcome};
use super::screen::{Paint, Screen};
use super::server::Near;
use super::table::{Side, Table};
use super::targets::Targets;
use super::{json, messages, units};

/// Show which clients are near a client or a point
///
/// Prints clients by the distance of their newest reports, nearest first, with
/// how old those are by the server's clock. Asks the first server of the config
/// that answers, or one that --server names: every server knows every client.
///
/// That nobody is near is an answer (exit code 0); a client that the server does
/// not know is none (1).
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = CODES)]
#[group(id = "center", required = true, multiple = false, args = ["client", "point"])]
pub(in crate::cli) struct Arguments {
    /// Near this client, which is not in the answer itself
    #[arg(value_parser = units::client)]
    client: Option<String>,
    /// Near this point, in decimal degrees
    #[arg(long, value_name = "LAT,LON", allow_hyphen_values = true, value_parser = units::point)]
    point: Option<Point>,
    /// How far, such as 800m or 5km; however far if not given
    #[arg(long, value_name = "DISTANCE", value_parser = units::distance)]
    radius: Option<f64>,
    /// Most clients, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    #[command(flatten)]
    whom: Targets,
}

pub(super) async fn run(arguments: Arguments, screen: &Screen) -> Result<Outcome, CommandError> {
    let servers = arguments.whom.servers()?;
    let (server, status) = first_that_answers(&servers).await?;
    let near = match server.nearby(arguments.request()).await {
        Ok(near) => near,
        Err(Failure::Unknown) => {
            return Err(CommandError::Failed(arguments.unknown(&status).into()));
        }
        Err(failure) => return Err(CommandError::Failed(tell(&server, &failure).into())),
    };
    let text = match arguments.whom.json {
        true => json::pretty(&view(&near, &status)),
        false => page(&near, &status, &arguments, screen),
    };
    screen.print(text).await?;
    Ok(Outcome::Well)
}

impl Arguments {
    fn request(&self) -> NearbyRequest {
        let client = self.client.clone().map(Center::Client);
        NearbyRequest {
            center: self.point.map(Center::Point).or(client),
            radius_meters: self.radius.unwrap_or(0.0),
            limit: self.limit,
        }
    }

    fn unknown(&self, status: &GetStatusResponse) -> String {
        let client = self.client.as_deref().unwrap_or_default();
        format!("{} knows no client {client}", status.name)
    }

    /// What it all is near to.
    fn center(&self) -> String {
        match (&self.client, &self.point) {
            (Some(client), _) => messages::escaped(client),
            (None, Some(point)) => format!("{:+}{:+}", point.latitude, point.longitude),
            (None, None) => String::new(),
        }
    }
}

fn page(near: &[Near], status: &GetStatusResponse, asked: &Arguments, screen: &Screen) -> String {
    let within = match asked.radius {
        Some(radius) => format!(" within {}", messages::distance(radius)),
        None => String::new(),
    };
    let title = match near.len() as u64 {
        0 => "no clients".to_owned(),
        // There may be more than were asked for.
        found if found == u64::from(asked.limit) => {
            format!("the nearest {}", messages::count(found, "client"))
        }
        found => messages::count(found, "client"),
    };
    let title = format!("{title}{within} of {}, by {}", asked.center(), status.name);
    let mut text = screen.paint(Paint::Title, &title) + "\n";
    if !near.is_empty() {
        text += &format!("\n{}", table(near, status).print(screen, ""));
    }
    text
}

fn table(near: &[Near], status: &GetStatusResponse) -> Table {
    let mut table = Table::new(&[
        ("distance", Side::Right),
        ("age", Side::Right),
        ("position", Side::Left),
        ("client", Side::Left),
    ]);
    for Near { known, distance } in near {
        table.row(vec![
            messages::distance(*distance).into(),
            age(known, status)
                .map_or_else(String::new, messages::span)
                .into(),
            known.report.position.as_str().into(),
            messages::escaped(&known.report.client).into(),
        ]);
    }
    table
}

/// How old a report is by the server's clock, in seconds.
fn age(known: &known::Known, status: &GetStatusResponse) -> Option<f64> {
    let now = status.now.as_ref()?;
    let nanos = messages::unix_nanos(now) - known::client_time(&known.report).as_nanos();
    Some(nanos as f64 / 1e9)
}

fn view<'a>(near: &'a [Near], status: &'a GetStatusResponse) -> NearbyView<'a> {
    let client = |near: &'a Near| NearView {
        distance_meters: near.distance,
        age_seconds: age(&near.known, status),
        known: near.known.view(),
    };
    NearbyView {
        server: &status.name,
        clients: near.iter().map(client).collect(),
    }
}

#[derive(Serialize)]
struct NearbyView<'a> {
    server: &'a str,
    clients: Vec<NearView<'a>>,
}

#[derive(Serialize)]
struct NearView<'a> {
    distance_meters: f64,
    age_seconds: Option<f64>,
    #[serde(flatten)]
    known: View<'a>,
}
