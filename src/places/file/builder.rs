//! The places that a reader has found in an operator's file so far.
//!
//! A catalogue holds only valid places. A file must also obey this rule: no two different places
//! share an id.

use std::collections::HashMap;

use crate::places::catalogue::Catalogue;
use crate::places::place::{Place, TYPE_SEPARATOR};

/// A catalogue under construction, in which no two places share an id.
#[derive(Default)]
pub(super) struct CatalogueBuilder {
    catalogue: Catalogue,
    /// The number of the place whose id has this hash; of the first one, if several have it.
    by_id: HashMap<u64, u32>,
}

impl CatalogueBuilder {
    /// Adds a place. A duplicate, with the same id, name and coordinates, is kept once.
    ///
    /// # Errors
    ///
    /// The cause and the correction. Nothing was added.
    pub(super) fn add(&mut self, place: &Place<'_>) -> Result<(), String> {
        let hash = place.id().hash();
        let earlier = self.by_id.get(&hash).map(|&n| self.catalogue.get(n));
        if let Some(earlier) = earlier.filter(|earlier| earlier.id() == place.id()) {
            return same_place(&earlier, place);
        }
        let number = self.catalogue.push(place);
        let number = number.map_err(|rejection| rejection.to_string())?;
        self.by_id.entry(hash).or_insert(number);
        Ok(())
    }

    /// Returns everything that was added.
    pub(super) fn finish(self) -> Catalogue {
        self.catalogue
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
        "the place_id {:?} is also that of {:?}: give each place its own, or leave it out",
        place.id().to_string(),
        earlier.name
    ))
}

/// Converts types separated by `|` or `;` to the form of a [`Place`].
pub(super) fn types_from(text: &str) -> String {
    let types = text.split(['|', ';']).map(str::trim);
    let types: Vec<&str> = types.filter(|kind| !kind.is_empty()).collect();
    types.join(&TYPE_SEPARATOR.to_string())
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
    fn keeps_a_repeated_place_once() {
        let unnamed = Place {
            given_id: "",
            ..BAR
        };
        let mut builder = CatalogueBuilder::default();
        for place in [BAR, unnamed, BAR, unnamed] {
            builder.add(&place).unwrap();
        }
        assert_eq!(builder.finish().len(), 2);
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
        assert_eq!(builder.finish().len(), 1);
    }

    #[test]
    fn distinguishes_ids_with_one_hash() {
        let [one, other] = ["8yn0iYCKYHlIj4-BwPqk", "GReLUrM4wMqfg9yzV3KQ"]
            .map(|given_id| Place { given_id, ..BAR });
        assert_eq!(one.id().hash(), other.id().hash());
        let mut builder = CatalogueBuilder::default();
        builder.add(&one).unwrap();
        builder.add(&other).unwrap();
        assert_eq!(builder.finish().len(), 2);
    }

    #[test]
    fn splits_types() {
        assert_eq!(types_from("bar"), "bar");
        assert_eq!(types_from(" bar ; food|;cafe"), "bar|food|cafe");
        assert_eq!(types_from(""), "");
    }
}
