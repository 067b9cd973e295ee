//! A table of places: CSV with a header.
//!
//! Columns are found by name, case-insensitive and in any order: `name`, `lat` or `latitude`,
//! `lon`, `lng` or `longitude`; and, optionally, `place_id` or `id`, `types` (separated by `|` or
//! `;`), `vicinity` or `address`. Other columns are ignored. Values are separated by commas, and
//! quoted where they hold one (RFC 4180). White space around a value is ignored.

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use super::builder::{CatalogueBuilder, types_from};
use super::{FileFault, line_of};
use crate::places::catalogue::Catalogue;
use crate::places::error::SourceLocation;
use crate::places::place::Place;

/// Reads all places of a table.
pub(super) fn read(text: &str) -> Result<Catalogue, FileFault> {
    let mut rows = ReaderBuilder::new()
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    let columns = rows.headers().map_err(|error| broken(text, 0, &error))?;
    let columns = Columns::find(columns).map_err(|message| problem(text, 0, message))?;
    let mut builder = CatalogueBuilder::default();
    let mut row = StringRecord::new();
    loop {
        let offset = rows.position().byte();
        match rows.read_record(&mut row) {
            Ok(true) => add(&mut builder, &columns, &row)
                .map_err(|message| problem(text, offset, message))?,
            Ok(false) => return Ok(builder.finish()),
            Err(error) => return Err(broken(text, offset, &error)),
        }
    }
}

fn add(
    builder: &mut CatalogueBuilder,
    columns: &Columns,
    row: &StringRecord,
) -> Result<(), String> {
    let optional = |column: Option<usize>| column.map_or("", |column| &row[column]);
    builder.add(&Place {
        name: &row[columns.name],
        latitude: degrees("latitude", &row[columns.latitude])?,
        longitude: degrees("longitude", &row[columns.longitude])?,
        given_id: optional(columns.id),
        types: &types_from(optional(columns.types)),
        vicinity: optional(columns.vicinity),
    })
}

fn degrees(what: &str, text: &str) -> Result<f64, String> {
    text.parse()
        .map_err(|_| format!("the {what} {text:?} is no number: write degrees, such as 34.06893"))
}

/// The index of each column.
struct Columns {
    name: usize,
    latitude: usize,
    longitude: usize,
    id: Option<usize>,
    types: Option<usize>,
    vicinity: Option<usize>,
}

impl Columns {
    fn find(header: &StringRecord) -> Result<Self, String> {
        let required = |names| column(header, names)?.ok_or_else(|| missing(header, names));
        Ok(Columns {
            name: required(&["name"])?,
            latitude: required(&["lat", "latitude"])?,
            longitude: required(&["lon", "lng", "longitude"])?,
            id: column(header, &["place_id", "id"])?,
            types: column(header, &["types"])?,
            vicinity: column(header, &["vicinity", "address"])?,
        })
    }
}

/// Returns the only column that has one of these names.
fn column(header: &StringRecord, names: &[&str]) -> Result<Option<usize>, String> {
    let is_named = |title: &str| names.iter().any(|name| name.eq_ignore_ascii_case(title));
    let mut found = (0..header.len()).filter(|&column| is_named(&header[column]));
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => Err(format!(
            "columns {} and {} ({} and {}) say the same thing: keep one of them",
            first + 1,
            second + 1,
            &header[first],
            &header[second]
        )),
        (column, _) => Ok(column),
    }
}

fn missing(header: &StringRecord, names: &[&str]) -> String {
    let there: Vec<&str> = header.iter().collect();
    format!(
        "there is no column {}: the first line must name the columns, with commas between them; \
         it is {:?}",
        names.join(" or "),
        there.join(",")
    )
}

fn broken(text: &str, offset: u64, error: &csv::Error) -> FileFault {
    let message = match error.kind() {
        ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!(
            "this line has {len} values and the first line {expected_len}: write as many, and \
             quote a value that holds a comma"
        ),
        _ => error.to_string(),
    };
    problem(text, offset, message)
}

