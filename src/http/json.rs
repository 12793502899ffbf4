//! JSON written straight into the bytes of a body, for answers that are asked for by the thousand: names and punctuation
//! come as one constant, numbers digit by digit, nothing is copied twice. What is rare goes through serde.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{Datelike, Timelike};
use serde::Serialize;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::core::money::Money;
use crate::wire::time::{WireTime, to_chrono};

/// A text that grows. Whoever writes keeps the brackets and commas: each writer has a test that reads it again.
pub(super) struct Json(Vec<u8>);

impl Json {
    /// Empty, with room for `bytes`.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Names, brackets, commas: JSON as it stands.
    #[inline]
    pub(super) fn raw(&mut self, json: &'static str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A text of the world, quoted.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let begin = self.0.len();
        let (eights, rest) = text.as_bytes().as_chunks();
        let last = rest.iter().rev().fold(EIGHT_SPACES, |last, byte| last << 8 | u64::from(*byte)).to_le_bytes();
        self.0.push(b'"');
        for eight in eights {
            self.0.extend_from_slice(eight);
        }
        self.first(&last, rest.len()).0.push(b'"');
        if eights.iter().chain([&last]).all(|eight| are_plain(*eight)) {
            return self;
        }
        self.0.truncate(begin);
        self.any(&text)
    }

    /// A uuid, quoted.
    pub(super) fn uuid(&mut self, uuid: Uuid) -> &mut Self {
        let mut text = [0; Hyphenated::LENGTH];
        uuid.hyphenated().encode_lower(&mut text);
        self.quoted(|json| json.0.extend_from_slice(&text))
    }

    /// 64 bits as sixteen hexadecimal digits less the zeros before them, quoted.
    pub(super) fn hexadecimal(&mut self, bits: u64) -> &mut Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let text: [u8; 16] = std::array::from_fn(|at| DIGITS[(bits >> (60 - 4 * at)) as usize & 15]);
        let zeros = (bits.leading_zeros() as usize / 4).min(15);
        let text = u128::from_le_bytes(text) >> (8 * zeros);
        self.quoted(|json| _ = json.first(&text.to_le_bytes(), 16 - zeros))
    }

    /// A whole number.
    #[inline]
    pub(super) fn integer(&mut self, number: impl Into<u64>) -> &mut Self {
        let number = number.into();
        if number >= LARGEST_QUICK {
            return self.any(&number);
        }
        self.digits(Digits::default().whole(number))
    }

    /// `units` of 10^-`DECIMALS` each, as serde writes the f64 that is nearest: no more zeros at the end than one.
    pub(super) fn decimal<const DECIMALS: u32>(&mut self, units: i64) -> &mut Self {
        self.point::<DECIMALS>(units, 1)
    }

    /// An amount, quoted, with both decimals.
    pub(super) fn money(&mut self, amount: Money) -> &mut Self {
        self.quoted(|json| _ = json.point::<2>(amount.in_centavos(), 2))
    }

    /// A time, quoted.
    pub(super) fn time(&mut self, time: WireTime) -> &mut Self {
        let utc = to_chrono(time.0).map(|at| at.naive_utc()).filter(|at| (1_000..10_000).contains(&at.year()));
        // A year of other than four digits is for who knows how to write it.
        let Some(at) = utc else { return self.any(&time) };
        self.quoted(|json| {
            json.integer(at.year().unsigned_abs()).raw("-").pair(at.month()).raw("-").pair(at.day());
            json.raw("T").pair(at.hour()).raw(":").pair(at.minute()).raw(":").pair(at.second());
            match u64::from(at.nanosecond()) / 1_000 {
                0 => {}
                micros if micros % 1_000 == 0 => _ = json.digits(Digits::default().fraction(micros / 1_000, 3, 3)),
                micros => _ = json.digits(Digits::default().fraction(micros, 6, 6)),
            }
            json.raw("Z");
        })
    }

    /// Each item, with commas between them.
    pub(super) fn list<T>(&mut self, items: impl IntoIterator<Item = T>, write: impl Fn(&mut Self, T)) -> &mut Self {
        self.0.push(b'[');
        for (nth, item) in items.into_iter().enumerate() {
            if nth > 0 {
                self.0.push(b',');
            }
            write(self, item);
        }
        self.0.push(b']');
        self
    }

    /// Whatever serde can write. A value that it cannot is null: none that is given here has keys that are no texts.
    pub(super) fn any(&mut self, value: &impl Serialize) -> &mut Self {
        let begin = self.0.len();
        if let Err(error) = serde_json::to_writer(&mut self.0, value) {
            tracing::error!(%error, "a part of an answer could not be written");
            self.0.truncate(begin);
            self.raw("null");
        }
        self
    }

    /// What was written.
    #[cfg(test)]
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// With as many decimals as it needs, and no fewer than `fewest`.
    #[inline]
    fn point<const DECIMALS: u32>(&mut self, units: i64, fewest: u32) -> &mut Self {
        let one = const { 10_u64.pow(DECIMALS) };
        let (whole, part) = (units.unsigned_abs() / one, units.unsigned_abs() % one);
        let digits = Digits::default().fraction(part, DECIMALS, fewest);
        if units < 0 {
            self.0.push(b'-');
        }
        if whole >= LARGEST_QUICK {
            return self.any(&whole).digits(digits);
        }
        self.digits(digits.whole(whole))
    }

    #[inline]
    fn digits(&mut self, digits: Digits) -> &mut Self {
        self.first(&digits.text.to_le_bytes(), digits.length)
    }

    /// The first `length` of some bytes: as many as are known beforehand are copied without a call.
    #[inline]
    fn first<const N: usize>(&mut self, bytes: &[u8; N], length: usize) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self.0.truncate(self.0.len() - (N - length));
        self
    }

    /// 0 to 99, with both digits.
    fn pair(&mut self, number: u32) -> &mut Self {
        self.0.extend_from_slice(&PAIRS[number as usize]);
        self
    }

    #[inline]
    fn quoted(&mut self, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.0.push(b'"');
        write(self);
        self.0.push(b'"');
        self
    }
}

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.0));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

