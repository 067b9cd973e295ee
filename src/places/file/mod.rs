//! An operator's own places, from a file.
//!
//! The extension determines the format: a [table] (`.csv`) or [GeoJSON](geojson) (`.geojson`,
//! `.json`), case-insensitive. The file is read as a whole, once. A list with missing places would
//! be noticed much later, by its users, so what is not understood is a fault, with its location,
//! its cause and the correction, and a file with faults gives no places. All faults of a file are
//! found in one reading.

mod builder;
mod geojson;
mod rows;
mod table;
mod types;

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use builder::CatalogueBuilder;

use super::catalogue::Catalogue;
use super::error::{PlacesError, SourceLocation};
use crate::format::{count, grouped, list};

/// The maximum size of a file of places, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// The maximum length of a quotation from a file in the description of a fault, in characters.
const MAX_EXCERPT_CHARS: usize = 60;

/// The characters of the bytes 0x80 to 0x9F in Windows-1252.
const WINDOWS_1252: &str = "€?‚ƒ„…†‡ˆ‰Š‹Œ?Ž??‘’“”•–—˜™š›œ?žŸ";

/// The mark of a byte without a character.
const UNUSED: char = '?';

/// The content of an operator's file, in numbers. Its text form is one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacesFile {
    path: PathBuf,
    places: usize,
    repeated: usize,
    passed_over: Vec<(&'static str, usize)>,
}

impl fmt::Display for PlacesFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            self.path.display(),
            count(self.places as u64, "place")
        )?;
        if self.repeated > 0 {
            let repeated = count(self.repeated as u64, "repetition");
            write!(f, "; {repeated} of a place left out")?;
        }
        if !self.passed_over.is_empty() {
            let features = self
                .passed_over
                .iter()
                .map(|(_, number)| *number as u64)
                .sum();
            let kinds = self.passed_over.iter();
            let kinds = kinds.map(|(kind, number)| format!("{} {kind}", grouped(*number as u64)));
            let features = count(features, "feature");
            write!(
                f,
                "; {features} without a point passed over ({})",
                list(kinds, "and")
            )?;
        }
        Ok(())
    }
}

/// Reads a file of places.
pub(super) fn read(path: &Path) -> Result<(Catalogue, PlacesFile), PlacesError> {
    read_at_most(path, MAX_FILE_BYTES)
}

fn read_at_most(path: &Path, limit: u64) -> Result<(Catalogue, PlacesFile), PlacesError> {
    let file = path.to_owned();
    let extension = path.extension().and_then(|extension| extension.to_str());
    let read: fn(&str, &mut CatalogueBuilder) =
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => table::read,
            Some("geojson" | "json") => geojson::read,
            _ => return Err(PlacesError::Kind { file }),
        };
    let bytes = match bytes_of(path, limit) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(PlacesError::TooLarge { file }),
        Err(cause) => return Err(PlacesError::Unreadable { file, cause }),
    };
    let mut builder = CatalogueBuilder::default();
    if let Some(text) = text_of(&bytes, &mut builder) {
        read(text, &mut builder);
    }
    let content = builder.finish().map_err(|faults| PlacesError::Content {
        file: file.clone(),
        faults: faults.shown,
        more: faults.more,
    })?;
    let summary = PlacesFile {
        path: file,
        places: content.catalogue.len(),
        repeated: content.repeated,
        passed_over: content.passed_over.into_iter().collect(),
    };
    Ok((content.catalogue, summary))
}

/// Returns the content of a file, or nothing if it exceeds the limit.
fn bytes_of(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    // The size in the metadata of a file can change while it is read, or be missing.
    let read = File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((read as u64 <= limit).then_some(bytes))
}

/// Returns the bytes as text, without the byte order mark that some programs write. Bytes that are
/// no text in UTF-8 are faults.
fn text_of<'a>(bytes: &'a [u8], builder: &mut CatalogueBuilder) -> Option<&'a str> {
    if let Some(encoding) = other_unicode_encoding(bytes) {
        let message = format!("this is {encoding}: save the file as UTF-8");
        builder.fault(|| SourceLocation::File, message);
        return None;
    }
    if let Some(offset) = bytes.iter().position(|&byte| byte == 0) {
        let location = || SourceLocation::Line(line_of(bytes, offset));
        let message = "a byte is zero, as in UTF-16 and in files that are no text: save the file \
                       as text in UTF-8";
        builder.fault(location, message.to_owned());
        return None;
    }
    let text = str::from_utf8(bytes).ok();
    if text.is_none() {
        report_bytes_that_are_not_utf8(bytes, builder);
    }
    text.map(|text| text.trim_start_matches('\u{feff}'))
}

