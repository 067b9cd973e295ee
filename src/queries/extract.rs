//! The clients in a box, or their numbers on a grid if they are many.
//!
//! One scan does both: it keeps clients until they are more than the limit, and counts them in the
//! cells of the grid all along. Memory is bounded by the limit and by the 65 times 65 cells.

use crate::model::bounding_box::BoundingBox;
use crate::model::timestamp::UnixNanos;
use crate::replication::replica::Replica;
use crate::replication::store::StoredReport;

use super::scan_visible;

/// Minimum number of cells along the longer side of a box; there are less than twice as many.
const MIN_CELLS: f64 = 32.0;

/// The finest grid has cells with sides of 360 degrees divided by 2 to the power of this, which is
/// less than a millimetre.
const MAX_LEVEL: i32 = 40;

/// A query for the clients in a box. A client must satisfy every condition.
#[derive(Clone, Debug)]
pub struct ExtractQuery {
    /// The box.
    pub bounds: BoundingBox,
    /// Prefix of the client's ID.
    pub prefix: String,
    /// Number of clients above which they are counted on a grid.
    pub limit: usize,
}

/// The clients in a box.
#[derive(Debug, PartialEq)]
pub struct Extract<T> {
    /// Number of clients that match.
    pub matched: u64,
    /// The clients, or the grid.
    pub contents: ExtractContents<T>,
}

/// The form of an extract.
#[derive(Debug, PartialEq)]
pub enum ExtractContents<T> {
    /// All of them, in the order of the bytes of their IDs.
    Clients(Vec<(String, T)>),
    /// The side of the cells in degrees, and the cells that hold clients, from south to north and
    /// from west to east.
    Grid(f64, Vec<Cell>),
}

/// A cell of the grid that holds clients. Degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Western edge.
    pub west: f64,
    /// Southern edge.
    pub south: f64,
    /// Number of clients.
    pub count: u64,
    /// Mean latitude and longitude of the clients.
    pub mean: (f64, f64),
}

/// Returns the clients that match the query and whose report is not expired at `now`. `make` must
/// be quick, since it runs under a lock. `between` is called while no lock is held.
pub fn scan<T>(
    replica: &Replica,
    now: UnixNanos,
    query: &ExtractQuery,
    mut make: impl FnMut(&StoredReport<'_>) -> T,
    between: impl FnMut(),
) -> Extract<T> {
    let mut grid = Grid::new(query.bounds);
    let mut clients = Some(Vec::new());
    let mut matched = 0;
    let add = |stored: &StoredReport<'_>| {
        let report = &stored.report;
        if !report.client.bytes().starts_with(query.prefix.as_bytes()) {
            return;
        }
        let point = report.position.degrees();
        let Some(eastward) = query.bounds.eastward(point) else {
            return;
        };
        matched += 1;
        grid.add(point.0, eastward);
        if let Some(kept) = &mut clients {
            if kept.len() < query.limit {
                kept.push((report.client.text().to_owned(), make(stored)));
            } else {
                clients = None;
            }
        }
    };
    scan_visible(replica, now, add, between);
    let contents = match clients {
        Some(mut clients) => {
            clients.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            ExtractContents::Clients(clients)
        }
        None => ExtractContents::Grid(grid.side, grid.into_cells()),
    };
    Extract { matched, contents }
}

/// The cells over a box. Edges of cells are multiples of their side, wherever the box lies, so that
/// they stay in place while a map moves.
struct Grid {
    bounds: BoundingBox,
    side: f64,
    first_column: i64,
    first_row: i64,
    columns: usize,
    cells: Vec<CellSum>,
}

/// The sums over the clients of a cell.
#[derive(Clone, Copy, Default)]
struct CellSum {
    count: u64,
    latitudes: f64,
    /// Of degrees east of the western edge of the box.
    eastward: f64,
}

impl Grid {
    fn new(bounds: BoundingBox) -> Self {
        let side = side(bounds.width().max(bounds.height()));
        let number = |degrees: f64| (degrees / side).floor() as i64;
        let first_column = number(bounds.west());
        let first_row = number(bounds.south()).min(last_row(side));
        let columns = number(bounds.west() + bounds.width()) - first_column + 1;
        let rows = number(bounds.north()) - first_row + 1;
        let (columns, rows) = (columns as usize, rows as usize);
        Self {
            bounds,
            side,
            first_column,
            first_row,
            columns,
            cells: vec![CellSum::default(); columns * rows],
        }
    }

    fn add(&mut self, latitude: f64, eastward: f64) {
        let longitude = self.bounds.west() + eastward;
        // A pole, and the 180th meridian at the eastern end of a box, belong to the last cells.
        let row = ((latitude / self.side).floor() as i64).min(last_row(self.side));
        let is_eastern_end = longitude == 180.0 && self.bounds.width() == eastward;
        let column = (longitude / self.side).floor() as i64 - i64::from(is_eastern_end);
        let row = (row - self.first_row) as usize;
        // A box that only has the meridian begins at the cell after it.
        let column = (column - self.first_column).max(0) as usize;
        let sum = &mut self.cells[row * self.columns + column];
        sum.count += 1;
        sum.latitudes += latitude;
        sum.eastward += eastward;
    }

    fn into_cells(self) -> Vec<Cell> {
        let numbered = self.cells.iter().enumerate();
        let held = numbered.filter(|(_, sum)| sum.count > 0);
        let cell = |(nth, sum): (usize, &CellSum)| {
            let row = self.first_row + (nth / self.columns) as i64;
            let column = self.first_column + (nth % self.columns) as i64;
            let count = sum.count as f64;
            let (west, south) = (column as f64 * self.side, row as f64 * self.side);
            let mean = (
                sum.latitudes / count,
                self.bounds.west() + sum.eastward / count,
            );
            // The part of a box after the 180th meridian continues at -180 degrees.
            let turn = if west >= 180.0 { 360.0 } else { 0.0 };
            Cell {
                west: west - turn,
                south,
                count: sum.count,
                mean: (mean.0, mean.1 - turn),
            }
        };
        held.map(cell).collect()
    }
}

