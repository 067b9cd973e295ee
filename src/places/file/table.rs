//! A table of places: CSV with a header.
//!
//! Columns are found by name, case-insensitive and in any order: `name`, `lat` or `latitude`,
//! `lon`, `lng` or `longitude`; and, optionally, `place_id` or `id`, `types` (a list; see
//! [types]), `vicinity` or `address`. Where an optional attribute has both columns, the value of
//! the second one counts if that of the first one is empty. Other columns are ignored.
//!
//! Values are separated by commas, and quoted where they hold one ([rows]). White space around a
//! value is ignored, and so is a row of empty values.
//!
//! [rows]: super::rows
//! [types]: super::types

use super::builder::CatalogueBuilder;
use super::excerpt;
use super::rows::{CsvRow, CsvRows, LINE_END, QuoteFault, QuoteFaultKind};
use super::types::types_from;
use crate::format::list;
use crate::places::error::SourceLocation;
use crate::places::place::Place;

/// A line, counted from 1, and the fault on it.
type LineFault = (usize, String);

/// Reads all places of a table.
pub(super) fn read(text: &str, builder: &mut CatalogueBuilder) {
    let mut rows = CsvRows::new(text);
    let columns = match read_header(&mut rows) {
        Ok(columns) => columns,
        Err((line, message)) => return builder.fault(|| SourceLocation::Line(line), message),
    };
    while let Some(row) = rows.next() {
        let added = match row {
            Ok(row) => add(builder, &columns, &row, &mut rows),
            Err(fault) => Err(described(fault, &columns.titles)),
        };
        if let Err((line, message)) = added {
            builder.fault(|| SourceLocation::Line(line), message);
        }
    }
}

fn read_header(rows: &mut CsvRows<'_>) -> Result<Columns, LineFault> {
    let Some(header) = rows.next() else {
        return Err((
            1,
            "there is no line: write the names of the columns".to_owned(),
        ));
    };
    let header = header.map_err(|fault| described(fault, &[]))?;
    let columns = Columns::find(&header).map_err(|message| (header.line, message))?;
    match columns.value_over_rows(&header, true) {
        Some(column) => Err(columns.unclosed(rows, &header, column)),
        None => Ok(columns),
    }
}

/// Adds the place of a row. After a fault, `rows` continues with the row that follows it.
fn add<'a>(
    builder: &mut CatalogueBuilder,
    columns: &Columns,
    row: &CsvRow<'a>,
    rows: &mut CsvRows<'a>,
) -> Result<(), LineFault> {
    if row.values.iter().all(|value| value.trim().is_empty()) {
        return Ok(());
    }
    if let Some(column) = columns.value_over_rows(row, false) {
        return Err(columns.unclosed(rows, row, column));
    }
    let added = columns.check_number(row);
    let added = added.and_then(|()| columns.add_place(builder, row));
    added.map_err(|message| (row.line, message))
}

/// The indices of the columns, and their titles.
struct Columns {
    titles: Vec<String>,
    name: usize,
    latitude: usize,
    longitude: usize,
    ids: [Option<usize>; 2],
    types: Option<usize>,
    vicinities: [Option<usize>; 2],
}

impl Columns {
    fn find(header: &CsvRow<'_>) -> Result<Self, String> {
        let titles = header.values.iter().map(|title| title.trim().to_owned());
        let titles: Vec<String> = titles.collect();
        let find = |names| column(&titles, names);
        let required = [
            &["name"][..],
            &["lat", "latitude"],
            &["lon", "lng", "longitude"],
        ];
        let [name, latitude, longitude] = required.map(find);
        let (name, latitude, longitude) = (name?, latitude?, longitude?);
        let (Some(name), Some(latitude), Some(longitude)) = (name, latitude, longitude) else {
            let found = [name, latitude, longitude].into_iter().zip(required);
            let missing = found.filter(|(column, _)| column.is_none());
            return Err(format!(
                "there is {}: the first line must name the columns, with commas between them; \
                 it is {}",
                list(missing.map(|(_, names)| no_column(names)), "and"),
                excerpt(&titles.join(","))
            ));
        };
        Ok(Columns {
            name,
            latitude,
            longitude,
            ids: [find(&["place_id"])?, find(&["id"])?],
            types: find(&["types"])?,
            vicinities: [find(&["vicinity"])?, find(&["address"])?],
            titles,
        })
    }

