//! Where people live: the built-in table of Metro Manila and the files that stand in for it elsewhere.
//!
//! Used to seed a fleet and customers, and by the demo. Not used for matching.

use rand::{Rng, RngExt};

use crate::core::geo::{EARTH_RADIUS_M, InvalidLatLng, LatLng};

/// A city as far as seeding asks: how many people live around which point.
#[derive(Clone, PartialEq, Debug)]
pub struct City {
    /// As people say it.
    pub name: String,
    /// Where its people live, on average.
    pub centre: LatLng,
    /// Inhabitants: the weight when a place is drawn.
    pub population: u32,
    /// Places are drawn within this distance of the centre, km.
    pub spread_km: f64,
}

/// Spread of a city of a file that does not give one, km.
pub const DEFAULT_SPREAD_KM: f64 = 2.0;

/// Name, latitude, longitude, population, spread in km of the 17 cities (16 and the municipality of Pateros).
/// Population: census of 2024 (PSA). Centre: mean place of the barangays, weighted with their population; Caloocan's
/// therefore lies between its two parts. Spread: the largest disc, at most as large as the city, that stays on Metro
/// Manila's land, so that nobody lives in the bay.
const METRO_MANILA: [(&str, f64, f64, u32, f64); 17] = [
    ("Caloocan", 14.7041, 120.9902, 1_712_945, 2.5),
    ("Las Piñas", 14.4468, 120.9942, 615_549, 2.0),
    ("Makati", 14.5599, 121.0209, 309_770, 2.8),
    ("Malabon", 14.6683, 120.9598, 389_929, 2.1),
    ("Mandaluyong", 14.5807, 121.0380, 465_902, 1.9),
    ("Manila", 14.6019, 120.9855, 1_902_590, 2.8),
    ("Marikina", 14.6494, 121.1047, 471_323, 1.8),
    ("Muntinlupa", 14.4059, 121.0365, 552_225, 1.5),
    ("Navotas", 14.6603, 120.9451, 252_878, 0.2),
    ("Parañaque", 14.4828, 121.0146, 703_245, 3.4),
    ("Pasay", 14.5369, 121.0044, 453_186, 2.4),
    ("Pasig", 14.5745, 121.0882, 853_050, 1.2),
    ("Pateros", 14.5450, 121.0698, 67_319, 0.7),
    ("Quezon City", 14.6748, 121.0546, 3_084_270, 6.3),
    ("San Juan", 14.6036, 121.0347, 134_312, 1.4),
    ("Taguig", 14.5209, 121.0589, 1_308_085, 2.0),
    ("Valenzuela", 14.7046, 120.9823, 725_173, 2.7),
];

/// The middle of the land that recorded days of other cities are moved onto, degrees.
pub const MANILA_CENTRE: (f64, f64) = (14.5850, 121.0300);

/// The built-in table.
pub fn metro_manila() -> Vec<City> {
    METRO_MANILA
        .into_iter()
        .filter_map(|(name, latitude, longitude, population, spread_km)| {
            let centre = LatLng::new(latitude, longitude).ok()?;
            Some(City { name: name.to_owned(), centre, population, spread_km })
        })
        .collect()
}

/// A city file that cannot be used: which line, what is wrong, what is allowed.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum InvalidCities {
    /// One entry is wrong.
    #[error("city file, {entry}: {problem}")]
    Entry {
        /// `line 3` of a CSV, `entry 2` of a JSON array.
        entry: String,
        /// Names field, value and what is allowed.
        problem: String,
    },
    /// It is neither of the two formats.
    #[error(
        "city file: {0}; wanted is CSV with the header `name,latitude,longitude,population` (and, if given, `spread_km`) or a JSON array of objects with these fields"
    )]
    Format(String),
    /// Nobody could be placed.
    #[error("city file: no city has inhabitants")]
    Empty,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    latitude: f64,
    longitude: f64,
    population: u32,
    #[serde(default)]
    spread_km: Option<f64>,
}

