//! Moments as people write them, and as programs read them. A moment is microseconds since 1970,
//! UTC.

use jiff::{Span, Timestamp, ToSpan, civil::Date, tz::TimeZone};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    #[error(
        "{0} is no time: write a day (2026-11-23), a moment (2026-11-23T12:00:00Z) or a time ago \
         (90m, 36h, 7d)"
    )]
    Moment(String),
    #[error("{0} is no quarter: write the year and the quarter, as in 2026Q4")]
    Quarter(String),
}

/// A day, a moment, or a time ago.
pub fn parse_moment(when: &str, now: i64) -> Result<i64, MomentError> {
    let wrong = || MomentError::Moment(when.to_owned());
    if let Ok(moment) = when.parse::<Timestamp>() {
        return Ok(moment.as_microsecond());
    }
    if let Ok(day) = when.parse::<Date>() {
        return start_of(day).ok_or_else(wrong);
    }
    let number = when
        .get(..when.len().saturating_sub(1))
        .and_then(|digits| digits.parse::<i64>().ok())
        .filter(|&number| (0..=100_000).contains(&number))
        .ok_or_else(wrong)?;
    let span: Span = match when.as_bytes().last() {
        Some(b'm') => number.minutes(),
        Some(b'h') => number.hours(),
        Some(b'd') => (number * 24).hours(),
        _ => return Err(wrong()),
    };
    Timestamp::from_microsecond(now)
        .and_then(|now| now.checked_sub(span))
        .map(Timestamp::as_microsecond)
        .map_err(|_| wrong())
}

/// The beginning of a quarter in UTC and of the one after it.
pub fn parse_quarter(text: &str) -> Result<(i64, i64), MomentError> {
    let wrong = || MomentError::Quarter(text.to_owned());
    let (year, quarter) = text.split_once(['Q', 'q']).ok_or_else(wrong)?;
    let year = year
        .trim_end_matches('-')
        .parse::<i16>()
        .ok()
        .filter(|year| (1970..=9000).contains(year))
        .ok_or_else(wrong)?;
    let first = match quarter {
        "1" => 1,
        "2" => 4,
        "3" => 7,
        "4" => 10,
        _ => return Err(wrong()),
    };
    let start = Date::new(year, first, 1).map_err(|_| wrong())?;
    let end = start.checked_add(3.months()).map_err(|_| wrong())?;
    start_of(start).zip(start_of(end)).ok_or_else(wrong)
}

fn start_of(day: Date) -> Option<i64> {
    let day = day.to_zoned(TimeZone::UTC).ok()?;
    Some(day.timestamp().as_microsecond())
}

/// For programs.
pub fn rfc3339(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |at| at.to_string())
}

/// For people, to the second, in UTC.
pub fn shown(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(
        |_| micros.to_string(),
        |timestamp| timestamp.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_three_months_in_utc() {
        for (text, start, end) in [
            ("2026Q4", "2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("2024-Q1", "2024-01-01T00:00:00Z", "2024-04-01T00:00:00Z"),
        ] {
            let moment = |text: &str| parse_moment(text, 0).unwrap();
            assert_eq!(parse_quarter(text), Ok((moment(start), moment(end))));
        }
        for wrong in ["", "2026", "2026Q5", "2026Q0", "Q4", "99999Q1", "2026Q11"] {
            assert!(parse_quarter(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_moment_is_a_day_a_time_or_a_time_ago() {
        let now = parse_moment("2026-11-23T12:00:00Z", 0).unwrap();
        for (text, is) in [
            ("2026-11-23", "2026-11-23T00:00:00Z"),
            ("36h", "2026-11-22T00:00:00Z"),
            ("30m", "2026-11-23T11:30:00Z"),
        ] {
            assert_eq!(rfc3339(parse_moment(text, now).unwrap()), is);
        }
        for wrong in ["", "h", "yesterday", "-1h", "7", "7w", "ü"] {
            assert!(parse_moment(wrong, now).is_err(), "{wrong:?}");
        }
    }
}