    fn check_number(&self, row: &CsvRow<'_>) -> Result<(), String> {
        let (expected, actual) = (self.titles.len(), row.values.len());
        if actual == expected {
            return Ok(());
        }
        let what = if row.last_line == row.line {
            "this line".to_owned()
        } else {
            format!("this row, which ends on line {},", row.last_line)
        };
        let hint = if row.values.iter().any(|value| value.ends_with('\\')) {
            "; a backslash does not escape a comma"
        } else {
            ""
        };
        Err(format!(
            "{what} has {actual} values and the first line {expected}: write as many, and quote a \
             value that holds a comma{hint}"
        ))
    }

    fn add_place(&self, builder: &mut CatalogueBuilder, row: &CsvRow<'_>) -> Result<(), String> {
        let value = |column: usize| row.values[column].trim();
        let optional = |column: Option<usize>| column.map_or("", value);
        let first_of = |[first, second]: [Option<usize>; 2]| match optional(first) {
            "" => optional(second),
            value => value,
        };
        builder.add(&Place {
            name: value(self.name),
            latitude: degrees("latitude", value(self.latitude))?,
            longitude: degrees("longitude", value(self.longitude))?,
            given_id: first_of(self.ids),
            types: &types_from(optional(self.types))?,
            vicinity: first_of(self.vicinities),
        })
    }

    /// Returns the index of a value that holds the end of one row and the beginning of another:
    /// a quote was opened in one row and closed in a later one. The values of a header, which has
    /// no coordinates, need not be those of a row.
    fn value_over_rows(&self, row: &CsvRow<'_>, is_header: bool) -> Option<usize> {
        if row.last_line == row.line {
            return None;
        }
        (0..row.values.len()).find(|&column| {
            let (before, from) = row.values.split_at(column);
            let mut lines = from[0].split(LINE_END);
            let end = lines.next().unwrap_or_default();
            let mut lines = lines.filter(|line| !line.trim().is_empty());
            let Some(beginning) = lines.next() else {
                return false;
            };
            let after = if lines.next().is_none() {
                &from[1..]
            } else {
                &[]
            };
            let first = before.iter().map(AsRef::as_ref).chain(end.split(','));
            let second = after.iter().map(AsRef::as_ref);
            let second = beginning.split(',').chain(second);
            (is_header || self.is_place(first)) && self.is_place(second)
        })
    }

    /// Returns true if these are as many values as a row has, with numbers as coordinates.
    fn is_place<'a>(&self, values: impl Iterator<Item = &'a str>) -> bool {
        let values: Vec<&str> = values.collect();
        let is_number = |column: usize| values[column].trim().parse::<f64>().is_ok();
        values.len() == self.titles.len() && is_number(self.latitude) && is_number(self.longitude)
    }

    /// Returns the fault of a value that holds the beginning of the next row, with which `rows`
    /// continues.
    fn unclosed<'a>(&self, rows: &mut CsvRows<'a>, row: &CsvRow<'a>, column: usize) -> LineFault {
        let line = rows.reread_after(row, column);
        let kind = QuoteFaultKind::Unclosed;
        described(QuoteFault { line, column, kind }, &self.titles)
    }
}

fn no_column(names: &[&str]) -> String {
    format!("no column {}", names.join(" or "))
}

/// Returns the only column that has one of these names.
fn column(titles: &[String], names: &[&str]) -> Result<Option<usize>, String> {
    let is_named = |title: &str| names.iter().any(|name| name.eq_ignore_ascii_case(title));
    let mut found = (0..titles.len()).filter(|&column| is_named(&titles[column]));
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => Err(format!(
            "columns {} and {} ({} and {}) say the same thing: keep one of them",
            first + 1,
            second + 1,
            titles[first],
            titles[second]
        )),
        (column, _) => Ok(column),
    }
}

