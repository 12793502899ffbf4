//! rstar as a good engineer would use it: for one city ([`Tree`]), a bulk-loaded tree over plane metres, walked from near to
//! far, each met one measured with the exact metric, until the plane distance alone says that nobody nearer can follow; for
//! the whole Earth ([`Globe`]), which is what the index promises, the same over points of the sphere itself.

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

/// The best so far, in order.
struct Best {
    best: Vec<(f64, u32)>,
    bound: f64,
}

impl Default for Best {
    fn default() -> Self {
        Self { best: Vec::with_capacity(K + 1), bound: RADIUS_M }
    }
}

impl Best {
    #[inline]
    fn meet(&mut self, distance: f64, id: u32) {
        if distance > self.bound {
            return;
        }
        let at = self.best.partition_point(|other| *other < (distance, id));
        self.best.insert(at, (distance, id));
        self.best.truncate(K);
        if self.best.len() == K {
            self.bound = self.best[K - 1].0;
        }
    }
}

impl Tree {
    pub fn new(places: &[LatLng]) -> Self {
        let points = places.iter().enumerate().map(|(id, &place)| Point::new(plane(place), id as u32)).collect();
        Self { tree: RTree::bulk_load(points), places: places.to_vec() }
    }

    /// The nearest [`K`] within [`RADIUS_M`], by the service's metric.
    pub fn nearest(&self, place: LatLng) -> Vec<(f64, u32)> {
        let mut found = Best::default();
        for (point, squared) in self.tree.nearest_neighbor_iter_with_distance_2(plane(place)) {
            if squared > (found.bound * STRETCH).powi(2) {
                break;
            }
            found.meet(self.places[point.data as usize].distance(place).get(), point.data);
        }
        found.best
    }

    /// Moves a point: out, and in again.
    pub fn set(&mut self, id: u32, to: LatLng) {
        let from = std::mem::replace(&mut self.places[id as usize], to);
        assert!(self.tree.remove(&Point::new(plane(from), id)).is_some());
        self.tree.insert(Point::new(plane(to), id));
    }
}

/// Points of the sphere, in metres from its middle: a chord is never longer than the way, and in their order.
pub struct Globe {
    tree: RTree<GeomWithData<[f64; 3], u32>>,
    places: Vec<LatLng>,
}

fn on_sphere(place: LatLng) -> [f64; 3] {
    let ((lat_sin, lat_cos), (lng_sin, lng_cos)) =
        (place.latitude().to_radians().sin_cos(), place.longitude().to_radians().sin_cos());
    [lat_cos * lng_cos, lat_cos * lng_sin, lat_sin].map(|unit| unit * EARTH_RADIUS_M)
}

impl Globe {
    pub fn new(places: &[LatLng]) -> Self {
        let points = places.iter().enumerate().map(|(id, &place)| GeomWithData::new(on_sphere(place), id as u32));
        Self { tree: RTree::bulk_load(points.collect()), places: places.to_vec() }
    }

    /// The nearest [`K`] within [`RADIUS_M`], by the service's metric.
    pub fn nearest(&self, place: LatLng) -> Vec<(f64, u32)> {
        let mut found = Best::default();
        for (point, squared) in self.tree.nearest_neighbor_iter_with_distance_2(on_sphere(place)) {
            if squared > found.bound.powi(2) {
                break;
            }
            found.meet(self.places[point.data as usize].distance(place).get(), point.data);
        }
        found.best
    }

    /// Moves a point: out, and in again.
    pub fn set(&mut self, id: u32, to: LatLng) {
        let from = std::mem::replace(&mut self.places[id as usize], to);
        assert!(self.tree.remove(&GeomWithData::new(on_sphere(from), id)).is_some());
        self.tree.insert(GeomWithData::new(on_sphere(to), id));
    }
}
