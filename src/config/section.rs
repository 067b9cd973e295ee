//! One table of the file while it is parsed.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::messages;
use super::problems::Problems;
use super::setting::{OFF, Setting, SettingVisitor};
use super::value::{self, FromToml, ValueError};
use crate::format;

/// A reader of a table's values by their keys.
///
/// The keys that were read are the valid keys of the table: any other key is an error,
/// and there is no list of keys to maintain. Errors are added to the problems and
/// parsing goes on, so that all are found. A missing table is read as empty.
pub(super) struct Section<'a, 'p> {
    /// The name in messages.
    title: &'static str,
    /// The offset at which it begins; `None` for a missing table.
    at: Option<usize>,
    /// `None` also for a value of another type.
    table: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
    /// The tables inside this one: their titles and their keys.
    inner: Vec<(&'static str, Vec<&'static str>)>,
    problems: &'p mut Problems,
}

/// Reads a whole document with `read`, then rejects the keys that `read` did not read.
pub(super) fn document<'a, T>(
    table: &'a DeTable<'a>,
    problems: &mut Problems,
    read: impl FnOnce(&mut Section<'a, '_>) -> T,
) -> T {
    let (read, _) = Section::new("the file", Some(0), Some(table), problems).read_with(read);
    read
}

impl<'a, 'p> Section<'a, 'p> {
    /// Returns the line on which the table begins; 1 for a missing table.
    pub(super) fn line(&self) -> usize {
        self.problems.line(self.at.unwrap_or(0))
    }

    /// Returns the problems so far, for checks of more than one value.
    pub(super) fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    /// Adds an error of the table as a whole.
    pub(super) fn add(&mut self, message: impl Into<String>) {
        self.problems.add(self.at.unwrap_or(0), message);
    }

    /// Reads a required value. `None` means that a problem was added.
    pub(super) fn required<T: FromToml>(&mut self, key: &'static str) -> Option<Spanned<T>> {
        if let Some(value) = self.find(key) {
            return self.read(key, value);
        }
        let Self { title, .. } = self;
        let needs = format!("needs {key}: {}", T::WANTED);
        match self.at {
            None => self
                .problems
                .general(format!("{title} is missing; it {needs}")),
            Some(at) if self.table.is_some() => self.problems.add(at, format!("{title} {needs}")),
            // The error that it is not a table was added already.
            Some(_) => {}
        }
        None
    }

    /// Reads an optional value. `None` means that it is missing, or that a problem was
    /// added.
    pub(super) fn optional<T: FromToml>(&mut self, key: &'static str) -> Option<Spanned<T>> {
        let value = self.find(key)?;
        self.read(key, value)
    }

