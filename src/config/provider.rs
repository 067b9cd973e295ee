//! The flat keys of `[places]`, and the provider that comes of them.
//!
//! In the file the keys of all providers stand side by side, so that one can go to another and back by changing one
//! word; a provider knows its own only. Those of the others are read, judged, and have no effect.

use std::path::PathBuf;

use toml::de::DeValue;

use super::messages;
use super::setting::{Setting, Visitor};
use super::value::{FromToml, ValueError, text};
use crate::places::Provider;
use crate::places::google::{self, BaseUrl, DEFAULT_KEY_VARIABLE, Fields, FieldsError, GoogleApi};

/// Goes over the keys that make a provider.
pub(super) fn provider(on: &mut impl Visitor, provider: &mut Provider) {
    let mut keys = Keys::of(provider);
    on.plain("provider", &mut keys.provider);
    on.plain("file", &mut keys.file);
    on.plain("base_url", &mut keys.base_url);
    on.plain("api_key_env", &mut keys.api_key_env);
    on.plain("fields", &mut keys.fields);
    *provider = keys.into_provider();
}

/// The keys of all providers.
struct Keys {
    provider: Name,
    file: Option<PathBuf>,
    base_url: Option<BaseUrl>,
    api_key_env: Variable,
    fields: Fields,
}

impl Keys {
    fn of(provider: &Provider) -> Self {
        let mut keys = Self {
            provider: Name::Offline,
            file: None,
            base_url: None,
            api_key_env: Variable(DEFAULT_KEY_VARIABLE.to_owned()),
            fields: Fields::default(),
        };
        match provider {
            Provider::Offline { file } => keys.file.clone_from(file),
            Provider::Google(google) => keys.fill(google),
        }
        keys
    }

    fn fill(&mut self, google: &google::GoogleSettings) {
        self.provider = Name::Google;
        if let GoogleApi::New(fields) = &google.api {
            self.provider = Name::GoogleNew;
            self.fields = fields.clone();
        }
        self.base_url.clone_from(&google.base_url);
        self.api_key_env = Variable(google.api_key_env.clone());
    }

    fn into_provider(self) -> Provider {
        let api = match self.provider {
            Name::Offline => return Provider::Offline { file: self.file },
            Name::Google => GoogleApi::Legacy,
            Name::GoogleNew => GoogleApi::New(self.fields),
        };
        Provider::Google(google::GoogleSettings {
            api,
            base_url: self.base_url,
            api_key_env: self.api_key_env.0,
        })
    }
}

/// The name of a places provider.
#[derive(Clone, Copy, PartialEq)]
enum Name {
    Offline,
    Google,
    GoogleNew,
}

impl Name {
    const ALL: [Self; 3] = [Self::Offline, Self::Google, Self::GoogleNew];

    fn text(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Google => "google",
            Self::GoogleNew => "google-new",
        }
    }
}

impl FromToml for Name {
    const WANTED: &'static str = r#"a provider in quotes, as in "offline""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let written = text(value)?;
        let named = |name: &Self| name.text() == written;
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            let names = Self::ALL.map(Self::text);
            let guess = messages::did_you_mean(written, names);
            ValueError::Value(format!("must be {}{guess}", messages::list(names, "or")))
        })
    }
}

impl Setting for Name {
    fn show(&self) -> String {
        self.text().to_owned()
    }
}

/// The name of an environment variable.
struct Variable(String);

impl FromToml for Variable {
    const WANTED: &'static str =
        r#"the name of an environment variable in quotes, as in "GOOGLE_PLACES_API_KEY""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let name = text(value)?;
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit());
        // So begin Google's keys, and nobody's variables.
        match is_name && !name.starts_with("AIza") {
            true => Ok(Self(name.to_owned())),
            false => Err(ValueError::Secret(format!(
                "must be {}, not the key itself: keys do not belong into files",
                Self::WANTED
            ))),
        }
    }
}

impl Setting for Variable {
    fn show(&self) -> String {
        self.0.clone()
    }
}

impl FromToml for Option<BaseUrl> {
    const WANTED: &'static str = r#"a URL in quotes, as in "https://places.googleapis.com""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        BaseUrl::parse(text(value)?)
            .map(Some)
            .map_err(|why| ValueError::Secret(format!("must be {}: {why}", Self::WANTED)))
    }
}

impl Setting for Option<BaseUrl> {
    fn show(&self) -> String {
        self.as_ref()
            .map_or_else(|| "Google's".to_owned(), ToString::to_string)
    }
}

