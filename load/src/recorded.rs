//! Recorded days: GPS fixes and rides from (gzipped) CSV, read as a stream. Bad rows are named by line and left out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, bail};
use spacall::core::geo::LatLng;

/// Part of a recorded day, seconds since 1970 UTC: `from` counts, `until` does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Window {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Window {
    fn contains(self, t: i64) -> bool {
        (self.from..self.until).contains(&t)
    }

    pub(crate) fn seconds(self) -> i64 {
        self.until - self.from
    }
}

/// A fix, seconds after the window's begin.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct RecordedFix {
    pub(crate) after_s: u32,
    pub(crate) place: LatLng,
}

/// A served ride of the recording: asked for at its pickup.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct RecordedRide {
    /// Seconds after the window's begin.
    pub(crate) after_s: u32,
    pub(crate) pickup: LatLng,
    pub(crate) duration_s: u32,
}

/// Rows that could not be used: how many, and the first few by line.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct BadRows {
    pub(crate) count: u64,
    pub(crate) first: Vec<String>,
}

impl BadRows {
    const NAMED: usize = 10;

    fn add(&mut self, file: &str, line: u64, problem: &str) {
        self.count += 1;
        if self.first.len() < Self::NAMED {
            self.first.push(format!("{file}, line {line}: {problem}"));
        }
    }
}

/// The fixes of each vehicle in time order; the vehicles in the order of their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct GpsDay {
    pub(crate) vehicles: Vec<(String, Vec<RecordedFix>)>,
    pub(crate) bad: BadRows,
}

/// Fixes of the window. `warm_up_s`: a vehicle whose last fix before the window is no older than this starts there.
pub(crate) fn read_gps(path: &Path, window: Window, warm_up_s: i64) -> Result<GpsDay> {
    gps_from(open(path)?, &path.display().to_string(), window, warm_up_s)
}

fn gps_from(source: impl Read, name: &str, window: Window, warm_up_s: i64) -> Result<GpsDay> {
    let mut rows = Rows::new(source, name, ["t", "vehicle", "lat", "lon"])?;
    let mut vehicles: BTreeMap<String, Vec<RecordedFix>> = BTreeMap::new();
    let mut before: BTreeMap<String, LatLng> = BTreeMap::new();
    let mut bad = BadRows::default();
    while let Some(line) = rows.next(&mut bad)? {
        let row = rows.text(0).parse::<i64>().map_err(|_| format!("t {:?} is no unix time", rows.text(0)));
        let row = row.and_then(|t| Ok((t, place(rows.text(2), rows.text(3))?)));
        let (t, place) = match row {
            Ok(row) => row,
            Err(problem) => {
                bad.add(name, line, &problem);
                continue;
            }
        };
        let vehicle = rows.text(1);
        if window.contains(t) {
            let fix = RecordedFix { after_s: u32::try_from(t - window.from).unwrap_or(u32::MAX), place };
            match vehicles.get_mut(vehicle) {
                Some(fixes) => fixes.push(fix),
                None => drop(vehicles.insert(vehicle.to_owned(), vec![fix])),
            }
        } else if t < window.from && t >= window.from - warm_up_s {
            before.insert(vehicle.to_owned(), place);
        }
    }
    for (vehicle, place) in before {
        vehicles.entry(vehicle).or_default().insert(0, RecordedFix { after_s: 0, place });
    }
    for fixes in vehicles.values_mut() {
        fixes.sort_by_key(|fix| fix.after_s);
    }
    Ok(GpsDay { vehicles: vehicles.into_iter().collect(), bad })
}

/// Rides whose pickup is in the window, in time order; of these vehicles only, when some are named.
pub(crate) fn read_rides(
    path: &Path,
    window: Window,
    of: impl Fn(&str) -> bool,
) -> Result<(Vec<RecordedRide>, BadRows)> {
    rides_from(open(path)?, &path.display().to_string(), window, of)
}

fn rides_from(
    source: impl Read,
    name: &str,
    window: Window,
    of: impl Fn(&str) -> bool,
) -> Result<(Vec<RecordedRide>, BadRows)> {
    let mut rows = Rows::new(source, name, ["pickup_t", "vehicle", "pickup_lat", "pickup_lon", "duration_s"])?;
    let (mut rides, mut bad) = (Vec::new(), BadRows::default());
    while let Some(line) = rows.next(&mut bad)? {
        let whole = |at: usize, field: &str| {
            rows.text(at).parse::<i64>().map_err(|_| format!("{field} {:?} is no whole number", rows.text(at)))
        };
        let row = (|| {
            let duration = whole(4, "duration_s")?;
            let duration_s = u32::try_from(duration).map_err(|_| format!("duration_s {duration} is negative"))?;
            Ok::<_, String>((whole(0, "pickup_t")?, place(rows.text(2), rows.text(3))?, duration_s))
        })();
        match row {
            Err(problem) => bad.add(name, line, &problem),
            Ok((t, pickup, duration_s)) if window.contains(t) && of(rows.text(1)) => {
                rides.push(RecordedRide {
                    after_s: u32::try_from(t - window.from).unwrap_or(u32::MAX),
                    pickup,
                    duration_s,
                });
            }
            Ok(_) => {}
        }
    }
    rides.sort_by_key(|ride| ride.after_s);
    Ok((rides, bad))
}

fn place(latitude: &str, longitude: &str) -> Result<LatLng, String> {
    let degrees = |field: &str, text: &str| text.parse::<f64>().map_err(|_| format!("{field} {text:?} is no number"));
    LatLng::new(degrees("lat", latitude)?, degrees("lon", longitude)?).map_err(|e| e.to_string())
}