    /// Reads the table `[key]` in this one; `title` is its name in messages.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        title: &'static str,
        read: impl FnOnce(&mut Section<'a, '_>) -> T,
    ) -> T {
        let value = self.find(key);
        let table = value.and_then(|value| self.table(value, title));
        let at = value.map(|value| value.span().start);
        let (read, keys) = Section::new(title, at, table, self.problems).read_with(read);
        self.inner.push((title, keys));
        read
    }

    /// Reads each of the tables `[[key]]` in this one; `title` is their name in messages.
    /// `None` means that a problem was added.
    pub(super) fn each<T>(
        &mut self,
        key: &'static str,
        title: &'static str,
        mut read: impl FnMut(&mut Section<'a, '_>) -> T,
    ) -> Option<Vec<T>> {
        let Some(value) = self.find(key) else {
            return Some(Vec::new());
        };
        let Some(items) = value.get_ref().as_array() else {
            self.not_a_table(value, title);
            return None;
        };
        let mut all = Vec::new();
        for item in items.iter() {
            let table = Some(self.table(item, title)?);
            let at = Some(item.span().start);
            let (read, _) = Section::new(title, at, table, self.problems).read_with(&mut read);
            all.push(read);
        }
        Some(all)
    }

    fn new(
        title: &'static str,
        at: Option<usize>,
        table: Option<&'a DeTable<'a>>,
        problems: &'p mut Problems,
    ) -> Self {
        Self {
            title,
            at,
            table,
            known: Vec::new(),
            inner: Vec::new(),
            problems,
        }
    }

    /// Returns what `read` returns, and the keys of the table.
    fn read_with<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> (T, Vec<&'static str>) {
        let result = read(&mut self);
        self.reject_unknown_keys();
        (result, self.known)
    }

    fn reject_unknown_keys(&mut self) {
        let keys = self.table.into_iter().flat_map(DeTable::keys);
        for key in keys {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let message = format!(
                "{} has no key {}; it has {}{}",
                self.title,
                messages::quoted(name),
                format::list(&self.known, "and"),
                self.suggestion(name),
            );
            self.problems.add(key.span().start, message);
        }
    }

    /// Returns the end of the message on an unknown key: the table that has the key, or a known key
    /// that is similar.
    fn suggestion(&self, key: &str) -> String {
        let of_inner = self.inner.iter().find(|(_, keys)| keys.contains(&key));
        match of_inner {
            Some((title, _)) => format!("; did you mean {} in {title}?", messages::quoted(key)),
            None => messages::did_you_mean(key, self.known.iter().copied()),
        }
    }

    fn find(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table?.get(key)
    }

    fn read<T: FromToml>(
        &mut self,
        key: &str,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<Spanned<T>> {
        match T::from_toml(value.get_ref()) {
            Ok(read) => Some(Spanned::new(value.span(), read)),
            Err(error) => {
                self.reject::<T>(key, value, error);
                None
            }
        }
    }

    fn reject<T: FromToml>(&mut self, key: &str, value: &Spanned<DeValue<'_>>, error: ValueError) {
        let why = match error {
            ValueError::Value(why) => why,
            ValueError::Secret(why) => {
                self.problems
                    .add(value.span().start, format!("{key}: {why}"));
                return;
            }
            ValueError::Type | ValueError::Range => {
                let kind = value::kind(value.get_ref());
                format!("must be {}, not {kind}", T::WANTED)
            }
        };
        self.add_for_value(key, value, &why);
    }

    fn add_for_value(&mut self, key: &str, value: &Spanned<DeValue<'_>>, why: &str) {
        let written = messages::excerpt(self.problems.written(value.span()));
        self.problems
            .add(value.span().start, format!("{key} = {written}: {why}"));
    }

    /// Reads a value within bounds; `alternative` ends the message with what else is valid.
    fn read_bounded<T: Setting + PartialOrd>(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        slot: &mut T,
        bounds: RangeInclusive<T>,
        alternative: &str,
    ) {
        match T::from_toml(value.get_ref()) {
            Ok(read) if bounds.contains(&read) => *slot = read,
            Ok(_) | Err(ValueError::Range) => {
                let (least, most) = (bounds.start().show(), bounds.end().show());
                let why = format!("must be from {least} to {most}{alternative}");
                self.add_for_value(key, value, &why);
            }
            Err(ValueError::Value(why)) => self.add_for_value(key, value, &(why + alternative)),
            Err(ValueError::Type) => {
                let kind = value::kind(value.get_ref());
                let why = format!("must be {}{alternative}, not {kind}", T::WANTED);
                self.add_for_value(key, value, &why);
            }
            Err(error) => self.reject::<T>(key, value, error),
        }
    }

    fn table(
        &mut self,
        value: &'a Spanned<DeValue<'a>>,
        title: &'static str,
    ) -> Option<&'a DeTable<'a>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.not_a_table(value, title);
        }
        table
    }

    fn not_a_table(&mut self, value: &Spanned<DeValue<'_>>, title: &str) {
        let kind = value::kind(value.get_ref());
        let message =
            format!("write {title} on its own line, with its keys below it; found {kind}");
        self.problems.add(value.span().start, message);
    }
}

/// Fills settings from the table.
impl SettingVisitor for Section<'_, '_> {
    fn plain<T: Setting>(&mut self, key: &'static str, slot: &mut T) {
        if let Some(value) = self.optional(key) {
            *slot = value.into_inner();
        }
    }

    fn bounded<T: Setting + PartialOrd>(
        &mut self,
        key: &'static str,
        slot: &mut T,
        bounds: RangeInclusive<T>,
    ) {
        if let Some(value) = self.find(key) {
            self.read_bounded(key, value, slot, bounds, "");
        }
    }

