//! JSON written straight into the bytes of a body, for answers that are asked for by the thousand: names and punctuation
//! come as one constant, numbers digit by digit, nothing is copied twice. What is rare goes through serde.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uuid::Uuid;

use crate::core::money::Money;

/// A text that grows. Whoever writes keeps the brackets and commas: each writer has a test that reads it again.
pub(super) struct Json(Vec<u8>);

/// As many as the largest u64 has.
const MOST_DIGITS: usize = 20;

impl Json {
    /// Empty, with room for `bytes`.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Names, brackets, commas: JSON as it stands.
    pub(super) fn raw(&mut self, json: &'static str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A text of the world, quoted.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        let plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
        if text.as_bytes().iter().all(plain) {
            return self.plain(text.as_bytes());
        }
        self.any(&text)
    }

    /// A uuid, quoted.
    pub(super) fn uuid(&mut self, uuid: Uuid) -> &mut Self {
        let mut buffer = Uuid::encode_buffer();
        let text = uuid.hyphenated().encode_lower(&mut buffer).as_bytes();
        self.plain(text)
    }

    /// 64 bits as sixteen hexadecimal digits less the zeros before them, quoted.
    pub(super) fn hexadecimal(&mut self, bits: u64) -> &mut Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let text: [u8; 16] = std::array::from_fn(|at| DIGITS[(bits >> (60 - 4 * at)) as usize & 15]);
        let zeros = bits.leading_zeros() as usize / 4;
        self.plain(&text[zeros.min(15)..])
    }

    /// A whole number.
    pub(super) fn integer(&mut self, number: impl Into<u64>) -> &mut Self {
        let mut digits = [0; MOST_DIGITS];
        let first = write_digits(&mut digits, number.into());
        self.0.extend_from_slice(&digits[first..]);
        self
    }

    /// `units` of 10^-`DECIMALS` each, as serde writes the f64 that is nearest: no more zeros at the end than one.
    pub(super) fn decimal<const DECIMALS: usize>(&mut self, units: i64) -> &mut Self {
        self.point::<DECIMALS>(units, 1)
    }

    /// An amount, quoted, with both decimals.
    pub(super) fn money(&mut self, amount: Money) -> &mut Self {
        self.0.push(b'"');
        self.point::<2>(amount.in_centavos(), 2);
        self.0.push(b'"');
        self
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
    fn point<const DECIMALS: usize>(&mut self, units: i64, fewest: usize) -> &mut Self {
        const { assert!(0 < DECIMALS && DECIMALS < MOST_DIGITS) };
        // Zeros stand where no digit is written, the one before the point among them.
        let mut digits = [b'0'; MOST_DIGITS];
        let first = write_digits(&mut digits, units.unsigned_abs());
        let (whole, fraction) = digits.split_at(MOST_DIGITS - DECIMALS);
        let zeros = fraction[fewest..].iter().rev().take_while(|digit| **digit == b'0').count();
        if units < 0 {
            self.0.push(b'-');
        }
        self.0.extend_from_slice(&whole[first.min(whole.len() - 1)..]);
        self.0.push(b'.');
        self.0.extend_from_slice(&fraction[..DECIMALS - zeros]);
        self
    }

    /// Quoted as it stands.
    fn plain(&mut self, text: &[u8]) -> &mut Self {
        self.0.push(b'"');
        self.0.extend_from_slice(text);
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

/// Into the end of `digits`; where the first one stands.
fn write_digits(digits: &mut [u8; MOST_DIGITS], mut number: u64) -> usize {
    let mut first = MOST_DIGITS;
    while number > 9 {
        first -= 2;
        digits[first..first + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    // A single digit is left, or none; but nought has one.
    if number > 0 || first == MOST_DIGITS {
        first -= 1;
        digits[first] = b'0' + number as u8;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Json)) -> String {
        let mut json = Json::with_room(0);
        write(&mut json);
        String::from_utf8(json.into_bytes()).expect("UTF-8")
    }

    #[test]
    fn texts_are_escaped_as_serde_escapes_them() {
        for text in ["", "Ana", "Niño \u{1F33A}", "\"", "a\\b", "line\nbreak", "\0", "\u{1f}", "\u{7f}", "</script>"] {
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
    fn lists_have_commas_between_and_none_around() {
        for list in [&[][..], &[1_u32], &[1, 2, 3]] {
            let text = written(|json| _ = json.list(list, |json, n| _ = json.integer(*n)));
            assert_eq!(text, serde_json::to_string(list).expect("JSON"));
        }
    }
}
