//! Parsing of commands: a line is accepted if the protocol says so, and its fields are echoed
//! unchanged.

use proxyherd::line_protocol::command::Command;
use proxyherd::line_protocol::reply;
use proxyherd::model::client::ClientId;
use proxyherd::model::report::{Origin, Report};
use proxyherd::model::timestamp::{ClientTime, Skew, UnixNanos};

use super::reference::{decimal, fields, is_at_most, is_client, position, skew, time};

/// Checks a line without its end, in which a LF counts as white space.
pub(crate) fn check(line: &[u8]) {
    match (Command::parse(line), reference(line)) {
        (None, None) => {}
        (Some(command), Some(expected)) => compare(&command, &expected, line),
        (parsed, expected) => panic!("parsed as {parsed:?}, should be {expected:?}"),
    }
}

/// Returns the four fields of a valid command.
fn reference(line: &[u8]) -> Option<[&str; 4]> {
    let fields: Vec<&str> = fields(std::str::from_utf8(line).ok()?.as_bytes())
        .into_iter()
        .map(|field| std::str::from_utf8(field).unwrap())
        .collect();
    let fields: [&str; 4] = fields.try_into().ok()?;
    let valid = match fields {
        ["IAMAT", client, place, clock] => {
            is_client(client) && position(place).is_some() && time(clock).is_some()
        }
        ["WHATSAT", client, radius, limit] => {
            is_client(client)
                && decimal(radius).is_some_and(|radius| is_at_most(radius, "50"))
                && decimal(limit).is_some_and(|limit| limit.1.is_none() && is_at_most(limit, "20"))
        }
        _ => false,
    };
    valid.then_some(fields)
}

fn compare(command: &Command<'_>, expected: &[&str; 4], line: &[u8]) {
    let [name, first, second, third] = *expected;
    match *command {
        Command::Iamat {
            client,
            position: place,
            time: clock,
        } => {
            assert_eq!(
                ["IAMAT", client.text(), place.text(), clock.text()],
                *expected
            );
            assert_eq!(
                (place.latitude(), place.longitude()),
                position(second).unwrap()
            );
            let ClientTime { seconds, nanos } = clock.instant();
            let instant = (seconds.to_string(), format!("{nanos:09}"));
            assert_eq!(instant, time(third).unwrap());
            echo(command, expected, line);
        }
        Command::Whatsat {
            client,
            radius,
            limit,
        } => {
            assert_eq!((name, client.text()), ("WHATSAT", first));
            let (whole, fraction) = decimal(second).unwrap();
            assert_eq!(radius.whole(), whole.as_bytes());
            assert_eq!(radius.fraction(), fraction.unwrap_or("").as_bytes());
            assert!(radius.at_most(50) && limit <= 20);
            let digits = third.trim_start_matches('0');
            assert_eq!(
                limit.to_string(),
                if digits.is_empty() { "0" } else { digits }
            );
        }
    }
}

/// Checks that the AT line repeats the three fields and parses to the same.
fn echo(command: &Command<'_>, expected: &[&str; 4], line: &[u8]) {
    let Command::Iamat {
        client,
        position,
        time: clock,
    } = *command
    else {
        return;
    };
    // A clock that depends on the line, near the times of clients.
    let now = 1_621_464_828_000_000_000 + line.len() as i64 * 333_333_333;
    let between = Skew::between(UnixNanos(now), clock);
    let [_, _, _, third] = *expected;
    let expected_skew = skew(now, &time(third).unwrap());
    assert_eq!(between.map(|skew| skew.to_string()), expected_skew);
    let Some(skew) = between else { return };
    let report = Report {
        client,
        origin: Origin::parse(b"Riley").unwrap(),
        position,
        time: clock,
        skew,
    };
    let mut at = Vec::new();
    reply::at(&mut at, &report);
    let [_, fields @ ..] = *expected;
    let wanted = format!("AT Riley {skew} {}\n", fields.join(" "));
    assert_eq!(String::from_utf8(at).unwrap(), wanted);
    assert!(ClientId::parse(client.text().as_bytes()).is_some());
    let again = format!("IAMAT {}", fields.join(" "));
    assert_eq!(Command::parse(again.as_bytes()), Some(*command));
}
