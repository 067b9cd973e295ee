//! Environment variables in the values of a file: `${NAME}`, and `${NAME:-TEXT}` with a text for
//! a variable that is unset or empty. `$${` stands for `${`.
//!
//! The parsed strings are expanded, and not the text of the file: no content of a variable can
//! begin another key, table or list. Keys and values of other types are not expanded. Messages
//! show a value as the file has it.
//!
//! A variable may stand for a host, a name or a path, and never for a secret: those are in files
//! of their own, or in a variable that only the code which needs it reads.

use std::borrow::Cow;
use std::ffi::OsString;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::messages;
use super::problems::Problems;
use super::source::MAX_FILE_BYTES;

/// Maximum number of bytes that all variables of a file may add. As the limit on the file, it
/// bounds every list and text.
const MAX_ADDED_BYTES: usize = MAX_FILE_BYTES as usize;

/// How a value has a variable; ends a message.
pub(super) const IN_BRACES: &str = ", or ${NAME} in braces";

/// The key whose value names a variable. Its content is a secret.
const NAMES_SECRET: &str = "api_key_env";

/// Expands all strings of a document. Each error is added to `problems`.
pub(super) fn expand(
    document: &mut DeTable<'_>,
    variable: &dyn Fn(&str) -> Option<OsString>,
    problems: &mut Problems,
) {
    let mut expansion = Expansion {
        variable,
        problems,
        left: MAX_ADDED_BYTES,
    };
    expansion.table(document);
}

struct Expansion<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    problems: &'a mut Problems,
    /// The number of bytes that may be added yet.
    left: usize,
}

impl Expansion<'_> {
    fn table(&mut self, table: &mut DeTable<'_>) {
        for (key, value) in table.iter_mut() {
            self.value(key.get_ref(), value);
        }
    }

    fn value(&mut self, key: &str, value: &mut Spanned<DeValue<'_>>) {
        let at = value.span();
        match value.get_mut() {
            DeValue::String(text) if text.contains("${") => match self.text(key, text) {
                Ok(expanded) => *text = Cow::Owned(expanded),
                Err(why) => {
                    let written = messages::excerpt(self.problems.written(at.clone()));
                    self.problems
                        .add(at.start, format!("{key} = {written}: {why}"));
                }
            },
            DeValue::Array(items) => items.iter_mut().for_each(|item| self.value(key, item)),
            DeValue::Table(table) => self.table(table),
            _ => {}
        }
    }

    fn text(&mut self, key: &str, text: &str) -> Result<String, String> {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                expanded.extend([before, "${"]);
                rest = after;
                continue;
            }
            if key == NAMES_SECRET {
                return Err(
                    "write the name of the variable alone, without ${}; its content is a \
                            secret and does not become part of the config"
                        .to_owned(),
                );
            }
            let Some((inside, after)) = after.split_once('}') else {
                return Err(
                    "\"${\" lacks its \"}\"; write ${NAME}, or $${ for \"${\" itself".into(),
                );
            };
            expanded.push_str(before);
            expanded.push_str(&self.content(inside)?);
            rest = after;
        }
        expanded.push_str(rest);
        let added = expanded.len().saturating_sub(text.len());
        self.left = self.left.checked_sub(added).ok_or_else(|| {
            format!("the variables of the file add more than {MAX_ADDED_BYTES} bytes to it")
        })?;
        Ok(expanded)
    }

    /// Returns the content of the variable in `${inside}`.
    fn content(&self, inside: &str) -> Result<String, String> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_variable_name(name) {
            return Err(format!(
                "{} is no name of an environment variable: write ${{NAME}} with ASCII letters, \
                 digits and underscores, or $${{ for \"${{\" itself",
                messages::quoted(name)
            ));
        }
        let content = (self.variable)(name).map(OsString::into_string);
        match (content, default) {
            (Some(Err(_)), _) => Err(format!("the environment variable {name} is not UTF-8")),
            (Some(Ok(content)), None) => Ok(content),
            (Some(Ok(content)), Some(_)) if !content.is_empty() => Ok(content),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(format!(
                "the environment variable {name} is not set; set it, or write ${{{name}:-TEXT}} \
                 with a text to use then"
            )),
        }
    }
}

