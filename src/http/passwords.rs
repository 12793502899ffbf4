//! Passwords: read so that nothing repeats them, hashed and compared as Laravel does it (bcrypt), a few at a time.

use std::fmt;
use std::hint::black_box;
use std::net::IpAddr;
use std::ops::Range;

use bcrypt::{HashParts, Version};

use super::extract::Fields;
use super::problem::Problem;
use super::turns::Turns;
use crate::core::ids::UserId;

/// As Laravel's `BCRYPT_ROUNDS`: about a quarter of a second of a processor.
pub const COST: u32 = 12;

/// bcrypt's least.
const LEAST_COST: u32 = 4;

/// A row that asks for more is not computed (31 would take days): nobody gets in with it.
const MOST_COST: u32 = 14;

/// What bcrypt looks at; it would cut off the rest without a word.
const MOST_BYTES: usize = 72;

const LEAST_CHARS: usize = 8;

/// For hashes that nobody compares.
const SALT: [u8; 16] = [0x5a; 16];

/// Somebody's password, in the clear: never printed.
pub struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Password {
    /// One that somebody gives to be let in, however long it is. No error repeats it.
    pub fn given(fields: &mut Fields, field: &str) -> Option<Self> {
        Self::read(fields, field, 1, usize::MAX)
    }

    /// One that somebody wants from now on. If `{field}_confirmation` is given, it must be the same.
    pub fn new(fields: &mut Fields, field: &str) -> Option<Self> {
        let password = Self::read(fields, field, LEAST_CHARS, MOST_BYTES)?;
        let again = fields.raw(&format!("{field}_confirmation"));
        if again.is_some_and(|again| again.as_str() != Some(&password.0)) {
            fields.error(field, format!("The {field} field confirmation does not match."));
            return None;
        }
        Some(password)
    }

    /// As it is: spaces belong to it.
    fn read(fields: &mut Fields, field: &str, least: usize, most: usize) -> Option<Self> {
        let wrong = match fields.raw(field) {
            None => "is required".to_owned(),
            Some(serde_json::Value::String(text)) => match fault(&text, least, most) {
                None => return Some(Self(text)),
                Some(fault) => fault,
            },
            Some(_) => "must be a text".to_owned(),
        };
        fields.error(field, format!("The {field} field {wrong}."));
        None
    }
}

fn fault(text: &str, least: usize, most: usize) -> Option<String> {
    let (chars, bytes) = (text.chars().count(), text.len());
    if chars == 0 {
        Some("is required".to_owned())
    } else if chars < least {
        Some(format!("must be at least {least} characters"))
    } else if bytes > most {
        Some(format!("must be at most {most} bytes in UTF-8, and has {bytes}"))
    } else if text.contains('\0') {
        Some("must not contain the character NUL".to_owned())
    } else {
        None
    }
}

/// Hashes and compares passwords on threads of its own, so few at once that pings and searches do not notice.
pub struct Passwords {
    cost: u32,
    turns: Turns,
}

impl Passwords {
    /// `cost`: of new hashes, the exponent of bcrypt; 4 to 14.
    pub fn new(cost: u32) -> Self {
        Self { cost: cost.clamp(LEAST_COST, MOST_COST), turns: Turns::default() }
    }

    /// The hash of a new password that comes from this address, `$2y$` as PHP writes it.
    ///
    /// # Errors
    /// As [`Turns::take`].
    pub async fn hash(&self, password: Password, from: IpAddr) -> Result<String, Problem> {
        let cost = self.cost;
        let hashed = self.turns.take(from, move || bcrypt::hash_with_result(&password.0, cost)).await?;
        match hashed {
            Ok(parts) => Ok(parts.format_for_version(Version::TwoY)),
            Err(error) => {
                tracing::error!(%error, "a password could not be hashed");
                Err(Problem::internal())
            }
        }
    }

    /// Whether a user's stored hash is this password's. Takes as long whether it is or not, and where there is no hash to compare
    /// with (`None`: no such account, or one without a password), unless the stored one is of a higher cost than new ones.
    ///
    /// # Errors
    /// As [`Turns::take`].
    pub async fn is(
        &self,
        password: Password,
        stored: Option<(UserId, String)>,
        from: IpAddr,
    ) -> Result<bool, Problem> {
        let cost = self.cost;
        let hash = stored.map(|(user, hash)| {
            if usable_cost(&hash).is_none() {
                tracing::warn!(%user, "a stored password is no bcrypt hash of a cost up to {MOST_COST}: nobody gets in with it");
            }
            hash
        });
        self.turns.take(from, move || compare(password.0.as_bytes(), hash.as_deref(), cost)).await
    }
}

fn compare(password: &[u8], stored: Option<&str>, cost: u32) -> bool {
    // Nobody's new password is longer, but PHP has hashed such ones, and does not look at the rest.
    let password = &password[..password.len().min(MOST_BYTES)];
    let stored_cost = stored.and_then(usable_cost);
    let is_it = match (stored, stored_cost) {
        (Some(stored), Some(_)) => bcrypt::verify(password, stored).unwrap_or(false),
        _ => false,
    };
    let (once, rest) = filler(stored_cost, cost);
    for cost in once.into_iter().chain(rest) {
        black_box(bcrypt::bcrypt(cost, SALT, black_box(password)));
    }
    is_it
}