impl FromToml for Fields {
    const WANTED: &'static str = r#"a list of fields in quotes, as in ["id", "location"]"#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let items = value.as_array().ok_or(ValueError::Type)?.iter();
        let names: Result<Vec<&str>, ValueError> = items.map(|item| text(item.get_ref())).collect();
        let names = names.map_err(|_| {
            ValueError::Value(format!("must be {}, and nothing else in it", Self::WANTED))
        })?;
        Self::parse(names).map_err(|no| ValueError::Value(refusal(no)))
    }
}

fn refusal(no: FieldsError) -> String {
    let names = messages::list(Fields::names(), "and");
    match no {
        FieldsError::Empty => format!("name at least one field; there are {names}"),
        FieldsError::Unknown(name) => format!(
            "{} is no field that is used; there are {names}{}",
            messages::quoted(&name),
            messages::did_you_mean(&name, Fields::names())
        ),
    }
}

impl Setting for Fields {
    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::samples::{alone, error, parse};
    use crate::config::setting_lines::tell;

    fn read(keys: &str) -> Provider {
        parse(&format!("{}[places]\n{keys}", alone()))
            .places
            .provider
    }

    fn told(keys: &str) -> String {
        error(&format!("{}[places]\n{keys}", alone()))
    }

    #[test]
    fn a_provider_takes_the_keys_that_concern_it() {
        let file = Some("parks.csv".into());
        assert_eq!(
            read("file = \"parks.csv\"\nbase_url = \"https://example.org\""),
            Provider::Offline { file }
        );
        assert_eq!(
            read("provider = \"google\"\nfile = \"parks.csv\""),
            Provider::Google(google::GoogleSettings::of(GoogleApi::Legacy))
        );
        let keys = "provider = \"google-new\"\nbase_url = \"http://localhost:8080/x/\"\n\
                    api_key_env = \"HERD_KEY\"\nfields = [\"location\", \"id\"]";
        let Provider::Google(google) = read(keys) else {
            panic!("another provider");
        };
        assert_eq!(
            google.api,
            GoogleApi::New(Fields::parse(["id", "location"]).unwrap())
        );
        assert_eq!(
            google.base_url.unwrap().to_string(),
            "http://localhost:8080/x"
        );
        assert_eq!(google.api_key_env, "HERD_KEY");
    }

    #[test]
    fn what_was_read_is_told() {
        let keys = "provider = \"google-new\"\nbase_url = \"http://localhost:8080/\"\n\
                    fields = [\"location\", \"id\"]";
        let config = parse(&format!("{}[places]\n{keys}", alone()));
        let shown: Vec<_> = tell(&config)
            .into_iter()
            .filter(|told| told.table == "places")
            .map(|told| format!("{} = {}", told.key, told.value))
            .collect();
        assert_eq!(
            shown,
            [
                "provider = google-new",
                "file = none",
                "base_url = http://localhost:8080",
                "api_key_env = GOOGLE_PLACES_API_KEY",
                "fields = id, location",
                "timeout = 5s",
            ]
        );
    }

    #[test]
    fn an_unknown_field_is_told_with_those_there_are() {
        let told = told("fields = [\"id\", \"Rating\"]");
        assert!(
            told.starts_with(
                "h:10: fields = [\"id\", \"Rating\"]: \"Rating\" is no field that is used; there are \
                 businessStatus, currentOpeningHours, displayName,"
            ),
            "{told}"
        );
        assert!(
            told.ends_with("did you mean \"rating\" (case counts)?"),
            "{told}"
        );
    }

    #[test]
    fn lists_of_fields_are_lists_of_names() {
        assert!(told("fields = []").contains("name at least one field"));
        assert!(told("fields = [\"*\"]").contains("\"*\" is no field"));
        assert!(told("fields = [1]").contains("and nothing else in it"));
        assert!(told("fields = \"id\"").contains("must be a list of fields"));
    }

    #[test]
    fn a_key_in_the_file_is_refused_and_not_repeated() {
        for value in ["AIzaSyExample", "secret-key", "", "1st", "a b"] {
            let told = told(&format!("api_key_env = \"{value}\""));
            assert!(
                told.starts_with("h:10: api_key_env: must be the name of"),
                "{told}"
            );
            assert!(value.is_empty() || !told.contains(value), "{told}");
        }
    }

    #[test]
    fn a_url_that_is_none_is_refused_and_not_repeated() {
        let told = told("base_url = \"https://me:secret@example.org\"");
        assert!(told.contains("h:10: base_url: must be a URL"), "{told}");
        assert!(told.contains("leave out user and password"), "{told}");
        assert!(!told.contains("secret"), "{told}");
    }
}