/// Returns whether a text can be the name of an environment variable.
pub(super) fn is_variable_name(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    name.bytes().all(is_inner)
        && !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::samples::alone;

    fn variable(name: &str) -> Option<OsString> {
        use std::os::unix::ffi::OsStringExt;
        match name {
            "HOST" => Some("10.0.0.1".into()),
            "PORT_2" => Some("12345".into()),
            "EMPTY" => Some("".into()),
            "QUOTED" => Some("a\"\ntalks_to = [\"x\"]\n[log]\ndir = \"y".into()),
            "NESTED" => Some("${HOST}".into()),
            "BINARY" => Some(OsString::from_vec(vec![0xff])),
            "LONG" => Some("x".repeat(MAX_ADDED_BYTES / 2).into()),
            _ => None,
        }
    }

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse_with(text, "h", &variable).map_err(|error| error.to_string())
    }

    fn dir(value: &str) -> Result<String, String> {
        let config = parse(&format!("{}[log]\ndir = \"{value}\"\n", alone()))?;
        Ok(config.log.dir.display().to_string())
    }

    #[test]
    fn variables_are_expanded_in_every_string() {
        for (value, expected) in [
            ("${HOST}", "10.0.0.1"),
            ("a/${HOST}-${PORT_2}/b", "a/10.0.0.1-12345/b"),
            ("${NOTHING:-logs}", "logs"),
            ("${EMPTY:-logs}", "logs"),
            ("${HOST:-logs}", "10.0.0.1"),
            ("x${EMPTY}${NOTHING:-}", "x"),
            ("5$", "5$"),
            ("$5", "$5"),
        ] {
            assert_eq!(dir(value).as_deref(), Ok(expected), "{value}");
        }
        let text = alone()
            .replace("127.0.0.1:12000", "${HOST}:${PORT_2}")
            .replace("\"Riley\"", "\"${SERVER:-Zoe}\"");
        let config = parse(&(text + "[clients]\nallow = [\"::1\", \"${HOST}\"]\n")).unwrap();
        assert_eq!(config.servers[0].clients.to_string(), "10.0.0.1:12345");
        assert_eq!(config.servers[0].name.as_str(), "Zoe");
        assert_eq!(config.clients.networks.allow[1].to_string(), "10.0.0.1");
    }

    #[test]
    fn a_doubled_dollar_stands_for_itself() {
        let attribution = |value: &str| {
            let web = "[web]\ntiles = \"https://x/{z}/{x}/{y}\"\ntiles_attribution = ";
            let config = parse(&format!("{}{web}\"{value}\"\n", alone())).unwrap();
            config.web.tiles_attribution.unwrap()
        };
        assert_eq!(attribution("$${HOST}"), "${HOST}");
        assert_eq!(attribution("$$${HOST} $$"), "$${HOST} $$");
        assert_eq!(attribution("$${x ${HOST}"), "${x 10.0.0.1");
        // What a variable contains is not expanded again.
        assert_eq!(attribution("${NESTED}"), "${HOST}");
    }

    #[test]
    fn content_of_a_variable_cannot_become_structure() {
        let error = parse(&alone().replace("\"Riley\"", "\"${QUOTED}\"")).unwrap_err();
        let expected = "h:4: name = \"${QUOTED}\": a name has 1 to 63 ASCII letters, digits and \
                        inner hyphens";
        assert_eq!(error, expected);
    }

    #[test]
    fn errors_name_the_line_the_key_and_the_way_out() {
        let text = alone()
            .replace("127.0.0.1:12000", "${HOOST}:1")
            .replace("talks_to = []", "talks_to = [\"x\", \"${1}\"]");
        assert_eq!(
            parse(&text).unwrap_err(),
            "h:5: clients = \"${HOOST}:1\": the environment variable HOOST is not set; set it, or \
             write ${HOOST:-TEXT} with a text to use then\n\
             h:7: talks_to = \"${1}\": \"1\" is no name of an environment variable: write ${NAME} \
             with ASCII letters, digits and underscores, or $${ for \"${\" itself"
        );
        for (value, expected) in [
            (
                "${",
                "h:10: dir = \"${\": \"${\" lacks its \"}\"; write ${NAME}, or",
            ),
            ("${HOST", "h:10: dir = \"${HOST\": \"${\" lacks its \"}\""),
            ("${}", "\"\" is no name"),
            ("${ HOST}", "\" HOST\" is no name"),
            ("${BINARY}", "the environment variable BINARY is not UTF-8"),
            (
                "${BINARY:-x}",
                "the environment variable BINARY is not UTF-8",
            ),
            ("${LONG}${LONG}${LONG}", "add more than 1048576 bytes"),
        ] {
            let error = dir(value).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        // The value is quoted as the file has it.
        let clients = alone().replace("127.0.0.1:12000", "${HOST}:x");
        let error = parse(&clients).unwrap_err();
        assert!(
            error.starts_with("h:5: clients = \"${HOST}:x\": it must end in"),
            "{error}"
        );
    }

    #[test]
    fn the_variable_of_a_key_is_named_and_not_expanded() {
        let text = alone() + "[places.google]\napi_key_env = \"${HOST}\"\n";
        let error = parse(&text).unwrap_err();
        assert!(
            error.starts_with(
                "h:10: api_key_env = \"${HOST}\": write the name of the variable alone"
            ),
            "{error}"
        );
    }

    #[test]
    fn all_variables_of_a_file_share_one_limit() {
        let line = |key: &str| format!("{key} = \"${{LONG}}\"\n");
        let two = line("ca") + &line("certificate") + &line("key");
        let error = parse(&format!("{}[security]\n{two}", alone())).unwrap_err();
        assert!(error.contains("add more than 1048576 bytes"), "{error}");
    }
}
