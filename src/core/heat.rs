//! Where therapists are and where they are wanted, by H3 cell: what ops send people towards.

use std::collections::BTreeMap;

use h3o::CellIndex;

use super::geo::LatLng;

/// How large the cells are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resolution(h3o::Resolution);

impl Resolution {
    /// About 5.2 km² a cell.
    pub const COARSEST: u8 = 7;
    /// About 0.1 km² a cell.
    pub const FINEST: u8 = 9;

    /// `None` when it is outside [`Self::COARSEST`] to [`Self::FINEST`]: coarser is no place to send anyone, finer is
    /// empty nearly everywhere.
    pub fn new(resolution: u8) -> Option<Self> {
        let known = (Self::COARSEST..=Self::FINEST).contains(&resolution);
        h3o::Resolution::try_from(resolution).ok().filter(|_| known).map(Self)
    }

    /// H3's number of it.
    pub fn get(self) -> u8 {
        self.0.into()
    }
}

/// A booking, as far as demand goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Where the customer is.
    pub place: LatLng,
    /// Nobody has accepted yet.
    pub pending: bool,
    /// It was made within the last hour, whatever became of it.
    pub recent: bool,
}

/// What is in one cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Heat {
    /// Therapists who could be offered a booking.
    pub supply: u32,
    /// Bookings that nobody has accepted yet.
    pub pending: u32,
    /// Bookings made within the last hour.
    pub last_hour: u32,
}

/// A cell of the grid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cell(CellIndex);

impl Cell {
    /// H3's name of it, as it is written: hexadecimal.
    pub fn name(self) -> String {
        self.0.to_string()
    }

    /// Its outline as GeoJSON wants a ring: `[longitude, latitude]` in degrees, counterclockwise, the first again as the
    /// last. Across the antimeridian longitudes go on past 180, so that the ring stays one small piece.
    pub fn ring(self) -> Vec<[f64; 2]> {
        let boundary = self.0.boundary();
        let mut ring: Vec<[f64; 2]> = boundary.iter().map(|corner| [corner.lng(), corner.lat()]).collect();
        if let Some(&[first, _]) = ring.first() {
            for [longitude, _] in &mut ring {
                *longitude += 360.0 * ((first - *longitude) / 360.0).round();
            }
        }
        ring.extend(ring.first().copied());
        ring
    }
}

/// Every cell in which there is anything, in H3's order. O(n log cells); H3 takes about 0.4 µs a place.
pub fn heat(
    resolution: Resolution,
    supply: impl IntoIterator<Item = LatLng>,
    demand: impl IntoIterator<Item = Wanted>,
) -> BTreeMap<Cell, Heat> {
    let mut cells: BTreeMap<Cell, Heat> = BTreeMap::new();
    for place in supply {
        cells.entry(cell(place, resolution)).or_default().supply += 1;
    }
    for wanted in demand.into_iter().filter(|wanted| wanted.pending || wanted.recent) {
        let heat = cells.entry(cell(wanted.place, resolution)).or_default();
        heat.pending += u32::from(wanted.pending);
        heat.last_hour += u32::from(wanted.recent);
    }
    cells
}

fn cell(place: LatLng, resolution: Resolution) -> Cell {
    let place = h3o::LatLng::new(place.latitude(), place.longitude()).expect("degrees of a place are finite");
    Cell(place.to_cell(resolution.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(latitude: f64, longitude: f64) -> LatLng {
        LatLng::new(latitude, longitude).expect("a place")
    }

    #[test]
    fn resolutions_are_seven_to_nine() {
        let taken: Vec<u8> = (0..=20).filter(|r| Resolution::new(*r).is_some_and(|known| known.get() == *r)).collect();
        assert_eq!(taken, [7, 8, 9]);
    }

    #[test]
    fn everything_is_counted_once_in_the_cell_it_is_in() {
        let (makati, cebu) = (place(14.5547, 121.0244), place(10.3157, 123.8854));
        let wanted = |place, pending, recent| Wanted { place, pending, recent };
        for resolution in 7..=9 {
            let resolution = Resolution::new(resolution).expect("known");
            let demand = [wanted(makati, true, true), wanted(makati, false, true), wanted(cebu, true, false)];
            let nothing = wanted(place(0.0, 0.0), false, false);
            let heat = heat(resolution, [makati, makati, makati], demand.into_iter().chain([nothing]));
            let in_makati = Heat { supply: 3, pending: 1, last_hour: 2 };
            let in_cebu = Heat { supply: 0, pending: 1, last_hour: 0 };
            assert_eq!(heat.len(), 2);
            assert_eq!(heat[&cell(makati, resolution)], in_makati);
            assert_eq!(heat[&cell(cebu, resolution)], in_cebu);
        }
    }

    #[test]
    fn a_ring_is_closed_counterclockwise_and_around_its_place_also_at_the_antimeridian() {
        for (latitude, longitude) in [(14.5547, 121.0244), (-17.0, 180.0), (52.0, -179.999), (0.0, 0.0)] {
            let ring = cell(place(latitude, longitude), Resolution::new(7).expect("known")).ring();
            assert!(ring.len() >= 6 && ring.first() == ring.last(), "{ring:?}");
            // Twice the signed area by the shoelace formula: positive is counterclockwise. A ring torn apart at the
            // antimeridian would be a thousand times as large as a cell of resolution 7.
            let twice: f64 = ring.windows(2).map(|w| w[0][0] * w[1][1] - w[1][0] * w[0][1]).sum();
            assert!(twice > 0.0 && twice < 0.01, "{latitude}, {longitude}: {twice}");
        }
    }

    #[test]
    fn a_cell_is_named_as_h3_writes_it() {
        let cell = cell(place(14.5547, 121.0244), Resolution::new(8).expect("known"));
        assert_eq!(cell.name(), format!("{:x}", crate::core::geo::area_cell(place(14.5547, 121.0244))));
    }
}