fn degrees(what: &str, text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| {
        let text = excerpt(text);
        format!("the {what} {text} is no number: write degrees, such as 34.06893")
    })
}

/// Returns the line of a fault, its cause and its correction.
fn described(fault: QuoteFault, titles: &[String]) -> LineFault {
    let QuoteFault { line, column, kind } = fault;
    let title = titles.get(column);
    let title = title.map_or(String::new(), |title| format!(" ({})", excerpt(title)));
    let value = format!("the value of column {}{title}", column + 1);
    let backslash_hint = |backslash| {
        if backslash {
            "; a backslash does not escape it"
        } else {
            ""
        }
    };
    let message = match kind {
        QuoteFaultKind::Unclosed => format!(
            "{value} begins with a quote that is not closed before the next row: close it, or \
             remove it"
        ),
        QuoteFaultKind::AfterSpace => {
            format!("{value} has white space before its quote: remove the white space")
        }
        QuoteFaultKind::Inside { backslash } => format!(
            "{value} holds a quote and does not begin with one: quote the whole value, and write \
             each quote in it twice{}",
            backslash_hint(backslash)
        ),
        QuoteFaultKind::Followed {
            by,
            line,
            backslash,
        } => format!(
            "{value} is closed by a quote on line {line} that is followed by {by:?}: write a comma \
             or a line end after it, and each quote within a quoted value twice{}",
            backslash_hint(backslash)
        ),
    };
    (line, message)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::super::builder::{FileContent, FileFaults};
    use super::*;

    const BAR: Place<'static> = Place {
        name: "Bar",
        latitude: 34.07,
        longitude: -118.44,
        given_id: "",
        types: "",
        vicinity: "",
    };

    fn content(text: &str) -> Result<FileContent, FileFaults> {
        let mut builder = CatalogueBuilder::default();
        read(text, &mut builder);
        builder.finish()
    }

    fn faults(text: &str) -> FileFaults {
        content(text).err().unwrap_or_else(|| panic!("{text}"))
    }

    /// Returns the lines and messages of all faults.
    fn located(text: &str) -> Vec<(usize, String)> {
        let faults = faults(text).shown.into_iter();
        faults
            .map(|fault| match fault.location {
                SourceLocation::Line(line) => (line, fault.message),
                other => panic!("{other:?}: {}", fault.message),
            })
            .collect()
    }

    /// Checks that these are the faults of a text: lines, and parts of messages.
    #[track_caller]
    fn assert_faults(text: &str, expected: &[(usize, &str)]) {
        let actual = located(text);
        assert_eq!(actual.len(), expected.len(), "{text}: {actual:?}");
        for ((line, message), (expected_line, part)) in actual.iter().zip(expected) {
            assert_eq!(line, expected_line, "{text}: {message}");
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    /// Returns the only place of a text.
    #[track_caller]
    fn assert_place(text: &str, expected: Place<'_>) {
        let content = content(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
        assert_eq!(content.catalogue.len(), 1, "{text}");
        assert_eq!(content.catalogue.get(0), expected, "{text}");
    }

    #[test]
    fn finds_columns_by_name() {
        let catalogue = content(
            "Address,ID,rating,LNG,Latitude,Name,types\n\
             \"1 Main St, LA\",x7,4.5,-118.25,+34.5,\" Café <3 \"\"A\"\"\",bar; food|cafe\n\
             ,,,0,0,Nowhere,\n",
        );
        let catalogue = catalogue.unwrap().catalogue;
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
            ..BAR
        };
        assert_eq!(catalogue.get(1), nowhere);
    }

    #[test]
    fn accepts_only_the_three_required_columns() {
        for header in [
            "name,lat,lon",
            "NAME,LAT,LNG",
            "name,latitude,longitude",
            "\"name\", lat ,\"lon\"",
        ] {
            assert_place(&format!("{header}\r\nBar,34.07,-118.44\r\n"), BAR);
        }
    }

    #[test]
    fn reads_values_as_spreadsheets_write_them() {
        let header = "name,lat,lon,vicinity";
        let vicinity = |vicinity| Place { vicinity, ..BAR };
        for (rows, expected) in [
            ("Bar,34.07,-118.44,", BAR),
            ("Bar , 34.07 ,\t-118.44,\u{a0}", BAR),
            ("\"Bar\",\"34.07\",\"-118.44\",\"\"", BAR),
            ("Bar,34.07,-118.44,\n,,,\n\"\", ,,\n,", BAR),
            (
                "Bar,34.07,-118.44,\"1 Main St,\nLA\"",
                vicinity("1 Main St,\nLA"),
            ),
            (
                "Bar,34.07,-118.44,\"the \"\"big\"\" one\"",
                vicinity("the \"big\" one"),
            ),
            ("Bar,34.07,-118.44,\"C:\\\"", vicinity("C:\\")),
            ("Bar,34.07,-118.44,it's", vicinity("it's")),
            // Lines of an address, with commas and numbers, are no rows.
            (
                "Bar,34.07,-118.44,\"1 Main St\nSuite 2, 3rd floor\nLA, CA, 90024, USA\"",
                vicinity("1 Main St\nSuite 2, 3rd floor\nLA, CA, 90024, USA"),
            ),
        ] {
            for line_end in ["\n", "\r\n", "\r"] {
                let text = format!("{header}\n{rows}\n").replace('\n', line_end);
                let vicinity = &expected.vicinity.replace('\n', line_end);
                assert_place(
                    &text,
                    Place {
                        vicinity,
                        ..expected
                    },
                );
            }
        }
    }

    #[test]
    fn a_place_id_counts_before_an_id_and_a_vicinity_before_an_address() {
        for (header, row, given_id, vicinity) in [
            ("id,place_id", "1,ChIJx", "ChIJx", ""),
            ("place_id,id", "ChIJx,1", "ChIJx", ""),
            ("id,place_id", "1,", "1", ""),
            ("address,vicinity", "1 Main St,LA", "", "LA"),
            ("address,vicinity", "1 Main St,", "", "1 Main St"),
        ] {
            let text = format!("{header},name,lat,lon\n{row},Bar,34.07,-118.44\n");
            let expected = Place {
                given_id,
                vicinity,
                ..BAR
            };
            assert_place(&text, expected);
        }
    }

    #[test]
    fn reads_lists_of_types() {
        for list in [
            "bar|food",
            "bar;food",
            "\"bar,food\"",
            "\"['bar', 'food']\"",
            "\"[\"\"bar\"\",\"\"food\"\"]\"",
            "\"{bar,food}\"",
            "\"bar\nfood\"",
        ] {
            let types = "bar|food";
            let text = format!("name,lat,lon,types\nBar,34.07,-118.44,{list}\n");
            assert_place(&text, Place { types, ..BAR });
        }
    }

    #[test]
    fn rejects_a_missing_column() {
        for (text, expected) in [
            ("title,lat,lon\n", "there is no column name:"),
            ("name,y,lon\n", "no column lat or latitude:"),
            ("name,lat,x\n", "no column lon or lng or longitude:"),
            (
                "name;lat;lon\nBar;1;2\n",
                "there is no column name, no column lat or latitude and no column lon or lng or \
                 longitude: the first line must name the columns, with commas between them; it is \
                 \"name;lat;lon\"",
            ),
            ("", "write the names of the columns"),
        ] {
            assert_faults(text, &[(1, expected)]);
        }
    }

    #[test]
    fn rejects_two_columns_for_one_attribute() {
        for (header, expected) in [
            (
                "name,lat,lon,Latitude",
                "columns 2 and 4 (lat and Latitude)",
            ),
            ("name,lat,lon,id,ID", "columns 4 and 5 (id and ID)"),
        ] {
            assert_faults(&format!("{header}\n"), &[(1, expected)]);
        }
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
            ("Bar,1", "this line has 2 values and the first line 3"),
            ("Bar,1,2,3", "has 4 values and the first line 3"),
            ("Bar\\, Pub,1,2", "a backslash does not escape a comma"),
            (
                "\"Bar\nPub\",1",
                "this row, which ends on line 6, has 2 values",
            ),
        ] {
            // The quoted value spans two lines, and the line before the fault is blank.
            let text = format!("name,lat,lon\n\"A\nB\",1,2\r\n\r\n{row}\nCafé,1,2\n");
            assert_faults(&text, &[(5, message)]);
        }
    }

    #[test]
    fn rejects_misplaced_and_missing_quotes() {
        let unclosed =
            "the value of column 4 (\"vicinity\") begins with a quote that is not closed";
        for (rows, expected) in [
            (
                "Bar,34.07,-118.44,\"1 Main St\nCafé,34.08,-118.44,\n",
                &[(2, unclosed)][..],
            ),
            // A quote in a later row closes it.
            (
                "Bar,34.07,-118.44,\"1 Main St\nCafé,34.08,-118.44,2 Side St\"\n",
                &[
                    (2, unclosed),
                    (
                        3,
                        "column 4 (\"vicinity\") holds a quote and does not begin",
                    ),
                ],
            ),
            (
                "Bar,34.07,-118.44,\"1 Main St\nCafé,34.08,-118.44,\nPub,34.09,-118.44,\"\n",
                &[(2, unclosed), (4, unclosed)],
            ),
            (
                "Bar,34.07,-118.44,\"1 Main St\n\nCafé,34.08,-118.44,\"2 Side St\"\n",
                &[(
                    2,
                    "(\"vicinity\") is closed by a quote on line 4 that is followed by '2'",
                )],
            ),
            (
                "\"Bar,34.07,-118.44,1 Main St\nCafé\",34.08,-118.44,2 Side St\n",
                &[
                    (
                        2,
                        "column 1 (\"name\") begins with a quote that is not closed",
                    ),
                    (3, "column 1"),
                ],
            ),
            (
                "\"Osnabrück, \"emma\"\",34.07,-118.44,\n",
                &[(
                    2,
                    "column 1 (\"name\") is closed by a quote on line 2 that is followed by 'e'",
                )],
            ),
            (
                "\"the \\\"big\\\" one\",34.07,-118.44,\n",
                &[(
                    2,
                    "within a quoted value twice; a backslash does not escape it",
                )],
            ),
            (
                "the \\\"big\\\" one,34.07,-118.44,\n",
                &[(2, "each quote in it twice; a backslash does not escape it")],
            ),
            (
                "5\" disk,34.07,-118.44,\n",
                &[(2, "column 1 (\"name\") holds a quote")],
            ),
            (
                "Bar,34.07,-118.44, \"1 Main St, LA\"\n",
                &[(
                    2,
                    "column 4 (\"vicinity\") has white space before its quote",
                )],
            ),
            (
                "Bar,34.07,-118.44,\"1 Main St\" \n",
                &[(
                    2,
                    "(\"vicinity\") is closed by a quote on line 2 that is followed by ' '",
                )],
            ),
        ] {
            assert_faults(
                &format!("name,lat,lon,vicinity\n{rows}Zoo,1,1,\n"),
                expected,
            );
        }
    }

    #[test]
    fn rejects_a_quote_that_is_open_from_a_middle_column_on() {
        let text = "name,vicinity,lat,lon\nBar,\"1 Main St,34.07,-118.44\n\
                    Café,2 Side St\",34.08,-118.44\n";
        let expected = [
            (
                2,
                "column 2 (\"vicinity\") begins with a quote that is not closed",
            ),
            (3, "column 2 (\"vicinity\") holds a quote"),
        ];
        assert_faults(text, &expected);
    }

    #[test]
    fn rejects_misplaced_and_missing_quotes_of_the_header() {
        for (text, expected) in [
            (
                "name,lat,lon,\"vicinity\nBar,1,2,LA\n",
                "column 4 begins with a quote",
            ),
            (
                "name,lat,lon,\"vicinity\nBar,1,2,LA\"\nPub,1,3,\n",
                "begins with a quote",
            ),
            (
                "name,lat, \"lon\"\nBar,1,2\n",
                "column 3 has white space before",
            ),
        ] {
            assert_faults(text, &[(1, expected)]);
        }
        // A title of two lines.
        assert_place("name,lat,lon,\"a\nb\"\nBar,34.07,-118.44,\n", BAR);
    }

    #[test]
    fn reports_all_faults_at_once() {
        let rows = "Bar,north,2\nCafé,1\n\nPub,1,2\n\"Zoo,1,2\nMill,200,2\n";
        let expected = [
            (2, "\"north\" is no number"),
            (3, "2 values"),
            (6, "is not closed"),
            (7, "200 is no latitude"),
        ];
        assert_faults(&format!("name,lat,lon\n{rows}"), &expected);

        let many = faults(&format!("name,lat,lon\n{}", "Bar,north,2\n".repeat(1000)));
        assert_eq!((many.shown.len(), many.more), (10, 990));
    }

    #[test]
    fn rejects_a_repeated_id() {
        let text = "id,name,lat,lon\n7,Bar,1,2\n7,Café,1,2\n";
        assert_faults(text, &[(3, "\"7\" is also that of \"Bar\"")]);
    }

    /// Values as CSV finds them difficult.
    fn value() -> impl Strategy<Value = String> {
        let parts = [
            "\"", "\"\"", ",", "\n", "\r\n", "\r", "\\", "'", " ", "é", "a", ";", "1",
        ];
        prop_oneof![
            3 => vec(select(parts.to_vec()), 0..12).prop_map(|parts| parts.concat()),
            1 => "\\PC{0,20}",
        ]
    }

    fn quote_style() -> impl Strategy<Value = csv::QuoteStyle> {
        use csv::QuoteStyle::{Always, Necessary, NonNumeric};
        select(vec![Always, Necessary, NonNumeric])
    }

    proptest! {
        #[test]
        fn every_row_that_a_library_writes_comes_back(
            rows in vec((value(), value(), value(), -90.0..90.0_f64, -180.0..180.0_f64), 1..12),
            style in quote_style(),
            line_end in select(vec![csv::Terminator::CRLF, csv::Terminator::Any(b'\n')]),
        ) {
            let mut writer = csv::WriterBuilder::new()
                .quote_style(style)
                .terminator(line_end)
                .from_writer(Vec::new());
            writer.write_record(["vicinity", "lat", "name", "lon", "note"]).unwrap();
            for (number, (name, vicinity, note, lat, lon)) in rows.iter().enumerate() {
                let name = format!("{number}{name}");
                let (lat, lon) = (lat.to_string(), lon.to_string());
                writer.write_record([vicinity, &lat, &name, &lon, note]).unwrap();
            }
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let content = content(&text).map_err(|faults| {
                TestCaseError::fail(format!("{text}: {faults:?}"))
            })?;
            prop_assert_eq!(content.catalogue.len(), rows.len());
            for (number, (name, vicinity, _, latitude, longitude)) in (0..).zip(rows) {
                let name = format!("{number}{name}");
                let expected = Place {
                    name: name.trim(),
                    latitude,
                    longitude,
                    vicinity: vicinity.trim(),
                    ..BAR
                };
                prop_assert_eq!(content.catalogue.get(number), expected);
            }
        }

        #[test]
        fn any_text_is_read_or_has_faults(
            before in 0_usize..3,
            pieces in vec(value(), 0..8),
            cut in any::<Index>(),
        ) {
            let rows = "Bar,34.07,-118.44,\n".repeat(before);
            let text = format!("name,lat,lon,types\n{rows}{}", pieces.join(","));
            let ends: Vec<usize> = text.char_indices().map(|(end, _)| end).collect();
            let text = &text[..ends[cut.index(ends.len())]];
            match content(text) {
                Ok(content) => prop_assert!(content.catalogue.len() > 0),
                Err(faults) => prop_assert!(!faults.shown.is_empty()),
            }
        }
    }
}
