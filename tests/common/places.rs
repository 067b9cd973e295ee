//! Places of an operator's file.

use proxyherd::places::{Places, PlacesError, PlacesSettings};

/// The places of a file of this name with this content.
pub fn places_from(name: &str, content: &str) -> Result<Places, PlacesError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    Places::start(&PlacesSettings::Offline { file: Some(path) })
}
