//! The keys of `[places]` and `[places.google]`, and the provider that they configure.
//!
//! The keys of all providers are read and checked, so that one can switch to another and back by
//! changing one word. Those of the other provider have no effect.

use toml::de::DeValue;

use super::messages;
use super::setting::{Setting, SettingVisitor};
use super::value::{FromToml, ValueError, text};
use super::variables::is_variable_name;
use crate::format;
use crate::places::PlacesSettings;
use crate::places::google::{
    BaseUrl, FieldMask, FieldMaskError, GoogleApi, GoogleSettings, MAX_TIMEOUT, MIN_TIMEOUT,
};

/// Visits the keys of `[places]`.
pub(super) fn places(on: &mut impl SettingVisitor, settings: &mut PlacesSettings) {
    let (mut provider, mut file) = match settings {
        PlacesSettings::Offline { file } => (ProviderName::Offline, file.take()),
        PlacesSettings::Google(google) => (ProviderName::of(&google.api), None),
    };
    let before = provider;
    on.plain("provider", &mut provider);
    on.plain("file", &mut file);
    match provider.api() {
        None => *settings = PlacesSettings::Offline { file },
        Some(api) if provider != before => {
            *settings = PlacesSettings::Google(GoogleSettings::of(api));
        }
        Some(_) => {}
    }
}

/// Visits the keys of `[places.google]`.
pub(super) fn google(on: &mut impl SettingVisitor, settings: &mut PlacesSettings) {
    let unused = || GoogleSettings::of(GoogleApi::Legacy);
    let mut google = match settings {
        PlacesSettings::Offline { .. } => unused(),
        PlacesSettings::Google(google) => google.clone(),
    };
    let mut variable = VariableName(google.api_key_env);
    let mut fields = match &google.api {
        GoogleApi::Legacy => FieldMask::default(),
        GoogleApi::New(fields) => fields.clone(),
    };
    on.plain("api_key_env", &mut variable);
    on.plain("base_url", &mut google.base_url);
    on.bounded("timeout", &mut google.timeout, MIN_TIMEOUT..=MAX_TIMEOUT);
    on.plain("fields", &mut fields);
    google.api_key_env = variable.0;
    if let GoogleApi::New(mask) = &mut google.api {
        *mask = fields;
    }
    if let PlacesSettings::Google(settings) = settings {
        *settings = google;
    }
}

/// The name of a places provider.
#[derive(Clone, Copy, PartialEq)]
enum ProviderName {
    Offline,
    Google,
    GoogleNew,
}

impl ProviderName {
    const ALL: [Self; 3] = [Self::Offline, Self::Google, Self::GoogleNew];

    fn of(api: &GoogleApi) -> Self {
        match api {
            GoogleApi::Legacy => Self::Google,
            GoogleApi::New(_) => Self::GoogleNew,
        }
    }

    /// Returns the API of Google, or `None` where the provider is not Google.
    fn api(self) -> Option<GoogleApi> {
        match self {
            Self::Offline => None,
            Self::Google => Some(GoogleApi::Legacy),
            Self::GoogleNew => Some(GoogleApi::New(FieldMask::default())),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Google => "google",
            Self::GoogleNew => "google-new",
        }
    }
}

impl FromToml for ProviderName {
    const WANTED: &'static str = r#"a provider in quotes, as in "offline""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let written = text(value)?;
        let named = |name: &Self| name.text() == written;
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            let names = Self::ALL.map(Self::text);
            let guess = messages::did_you_mean(written, names);
            ValueError::Value(format!("must be {}{guess}", format::list(names, "or")))
        })
    }
}

impl Setting for ProviderName {
    fn show(&self) -> String {
        self.text().to_owned()
    }
}

/// The name of an environment variable.
struct VariableName(String);

impl FromToml for VariableName {
    const WANTED: &'static str =
        r#"the name of an environment variable in quotes, as in "GOOGLE_PLACES_API_KEY""#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let name = text(value)?;
        // Google's keys begin like this, and variables do not.
        if is_variable_name(name) && !name.starts_with("AIza") {
            return Ok(Self(name.to_owned()));
        }
        Err(ValueError::Secret(format!(
            "must be {}, not the key itself; keys do not belong in files",
            Self::WANTED
        )))
    }
}

impl Setting for VariableName {
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

impl FromToml for FieldMask {
    const WANTED: &'static str = r#"a list of fields in quotes, as in ["id", "location"]"#;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, ValueError> {
        let items = value.as_array().ok_or(ValueError::Type)?.iter();
        let names: Result<Vec<&str>, ValueError> = items.map(|item| text(item.get_ref())).collect();
        let names = names.map_err(|_| {
            ValueError::Value(format!("must be {}, with strings only", Self::WANTED))
        })?;
        Self::parse(names).map_err(|error| ValueError::Value(describe(error)))
    }
}

