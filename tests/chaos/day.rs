//! Where each phone goes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// Degrees, in the order in which they were passed.
pub(super) type Way = Vec<(f64, f64)>;

/// The ways of so many vehicles of a recorded day, or of straight walks about Makati where there is none.
pub(super) fn ways(wanted: usize) -> Vec<Way> {
    match std::env::var_os("SPACALL_DATA") {
        Some(data) => recorded(PathBuf::from(data).join("gps/sf_cabs_2008-05-30.csv.gz"), wanted),
        None => {
            eprintln!("skipped: a recorded day (SPACALL_DATA is not set); phones walk straight on");
            (0..wanted).map(walk).collect()
        }
    }
}

fn walk(nth: usize) -> Way {
    (0..1_000).map(|step| (14.4 + nth as f64 * 1e-3 + f64::from(step) * 1e-5, 121.0 + f64::from(step) * 1e-5)).collect()
}

fn recorded(path: PathBuf, wanted: usize) -> Vec<Way> {
    let unpacked = Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip");
    assert!(unpacked.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&unpacked.stderr));
    let text = String::from_utf8(unpacked.stdout).expect("text");
    let mut ways: BTreeMap<&str, Way> = BTreeMap::new();
    for line in text.lines().skip(1) {
        // t, vehicle, lat, lon, occupied; in order of time
        let mut fields = line.split(',').skip(1);
        let (vehicle, lat, lon) = (fields.next(), fields.next(), fields.next());
        let (Some(vehicle), Some(Ok(lat)), Some(Ok(lon))) = (vehicle, lat.map(str::parse), lon.map(str::parse)) else {
            panic!("{}: {line:?}", path.display());
        };
        ways.entry(vehicle).or_default().push((lat, lon));
    }
    let ways: Vec<_> = ways.into_values().take(wanted).collect();
    assert_eq!(ways.len(), wanted, "vehicles of that day");
    ways
}
