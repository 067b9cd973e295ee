//! What a reader has found in an operator's file so far: places, and faults.
//!
//! A catalogue holds only valid places. A file must also obey this rule: no two different places
//! share an id.

use std::collections::{BTreeMap, HashMap};

use crate::places::catalogue::Catalogue;
use crate::places::error::{FileFault, SourceLocation};
use crate::places::place::Place;

use super::excerpt;

/// The maximum number of faults reported of one file; the others are counted.
const MAX_SHOWN_FAULTS: usize = 10;

/// A catalogue under construction, in which no two places share an id, and its faults.
#[derive(Default)]
pub(super) struct CatalogueBuilder {
    catalogue: Catalogue,
    /// The number of the place whose id has this hash; of the first one, if several have it.
    by_id: HashMap<u64, u32>,
    repeated: usize,
    passed_over: BTreeMap<&'static str, usize>,
    faults: FileFaults,
}

/// The content of a file without faults.
pub(super) struct FileContent {
    /// The places.
    pub(super) catalogue: Catalogue,
    /// The number of places that were there before, with the same id, name and coordinates.
    pub(super) repeated: usize,
    /// The number of features without a point, by the kind of their geometry.
    pub(super) passed_over: BTreeMap<&'static str, usize>,
}

/// The faults of a file.
#[derive(Debug, Default)]
pub(super) struct FileFaults {
    /// The first faults, in the order of the file.
    pub(super) shown: Vec<FileFault>,
    /// The number of the others.
    pub(super) more: usize,
}

impl CatalogueBuilder {
    /// Adds a place. A repeated one, with the same id, name and coordinates, is kept once.
    ///
    /// # Errors
    ///
    /// The cause and the correction. Nothing was added.
    pub(super) fn add(&mut self, place: &Place<'_>) -> Result<(), String> {
        let hash = place.id().hash();
        let earlier = self.by_id.get(&hash).map(|&n| self.catalogue.get(n));
        if let Some(earlier) = earlier.filter(|earlier| earlier.id() == place.id()) {
            same_place(&earlier, place)?;
            self.repeated += 1;
            return Ok(());
        }
        let number = self.catalogue.push(place);
        let number = number.map_err(|rejection| rejection.to_string())?;
        self.by_id.entry(hash).or_insert(number);
        Ok(())
    }

    /// Counts a feature without a point.
    pub(super) fn pass_over(&mut self, kind: &'static str) {
        *self.passed_over.entry(kind).or_default() += 1;
    }

    /// Reports a fault. `location` is called only if the fault is one of those that are shown.
    pub(super) fn fault(&mut self, location: impl FnOnce() -> SourceLocation, message: String) {
        if self.faults.shown.len() < MAX_SHOWN_FAULTS {
            let location = location();
            self.faults.shown.push(FileFault { location, message });
        } else {
            self.faults.more += 1;
        }
    }

    /// Returns everything that was added.
    ///
    /// # Errors
    ///
    /// All faults. A file without places is one.
    pub(super) fn finish(mut self) -> Result<FileContent, FileFaults> {
        if self.faults.shown.is_empty() && self.catalogue.len() == 0 {
            let message = match self.passed_over.values().sum() {
                0 => "there is no place in it: write at least one".to_owned(),
                features => format!(
                    "there is no place in it: {features} features, none of which has a \"Point\""
                ),
            };
            self.fault(|| SourceLocation::File, message);
        }
        if !self.faults.shown.is_empty() {
            return Err(self.faults);
        }
        Ok(FileContent {
            catalogue: self.catalogue,
            repeated: self.repeated,
            passed_over: self.passed_over,
        })
    }
}

fn same_place(earlier: &Place<'_>, place: &Place<'_>) -> Result<(), String> {
    let same = earlier.name == place.name
        && earlier.latitude == place.latitude
        && earlier.longitude == place.longitude;
    if same {
        return Ok(());
    }
    Err(format!(
        "the place_id {} is also that of {}: give each place its own, or leave it out",
        excerpt(&place.id().to_string()),
        excerpt(earlier.name)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAR: Place<'static> = Place {
        name: "Bar",
        latitude: 1.0,
        longitude: 2.0,
        given_id: "7",
        types: "bar",
        vicinity: "",
    };

    #[test]
    fn keeps_a_repeated_place_once_and_counts_the_others() {
        let unnamed = Place {
            given_id: "",
            ..BAR
        };
        let mut builder = CatalogueBuilder::default();
        for place in [BAR, unnamed, BAR, unnamed, unnamed] {
            builder.add(&place).unwrap();
        }
        let content = builder.finish().unwrap();
        assert_eq!(content.catalogue.len(), 2);
        assert_eq!(content.repeated, 3);
    }

    #[test]
    fn rejects_two_places_with_one_id() {
        let mut builder = CatalogueBuilder::default();
        builder.add(&BAR).unwrap();
        let cafe = Place {
            name: "Café",
            ..BAR
        };
        assert_eq!(
            builder.add(&cafe).unwrap_err(),
            "the place_id \"7\" is also that of \"Bar\": give each place its own, or leave it out"
        );
        assert_eq!(builder.finish().unwrap().catalogue.len(), 1);
    }

    #[test]
    fn distinguishes_ids_with_one_hash() {
        let [one, other] = ["8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"]
            .map(|given_id| Place { given_id, ..BAR });
        assert_eq!(one.id().hash(), other.id().hash());
        let mut builder = CatalogueBuilder::default();
        builder.add(&one).unwrap();
        builder.add(&other).unwrap();
        assert_eq!(builder.finish().unwrap().catalogue.len(), 2);
    }

    #[test]
    fn keeps_the_first_faults_and_counts_the_others() {
        let mut builder = CatalogueBuilder::default();
        builder.add(&BAR).unwrap();
        for line in 1..=12 {
            builder.fault(|| SourceLocation::Line(line), format!("fault {line}"));
        }
        let faults = builder.finish().err().unwrap();
        assert_eq!(faults.more, 2);
        let messages: Vec<_> = faults
            .shown
            .into_iter()
            .map(|fault| fault.message)
            .collect();
        let expected: Vec<_> = (1..=10).map(|line| format!("fault {line}")).collect();
        assert_eq!(messages, expected);
    }

    #[test]
    fn a_file_without_places_has_a_fault() {
        let mut features = CatalogueBuilder::default();
        features.pass_over("Polygon");
        features.pass_over("null");
        for (builder, message) in [
            (
                CatalogueBuilder::default(),
                "there is no place in it: write at least one",
            ),
            (
                features,
                "there is no place in it: 2 features, none of which has a \"Point\"",
            ),
        ] {
            let faults = builder.finish().err().unwrap();
            let location = SourceLocation::File;
            let message = message.to_owned();
            assert_eq!(faults.shown, [FileFault { location, message }]);
        }
    }
}
