//! Rows of `provider_locations` in PostgreSQL's binary COPY format
//! (<https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format").

use crate::core::ids::ProviderId;
use crate::core::track::Fix;

/// The columns that [`Rows`] writes, in order.
pub(in crate::store) const COPY: &str =
    "COPY provider_locations (provider_id, latitude, longitude, accuracy, heading, speed,
    is_moving, battery_level, counted, created_at, received_at) FROM STDIN (FORMAT binary)";

const COLUMNS: i16 = 11;
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// From 1970 to 2000, where PostgreSQL begins to count, microseconds.
const EPOCH: i64 = 946_684_800_000_000;
/// A numeric is a row of digits to the base 10,000.
const BASE: u32 = 10_000;
const NEGATIVE: u16 = 0x4000;

/// A batch being written. The buffer is kept from batch to batch.
#[derive(Default)]
pub(in crate::store) struct Rows(Vec<u8>);

impl Rows {
    pub(in crate::store) fn begin(&mut self) {
        self.0.clear();
        self.0.extend_from_slice(SIGNATURE);
        self.0.extend_from_slice(&[0; 8]); // no flags, no extension
    }

    /// Times in microseconds since 1970, of years that PostgreSQL knows.
    pub(in crate::store) fn push(&mut self, provider: ProviderId, fix: &Fix, counted: bool, received_at: i64) {
        self.0.extend_from_slice(&COLUMNS.to_be_bytes());
        self.field(&provider.0.to_be_bytes());
        self.degrees(fix.place.lat_e7());
        self.degrees(fix.place.lng_e7());
        self.optional(fix.accuracy_m.map(hundredths));
        self.optional(fix.heading.map(|degrees| hundredths(degrees) % 36_000));
        self.optional(fix.speed_kmh.map(hundredths));
        self.field(&[u8::from(fix.moving)]);
        match fix.battery_percent {
            Some(percent) => self.field(&i32::from(percent).to_be_bytes()),
            None => self.null(),
        }
        self.field(&[u8::from(counted)]);
        self.field(&(fix.at.micros() - EPOCH).to_be_bytes());
        self.field(&(received_at - EPOCH).to_be_bytes());
    }

    pub(in crate::store) fn end(&mut self) -> &[u8] {
        self.0.extend_from_slice(&(-1_i16).to_be_bytes());
        &self.0
    }

    pub(in crate::store) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn field(&mut self, value: &[u8]) {
        // Every value here is a few bytes long.
        self.0.extend_from_slice(&(value.len() as i32).to_be_bytes());
        self.0.extend_from_slice(value);
    }

    fn null(&mut self) {
        self.0.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    /// 1e-7 degree as `DECIMAL(…, 8)`: one digit before the point (180 < 10,000), two after it.
    fn degrees(&mut self, e7: i32) {
        let (whole, part) = (e7.unsigned_abs() / 10_000_000, e7.unsigned_abs() % 10_000_000 * 10);
        self.numeric(0, e7 < 0, 8, [whole, part / BASE, part % BASE]);
    }

    /// Hundredths as `DECIMAL(…, 2)`: two digits before the point (i32 holds 21 million), one after it.
    fn optional(&mut self, hundredths: Option<i32>) {
        let Some(value) = hundredths else { return self.null() };
        let (whole, part) = (value.unsigned_abs() / 100, value.unsigned_abs() % 100 * 100);
        self.numeric(1, value < 0, 2, [whole / BASE, whole % BASE, part]);
    }

    /// The first of `digits` counts 10,000 to the power of `weight`. Leading zeros are PostgreSQL's to drop.
    fn numeric(&mut self, weight: i16, negative: bool, scale: u16, digits: [u32; 3]) {
        let sign = if negative { NEGATIVE } else { 0 };
        let mut value = [0; 14];
        let words = [digits.len() as u16, weight as u16, sign, scale];
        for (at, word) in words.into_iter().chain(digits.map(|digit| digit as u16)).enumerate() {
            value[at * 2..at * 2 + 2].copy_from_slice(&word.to_be_bytes());
        }
        self.field(&value);
    }
}

/// Rounds half away from zero; what does not fit saturates and is then refused by its column.
pub(super) fn hundredths(value: f64) -> i32 {
    (value * 100.0).round() as i32
}