    fn bounded_or_off<T: Setting + PartialOrd + Default>(
        &mut self,
        key: &'static str,
        slot: &mut Option<T>,
        bounds: RangeInclusive<T>,
    ) {
        let Some(value) = self.find(key) else {
            return;
        };
        if value.get_ref().as_str() == Some(OFF) {
            *slot = None;
            return;
        }
        let mut read = T::default();
        let or_off = format!(", or \"{OFF}\"");
        self.read_bounded(key, value, &mut read, bounds, &or_off);
        *slot = Some(read);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::samples::{alone, error};

    /// Returns the errors of settings after a valid herd of eight lines.
    fn settings(text: &str) -> String {
        error(&(alone() + text))
    }

    #[test]
    fn an_unknown_key_is_rejected_with_a_list_of_valid_keys() {
        for (text, expected) in [
            (
                "[log]\nlvel = \"info\"",
                "h:10: [log] has no key \"lvel\"; it has dir, format, level, max_bytes and keep; \
                 did you mean \"level\"?",
            ),
            (
                "[limit]",
                "h:9: the file has no key \"limit\"; it has herd, servers, places, log, storage, \
                 security, clients, web, limits and flooding; did you mean \"limits\"?",
            ),
            (
                "colour = 3",
                "h:9: [[servers]] has no key \"colour\"; it has name, clients, peers, \
                 clients_tls, bind_clients, bind_peers, bind_clients_tls, web, bind_web and \
                 talks_to",
            ),
            (
                "[places]\nprovider = \"offline\"\napi_key = \"x\"",
                "h:11: [places] has no key \"api_key\"; it has provider, file and google",
            ),
        ] {
            assert_eq!(settings(text), expected);
        }
    }

    #[test]
    fn a_value_of_another_type_is_rejected_with_an_example() {
        for (text, expected) in [
            (
                "[limits]\nidle = 600",
                "h:10: idle = 600: must be a duration with a unit, in quotes, as in \"500ms\", \
                 \"10min\" or \"1day\", not an integer",
            ),
            (
                "[limits]\nmax_line = \"4096\"",
                "h:10: max_line = \"4096\": must be an integer without quotes, as in 4096, \
                 not a string",
            ),
            (
                "[security]\ninsecure = \"yes\"",
                "h:10: insecure = \"yes\": must be true or false, not a string",
            ),
            (
                "[log]\ndir = [\n\"a\"]",
                "h:10: dir = [...: must be a path in quotes, as in \"logs\", not an array",
            ),
            (
                "[log]\nlevel = 2026-01-01",
                "h:10: level = 2026-01-01: must be a level in quotes, as in \"info\", not a date",
            ),
        ] {
            assert_eq!(settings(text), expected);
        }
    }

    #[test]
    fn a_value_out_of_bounds_is_rejected_with_the_bounds() {
        for (value, expected) in [
            ("0", "0: must be from 1 to 1000"),
            ("-1", "-1: must be from 1 to 1000"),
            ("1_001", "1_001: must be from 1 to 1000"),
            (
                "0xFFFFFFFFFFFFFFFFF",
                "0xFFFFFFFFFFFFFFFFF: must be from 1 to 1000",
            ),
        ] {
            let text = format!("[limits]\nmax_waiting = {value}");
            assert_eq!(settings(&text), format!("h:10: max_waiting = {expected}"));
        }
        assert_eq!(
            settings("[flooding]\nheartbeat = \"5ms\""),
            "h:10: heartbeat = \"5ms\": must be from 10ms to 10s"
        );
        assert_eq!(
            settings("[limits]\nexpire_after = \"5ms\""),
            "h:10: expire_after = \"5ms\": must be from 1s to 100years, or \"off\""
        );
        assert_eq!(
            settings("[limits]\ncommands_per_second = 0"),
            "h:10: commands_per_second = 0: must be from 1 to 1000000, or \"off\""
        );
        assert_eq!(
            settings("[limits]\nconnections_per_address = \"none\""),
            "h:10: connections_per_address = \"none\": must be an integer without quotes, as in \
             4096, or \"off\", not a string"
        );
    }

    #[test]
    fn a_value_in_place_of_a_table_is_rejected() {
        let shapes = "limits = 5\n[servers]\nname = \"a\"\n[[herd]]\n";
        assert_eq!(
            error(shapes),
            "h:1: write [limits] on its own line, with its keys below it; found an integer\n\
             h:2: write [[servers]] on its own line, with its keys below it; found a table\n\
             h:4: write [herd] on its own line, with its keys below it; found an array"
        );
        let mixed = "servers = [{}, 1]\nherd.name = \"a\"";
        assert!(error(mixed).ends_with("found an integer"));
    }

    #[test]
    fn all_errors_are_reported_in_the_order_of_the_file() {
        let text = "[flooding]\ndrain = \"2min\"\nretry = 1\n[log]\nkeep = 1001\n\
                    [limits]\nmax_clients = 0\n";
        let errors = settings(text);
        let lines: Vec<&str> = errors.lines().filter_map(|line| line.get(..5)).collect();
        assert_eq!(lines, ["h:10:", "h:11:", "h:13:", "h:15:"], "{errors}");
    }
}
