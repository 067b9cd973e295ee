//! The names of `plan`'s servers.

use std::str::FromStr;

use crate::config::MAX_SERVERS;
use crate::model::name::Name;

/// One name, or a range of names such as `edge-{1..12}`. At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names(pub(super) Vec<Name>);

/// A zone and its servers, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) name: Name,
    pub(super) servers: Vec<Name>,
}

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((before, rest)) = text.split_once('{') else {
            return Ok(Self(vec![name(text)?]));
        };
        let wrong = || "a range of names is written as in 'edge-{1..12}'".to_owned();
        let (range, after) = rest.split_once('}').ok_or_else(wrong)?;
        let (first, last) = range.split_once("..").ok_or_else(wrong)?;
        let number = |digits: &str| digits.parse::<u32>().map_err(|_| wrong());
        let (from, to) = (number(first)?, number(last)?);
        if from > to || (to - from) as usize >= MAX_SERVERS {
            return Err(format!(
                "a range begins with its least number and has at most {MAX_SERVERS} of them"
            ));
        }
        // As the shell does it: 01 to 12.
        let width = if first.starts_with('0') {
            first.len()
        } else {
            1
        };
        let names = (from..=to).map(|number| name(&format!("{before}{number:0width$}{after}")));
        names.collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (zone, servers) = text
            .split_once('=')
            .ok_or("a zone is written as in 'west=a,b,c' or 'west=west-{1..4}'")?;
        let servers: Result<Vec<Names>, _> = servers.split(',').map(str::parse).collect();
        Ok(Self {
            name: name(zone)?,
            servers: servers?.into_iter().flat_map(|names| names.0).collect(),
        })
    }
}

/// Parses one name.
pub(super) fn name(text: &str) -> Result<Name, String> {
    let quote = if text.contains('=') {
        "; quote a zone with a range, so that the shell does not expand it"
    } else {
        ""
    };
    let why = || format!("a name has 1 to 63 ASCII letters, digits and inner hyphens{quote}");
    Name::parse(text).ok_or_else(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let names = text.parse::<Names>()?;
        Ok(names.0.iter().map(Name::to_string).collect())
    }

    #[test]
    fn ranges_are_those_of_the_shell() {
        assert_eq!(names("Riley").unwrap(), ["Riley"]);
        assert_eq!(
            names("edge-{9..11}").unwrap(),
            ["edge-9", "edge-10", "edge-11"]
        );
        assert_eq!(names("{08..10}-b").unwrap(), ["08-b", "09-b", "10-b"]);
        assert_eq!(names("n{0..0}").unwrap(), ["n0"]);
        assert_eq!(names("n{0..999}").unwrap().len(), 1000);
        for wrong in [
            "n{1..",
            "n{1-2}",
            "n{}",
            "n{a..b}",
            "n{-1..2}",
            "n{1..2}{1..2}",
            "",
            "a b",
        ] {
            assert!(names(wrong).is_err(), "{wrong}");
        }
        for bounds in ["n{2..1}", "n{0..1000}", "n{0..4294967295}"] {
            assert!(
                names(bounds).unwrap_err().contains("at most 1000"),
                "{bounds}"
            );
        }
    }

    #[test]
    fn a_zone_has_a_name_and_servers() {
        let zone: Zone = "west=a,b-{1..2}".parse().unwrap();
        let servers: Vec<_> = zone.servers.iter().map(Name::as_str).collect();
        assert_eq!(
            (zone.name.as_str(), &servers[..]),
            ("west", &["a", "b-1", "b-2"][..])
        );
        for wrong in ["west", "=a", "west=", "west=a,,b"] {
            assert!(wrong.parse::<Zone>().is_err(), "{wrong}");
        }
        // What a shell leaves of an unquoted range.
        assert!(names("west=b-2").unwrap_err().contains("quote a zone"));
    }
}