fn usable_cost(hash: &str) -> Option<u32> {
    let parts: HashParts = hash.parse().ok()?;
    Some(parts.get_cost()).filter(|cost| (LEAST_COST..=MOST_COST).contains(cost))
}

/// What is hashed for nothing after a hash of this cost was compared, so that all of it is the work of one of `cost`: each cost
/// is twice the work of the one below, so 2^10 (the row's) + 2^10 + 2^11 = 2^12.
fn filler(stored: Option<u32>, cost: u32) -> (Option<u32>, Range<u32>) {
    match stored {
        None => (Some(cost), 0..0),
        Some(stored) => (None, stored..cost.max(stored)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn fields(value: Value) -> Fields {
        match value {
            Value::Object(map) => Fields::of_body(map),
            _ => panic!("an object"),
        }
    }

    fn refusal(value: Value) -> String {
        let mut fields = fields(value);
        assert!(Password::new(&mut fields, "password").is_none());
        fields.finish::<()>(None).expect_err("refused").to_json()["errors"]["password"][0]
            .as_str()
            .expect("a text")
            .into()
    }

    #[test]
    fn what_cannot_be_a_password_is_refused_without_being_repeated() {
        for (given, told) in [
            (json!({}), "is required"),
            (json!({"password": ""}), "is required"),
            (json!({"password": 12_345_678}), "must be a text"),
            (json!({"password": "hunter2"}), "must be at least 8 characters"),
            (json!({"password": "hunter2".repeat(11)}), "must be at most 72 bytes in UTF-8, and has 77"),
            (json!({"password": "ñ".repeat(37)}), "must be at most 72 bytes in UTF-8, and has 74"),
            (json!({"password": "hunter2\0hunter2"}), "must not contain the character NUL"),
            (
                json!({"password": "hunter2hunter2", "password_confirmation": "hunter3hunter3"}),
                "confirmation does not match",
            ),
        ] {
            let text = refusal(given);
            assert_eq!(text, format!("The password field {told}."));
            assert!(!text.contains("hunter"), "{text}");
        }
        for good in [" 8 chars", &"x".repeat(72), "ñññññññññ"] {
            let password = Password::new(&mut fields(json!({"password": good})), "password").expect("a password");
            assert_eq!(password.0, good);
            assert_eq!(format!("{password:?}"), "***");
        }
    }

    #[tokio::test]
    async fn a_hash_is_laravels_and_laravels_is_understood() {
        let passwords = Passwords::new(4);
        let hash = passwords.hash(Password("secret".into()), HERE).await.expect("a hash");
        assert!(hash.starts_with("$2y$04$") && hash.len() == 60, "{hash}");
        // Laravel's own factory: "password" and "secret", by PHP.
        let php = "$2y$10$92IXUNpkjO0rOQ5byMi.Ye4oKoEa3Ro9llC/.og/at2.uheWG/igi";
        for (password, stored, expected) in [
            ("secret", Some(hash.as_str()), true),
            ("Secret", Some(&hash), false),
            ("password", Some(php), true),
            ("secret", Some(php), false),
            ("password", Some(&php.replace("$10$", "$31$")), false),
            ("password", Some("password"), false),
            ("password", Some(""), false),
            ("password", None, false),
        ] {
            let is_it = passwords
                .is(Password(password.into()), stored.map(|hash| (UserId(1), hash.to_owned())), HERE)
                .await
                .expect("an answer");
            assert_eq!(is_it, expected, "{password} {stored:?}");
        }
    }

    #[tokio::test]
    async fn of_a_longer_password_that_php_has_hashed_the_first_72_bytes_count() {
        let passwords = Passwords::new(4);
        let hash = passwords.hash(Password("x".repeat(MOST_BYTES)), HERE).await.expect("a hash");
        for (text, expected) in [("x".repeat(80), true), ("x".repeat(72) + "y", true), ("x".repeat(71), false)] {
            let given = Password::given(&mut fields(json!({"password": text})), "password").expect("one to try");
            assert_eq!(passwords.is(given, Some((UserId(1), hash.clone())), HERE).await.ok(), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_unknown_account_an_old_hash_and_a_hash_that_is_none_take_the_same_work() {
        let work = |stored: Option<u32>| {
            let (once, rest) = filler(stored, COST);
            stored.into_iter().chain(once).chain(rest).map(|cost| 1_u64 << cost).sum::<u64>()
        };
        for stored in [None, Some(4), Some(10), Some(11), Some(12)] {
            assert_eq!(work(stored), 1 << COST, "{stored:?}");
        }
        assert_eq!(work(Some(14)), 1 << 14, "never less than it needs");
        assert_eq!(usable_cost("$2y$31$92IXUNpkjO0rOQ5byMi.Ye4oKoEa3Ro9llC/.og/at2.uheWG/igi"), None);
    }
}
