//! One setting, whatever its type: how a table is walked, and how a value is shown.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::messages;
use super::value::FromToml;
use crate::log;
use crate::model::networks::Network;

/// A walk over the settings of one table, to fill them from a file or to list
/// their values.
pub(super) trait Visitor {
    /// A setting that may have any value of its type.
    fn plain<T: Setting>(&mut self, key: &'static str, slot: &mut T);

    /// A setting that may have any value within bounds, both included.
    fn bounded<T: Setting + PartialOrd>(
        &mut self,
        key: &'static str,
        slot: &mut T,
        bounds: RangeInclusive<T>,
    );

    /// A setting within bounds, or `"off"`.
    fn bounded_or_off<T: Setting + PartialOrd + Default>(
        &mut self,
        key: &'static str,
        slot: &mut Option<T>,
        bounds: RangeInclusive<T>,
    );
}

/// The value that turns a setting off.
pub(super) const OFF: &str = "off";

/// A value that a setting can have.
pub(super) trait Setting: FromToml {
    /// The value for people: as in the file, without its quotes.
    fn show(&self) -> String;
}

macro_rules! shown_as_displayed {
    ($($value:ty),*) => {$(
        impl Setting for $value {
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

shown_as_displayed!(bool, u32, u64, usize, log::Level);

impl Setting for Duration {
    fn show(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

impl Setting for PathBuf {
    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for Vec<Network> {
    fn show(&self) -> String {
        let texts: Vec<String> = self.iter().map(Network::to_string).collect();
        match texts.as_slice() {
            [] => "[]".to_owned(),
            _ => messages::list(texts.iter().map(String::as_str), "and"),
        }
    }
}

impl Setting for Option<PathBuf> {
    fn show(&self) -> String {
        self.as_ref()
            .map_or_else(|| "none".to_owned(), Setting::show)
    }
}
