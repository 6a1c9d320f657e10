//! Durations as the gateway writes them: `1m30s`. It knows no calendar units.

const UNITS: [(&str, i64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("µs", 1_000),
    ("ns", 1),
];

/// The canonical text; what cannot be read is nothing, `0s`, without an error.
pub fn canonical(text: &str) -> String {
    format(nanoseconds(text).unwrap_or(0))
}

/// Whole seconds, rounded down.
pub fn seconds(text: &str) -> i64 {
    nanoseconds(text).unwrap_or(0).div_euclid(1_000_000_000)
}

pub fn nanoseconds(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i64;
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| !(character.is_ascii_digit() || character == '.'))
            .filter(|length| *length > 0)?;
        let (number, after) = rest.split_at(digits);
        let length = after
            .find(|character: char| character.is_ascii_digit() || character == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let unit = if matches!(unit, "us" | "μs") {
            "µs"
        } else {
            unit
        };
        let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        total = total.checked_add(scaled(number, scale)?)?;
        rest = after;
    }
    Some(sign * total)
}

pub fn format(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if nanoseconds < 0 {
        out.push('-');
    }
    let mut rest = nanoseconds.unsigned_abs();
    for (unit, scale) in UNITS {
        let scale = scale.unsigned_abs();
        if rest >= scale {
            out.push_str(&(rest / scale).to_string());
            out.push_str(unit);
            rest %= scale;
        }
    }
    out
}

fn scaled(number: &str, scale: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut total = whole.checked_mul(scale)?;
    let mut step = scale;
    for digit in fraction.chars() {
        step /= 10;
        total = total.checked_add(i64::from(digit.to_digit(10)?) * step)?;
    }
    Some(total)
}