/// Returns the encoding that a byte order mark names, unless it is UTF-8.
fn other_unicode_encoding(bytes: &[u8]) -> Option<&'static str> {
    let marks: [(&[u8], _); 4] = [
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ];
    let found = marks.into_iter().find(|(mark, _)| bytes.starts_with(mark));
    found.map(|(_, encoding)| encoding)
}

/// Reports the first such byte of each line.
fn report_bytes_that_are_not_utf8(bytes: &[u8], builder: &mut CatalogueBuilder) {
    let (mut line, mut last_reported) = (1, 0);
    for chunk in bytes.utf8_chunks() {
        line += chunk.valid().matches('\n').count();
        if let Some(byte) = chunk.invalid().first().filter(|_| line > last_reported) {
            let message = not_utf8(chunk.valid(), *byte);
            builder.fault(|| SourceLocation::Line(line), message);
            last_reported = line;
        }
    }
}

fn not_utf8(before: &str, byte: u8) -> String {
    let before = before.rsplit([',', '"', '\n', '\r']).next();
    let before = excerpt(before.unwrap_or_default().trim_start());
    let character = match byte {
        0x80..=0x9f => WINDOWS_1252.chars().nth(usize::from(byte - 0x80)),
        _ => Some(char::from(byte)),
    };
    let character = character.filter(|&character| character != UNUSED);
    let guess = character.map_or(String::new(), |character| {
        format!(" (in Windows-1252 it is {character})")
    });
    format!("the byte {byte:#04x} after {before} is not UTF-8{guess}: save the file as UTF-8")
}

/// Returns the number of the line, from 1, that holds the byte at this offset.
fn line_of(bytes: &[u8], offset: usize) -> usize {
    let before = bytes.iter().take(offset);
    1 + before.filter(|&&byte| byte == b'\n').count()
}

/// Returns the beginning of a text, quoted and on one line. Whoever prints it escapes it.
fn excerpt(text: &str) -> String {
    let (text, more) = match text.char_indices().nth(MAX_EXCERPT_CHARS) {
        Some((end, _)) => (&text[..end], "..."),
        None => (text, ""),
    };
    format!("\"{}\"{more}", text.replace(['\n', '\r'], " "))
}

