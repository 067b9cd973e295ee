//! The fields of a place that are requested from the Places API.
//!
//! Google bills a call by the most expensive field in its mask, so an operator may request fewer.
//! The mask names the leaves that are used: opening hours come as one `openNow`, not as the table
//! of a week.

use std::fmt;

/// Every field that is used, by Google's name, and the paths in the mask that request it. A
/// response is built from these fields only.
const ALL_FIELDS: [(&str, &[&str]); 16] = [
    ("businessStatus", &["businessStatus"]),
    ("currentOpeningHours", &["currentOpeningHours.openNow"]),
    ("displayName", &["displayName.text"]),
    ("formattedAddress", &["formattedAddress"]),
    ("iconBackgroundColor", &["iconBackgroundColor"]),
    ("iconMaskBaseUri", &["iconMaskBaseUri"]),
    ("id", &["id"]),
    ("location", &["location"]),
    (
        "photos",
        &[
            "photos.authorAttributions.displayName",
            "photos.authorAttributions.uri",
            "photos.heightPx",
            "photos.name",
            "photos.widthPx",
        ],
    ),
    ("plusCode", &["plusCode"]),
    ("priceLevel", &["priceLevel"]),
    ("rating", &["rating"]),
    ("shortFormattedAddress", &["shortFormattedAddress"]),
    ("types", &["types"]),
    ("userRatingCount", &["userRatingCount"]),
    ("viewport", &["viewport"]),
];

/// The requested fields.
///
/// Invariant: at least one; each is known, occurs once, and is in the order of [`Fields::names`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields(Vec<&'static str>);

/// The reason why a list of names is not a list of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldsError {
    /// The list is empty.
    Empty,
    /// The name is not that of a usable field.
    Unknown(String),
}

impl Fields {
    /// Returns the names of all fields.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ALL_FIELDS.iter().map(|(name, _)| *name)
    }

    /// Returns the fields of these names, in any order.
    ///
    /// # Errors
    ///
    /// There is no name, or one of them is unknown.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, FieldsError> {
        let mut requested = Vec::new();
        for name in names {
            if !Fields::names().any(|known| known == name) {
                return Err(FieldsError::Unknown(name.to_owned()));
            }
            requested.push(name);
        }
        let fields: Vec<_> = Fields::names()
            .filter(|name| requested.contains(name))
            .collect();
        if fields.is_empty() {
            Err(FieldsError::Empty)
        } else {
            Ok(Fields(fields))
        }
    }

    /// Returns the value of the header `X-Goog-FieldMask`.
    pub(super) fn mask(&self) -> String {
        let selected = ALL_FIELDS.iter().filter(|(name, _)| self.0.contains(name));
        let paths = selected.flat_map(|(_, paths)| *paths);
        let paths: Vec<String> = paths.map(|path| format!("places.{path}")).collect();
        paths.join(",")
    }
}

/// All fields.
impl Default for Fields {
    fn default() -> Self {
        Fields(Fields::names().collect())
    }
}

/// The names of the fields, or `all`.
impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Fields::default() {
            f.write_str("all")
        } else {
            f.write_str(&self.0.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_names_only_used_fields() {
        assert_eq!(
            Fields::default().mask(),
            "places.businessStatus,places.currentOpeningHours.openNow,places.displayName.text,\
             places.formattedAddress,places.iconBackgroundColor,places.iconMaskBaseUri,places.id,\
             places.location,places.photos.authorAttributions.displayName,\
             places.photos.authorAttributions.uri,places.photos.heightPx,places.photos.name,\
             places.photos.widthPx,places.plusCode,places.priceLevel,places.rating,\
             places.shortFormattedAddress,places.types,places.userRatingCount,places.viewport"
        );
    }

    #[test]
    fn a_list_restricts_the_mask_in_any_order() {
        let fields = Fields::parse(["location", "id", "location"]).unwrap();
        assert_eq!(fields.mask(), "places.id,places.location");
        assert_eq!(fields.to_string(), "id, location");
        let all: Vec<_> = Fields::names().collect();
        assert_eq!(Fields::parse(all.into_iter().rev()), Ok(Fields::default()));
        assert_eq!(Fields::default().to_string(), "all");
    }

    #[test]
    fn rejects_unknown_fields() {
        assert_eq!(Fields::parse([]), Err(FieldsError::Empty));
        for name in ["*", "reviews", "Id", "places.id", ""] {
            let rejection = Fields::parse(["id", name]);
            assert_eq!(rejection, Err(FieldsError::Unknown(name.to_owned())));
        }
    }
}