fn describe(error: FieldMaskError) -> String {
    let names = format::list(FieldMask::names(), "and");
    match error {
        FieldMaskError::Empty => format!("name at least one field; there are {names}"),
        FieldMaskError::Unknown(name) => format!(
            "unknown field {}; there are {names}{}",
            messages::quoted(&name),
            messages::did_you_mean(&name, FieldMask::names())
        ),
    }
}

impl Setting for FieldMask {
    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::samples::{alone, error, parse};
    use crate::config::setting_lines::setting_lines;

    fn read(tables: &str) -> PlacesSettings {
        parse(&(alone() + tables)).places
    }

    fn message(google_keys: &str) -> String {
        error(&format!("{}[places.google]\n{google_keys}", alone()))
    }

    #[test]
    fn a_provider_uses_its_own_keys_only() {
        let file = Some("parks.csv".into());
        assert_eq!(
            read("[places]\nfile = \"parks.csv\"\n[places.google]\ntimeout = \"1s\""),
            PlacesSettings::Offline { file }
        );
        assert_eq!(
            read("[places]\nprovider = \"google\"\nfile = \"parks.csv\""),
            PlacesSettings::Google(GoogleSettings::of(GoogleApi::Legacy))
        );
        let tables = "[places]\nprovider = \"google-new\"\n[places.google]\n\
                      base_url = \"http://localhost:8080/x/\"\napi_key_env = \"HERD_KEY\"\n\
                      timeout = \"2s\"\nfields = [\"location\", \"id\"]";
        let PlacesSettings::Google(google) = read(tables) else {
            panic!("another provider");
        };
        assert_eq!(
            google.api,
            GoogleApi::New(FieldMask::parse(["id", "location"]).unwrap())
        );
        assert_eq!(
            google.base_url.unwrap().to_string(),
            "http://localhost:8080/x"
        );
        assert_eq!(google.api_key_env, "HERD_KEY");
        assert_eq!(google.timeout.as_secs(), 2);
    }

    #[test]
    fn settings_are_listed_as_they_were_read() {
        let tables = "[places]\nprovider = \"google-new\"\n[places.google]\n\
                      base_url = \"http://localhost:8080/\"\nfields = [\"location\", \"id\"]";
        let lines: Vec<_> = setting_lines(&parse(&(alone() + tables)))
            .into_iter()
            .filter(|line| line.table.starts_with("places"))
            .map(|line| format!("{}.{} = {}", line.table, line.key, line.value))
            .collect();
        assert_eq!(
            lines,
            [
                "places.provider = google-new",
                "places.file = none",
                "places.google.api_key_env = GOOGLE_PLACES_API_KEY",
                "places.google.base_url = http://localhost:8080",
                "places.google.timeout = 5s",
                "places.google.fields = id, location",
            ]
        );
    }

    #[test]
    fn an_unknown_field_is_reported_with_the_known_ones() {
        let message = message("fields = [\"id\", \"Rating\"]");
        assert!(
            message.starts_with(
                "h:10: fields = [\"id\", \"Rating\"]: unknown field \"Rating\"; there are \
                 businessStatus, currentOpeningHours, displayName,"
            ),
            "{message}"
        );
        assert!(
            message.ends_with("did you mean \"rating\" (case counts)?"),
            "{message}"
        );
    }

    #[test]
    fn fields_must_be_a_list_of_names() {
        assert!(message("fields = []").contains("name at least one field"));
        assert!(message("fields = [\"*\"]").contains("unknown field \"*\""));
        assert!(message("fields = [1]").contains("with strings only"));
        assert!(message("fields = \"id\"").contains("must be a list of fields"));
    }

    #[test]
    fn a_key_in_the_file_is_rejected_and_not_repeated() {
        for value in ["AIzaSyExample", "secret-key", "", "1st", "a b"] {
            let message = message(&format!("api_key_env = \"{value}\""));
            assert!(
                message.starts_with("h:10: api_key_env: must be the name of"),
                "{message}"
            );
            assert!(value.is_empty() || !message.contains(value), "{message}");
        }
    }

    #[test]
    fn an_invalid_url_is_rejected_and_not_repeated() {
        let message = message("base_url = \"https://me:secret@example.org\"");
        assert!(
            message.contains("h:10: base_url: must be a URL"),
            "{message}"
        );
        assert!(message.contains("leave out user and password"), "{message}");
        assert!(!message.contains("secret"), "{message}");
    }

    #[test]
    fn a_key_of_google_in_places_is_unknown_and_its_table_is_suggested() {
        let text = format!("{}[places]\ntimeout = \"1s\"", alone());
        assert_eq!(
            error(&text),
            "h:10: [places] has no key \"timeout\"; it has provider, file and google; \
             did you mean \"timeout\" in [places.google]?"
        );
    }
}
