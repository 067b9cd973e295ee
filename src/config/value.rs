//! The types that a value of the file is parsed into.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;
use tracing::level_filters::LevelFilter;

use super::messages;
use super::path_fault::path_fault;
use super::variables::IN_BRACES;
use crate::format;
use crate::gateway::{AcknowledgeLevel, TilesUrl};
use crate::log::LogFormat;
use crate::model::address::Address;
use crate::model::name::Name;
use crate::model::networks::Network;

/// A type that a TOML value can be parsed into.
pub(super) trait FromToml: Sized {
    /// A description of valid values for people. It completes the sentence "must be".
    const WANTED: &'static str;

    /// Parses a value.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError>;
}

/// The reason why a value is invalid.
pub(super) enum ValueError {
    /// It has another TOML type.
    Type,
    /// It is a number out of the type's range.
    Range,
    /// Its type is valid, and its value is not, for this reason.
    Value(String),
    /// The same, and it may be a secret that messages must not repeat.
    Secret(String),
}

/// Returns the TOML type of a value, for people; completes "must be this, not".
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

impl FromToml for Name {
    const WANTED: &'static str = r#"a name in quotes, as in "edge-1""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let rule = "a name has 1 to 63 ASCII letters, digits and inner hyphens";
        Self::parse(text(value)?).ok_or_else(|| ValueError::Value(rule.into()))
    }
}

impl FromToml for Address {
    const WANTED: &'static str = r#"an address in quotes, as in "127.0.0.1:12000""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        Self::parse(text(value)?).map_err(|error| ValueError::Value(error.to_string()))
    }
}

/// The names in a server's `talks_to`, with their offsets. They are compared with the
/// servers once all of those are parsed.
impl FromToml for Vec<Spanned<String>> {
    const WANTED: &'static str = r#"a list of names in quotes, as in ["Jaquez", "Juzang"]"#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let name = |item: &Spanned<DeValue<'_>>| {
            let text = text(item.get_ref())?.to_owned();
            Ok(Spanned::new(item.span(), text))
        };
        value
            .as_array()
            .ok_or(ValueError::Type)?
            .iter()
            .map(name)
            .collect::<Result<_, ValueError>>()
            .map_err(|_| ValueError::Value(format!("must be {}, with strings only", Self::WANTED)))
    }
}

impl FromToml for Vec<Network> {
    const WANTED: &'static str =
        r#"a list of networks in quotes, as in ["10.0.0.0/8", "2001:db8::/32"]"#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let network = |item: &Spanned<DeValue<'_>>| {
            let text = text(item.get_ref()).map_err(|_| {
                ValueError::Value(format!("must be {}, with strings only", Self::WANTED))
            })?;
            Network::parse(text)
                .map_err(|error| ValueError::Value(format!("{}: {error}", messages::quoted(text))))
        };
        let items = value.as_array().ok_or(ValueError::Type)?;
        items.iter().map(network).collect()
    }
}

impl FromToml for bool {
    const WANTED: &'static str = "true or false";

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        value.as_bool().ok_or(ValueError::Type)
    }
}

impl FromToml for Duration {
    const WANTED: &'static str =
        r#"a duration with a unit, in quotes, as in "500ms", "10min" or "1day""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        humantime::parse_duration(text(value)?)
            .map_err(|error| ValueError::Value(format!("must be {}: {error}", Self::WANTED)))
    }
}

impl FromToml for PathBuf {
    const WANTED: &'static str = r#"a path in quotes, as in "logs""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let path = text(value)?;
        match path_fault(path, IN_BRACES) {
            Some(fault) => Err(ValueError::Value(fault)),
            None => Ok(path.into()),
        }
    }
}

impl FromToml for String {
    const WANTED: &'static str = r#"a text in quotes, as in "(c) OpenStreetMap""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        match text(value)? {
            "" => Err(ValueError::Value("a text cannot be empty".into())),
            text => Ok(text.to_owned()),
        }
    }
}

impl FromToml for TilesUrl {
    const WANTED: &'static str =
        r#"a URL in quotes, as in "https://tile.example.org/{z}/{x}/{y}.png""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let rule = format!("must be {}, with {{z}}, {{x}} and {{y}}", Self::WANTED);
        Self::parse(text(value)?).ok_or(ValueError::Value(rule))
    }
}

/// A setting that the file may leave out, for a type without a default.
macro_rules! optional {
    ($($value:ty),*) => {$(
        impl FromToml for Option<$value> {
            const WANTED: &'static str = <$value>::WANTED;

            fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
                <$value>::from_toml(value).map(Some)
            }
        }
    )*};
}

optional!(PathBuf, String, TilesUrl);

/// The levels of `[log]`, from the fewest events to the most.
const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