impl Entry {
    fn check(self) -> Result<City, String> {
        let centre = LatLng::new(self.latitude, self.longitude).map_err(|e: InvalidLatLng| e.to_string())?;
        let spread_km = self.spread_km.unwrap_or(DEFAULT_SPREAD_KM);
        if !(0.0..=200.0).contains(&spread_km) {
            return Err(format!("spread_km {spread_km} is outside 0..200"));
        }
        if self.name.trim().is_empty() {
            return Err("name is empty".to_owned());
        }
        Ok(City { name: self.name, centre, population: self.population, spread_km })
    }
}

/// Reads a city file: CSV with the header `name,latitude,longitude,population` and an optional column `spread_km`
/// (names with a comma in double quotes), or a JSON array of objects with these fields.
pub fn read_cities(text: &str) -> Result<Vec<City>, InvalidCities> {
    let text = text.trim_start_matches('\u{feff}');
    let cities = if text.trim_start().starts_with('[') { read_json(text)? } else { read_csv(text)? };
    if cities.iter().all(|city| city.population == 0) {
        return Err(InvalidCities::Empty);
    }
    Ok(cities)
}

fn read_json(text: &str) -> Result<Vec<City>, InvalidCities> {
    let entries: Vec<serde_json::Value> =
        serde_json::from_str(text).map_err(|e| InvalidCities::Format(e.to_string()))?;
    let mut cities = Vec::with_capacity(entries.len());
    for (i, entry) in entries.into_iter().enumerate() {
        let city = serde_json::from_value::<Entry>(entry).map_err(|e| e.to_string()).and_then(Entry::check);
        cities.push(city.map_err(|problem| InvalidCities::Entry { entry: format!("entry {}", i + 1), problem })?);
    }
    Ok(cities)
}

fn read_csv(text: &str) -> Result<Vec<City>, InvalidCities> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((_, header)) = lines.next() else { return Err(InvalidCities::Empty) };
    let columns = csv_fields(header);
    let place = |name: &str| columns.iter().position(|c| c.trim() == name);
    let (Some(name), Some(lat), Some(lng), Some(people)) =
        (place("name"), place("latitude"), place("longitude"), place("population"))
    else {
        return Err(InvalidCities::Format(format!("header {header:?}")));
    };
    let spread = place("spread_km");
    let mut cities = Vec::new();
    for (i, line) in lines {
        let fields = csv_fields(line);
        let entry = (|| {
            let text = |at: usize, field: &str| fields.get(at).map(|f| f.trim()).ok_or(format!("{field} is missing"));
            let spread_km = match spread.and_then(|at| fields.get(at)).map(|f| f.trim()).filter(|f| !f.is_empty()) {
                Some(value) => Some(number(value, "spread_km")?),
                None => None,
            };
            Entry {
                name: text(name, "name")?.to_owned(),
                latitude: number(text(lat, "latitude")?, "latitude")?,
                longitude: number(text(lng, "longitude")?, "longitude")?,
                population: number(text(people, "population")?, "population")?,
                spread_km,
            }
            .check()
        })();
        cities.push(entry.map_err(|problem| InvalidCities::Entry { entry: format!("line {}", i + 1), problem })?);
    }
    Ok(cities)
}

fn number<T: std::str::FromStr>(text: &str, field: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{field} {text:?} is not a number"))
}

/// Splits one line at commas that are not within double quotes; a doubled quote within quotes stands for one.
fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let (mut quoted, mut chars) = (false, line.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                push_last(&mut fields, '"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => push_last(&mut fields, c),
        }
    }
    fields
}

fn push_last(fields: &mut [String], c: char) {
    if let Some(last) = fields.last_mut() {
        last.push(c);
    }
}

/// Draws places: a city by its population, then a point of its disc, every part of the disc alike.
pub struct Places {
    cities: Vec<City>,
    /// Running sum of the populations.
    upto: Vec<u64>,
}

impl Places {
    /// Needs at least one city with inhabitants.
    pub fn new(cities: Vec<City>) -> Result<Self, InvalidCities> {
        let mut sum = 0_u64;
        let upto: Vec<u64> = cities
            .iter()
            .map(|city| {
                sum += u64::from(city.population);
                sum
            })
            .collect();
        if sum == 0 { Err(InvalidCities::Empty) } else { Ok(Self { cities, upto }) }
    }

