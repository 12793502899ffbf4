//! Phone numbers as people write them, and as the table of users has them: E.164. The trigger `normalise_phone` does the same.

/// A whole number. `None`: it is none. A Philippine one may be written as there (`0917 123 4567`, `+63 (0)917 123 4567`).
pub fn e164(text: &str) -> Option<String> {
    let plain = plain(text);
    // How long a number is that begins with 0 is known.
    if plain.starts_with('0') && plain.len() != "09171234567".len() {
        return None;
    }
    let number = folded(plain);
    let digits = number.strip_prefix('+')?;
    let is_one =
        (8..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    is_one.then_some(number)
}

/// Part of a number, to be looked for. `None`: there is no digit in it.
pub fn part(text: &str) -> Option<String> {
    Some(folded(plain(text))).filter(|part| part.bytes().any(|b| b.is_ascii_digit()))
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_whitespace() && !"().-".contains(*c)).collect()
}

/// The one rule: what begins as Philippine numbers do at home, begins as they do everywhere.
fn folded(plain: String) -> String {
    match (plain.strip_prefix("09"), plain.strip_prefix("+630")) {
        (Some(rest), _) => format!("+639{rest}"),
        (_, Some(rest)) => format!("+63{rest}"),
        (None, None) => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_the_table_writes_it() {
        for (given, read) in [
            ("+639171234567", Some("+639171234567")),
            ("0917 123 4567", Some("+639171234567")),
            ("(0917) 123-4567", Some("+639171234567")),
            ("+63 (0)917 123 4567", Some("+639171234567")),
            ("+63 (0) 2 8123 4567", Some("+63281234567")),
            ("+1.212.555.0100", Some("+12125550100")),
            ("639171234567", None),
            ("091712345678", None),
            ("091712345", None),
            ("+0917123456", None),
            ("+6391", None),
            ("+63917123456789012", None),
            ("+63917123456\0", None),
            ("+６３９１７１２３４５６７", None),
        ] {
            assert_eq!(e164(given).as_deref(), read, "{given:?}");
        }
    }

    #[test]
    fn a_part_is_looked_for_as_the_table_has_it() {
        for (given, read) in [
            ("0917 123", Some("+63917123")),
            ("+63 (917)", Some("+63917")),
            ("+63 (0)917", Some("+63917")),
            ("917", Some("917")),
            ("-", None),
            ("+", None),
            ("luz", None),
        ] {
            assert_eq!(part(given).as_deref(), read, "{given:?}");
        }
    }
}