impl FromToml for LevelFilter {
    const WANTED: &'static str = r#"a level in quotes, as in "info""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let name = text(value)?;
        let named = LEVELS.into_iter().find(|level| level.to_string() == name);
        named.ok_or_else(|| {
            let names = LEVELS.map(|level| level.to_string());
            let names = format::list(names.iter().map(String::as_str), "or");
            ValueError::Value(format!("must be {names}"))
        })
    }
}

impl FromToml for LogFormat {
    const WANTED: &'static str = r#"a format in quotes, as in "text""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let name = text(value)?;
        let named = Self::ALL.into_iter().find(|format| format.name() == name);
        named.ok_or_else(|| {
            let names = format::list(Self::ALL.map(Self::name), "or");
            ValueError::Value(format!("must be {names}"))
        })
    }
}

impl FromToml for AcknowledgeLevel {
    const WANTED: &'static str = r#"a level in quotes, as in "received""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let name = text(value)?;
        let named = Self::ALL.into_iter().find(|level| level.name() == name);
        named.ok_or_else(|| {
            let names = format::list(Self::ALL.map(Self::name), "or");
            ValueError::Value(format!("must be {names}"))
        })
    }
}

impl FromToml for u32 {
    const WANTED: &'static str = INTEGER;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        integer(value)
    }
}

impl FromToml for u64 {
    const WANTED: &'static str = INTEGER;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        integer(value)
    }
}

impl FromToml for usize {
    const WANTED: &'static str = INTEGER;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        integer(value)
    }
}

const INTEGER: &str = "an integer without quotes, as in 4096";

fn integer<N: TryFrom<i128>>(value: &DeValue<'_>) -> Result<N, ValueError> {
    let integer = value.as_integer().ok_or(ValueError::Type)?;
    i128::from_str_radix(integer.as_str(), integer.radix())
        .ok()
        .and_then(|wide| wide.try_into().ok())
        .ok_or(ValueError::Range)
}

/// Returns the text of a string.
pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, ValueError> {
    value.as_str().ok_or(ValueError::Type)
}

#[cfg(test)]
mod tests {
    use crate::config::samples::{alone, error};

    /// Returns the error of one value in an otherwise valid herd.
    fn error_of(table: &str, key: &str, value: &str) -> String {
        let text = error(&format!("{}[{table}]\n{key} = {value}\n", alone()));
        let start = format!("h:10: {key} = {value}: ");
        text.strip_prefix(&start).expect(&text).to_owned()
    }

    #[test]
    fn an_invalid_duration_is_rejected_with_the_reason() {
        let wanted =
            "must be a duration with a unit, in quotes, as in \"500ms\", \"10min\" or \"1day\"";
        for time in ["5", "", "ten minutes", "-1s", "1.2.3s", "5 parsecs"] {
            let error = error_of("limits", "idle", &format!("\"{time}\""));
            assert!(error.starts_with(&format!("{wanted}: ")), "{error}");
        }
        let eternity = error_of("limits", "max_future", "\"9999999999999999999y\"");
        assert!(eternity.contains("too large"), "{eternity}");
    }

    #[test]
    fn an_invalid_choice_is_rejected_with_all_choices() {
        assert_eq!(
            error_of("log", "level", "\"INFO\""),
            "must be off, error, warn, info, debug or trace"
        );
        assert_eq!(
            error_of("places", "provider", "\"googlenew\""),
            "must be offline, google or google-new; did you mean \"google-new\"?"
        );
        assert_eq!(
            error_of("clients", "acknowledge", "\"disc\""),
            "must be received, disk or neighbour"
        );
        assert_eq!(error_of("log", "format", "\"xml\""), "must be text or json");
        assert_eq!(error_of("log", "dir", "\"\""), "a path cannot be empty");
    }

    #[test]
    fn an_invalid_list_of_networks_is_rejected_with_the_network_and_the_reason() {
        let list =
            "must be a list of networks in quotes, as in [\"10.0.0.0/8\", \"2001:db8::/32\"]";
        for table in ["clients", "web"] {
            let deny = |value: &str| error_of(table, "deny", value);
            assert_eq!(deny("\"::1\""), format!("{list}, not a string"));
            assert_eq!(deny("[10]"), format!("{list}, with strings only"));
            assert_eq!(
                deny("[\"::1\", \"example.org\"]"),
                "\"example.org\": it must be an IP address and a length, as in 10.0.0.0/8 or \
                 2001:db8::/32, or one IP address"
            );
            assert_eq!(
                deny("[\"10.1.2.3/8\"]"),
                "\"10.1.2.3/8\": its address has bits after its length: write 10.0.0.0/8, or a \
                 greater length"
            );
        }
    }
}
