//! One setting of any type: the walk over a table, and values as text.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::value::FromToml;
use crate::format;
use crate::gateway::{AcknowledgeLevel, TilesUrl};
use crate::log::LogFormat;
use crate::model::networks::Network;

/// A walk over the settings of one table, which fills them from a file or lists their
/// values.
pub(super) trait SettingVisitor {
    /// Visits a setting without bounds.
    fn plain<T: Setting>(&mut self, key: &'static str, slot: &mut T);

    /// Visits a setting with inclusive bounds.
    fn bounded<T: Setting + PartialOrd>(
        &mut self,
        key: &'static str,
        slot: &mut T,
        bounds: RangeInclusive<T>,
    );

    /// Visits a setting with inclusive bounds that may be `"off"`.
    fn bounded_or_off<T: Setting + PartialOrd + Default>(
        &mut self,
        key: &'static str,
        slot: &mut Option<T>,
        bounds: RangeInclusive<T>,
    );
}

/// The value that turns a setting off.
pub(super) const OFF: &str = "off";

/// A type of a setting's value.
pub(super) trait Setting: FromToml {
    /// Returns the value for people: as in the file, without quotes.
    fn show(&self) -> String;
}

macro_rules! show_by_display {
    ($($value:ty),*) => {$(
        impl Setting for $value {
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

show_by_display!(bool, u32, u64, usize, LevelFilter);

impl Setting for LogFormat {
    fn show(&self) -> String {
        self.name().to_owned()
    }
}

impl Setting for AcknowledgeLevel {
    fn show(&self) -> String {
        self.name().to_owned()
    }
}

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
        if self.is_empty() {
            "[]".to_owned()
        } else {
            format::list(self.iter().map(Network::to_string), "and")
        }
    }
}

/// A setting that the file may leave out, for a type without a default.
macro_rules! show_or_none {
    ($($value:ty as $show:expr),*) => {$(
        impl Setting for Option<$value> {
            fn show(&self) -> String {
                self.as_ref().map_or_else(|| "none".to_owned(), $show)
            }
        }
    )*};
}

show_or_none!(
    PathBuf as Setting::show,
    String as Clone::clone,
    TilesUrl as |url: &TilesUrl| url.as_str().to_owned()
);
