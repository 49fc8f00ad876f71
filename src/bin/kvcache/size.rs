//! Sizes as people write them: `64KiB`, `1.5GiB`, `4096`.

/// Reads a size: a number, then nothing, `B`, `KiB`, `MiB`, `GiB` or `TiB`; also `k`, `M`, `G`, `T`, binary all the
/// same.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(format!("{unit:?} is not a unit; use B, KiB, MiB, GiB or TiB")),
    };
    let too_large = || format!("{text} is more than 64 bits of bytes");
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(too_large);
    }
    let bytes = number
        .parse::<f64>()
        .map_err(|_| format!("{text:?} does not begin with a number"))?
        * (1_u64 << shift) as f64;
    if bytes >= u64::MAX as f64 {
        return Err(too_large());
    }
    Ok(bytes.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("2MiB", 2 << 20),
            ("2 MiB", 2 << 20),
            ("64k", 64 << 10),
            ("1.5GiB", 3 << 29),
            ("3TiB", 3 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "2MB", "-1", "1..5", "16777216TiB", "99999999999999999999"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
