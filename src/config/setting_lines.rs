//! The settings of a config as text for people.

use std::ops::RangeInclusive;

use super::Config;
use super::setting::{OFF, Setting, SettingVisitor};
use super::{provider, settings};

/// One setting and its value, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SettingLine {
    /// The table, without brackets.
    pub(super) table: &'static str,
    /// The key.
    pub(super) key: &'static str,
    /// The value.
    pub(super) value: String,
    /// The least and the greatest value, if the setting has bounds.
    pub(super) bounds: Option<(String, String)>,
}

/// Returns all optional settings of a config, in an order that does not depend on the
/// config.
pub(super) fn setting_lines(config: &Config) -> Vec<SettingLine> {
    // A visitor takes mutable settings; this one changes nothing, so a copy will do.
    let mut config = config.clone();
    let mut lister = SettingLister::default();
    provider::places(lister.table("places"), &mut config.places);
    provider::google(lister.table("places.google"), &mut config.places);
    settings::log(lister.table("log"), &mut config.log, &mut config.log_level);
    settings::storage(lister.table("storage"), &mut config.storage);
    settings::security(
        lister.table("security"),
        &mut config.insecure,
        &mut config.tls,
    );
    settings::clients(
        lister.table("clients"),
        &mut config.clients,
        &mut config.gateway,
    );
    settings::web(lister.table("web"), &mut config.web);
    settings::limits(
        lister.table("limits"),
        &mut config.clients,
        &mut config.gateway,
    );
    settings::flooding(lister.table("flooding"), &mut config.peers);
    lister.lines
}

#[derive(Default)]
struct SettingLister {
    table: &'static str,
    lines: Vec<SettingLine>,
}

impl SettingLister {
    fn table(&mut self, table: &'static str) -> &mut Self {
        self.table = table;
        self
    }

    fn push(&mut self, key: &'static str, value: String, bounds: Option<(String, String)>) {
        self.lines.push(SettingLine {
            table: self.table,
            key,
            value,
            bounds,
        });
    }
}

impl SettingVisitor for SettingLister {
    fn plain<T: Setting>(&mut self, key: &'static str, slot: &mut T) {
        self.push(key, slot.show(), None);
    }

    fn bounded<T: Setting + PartialOrd>(
        &mut self,
        key: &'static str,
        slot: &mut T,
        bounds: RangeInclusive<T>,
    ) {
        let bounds = (bounds.start().show(), bounds.end().show());
        self.push(key, slot.show(), Some(bounds));
    }

    fn bounded_or_off<T: Setting + PartialOrd + Default>(
        &mut self,
        key: &'static str,
        slot: &mut Option<T>,
        bounds: RangeInclusive<T>,
    ) {
        let value = slot.as_ref();
        let value = value.map_or_else(|| OFF.to_owned(), Setting::show);
        let bounds = (bounds.start().show(), bounds.end().show());
        self.push(key, value, Some(bounds));
    }
}