/// Returns the side of the cells of a box whose longer side has this length.
fn side(longer: f64) -> f64 {
    let mut level = 5;
    while level < MAX_LEVEL && longer * 2_f64.powi(level) < MIN_CELLS * 360.0 {
        level += 1;
    }
    360.0 / 2_f64.powi(level)
}

/// Returns the number of the northernmost row of cells.
fn last_row(side: f64) -> i64 {
    (90.0 / side).ceil() as i64 - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::TestServer;
    use super::*;

    const WORLD: [f64; 4] = [-180.0, -90.0, 180.0, 90.0];

    fn extract(server: &TestServer, edges: [f64; 4], limit: usize) -> Extract<()> {
        let query = ExtractQuery {
            bounds: BoundingBox::new(edges).unwrap(),
            prefix: String::new(),
            limit,
        };
        scan(&server.replica, server.now, &query, |_| (), || ())
    }

    fn grid(server: &TestServer, edges: [f64; 4]) -> (f64, Vec<Cell>) {
        match extract(server, edges, 0).contents {
            ExtractContents::Grid(side, cells) => (side, cells),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_longer_side_has_32_to_63_cells_with_sides_of_360_degrees_by_a_power_of_two() {
        for longer in [360.0, 359.9, 180.0, 179.9, 90.1, 1.5, 0.001, 1e-6] {
            let cells = longer / side(longer);
            assert!((32.0..64.0).contains(&cells), "{longer}: {cells}");
            assert_eq!((360.0 / side(longer)).log2().fract(), 0.0);
        }
        assert_eq!(side(0.0), 360.0 / 2_f64.powi(MAX_LEVEL));
        assert_eq!(side(187.5), 5.625);
    }

    #[test]
    fn clients_are_returned_in_the_order_of_their_ids_up_to_the_limit() {
        let server = TestServer::new(None);
        for id in ["b", "ab", "ü", "a", "Z"] {
            server.report(id, "+1+1", 5);
        }
        server.report("far", "+1-1", 5);
        let all = extract(&server, [0.0, 0.0, 1.0, 1.0], 5);
        assert_eq!(all.matched, 5);
        let ids = ["Z", "a", "ab", "b", "ü"].map(|id| (id.to_owned(), ()));
        assert_eq!(all.contents, ExtractContents::Clients(ids.to_vec()));
        let many = extract(&server, [0.0, 0.0, 1.0, 1.0], 4);
        assert_eq!(many.matched, 5);
        assert!(matches!(many.contents, ExtractContents::Grid(_, cells) if cells[0].count == 5));
    }

    #[test]
    fn poles_and_the_180th_meridian_are_in_cells_of_the_world() {
        let server = TestServer::new(None);
        for (id, at) in ["+90+5", "-90-7", "+0+180", "+0-180", "+90+180"]
            .iter()
            .enumerate()
        {
            server.report(&format!("c{id}"), at, 5);
        }
        let (side, cells) = grid(&server, WORLD);
        assert_eq!(side, 11.25);
        assert_eq!(cells.iter().map(|cell| cell.count).sum::<u64>(), 5);
        for cell in cells {
            assert!((-180.0..180.0).contains(&cell.west), "{cell:?}");
            assert!((-90.0..90.0).contains(&cell.south), "{cell:?}");
        }
    }

    fn any_box() -> impl Strategy<Value = [f64; 4]> {
        let longitude = prop_oneof![-180.0..=180.0, Just(180.0), Just(-180.0), Just(0.0)];
        let latitude = prop_oneof![-90.0..=90.0, Just(90.0), Just(-90.0)];
        (longitude.clone(), latitude.clone(), longitude, latitude).prop_map(
            |(west, one, east, other): (f64, f64, f64, f64)| {
                [west, one.min(other), east, one.max(other)]
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn every_client_in_the_box_is_in_the_cell_around_it(
            points in prop::collection::vec((-90i32..=90, -180i32..=180), 1..100),
            edges in any_box(),
        ) {
            let server = TestServer::new(None);
            for (nth, (latitude, longitude)) in points.iter().enumerate() {
                server.report(&format!("c{nth}"), &format!("{latitude:+}{longitude:+}"), 5);
            }
            let bounds = BoundingBox::new(edges).unwrap();
            let inside = points.iter().filter(|(lat, lon)| {
                bounds.contains((f64::from(*lat), f64::from(*lon)))
            });
            let inside = inside.count() as u64;
            let extract = extract(&server, edges, 0);
            prop_assert_eq!(extract.matched, inside);
            if inside == 0 {
                return Ok(());
            }
            let ExtractContents::Grid(side, cells) = extract.contents else { panic!() };
            prop_assert_eq!(cells.iter().map(|cell| cell.count).sum::<u64>(), inside);
            for cell in cells {
                let (latitude, longitude) = cell.mean;
                let tolerance = 1e-9;
                prop_assert!(latitude >= cell.south - tolerance);
                prop_assert!(latitude <= cell.south + side + tolerance);
                let east = longitude - cell.west;
                prop_assert!((-tolerance..=side + tolerance).contains(&east), "{cell:?} {side}");
                prop_assert!((-180.0..180.0).contains(&cell.west), "{cell:?}");
                prop_assert!((-90.0..90.0).contains(&cell.south), "{cell:?}");
            }
        }
    }
}