/// Returns the beginning of a text.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_EXCERPT_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A file that is deleted at the end of the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn holding(name: &str, content: &[u8]) -> Self {
            let name = format!("proxyherd-places-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, content).unwrap();
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn rejection(scratch: &Scratch) -> String {
        let error = read(&scratch.0).err().unwrap().to_string();
        let path = scratch.0.display().to_string();
        error.strip_prefix(&path).unwrap().to_owned()
    }

    #[test]
    fn the_extension_determines_the_format() {
        let table = b"name,lat,lon\nBar,1,2\n";
        let geojson = br#"{"type":"FeatureCollection","features":[{"type":"Feature",
            "geometry":{"type":"Point","coordinates":[2,1]},"properties":{"name":"Bar"}}]}"#;
        for (name, content) in [
            ("good.csv", &table[..]),
            ("good.CSV", table),
            ("good.geojson", geojson),
            ("good.json", geojson),
        ] {
            let scratch = Scratch::holding(name, content);
            let (catalogue, _) = read(&scratch.0).unwrap();
            assert_eq!(catalogue.get(0).name, "Bar");
            assert_eq!(catalogue.points().collect::<Vec<_>>(), [(1.0, 2.0)]);
        }
    }

    #[test]
    fn rejects_an_unknown_extension() {
        for name in ["places.txt", "places"] {
            let error = read(Path::new(name)).err().unwrap().to_string();
            assert!(error.contains(".csv, .geojson or .json"), "{error}");
        }
    }

    #[test]
    fn rejects_a_missing_file() {
        let error = read(Path::new("no/such/places.csv")).err().unwrap();
        assert!(matches!(error, PlacesError::Unreadable { .. }), "{error}");
        assert!(error.to_string().starts_with("no/such/places.csv: "));
    }

    #[test]
    fn rejects_a_file_beyond_the_size_limit() {
        let content = b"name,lat,lon\nBar,1,2\n";
        let scratch = Scratch::holding("large.csv", content);
        let size = content.len() as u64;
        assert!(read_at_most(&scratch.0, size).is_ok());
        let error = read_at_most(&scratch.0, size - 1).err().unwrap();
        assert!(matches!(error, PlacesError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn rejects_a_file_without_places() {
        let scratch = Scratch::holding("none.csv", b"name,lat,lon\n");
        assert_eq!(
            rejection(&scratch),
            ": there is no place in it: write at least one"
        );
    }

    #[test]
    fn counts_what_a_file_gave() {
        let point = r#"{"type":"Point","coordinates":[2,1]}"#;
        let area = r#"{"type":"Polygon","coordinates":[]}"#;
        let feature = |geometry, name| {
            format!(
                r#"{{"type":"Feature","geometry":{geometry},"properties":{{"name":"{name}"}}}}"#
            )
        };
        let features = [
            feature(point, "Bar"),
            feature("null", "Pub"),
            feature(area, "Park"),
            feature(area, "Lake"),
        ];
        for (name, content, expected) in [
            ("one.csv", "name,lat,lon\nBar,1,2\n".to_owned(), "1 place"),
            (
                "repeated.csv",
                "name,lat,lon\nBar,1,2\nPub,1,2\nBar,1,2\nBar,1.0,2\n".to_owned(),
                "2 places; 2 repetitions of a place left out",
            ),
            ("one.geojson", features[0].clone(), "1 place"),
            (
                "areas.geojson",
                features.join("\n"),
                "1 place; 3 features without a point passed over (2 Polygon and 1 null)",
            ),
        ] {
            let scratch = Scratch::holding(name, content.as_bytes());
            let (_, summary) = read(&scratch.0).unwrap();
            let expected = format!("{}: {expected}", scratch.0.display());
            assert_eq!(summary.to_string(), expected);
        }
    }

    #[test]
    fn rejects_another_encoding_by_its_name() {
        let utf16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let text = "\u{feff}name,lat,lon\nCafé,1,2\n";
            text.encode_utf16().flat_map(bytes).collect()
        };
        let [little, big] = [u16::to_le_bytes, u16::to_be_bytes].map(utf16);
        for (content, expected) in [
            (
                &b"name,lat,lon\nBar,1,2\nCaf\xe9 Zo\xeb,1,2\n\n\xa35 Bar,1,2\nJoe\x92s,1,2\n\
                   A\x81,1,2"[..],
                &[
                    ", line 3: the byte 0xe9 after \"Caf\" is not UTF-8 (in Windows-1252 it is \
                     é): save the file as UTF-8",
                    ", line 5: the byte 0xa3 after \"\" is not UTF-8 (in Windows-1252 it is £): \
                     save the file as UTF-8",
                    ", line 6: the byte 0x92 after \"Joe\" is not UTF-8 (in Windows-1252 it is \
                     ’): save the file as UTF-8",
                    ", line 7: the byte 0x81 after \"A\" is not UTF-8: save the file as UTF-8",
                ][..],
            ),
            (&little, &[": this is UTF-16: save the file as UTF-8"]),
            (&big, &[": this is UTF-16: save the file as UTF-8"]),
            (
                b"\xff\xfe\0\0n\0\0\0",
                &[": this is UTF-32: save the file as UTF-8"],
            ),
            (
                &little[2..],
                &[
                    ", line 1: a byte is zero, as in UTF-16 and in files that are no text: save \
                     the file as text in UTF-8",
                ],
            ),
            (b"name,lat,lon\nBar\0,1,2", &[", line 2: a byte is zero"]),
        ] {
            for name in ["encoding.csv", "encoding.json"] {
                let scratch = Scratch::holding(name, content);
                let path = scratch.0.display().to_string();
                let error = read(&scratch.0).err().unwrap().to_string();
                let lines: Vec<&str> = error.lines().collect();
                assert_eq!(lines.len(), expected.len(), "{error}");
                for (line, expected) in lines.iter().zip(expected) {
                    let line = line.strip_prefix(&path).unwrap();
                    assert!(line.starts_with(expected), "{error}");
                }
            }
        }
    }

    #[test]
    fn ignores_a_byte_order_mark() {
        let table = "\u{feff}name,lat,lon\nBar,1,2\n";
        let quoted = "\u{feff}\"name\",lat,lon\nBar,1,2\n";
        let feature = "\u{feff}{\"type\":\"Feature\",\"properties\":{\"name\":\"Bar\"},\
                       \"geometry\":{\"type\":\"Point\",\"coordinates\":[2,1]}}";
        for (name, content) in [
            ("mark.csv", table),
            ("mark.csv", quoted),
            ("mark.json", feature),
        ] {
            let scratch = Scratch::holding(name, content.as_bytes());
            assert_eq!(read(&scratch.0).unwrap().0.get(0).name, "Bar");
        }
    }

    #[test]
    fn a_quotation_is_short() {
        let long = "é".repeat(1000);
        assert_eq!(excerpt(&long), format!("\"{}\"...", &long[..120]));
        assert_eq!(shortened(&long), format!("{}...", &long[..120]));
        assert_eq!(excerpt(&long[..120]), format!("\"{}\"", &long[..120]));
        assert_eq!(shortened("a\nb"), "a\nb");
    }
}