/// 00 to 99: two digits for one division.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut at = 0;
    while at < 100 {
        pairs[at] = [b'0' + at as u8 / 10, b'0' + at as u8 % 10];
        at += 1;
    }
    pairs
};

/// Larger numbers are rare, and longer than [`Digits`] hold with a point and seven decimals.
const LARGEST_QUICK: u64 = 100_000_000;

/// The text of a number, from its last character to its first: it grows at its front, in a register.
#[derive(Default)]
struct Digits {
    text: u128,
    length: usize,
}

impl Digits {
    /// A number below [`LARGEST_QUICK`]: two digits for one division.
    #[inline]
    fn whole(mut self, mut number: u64) -> Self {
        while number >= 100 {
            self = self.pair(number % 100);
            number /= 100;
        }
        if number >= 10 { self.pair(number) } else { self.byte(b'0' + number as u8) }
    }

    /// The point and at most seven decimals, as few as are needed and no fewer than `fewest`.
    #[inline]
    fn fraction(mut self, mut units: u64, mut decimals: u32, fewest: u32) -> Self {
        while decimals > fewest && units.is_multiple_of(10) {
            units /= 10;
            decimals -= 1;
        }
        for _ in 0..decimals / 2 {
            self = self.pair(units % 100);
            units /= 100;
        }
        if decimals % 2 == 1 {
            self = self.byte(b'0' + units as u8);
        }
        self.byte(b'.')
    }

    #[inline]
    fn pair(self, number: u64) -> Self {
        let pair = u16::from_le_bytes(PAIRS[number as usize]);
        Self { text: self.text << 16 | u128::from(pair), length: self.length + 2 }
    }

    #[inline]
    fn byte(self, byte: u8) -> Self {
        Self { text: self.text << 8 | u128::from(byte), length: self.length + 1 }
    }
}

const EIGHT_SPACES: u64 = u64::from_le_bytes([b' '; 8]);