/// Returns a problem in the row that begins at this byte, or after blank lines there.
fn problem(text: &str, offset: u64, message: String) -> FileFault {
    // An offset beyond the end of a text in memory is impossible.
    let offset = usize::try_from(offset).unwrap_or(text.len());
    let bytes = text.as_bytes();
    let is_line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
    let blank = bytes.iter().skip(offset).take_while(is_line_end).count();
    FileFault {
        location: SourceLocation::Line(line_of(bytes, offset + blank)),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(text: &str) -> (SourceLocation, String) {
        let problem = read(text).err().unwrap();
        (problem.location, problem.message)
    }

    #[test]
    fn finds_columns_by_name() {
        let catalogue = read(
            "Address,ID,rating,LNG,Latitude,Name,types\n\
             \"1 Main St, LA\",x7,4.5,-118.25,+34.5,\" Café <3 \"\"A\"\"\",bar; food|cafe\n\
             ,,,0,0,Nowhere,\n",
        )
        .unwrap();
        assert_eq!(catalogue.len(), 2);
        let cafe = Place {
            name: "Café <3 \"A\"",
            latitude: 34.5,
            longitude: -118.25,
            given_id: "x7",
            types: "bar|food|cafe",
            vicinity: "1 Main St, LA",
        };
        assert_eq!(catalogue.get(0), cafe);
        let nowhere = Place {
            name: "Nowhere",
            latitude: 0.0,
            longitude: 0.0,
            given_id: "",
            types: "",
            vicinity: "",
        };
        assert_eq!(catalogue.get(1), nowhere);
    }

    #[test]
    fn accepts_only_the_three_required_columns() {
        for header in ["name,lat,lon", "NAME,LAT,LNG", "name,latitude,longitude"] {
            let catalogue = read(&format!("{header}\r\nBar,1,2\r\n")).unwrap();
            assert_eq!(catalogue.points().collect::<Vec<_>>(), [(1.0, 2.0)]);
        }
    }

    #[test]
    fn rejects_a_missing_column() {
        for (text, names) in [
            ("title,lat,lon\n", "name"),
            ("name,y,lon\n", "lat or latitude"),
            ("name,lat,x\n", "lon or lng or longitude"),
            ("", "name"),
        ] {
            let (location, message) = rejection(text);
            assert_eq!(location, SourceLocation::Line(1));
            assert!(
                message.contains(&format!("no column {names}:")),
                "{message}"
            );
        }
        let (_, message) = rejection("name;lat;lon\nBar;1;2\n");
        assert!(message.contains("with commas between them"), "{message}");
        assert!(message.contains("\"name;lat;lon\""), "{message}");
    }

    #[test]
    fn rejects_two_columns_for_one_attribute() {
        let (location, message) = rejection("name,lat,lon,Latitude\nBar,1,2,3\n");
        assert_eq!(location, SourceLocation::Line(1));
        assert!(
            message.contains("columns 2 and 4 (lat and Latitude)"),
            "{message}"
        );
    }

    #[test]
    fn reports_the_line_of_a_fault() {
        for (row, message) in [
            ("Bar,91,2", "91 is no latitude"),
            ("Bar,1,180.5", "180.5 is no longitude"),
            ("Bar,nan,2", "NaN is no latitude"),
            ("Bar,\"34,5\",2", "the latitude \"34,5\" is no number"),
            ("Bar,,2", "the latitude \"\" is no number"),
            (",1,2", "the name is empty"),
            ("Bar,1", "has 2 values and the first line 3"),
            ("Bar,1,2,3", "has 4 values and the first line 3"),
        ] {
            // The quoted value spans two lines, and the line before the fault is blank.
            let text = format!("name,lat,lon\n\"A\nB\",1,2\r\n\r\n{row}\nCafé,1,2\n");
            let (location, actual) = rejection(&text);
            assert_eq!(location, SourceLocation::Line(5), "{row}");
            assert!(actual.contains(message), "{actual}");
        }
    }

    #[test]
    fn rejects_a_repeated_id() {
        let (location, message) = rejection("id,name,lat,lon\n7,Bar,1,2\n7,Café,1,2\n");
        assert_eq!(location, SourceLocation::Line(3));
        assert!(
            message.contains("\"7\" is also that of \"Bar\""),
            "{message}"
        );
    }
}
