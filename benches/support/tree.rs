//! rstar as a good engineer would use it for one city: a bulk-loaded tree over plane metres, walked from near to far,
//! each met one measured with the exact metric, until the plane distance alone says that nobody nearer can follow.

use rstar::RTree;
use rstar::primitives::GeomWithData;
use spacall::core::geo::{EARTH_RADIUS_M, LatLng};

use super::world::{K, RADIUS_M};

/// The parallel at which east-west metres are true. Over Metro Manila plane distances differ by less than [`STRETCH`].
const PARALLEL: f64 = 14.58;
const STRETCH: f64 = 1.003;

type Point = GeomWithData<[f64; 2], u32>;

/// Points with ids from 0.
pub struct Tree {
    tree: RTree<Point>,
    places: Vec<LatLng>,
}

fn plane(place: LatLng) -> [f64; 2] {
    let east = place.longitude().to_radians() * PARALLEL.to_radians().cos();
    [EARTH_RADIUS_M * east, EARTH_RADIUS_M * place.latitude().to_radians()]
}

impl Tree {
    pub fn new(places: &[LatLng]) -> Self {
        let points = places.iter().enumerate().map(|(id, &place)| Point::new(plane(place), id as u32)).collect();
        Self { tree: RTree::bulk_load(points), places: places.to_vec() }
    }

    /// The nearest [`K`] within [`RADIUS_M`], by the service's metric.
    pub fn nearest(&self, place: LatLng) -> Vec<(f64, u32)> {
        let mut found: Vec<(f64, u32)> = Vec::with_capacity(K + 1);
        let mut bound = RADIUS_M;
        for (point, squared) in self.tree.nearest_neighbor_iter_with_distance_2(plane(place)) {
            if squared > (bound * STRETCH).powi(2) {
                break;
            }
            let near = (self.places[point.data as usize].distance(place).get(), point.data);
            if near.0 > bound {
                continue;
            }
            let at = found.partition_point(|other| (other.0, other.1) < near);
            found.insert(at, near);
            found.truncate(K);
            if found.len() == K {
                bound = found[K - 1].0;
            }
        }
        found
    }

    /// Moves a point: out, and in again.
    pub fn set(&mut self, id: u32, to: LatLng) {
        let from = std::mem::replace(&mut self.places[id as usize], to);
        assert!(self.tree.remove(&Point::new(plane(from), id)).is_some());
        self.tree.insert(Point::new(plane(to), id));
    }
}
