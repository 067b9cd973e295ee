//! Boxes of latitude and longitude.

/// A box between two parallels and two meridians, edges included. It may cross the 180th meridian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundingBox {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

impl BoundingBox {
    /// The whole world.
    pub const WORLD: Self = Self {
        west: -180.0,
        south: -90.0,
        east: 180.0,
        north: 90.0,
    };

    /// Creates a box of degrees. A `west` greater than `east` crosses the 180th meridian. Returns
    /// `None` if a number is out of range or not a number, or if `south` is greater than `north`.
    pub fn new([west, south, east, north]: [f64; 4]) -> Option<Self> {
        let longitudes = [west, east].iter().all(|it| (-180.0..=180.0).contains(it));
        let latitudes = [south, north].iter().all(|it| (-90.0..=90.0).contains(it));
        (longitudes && latitudes && south <= north).then_some(Self {
            west,
            south,
            east,
            north,
        })
    }

    /// Returns the western edge.
    pub fn west(&self) -> f64 {
        self.west
    }

    /// Returns the southern edge.
    pub fn south(&self) -> f64 {
        self.south
    }

    /// Returns the northern edge.
    pub fn north(&self) -> f64 {
        self.north
    }

    /// Returns the width in degrees, 0 to 360.
    pub fn width(&self) -> f64 {
        let width = self.east - self.west;
        if width < 0.0 { width + 360.0 } else { width }
    }

    /// Returns the height in degrees, 0 to 180.
    pub fn height(&self) -> f64 {
        self.north - self.south
    }

    /// Returns whether the latitude is within the box.
    pub fn has_latitude(&self, latitude: f64) -> bool {
        (self.south..=self.north).contains(&latitude)
    }

    /// Returns how many degrees east of the western edge a point in the box is; `None` for a point
    /// outside. A pole has every longitude, and the 180th meridian has two names: the one that is
    /// in the box counts.
    pub fn eastward(&self, (latitude, longitude): (f64, f64)) -> Option<f64> {
        if !self.has_latitude(latitude) {
            return None;
        }
        let eastward = |longitude: f64| {
            let eastward = longitude - self.west;
            if eastward < 0.0 {
                eastward + 360.0
            } else {
                eastward
            }
        };
        let other_name = (longitude.abs() == 180.0).then_some(-longitude);
        let names = [Some(longitude), other_name];
        let mut found = names.into_iter().flatten().map(eastward);
        let found = found.find(|&eastward| eastward <= self.width());
        found.or_else(|| (latitude.abs() == 90.0).then_some(0.0))
    }

    /// Returns whether a point, latitude and longitude, is in the box.
    pub fn contains(&self, point: (f64, f64)) -> bool {
        self.eastward(point).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(edges: [f64; 4]) -> BoundingBox {
        BoundingBox::new(edges).unwrap()
    }

    #[test]
    fn edges_are_in_the_box() {
        let city = bounds([-119.0, 33.5, -117.5, 34.5]);
        for (point, is_inside) in [
            ((34.0, -118.0), true),
            ((33.5, -119.0), true),
            ((34.5, -117.5), true),
            ((34.500001, -118.0), false),
            ((34.0, -119.000001), false),
            ((34.0, 118.0), false),
        ] {
            assert_eq!(city.contains(point), is_inside, "{point:?}");
        }
    }

    #[test]
    fn a_box_across_the_180th_meridian_has_both_sides_of_it() {
        let fiji = bounds([177.0, -20.0, -178.0, -15.0]);
        assert_eq!((fiji.width(), fiji.height()), (5.0, 5.0));
        for (longitude, eastward) in [
            (177.0, Some(0.0)),
            (180.0, Some(3.0)),
            (-180.0, Some(3.0)),
            (-178.0, Some(5.0)),
            (-177.9, None),
            (176.9, None),
            (0.0, None),
        ] {
            assert_eq!(fiji.eastward((-18.0, longitude)), eastward, "{longitude}");
        }
    }

    #[test]
    fn the_180th_meridian_is_in_a_box_that_ends_there_by_either_name() {
        for edges in [
            [170.0, -1.0, 180.0, 1.0],
            [-180.0, -1.0, -170.0, 1.0],
            [180.0, -1.0, -180.0, 1.0],
            [180.0, -1.0, 180.0, 1.0],
        ] {
            for longitude in [180.0, -180.0] {
                assert!(bounds(edges).contains((0.0, longitude)), "{edges:?}");
            }
            assert!(!bounds(edges).contains((0.0, 0.0)), "{edges:?}");
        }
        assert_eq!(bounds([180.0, -1.0, -180.0, 1.0]).width(), 0.0);
        assert_eq!(BoundingBox::WORLD.eastward((0.0, 180.0)), Some(360.0));
    }

    #[test]
    fn a_pole_is_in_every_box_that_reaches_it() {
        let arctic = bounds([10.0, 80.0, 20.0, 90.0]);
        assert!(arctic.contains((90.0, -100.0)) && !arctic.contains((89.9, -100.0)));
        assert!(bounds([0.0, -90.0, 0.0, -90.0]).contains((-90.0, 123.0)));
    }

    #[test]
    fn inverted_latitudes_and_numbers_out_of_range_are_no_box() {
        for edges in [
            [0.0, 2.0, 1.0, 1.0],
            [-180.1, 0.0, 1.0, 1.0],
            [0.0, 0.0, 181.0, 1.0],
            [0.0, -91.0, 1.0, 1.0],
            [0.0, 0.0, 1.0, 90.5],
            [f64::NAN, 0.0, 1.0, 1.0],
            [0.0, 0.0, f64::INFINITY, 1.0],
        ] {
            assert_eq!(BoundingBox::new(edges), None, "{edges:?}");
        }
    }
}
