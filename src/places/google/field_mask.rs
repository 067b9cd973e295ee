//! The fields of a place that are requested from the Places API.
//!
//! Google bills a call by the most expensive field in its mask, so an operator may request fewer.
//! The mask names the leaves that are used: opening hours come as one `openNow`, not as the table
//! of a week.

use std::fmt;

/// Every field that is used, by Google's name, and the paths that request it. A response is built
/// from these fields only.
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
/// Invariant: at least one; each is known, occurs once, and is in the order of
/// [`FieldMask::names`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldMask(Vec<&'static str>);

/// The reason why a list of names is not a list of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldMaskError {
    /// The list is empty.
    Empty,
    /// The name is not that of a usable field.
    Unknown(String),
}

impl FieldMask {
    /// Returns the names of all fields.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ALL_FIELDS.iter().map(|(name, _)| *name)
    }

    /// Returns the fields of these names, in any order.
    ///
    /// # Errors
    ///
    /// There is no name, or one of them is unknown.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, FieldMaskError> {
        let mut requested = Vec::new();
        for name in names {
            if !FieldMask::names().any(|known| known == name) {
                return Err(FieldMaskError::Unknown(name.to_owned()));
            }
            requested.push(name);
        }
        let fields: Vec<_> = FieldMask::names()
            .filter(|name| requested.contains(name))
            .collect();
        if fields.is_empty() {
            Err(FieldMaskError::Empty)
        } else {
            Ok(FieldMask(fields))
        }
    }

    /// Returns the value of the header `X-Goog-FieldMask`.
    pub(super) fn header(&self) -> String {
        let selected = ALL_FIELDS.iter().filter(|(name, _)| self.0.contains(name));
        let paths = selected.flat_map(|(_, paths)| *paths);
        let paths: Vec<String> = paths.map(|path| format!("places.{path}")).collect();
        paths.join(",")
    }
}

/// All fields.
impl Default for FieldMask {
    fn default() -> Self {
        FieldMask(FieldMask::names().collect())
    }
}

/// The names of the fields, or `all`.
impl fmt::Display for FieldMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == FieldMask::default() {
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
    fn the_header_names_only_used_fields() {
        assert_eq!(
            FieldMask::default().header(),
            "places.businessStatus,places.currentOpeningHours.openNow,places.displayName.text,\
             places.formattedAddress,places.iconBackgroundColor,places.iconMaskBaseUri,places.id,\
             places.location,places.photos.authorAttributions.displayName,\
             places.photos.authorAttributions.uri,places.photos.heightPx,places.photos.name,\
             places.photos.widthPx,places.plusCode,places.priceLevel,places.rating,\
             places.shortFormattedAddress,places.types,places.userRatingCount,places.viewport"
        );
    }

    #[test]
    fn a_list_restricts_the_header_in_any_order() {
        let fields = FieldMask::parse(["location", "id", "location"]).unwrap();
        assert_eq!(fields.header(), "places.id,places.location");
        assert_eq!(fields.to_string(), "id, location");
        let all: Vec<_> = FieldMask::names().collect();
        assert_eq!(
            FieldMask::parse(all.into_iter().rev()),
            Ok(FieldMask::default())
        );
        assert_eq!(FieldMask::default().to_string(), "all");
    }

    #[test]
    fn rejects_unknown_fields() {
        assert_eq!(FieldMask::parse([]), Err(FieldMaskError::Empty));
        for name in ["*", "reviews", "Id", "places.id", ""] {
            let rejection = FieldMask::parse(["id", name]);
            assert_eq!(rejection, Err(FieldMaskError::Unknown(name.to_owned())));
        }
    }
}
