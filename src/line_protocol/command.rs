//! Parsing of commands.

use crate::model::client::{ClientId, is_white_space, until_white_space};
use crate::model::decimal::Decimal;
use crate::model::position::Position;
use crate::model::timestamp::Timestamp;

/// Maximum radius of a WHATSAT, in kilometres.
pub const MAX_RADIUS_KM: u64 = 50;

/// Maximum number of items in the answer to a WHATSAT.
pub const MAX_ITEMS: u64 = 20;

/// A command of a client. It is valid in form; whether the client is known and the time acceptable
/// is decided elsewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command<'a> {
    /// A client reports its position.
    Iamat {
        /// The client.
        client: ClientId<'a>,
        /// The client's position.
        position: Position<'a>,
        /// The time, by the client's clock.
        time: Timestamp<'a>,
    },
    /// A client asks for places near a client.
    Whatsat {
        /// The client at the centre.
        client: ClientId<'a>,
        /// The radius in kilometres, 0 to [`MAX_RADIUS_KM`].
        radius: Decimal<'a>,
        /// The maximum number of items, 0 to [`MAX_ITEMS`].
        limit: usize,
    },
}

impl<'a> Command<'a> {
    /// Parses a line without its end. Returns `None` for an invalid command, whatever is wrong with
    /// it: the protocol has one answer for all of them.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = FieldIter(line);
        let name = fields.next()?;
        let arguments = [fields.next()?, fields.next()?, fields.next()?];
        match (name, fields.next()) {
            (b"IAMAT", None) => iamat(arguments),
            (b"WHATSAT", None) => whatsat(arguments),
            _ => None,
        }
    }
}

fn iamat<'a>([client, position, time]: [&'a [u8]; 3]) -> Option<Command<'a>> {
    Some(Command::Iamat {
        client: ClientId::of_field(client)?,
        position: Position::parse(position)?,
        time: Timestamp::parse(time)?,
    })
}

fn whatsat<'a>([client, radius, limit]: [&'a [u8]; 3]) -> Option<Command<'a>> {
    let radius = Decimal::parse(radius).filter(|radius| radius.at_most(MAX_RADIUS_KM))?;
    let limit = Decimal::parse(limit).filter(|limit| limit.fraction().is_empty())?;
    Some(Command::Whatsat {
        client: ClientId::of_field(client)?,
        radius,
        limit: usize::try_from(limit.whole_number().filter(|&limit| limit <= MAX_ITEMS)?).ok()?,
    })
}

/// Iterator over the fields of a line: runs of bytes other than white space.
struct FieldIter<'a>(&'a [u8]);

impl<'a> Iterator for FieldIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut text = self.0;
        while is_white_space(*text.first()?) {
            text = &text[1..];
        }
        let (field, rest) = text.split_at(until_white_space(text));
        self.0 = rest;
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_parsed() {
        let line = b"\t IAMAT \x0b kiwi\x0c+34.068930-118.445127 \r 1621464827.959498503 ";
        let Some(Command::Iamat {
            client,
            position,
            time,
        }) = Command::parse(line)
        else {
            panic!("no IAMAT");
        };
        assert_eq!(client.text(), "kiwi");
        assert_eq!(position.text(), "+34.068930-118.445127");
        assert_eq!(time.text(), "1621464827.959498503");

        let Some(Command::Whatsat {
            client,
            radius,
            limit,
        }) = Command::parse(b"WHATSAT kiwi 10.50 05")
        else {
            panic!("no WHATSAT");
        };
        assert_eq!(client.text(), "kiwi");
        assert_eq!(
            (radius.whole(), radius.fraction()),
            (&b"10"[..], &b"50"[..])
        );
        assert_eq!(limit, 5);
    }

    #[test]
    fn other_lines_are_invalid() {
        for bad in [
            "",
            " ",
            "IAMAT",
            "iamat kiwi +1+1 1",
            "IAMAT kiwi +1+1",
            "IAMAT kiwi +1+1 1 1",
            "IAMAT\u{a0}kiwi +1+1 1",
            "AT Riley +0.1 kiwi +1+1 1",
            "WHATSAT kiwi 10",
            "WHATSAT kiwi 50.0000000001 5",
            "WHATSAT kiwi 10 21",
            "WHATSAT kiwi -1 5",
            "WHATSAT kiwi +1 5",
            "WHATSAT kiwi 10 5.0",
            "WHATSAT kiwi 10 +5",
            "WHATSAT kiwi .5 5",
            "WHATSAT kiwi 5. 5",
            "WHATSAT kiwi 1e1 5",
            "WHATSAT kiwi 10 5 5",
            "IAMAT kiwi +1+1 1\0",
        ] {
            assert_eq!(Command::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Command::parse(b"IAMAT ki\xffwi +1+1 1"), None);
    }

    #[test]
    fn bounds_of_whatsat_are_inclusive() {
        for good in [
            "WHATSAT k 0 0",
            "WHATSAT k 50 20",
            "WHATSAT k 50.000 020",
            "WHATSAT k 0.0001 1",
        ] {
            assert!(Command::parse(good.as_bytes()).is_some(), "{good}");
        }
    }

    proptest! {
        #[test]
        fn fields_are_separated_by_white_space(
            line in "([a-я\u{a0}\u{85}]{0,20}[ \t\r\u{b}\u{c}]{0,2}){0,6}",
            spaces in any::<bool>(),
        ) {
            let line = if spaces { line.replace(['\t', '\r', '\u{b}', '\u{c}'], " ") } else { line };
            let white = |c: char| c.is_ascii() && is_white_space(c as u8);
            let expected: Vec<_> = line.split(white).filter(|field| !field.is_empty()).collect();
            prop_assert_eq!(fields(&line), expected);
        }

        /// Printing a parsed command with single spaces and parsing it again yields the same
        /// command.
        #[test]
        fn parsing_is_the_inverse_of_printing(line in prop::collection::vec(any::<u8>(), 0..120)) {
            round_trip(&line);
        }

        #[test]
        fn parsing_is_the_inverse_of_printing_for_likely_lines(
            line in "(IAMAT|WHATSAT|AT)[ \t]{1,2}[a-я]{1,3}[ \r]([+-][0-9]{1,3}(\\.[0-9]{1,3})?[+-][0-9]{1,3}|[0-9]{1,2}(\\.[0-9])?) [0-9]{1,11}(\\.[0-9]{1,19})?",
        ) {
            round_trip(line.as_bytes());
        }
    }

    fn fields(line: &str) -> Vec<&str> {
        let fields = FieldIter(line.as_bytes());
        fields.map(|field| str::from_utf8(field).unwrap()).collect()
    }

    fn round_trip(line: &[u8]) {
        if let Some(Command::Iamat {
            client,
            position,
            time,
        }) = Command::parse(line)
        {
            let (client, position, time) = (client.text(), position.text(), time.text());
            let printed = format!("IAMAT {client} {position} {time}");
            assert_eq!(Command::parse(printed.as_bytes()), Command::parse(line));
            assert_eq!(
                fields(std::str::from_utf8(line).unwrap()).join(" "),
                printed
            );
        }
    }
}
