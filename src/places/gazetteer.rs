//! The populated places of GeoNames, compiled into the program.
//!
//! `data/README.md` names the source of the data, its licence, and how it was made. The data omits
//! the ids of GeoNames, so ids are derived; see [`PlaceId`](super::place::PlaceId).
//!
//! A place has its name, its coordinates and the names of its regions, and nothing else.

use std::io::Read;

use csv::StringRecord;
use flate2::read::GzDecoder;

use super::catalogue::Catalogue;
use super::place::Place;

/// A gzip of CSV with a header. The region of a place is last on its line, and lines of one region
/// are consecutive.
const DATA: &[u8] = include_bytes!("../../data/places.csv.gz");

const COLUMNS: [&str; 6] = ["lat", "lon", "name", "admin1", "admin2", "cc"];

/// The types that Google gives a populated place.
const TYPES: &str = "locality|political";

/// Reads the compiled-in places. An error means that the program was built with broken data.
pub(super) fn read() -> Result<Catalogue, String> {
    read_from(GzDecoder::new(DATA))
}

fn read_from(source: impl Read) -> Result<Catalogue, String> {
    let mut rows = csv::Reader::from_reader(source);
    let header = rows.headers().map_err(|error| error.to_string())?;
    if header != COLUMNS.as_slice() {
        return Err(format!("the columns are {header:?}, not {COLUMNS:?}"));
    }
    let mut catalogue = Catalogue::default();
    let mut row = StringRecord::new();
    let mut vicinity = String::new();
    while rows
        .read_record(&mut row)
        .map_err(|error| error.to_string())?
    {
        push(&mut catalogue, &row, &mut vicinity).map_err(|cause| format!("{row:?}: {cause}"))?;
    }
    Ok(catalogue)
}

/// Adds the place of one row; `vicinity` is a buffer that is reused for every row.
fn push(
    catalogue: &mut Catalogue,
    row: &StringRecord,
    vicinity: &mut String,
) -> Result<(), String> {
    let [latitude, longitude, name, admin1, admin2, country] = std::array::from_fn(|i| &row[i]);
    write_vicinity(vicinity, [admin2, admin1, country]);
    let place = Place {
        name,
        latitude: degrees(latitude)?,
        longitude: degrees(longitude)?,
        given_id: "",
        types: TYPES,
        vicinity,
    };
    let pushed = catalogue.push(&place);
    pushed.map(|_| ()).map_err(|error| error.to_string())
}

fn degrees(text: &str) -> Result<f64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no number of degrees"))
}

/// Writes the names of the regions, smallest first, without those that are empty or repeat the
/// previous one.
fn write_vicinity(vicinity: &mut String, regions: [&str; 3]) {
    vicinity.clear();
    let mut previous = "";
    for region in regions {
        if region == previous || region.is_empty() {
            continue;
        }
        if !vicinity.is_empty() {
            vicinity.push_str(", ");
        }
        vicinity.push_str(region);
        previous = region;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn reads_all_of_the_data() {
        assert_eq!(read().unwrap().len(), 144_522);
    }

    #[test]
    fn no_two_places_share_an_id() {
        let catalogue = read().unwrap();
        let numbers = 0..u32::try_from(catalogue.len()).unwrap();
        let ids: HashSet<String> = numbers
            .map(|number| catalogue.get(number).id().to_string())
            .collect();
        assert_eq!(ids.len(), catalogue.len());
    }

    #[test]
    fn keeps_every_digit_of_the_data() {
        let catalogue = read().unwrap();
        let mut rows = csv::Reader::from_reader(GzDecoder::new(DATA));
        for (number, row) in (0..).zip(rows.records()) {
            let row = row.unwrap();
            let place = catalogue.get(number);
            assert_eq!(place.latitude.to_string(), row[0]);
            assert_eq!(place.longitude.to_string(), row[1]);
            assert_eq!(place.name, &row[2]);
            assert!(place.vicinity.ends_with(&row[5]));
        }
    }

    #[test]
    fn a_vicinity_has_no_empty_or_repeated_parts() {
        let mut vicinity = String::new();
        for (regions, expected) in [
            (
                ["Los Angeles County", "California", "US"],
                "Los Angeles County, California, US",
            ),
            (["", "Tokyo", "JP"], "Tokyo, JP"),
            (["Paris", "", "FR"], "Paris, FR"),
            (["Berlin", "Berlin", "DE"], "Berlin, DE"),
            (["", "", "MC"], "MC"),
            (["", "", ""], ""),
        ] {
            write_vicinity(&mut vicinity, regions);
            assert_eq!(vicinity, expected);
        }
    }

    #[test]
    fn broken_data_is_an_error() {
        let header = "lat,lon,name,admin1,admin2,cc\n";
        for (data, expected) in [
            ("lat,lon,name\n1,2,A\n".to_owned(), "the columns are"),
            (format!("{header}1,2,A\n"), "fields"),
            (
                format!("{header}north,2,A,,,US\n"),
                "\"north\" is no number",
            ),
            (format!("{header}91,2,A,,,US\n"), "91 is no latitude"),
        ] {
            let error = read_from(data.as_bytes()).err().unwrap();
            assert!(error.contains(expected), "{error}");
        }
        assert!(read_from(GzDecoder::new(&DATA[..DATA.len() / 2])).is_err());
    }
}
