//! What one value of the file may be read as.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::messages;
use crate::log;
use crate::model::address::Address;
use crate::model::name::Name;
use crate::model::networks::Network;

/// A type that a value of the file can be read as.
pub(super) trait FromToml: Sized {
    /// What to write, for people; completes "must be".
    const WANTED: &'static str;

    /// Reads a value, or says why it is none of this type.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError>;
}

/// Why a value could not be read.
pub(super) enum ValueError {
    /// It is of another TOML type.
    Type,
    /// It is a number past what the type can hold.
    Range,
    /// Its type is right, and it is wrong for this reason.
    Value(String),
    /// The same, and it may be a secret, so that it must not be repeated.
    Secret(String),
}

/// A TOML type, for people; completes "must be this, not".
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

impl FromToml for Name {
    const WANTED: &'static str = r#"a name in quotes, as in "edge-1""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let rule = "a name is 1 to 63 ASCII letters, digits and inner hyphens";
        Self::parse(text(value)?).ok_or_else(|| ValueError::Value(rule.into()))
    }
}

impl FromToml for Address {
    const WANTED: &'static str = r#"an address in quotes, as in "127.0.0.1:12000""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let address = Self::parse(text(value)?).map_err(|e| ValueError::Value(e.to_string()))?;
        // The system would pick a port that nobody else could know.
        match address.port() {
            0 => Err(ValueError::Value("it needs a port from 1 to 65535".into())),
            _ => Ok(address),
        }
    }
}

/// The names in a server's `talks_to`, each where it stands. Whether there is
/// a server of that name is judged when all servers are known.
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
            .map_err(|_| {
                ValueError::Value(format!("must be {}, and nothing else in it", Self::WANTED))
            })
    }
}

impl FromToml for Vec<Network> {
    const WANTED: &'static str =
        r#"a list of networks in quotes, as in ["10.0.0.0/8", "2001:db8::/32"]"#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let network = |item: &Spanned<DeValue<'_>>| {
            let text = text(item.get_ref()).map_err(|_| {
                ValueError::Value(format!("must be {}, and nothing else in it", Self::WANTED))
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
        r#"a time with its unit in quotes, as in "500ms", "10min" or "1day""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        humantime::parse_duration(text(value)?)
            .map_err(|error| ValueError::Value(format!("must be {}: {error}", Self::WANTED)))
    }
}

impl FromToml for PathBuf {
    const WANTED: &'static str = r#"a path in quotes, as in "logs""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        match text(value)? {
            "" => Err(ValueError::Value("a path cannot be empty".into())),
            path => Ok(path.into()),
        }
    }
}

impl FromToml for Option<PathBuf> {
    const WANTED: &'static str = PathBuf::WANTED;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        PathBuf::from_toml(value).map(Some)
    }
}

impl FromToml for log::Level {
    const WANTED: &'static str = r#"a level in quotes, as in "info""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        text(value)?.parse().map_err(|_| {
            let levels = messages::list(Self::ALL.map(Self::name), "or");
            ValueError::Value(format!("must be {levels}"))
        })
    }
}

impl FromToml for u32 {
    const WANTED: &'static str = WHOLE;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        whole(value)
    }
}

impl FromToml for u64 {
    const WANTED: &'static str = WHOLE;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        whole(value)
    }
}

impl FromToml for usize {
    const WANTED: &'static str = WHOLE;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        whole(value)
    }
}

const WHOLE: &str = "a whole number without quotes, as in 4096";

fn whole<N: TryFrom<i128>>(value: &DeValue<'_>) -> Result<N, ValueError> {
    let integer = value.as_integer().ok_or(ValueError::Type)?;
    i128::from_str_radix(integer.as_str(), integer.radix())
        .ok()
        .and_then(|wide| wide.try_into().ok())
        .ok_or(ValueError::Range)
}

/// The text of a value that is one.
pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, ValueError> {
    value.as_str().ok_or(ValueError::Type)
}

#[cfg(test)]
mod tests {
    use crate::config::samples::{alone, error};

    /// What is told of one value, in a herd that is right otherwise.
    fn told(table: &str, key: &str, value: &str) -> String {
        let told = error(&format!("{}[{table}]\n{key} = {value}\n", alone()));
        let start = format!("h:10: {key} = {value}: ");
        told.strip_prefix(&start).expect(&told).to_owned()
    }

    #[test]
    fn what_is_no_time_says_why() {
        let wanted =
            "must be a time with its unit in quotes, as in \"500ms\", \"10min\" or \"1day\"";
        for time in ["5", "", "ten minutes", "-1s", "1.2.3s", "5 parsecs"] {
            let told = told("limits", "idle", &format!("\"{time}\""));
            assert!(told.starts_with(&format!("{wanted}: ")), "{told}");
        }
        let eternity = told("limits", "max_future", "\"9999999999999999999y\"");
        assert!(eternity.contains("too large"), "{eternity}");
    }

    #[test]
    fn choices_name_what_there_is_to_choose() {
        assert_eq!(
            told("log", "level", "\"INFO\""),
            "must be off, error, warn, info, debug or trace"
        );
        assert_eq!(
            told("places", "provider", "\"googlenew\""),
            "must be offline, google or google-new; did you mean \"google-new\"?"
        );
        assert_eq!(told("log", "dir", "\"\""), "a path cannot be empty");
    }

    #[test]
    fn what_is_no_list_of_networks_says_which_and_why() {
        let list =
            "must be a list of networks in quotes, as in [\"10.0.0.0/8\", \"2001:db8::/32\"]";
        for table in ["clients", "web"] {
            let told = |value: &str| told(table, "deny", value);
            assert_eq!(told("\"::1\""), format!("{list}, not a text"));
            assert_eq!(told("[10]"), format!("{list}, and nothing else in it"));
            assert_eq!(
                told("[\"::1\", \"example.org\"]"),
                "\"example.org\": it must be an IP address and a length, as in 10.0.0.0/8 or \
                 2001:db8::/32, or one IP address"
            );
            assert_eq!(
                told("[\"10.1.2.3/8\"]"),
                "\"10.1.2.3/8\": its address has bits after its length: write 10.0.0.0/8, or a \
                 greater length"
            );
        }
    }
}