/// Whether none of them needs an escape. A byte below n has its top bit set after n is taken from it, and had not before (Warren,
/// Hacker's Delight, 6-1); what a byte borrows from the next one only ever comes after one that is not plain itself.
fn are_plain(eight: [u8; 8]) -> bool {
    const EACH: u64 = u64::MAX / 0xff;
    let text = u64::from_le_bytes(eight);
    let below = |bytes: u64, n: u8| bytes.wrapping_sub(EACH * u64::from(n)) & !bytes;
    let quote = below(text ^ (EACH * u64::from(b'"')), 1);
    let backslash = below(text ^ (EACH * u64::from(b'\\')), 1);
    (below(text, b' ') | quote | backslash) & (EACH << 7) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Timestamp;

    fn written(write: impl FnOnce(&mut Json)) -> String {
        let mut json = Json::with_room(0);
        write(&mut json);
        String::from_utf8(json.into_bytes()).expect("UTF-8")
    }

    #[test]
    fn texts_are_escaped_as_serde_escapes_them() {
        let long = [
            "12345678\"",
            "1234567\"",
            "a control\u{1f}sign",
            "1234\\5678",
            "eight ñ\u{7f}\u{80} and more",
            "plain to the end",
        ];
        for text in long.into_iter().chain([
            "",
            "Ana",
            "Niño \u{1F33A}",
            "\"",
            "a\\b",
            "line\nbreak",
            "\0",
            "\u{1f}",
            "\u{7f}",
            "</script>",
        ]) {
            assert_eq!(written(|json| _ = json.text(text)), serde_json::to_string(text).expect("JSON"), "{text:?}");
        }
    }

    #[test]
    fn a_decimal_is_the_number_that_serde_writes_of_the_nearest_fraction() {
        for units in [0, 1, -1, 9, 10, 100, 485, -485, 500, 12_345, 99_999, 1_210_244_000, -1_799_999_999, 1 << 52] {
            let number = units as f64 / 100.0;
            assert_eq!(written(|json| _ = json.decimal::<2>(units)), serde_json::to_string(&number).expect("JSON"));
            let (text, number) = (written(|json| _ = json.decimal::<7>(units)), units as f64 / 1e7);
            assert_eq!(text.parse::<f64>().expect("a number"), number, "{text}");
        }
        assert_eq!(written(|json| _ = json.decimal::<2>(i64::MIN)), "-92233720368547758.08");
    }

    #[test]
    fn an_amount_is_written_as_serde_writes_it() {
        for centavos in [0, 5, 10, 99, 80_000, -5, 4_294_967_296, i64::MAX] {
            let amount = Money::centavos(centavos);
            assert_eq!(written(|json| _ = json.money(amount)), serde_json::to_string(&amount).expect("JSON"));
        }
    }

    #[test]
    fn whole_numbers_cells_and_ids_are_written_whole() {
        for number in [0, 7, 10, 99, 100, 101, 999, 1_000, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(written(|json| _ = json.integer(number)), number.to_string());
        }
        for bits in [0, 0xf, 0x10, 0x0896_9405_b303_ffff, u64::MAX] {
            assert_eq!(written(|json| _ = json.hexadecimal(bits)), format!("\"{bits:x}\""));
        }
        let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(written(|json| _ = json.uuid(id)), "\"01234567-89ab-cdef-0123-456789abcdef\"");
    }

    #[test]
    fn a_time_is_written_as_serde_writes_it() {
        let (second, moment) = (1_000_000, 1_795_000_000_000_000);
        for micros in [0, moment, moment + 1, moment + 1_000, moment + 999_999, moment + 100_000, -second, second / 2] {
            let time = WireTime(Timestamp::from_micros(micros));
            assert_eq!(written(|json| _ = json.time(time)), serde_json::to_string(&time).expect("JSON"), "{micros}");
        }
        for year in [-1_000, 999, 1_000, 1_001, 9_999, 10_000, 10_001, 280_000] {
            let time = WireTime(Timestamp::from_secs((year - 1_970) * 31_556_952));
            assert_eq!(written(|json| _ = json.time(time)), serde_json::to_string(&time).expect("JSON"), "{year}");
        }
    }

    #[test]
    fn lists_have_commas_between_and_none_around() {
        for list in [&[][..], &[1_u32], &[1, 2, 3]] {
            let text = written(|json| _ = json.list(list, |json, n| _ = json.integer(*n)));
            assert_eq!(text, serde_json::to_string(list).expect("JSON"));
        }
    }
}
