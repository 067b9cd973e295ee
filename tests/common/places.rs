//! Places of an operator's file.

use proxyherd::places::{Places, PlacesError, PlacesSettings, Provider};

/// The places of a file of this name with this content.
pub fn places_from(name: &str, content: &str) -> Result<Places, PlacesError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    Places::start(&PlacesSettings {
        provider: Provider::Offline { file: Some(path) },
        ..PlacesSettings::default()
    })
}