/// A CSV, by the names of its columns, one row at a time.
struct Rows<R: Read> {
    reader: csv::Reader<R>,
    record: csv::StringRecord,
    columns: Vec<usize>,
    name: String,
}

impl<R: Read> Rows<R> {
    fn new<const N: usize>(source: R, name: &str, wanted: [&str; N]) -> Result<Self> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(source);
        let header = reader.headers().with_context(|| format!("{name}: the header cannot be read"))?.clone();
        let mut columns = Vec::with_capacity(N);
        for column in wanted {
            match header.iter().position(|h| h == column) {
                Some(at) => columns.push(at),
                None => bail!("{name}: no column {column:?} in the header {:?}", header.iter().collect::<Vec<_>>()),
            }
        }
        Ok(Self { reader, record: csv::StringRecord::new(), columns, name: name.to_owned() })
    }

    /// The line of the next row; `None` at the end. Rows that are not text count as bad and are skipped.
    fn next(&mut self, bad: &mut BadRows) -> Result<Option<u64>> {
        loop {
            match self.reader.read_record(&mut self.record) {
                Ok(false) => return Ok(None),
                Ok(true) => return Ok(Some(self.record.position().map_or(0, csv::Position::line))),
                Err(e) if matches!(e.kind(), csv::ErrorKind::Utf8 { .. }) => {
                    bad.add(&self.name, self.reader.position().line(), "not UTF-8");
                }
                Err(e) => return Err(e).with_context(|| format!("{}: reading", self.name)),
            }
        }
    }

    /// A wanted column of this row; empty when the row is too short.
    fn text(&self, column: usize) -> &str {
        self.columns.get(column).and_then(|at| self.record.get(*at)).unwrap_or("").trim()
    }
}

/// Plain or gzipped, by its first bytes.
fn open(path: &Path) -> Result<Box<dyn Read>> {
    let context = || format!("{}: opening", path.display());
    let mut file = File::open(path).with_context(context)?;
    let mut magic = [0; 2];
    let read = file.read(&mut magic).with_context(context)?;
    file.rewind().with_context(context)?;
    let file = BufReader::with_capacity(1 << 16, file);
    Ok(if read == 2 && magic == [0x1f, 0x8b] {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Window = Window { from: 1_000, until: 2_000 };
    const GPS: &str = "t,vehicle,lat,lon,occupied\n\
        900,b,37.70,-122.40,0\n\
        1000,b,37.71,-122.41,0\n\
        1010,a,37.72,-122.42,1\n\
        1020,a,99,-122.42,1\n\
        1030,a,37.73\n\
        noon,a,37.73,-122.42,1\n\
        1040,b,37.74,-122.44,1\n\
        2000,b,37.75,-122.45,1\n";

    #[test]
    fn a_window_of_a_day_by_vehicle_and_bad_rows_by_line() {
        let day = gps_from(GPS.as_bytes(), "gps", DAY, 0).expect("readable");
        let found: Vec<_> = day.vehicles.iter().map(|(name, fixes)| (name.as_str(), fixes.len())).collect();
        assert_eq!(found, [("a", 1), ("b", 2)]);
        assert_eq!(day.vehicles[1].1[1].after_s, 40);
        assert_eq!(
            day.bad.first,
            [
                "gps, line 5: latitude 99 is outside -90..90",
                "gps, line 6: lon \"\" is no number",
                "gps, line 7: t \"noon\" is no unix time",
            ]
        );
    }

    #[test]
    fn a_vehicle_starts_where_it_was_last_seen_before_the_window() {
        let day = gps_from(GPS.as_bytes(), "gps", DAY, 600).expect("readable");
        let b = &day.vehicles[1].1;
        assert_eq!((b.len(), b[0].after_s, b[0].place.latitude()), (3, 0, 37.70));
    }

    #[test]
    fn a_missing_column_is_named() {
        let problem = gps_from("t,vehicle,lat\n".as_bytes(), "gps", DAY, 0).expect_err("no lon").to_string();
        assert!(problem.contains("no column \"lon\""), "{problem}");
    }

    #[test]
    fn rides_come_in_time_order_and_only_of_the_vehicles_asked_for() {
        let text = "trip_id,vehicle,pickup_t,pickup_lat,pickup_lon,duration_s\n\
            1,a,1500,37.7,-122.4,300\n2,b,1400,37.7,-122.4,200\n3,a,1300,37.7,-122.4,100\n4,a,1300,37.7,-122.4,-5\n";
        let (rides, bad) = rides_from(text.as_bytes(), "rides", DAY, |v| v == "a").expect("readable");
        assert_eq!(rides.iter().map(|r| (r.after_s, r.duration_s)).collect::<Vec<_>>(), [(300, 100), (500, 300)]);
        assert_eq!(bad.first, ["rides, line 5: duration_s -5 is negative"]);
    }

    #[test]
    fn an_hour_of_the_real_day_is_read_whole() {
        let Ok(data) = std::env::var("SPACALL_DATA") else {
            println!("skipped: SPACALL_DATA is not set");
            return;
        };
        // Eight to nine in the morning of 2008-05-30 in San Francisco.
        let hour = Window { from: 1_212_159_600, until: 1_212_163_200 };
        let data = Path::new(&data);
        let day = read_gps(&data.join("gps/sf_cabs_2008-05-30.csv.gz"), hour, 0).expect("readable");
        let rides = data.join("demand/sf_trips_2008-05-17_to_05-31.csv.gz");
        let (rides, bad) = read_rides(&rides, hour, |_| true).expect("readable");
        let fixes: usize = day.vehicles.iter().map(|(_, fixes)| fixes.len()).sum();
        assert_eq!((day.bad.count, bad.count), (0, 0));
        assert!((200..=491).contains(&day.vehicles.len()) && fixes > 10_000 && rides.len() > 300);
    }
}
