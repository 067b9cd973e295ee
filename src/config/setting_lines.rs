//! The settings of a config as people read them.

use std::ops::RangeInclusive;

use super::Config;
use super::setting::{OFF, Setting, Visitor};
use super::{provider, settings};

/// One setting and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SettingLine {
    /// Its table, without brackets.
    pub(super) table: &'static str,
    /// Its key.
    pub(super) key: &'static str,
    /// Its value.
    pub(super) value: String,
    /// Its least and greatest value, where it has bounds.
    pub(super) bounds: Option<(String, String)>,
}

/// All optional settings of a config. The same settings stand at the same
/// places of the list, whatever the config.
pub(super) fn tell(config: &Config) -> Vec<SettingLine> {
    // A visitor may change what it visits; this one does not, and gets a copy.
    let mut config = config.clone();
    let mut teller = SettingLister::default();
    provider::places(teller.table("places"), &mut config.places);
    provider::google(teller.table("places.google"), &mut config.places);
    settings::log(teller.table("log"), &mut config.log, &mut config.log_level);
    settings::security(
        teller.table("security"),
        &mut config.insecure,
        &mut config.tls,
    );
    settings::networks(teller.table("clients"), &mut config.clients.networks);
    settings::web(teller.table("web"), &mut config.web);
    settings::limits(
        teller.table("limits"),
        &mut config.clients,
        &mut config.gateway,
    );
    settings::flooding(teller.table("flooding"), &mut config.peers);
    teller.told
}

#[derive(Default)]
struct SettingLister {
    table: &'static str,
    told: Vec<SettingLine>,
}

impl SettingLister {
    fn table(&mut self, table: &'static str) -> &mut Self {
        self.table = table;
        self
    }

    fn push(&mut self, key: &'static str, value: String, bounds: Option<(String, String)>) {
        self.told.push(SettingLine {
            table: self.table,
            key,
            value,
            bounds,
        });
    }
}

impl Visitor for SettingLister {
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