    /// The first city of the table.
    pub fn first(&self) -> &City {
        &self.cities[0]
    }

    /// A city and a place in it.
    pub fn draw(&self, rng: &mut impl Rng) -> (&City, LatLng) {
        let total = self.upto.last().copied().unwrap_or(1);
        let at = rng.random_range(0..total);
        let city = &self.cities[self.upto.partition_point(|&upto| upto <= at)];
        let (bearing, distance) =
            (rng.random_range(0.0..std::f64::consts::TAU), city.spread_km * rng.random::<f64>().sqrt());
        (city, offset(city.centre, bearing, distance))
    }
}

/// The place `distance_km` from `from` in direction `bearing` (radians, clockwise from north), along a great circle.
pub fn offset(from: LatLng, bearing: f64, distance_km: f64) -> LatLng {
    let angle = distance_km * 1_000.0 / EARTH_RADIUS_M;
    let lat = from.latitude().to_radians();
    let sin_lat = (lat.sin() * angle.cos() + lat.cos() * angle.sin() * bearing.cos()).clamp(-1.0, 1.0);
    let lng = from.longitude().to_radians()
        + (bearing.sin() * angle.sin() * lat.cos()).atan2(angle.cos() - lat.sin() * sin_lat);
    let longitude = (lng.to_degrees() + 540.0).rem_euclid(360.0) - 180.0;
    // Both are in range by construction; `from` is a safe answer to rounding at the very edge.
    LatLng::new(sin_lat.asin().to_degrees(), longitude).unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn metro_manila_has_17_cities_and_fourteen_million_people() {
        let cities = metro_manila();
        assert_eq!(cities.len(), 17);
        assert_eq!(cities.iter().map(|c| c.population).sum::<u32>(), 14_001_751);
    }

    #[test]
    fn reads_csv_and_json_alike() {
        let csv = "name,latitude,longitude,population\n\"Legazpi, Albay\",13.1391,123.7438,210616\n";
        let json = r#"[{"name":"Legazpi, Albay","latitude":13.1391,"longitude":123.7438,"population":210616}]"#;
        assert_eq!(read_cities(csv), read_cities(json));
        assert_eq!(read_cities(csv).map(|c| c[0].name.clone()), Ok("Legazpi, Albay".to_owned()));
    }

    #[test]
    fn a_bad_line_is_named_with_field_and_value() {
        let text = "name,latitude,longitude,population\nA,13,123,5\nB,95,123,5\n";
        let problem = read_cities(text).expect_err("95 is no latitude").to_string();
        assert_eq!(problem, "city file, line 3: latitude 95 is outside -90..90");
        let problem = read_cities("name,latitude,longitude,population\nA,13,x,5").expect_err("no number").to_string();
        assert_eq!(problem, "city file, line 2: longitude \"x\" is not a number");
        assert!(read_cities("town,people\nA,5").is_err());
        assert_eq!(read_cities("name,latitude,longitude,population\nA,1,1,0"), Err(InvalidCities::Empty));
    }

    #[test]
    fn places_stay_within_the_spread_and_follow_the_population() {
        let places = Places::new(metro_manila()).expect("inhabited");
        let mut rng = StdRng::seed_from_u64(1);
        let mut quezon = 0;
        for _ in 0..4_000 {
            let (city, place) = places.draw(&mut rng);
            assert!(place.distance(city.centre).km() <= city.spread_km + 0.001);
            quezon += u32::from(city.name == "Quezon City");
        }
        assert!((800..1_020).contains(&quezon), "{quezon} of 4,000 in Quezon City; its share of people is 23 %");
    }

    #[test]
    fn an_offset_has_the_length_asked_for_even_across_the_antimeridian() {
        let from = LatLng::new(-17.0, 179.99).expect("a place");
        let to = offset(from, std::f64::consts::FRAC_PI_2, 5.0);
        assert!(to.longitude() < 0.0);
        assert!((from.distance(to).km() - 5.0).abs() < 0.001);
    }
}
