//! Freeze windows: times of the week, on a stack's own clock, at which nothing goes live by itself.
//!
//! A window is a stretch between two moments that the clock on the wall shows. Where that clock
//! skips an hour, a window that begins or ends within it does so at the skip; where it shows an
//! hour twice, a window begins at the first of the two and ends at the second: in doubt it is
//! frozen. What the time is now is passed in.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};

const DAY: u16 = 24 * 60;
const WEEK: usize = 7 * DAY as usize;

/// The days of the week as they are written, Monday first.
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// The freeze windows of a stack, and its clock. Some minute of every week is open.
#[derive(Debug, Clone)]
pub struct Freeze {
    windows: Vec<Window>,
    time_zone: TimeZone,
}

/// From one time of day to another, on some days of the week. One that ends before it begins ends
/// on the next day, and belongs to the day on which it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    days: Days,
    /// Minutes of the day.
    from: u16,
    /// Minutes of the day on which it began: up to two days long.
    to: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days([bool; 7]);

/// A time of day to the minute, from 00:00 to 24:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    #[error("must be \"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\" or \"sun\"")]
    Day,
    #[error("names no day; without it every day is meant")]
    NoDay,
    #[error("is a time of day, like \"08:30\", and \"24:00\" for the end of a day")]
    Time,
    #[error("ends when it begins; leave from and to out for whole days")]
    Empty,
    #[error("cannot begin at 24:00: that is 00:00 of the next day")]
    BeginsAtTheEnd,
    #[error("leaves no minute of the week in which anything could go live")]
    Always,
}

impl Days {
    pub const ALL: Self = Self([true; 7]);

    pub fn new(days: impl IntoIterator<Item = Weekday>) -> Result<Self, WindowError> {
        let mut set = Self([false; 7]);
        for day in days {
            set.0[place(day)] = true;
        }
        if set.0.contains(&true) {
            Ok(set)
        } else {
            Err(WindowError::NoDay)
        }
    }

    fn contains(self, day: Weekday) -> bool {
        self.0[place(day)]
    }
}

pub fn parse_day(text: &str) -> Result<Weekday, WindowError> {
    DAYS.iter()
        .find(|(name, _)| *name == text)
        .map(|(_, day)| *day)
        .ok_or(WindowError::Day)
}

impl TimeOfDay {
    pub const START: Self = Self(0);
    pub const END: Self = Self(DAY);
}

impl FromStr for TimeOfDay {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            let is_plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|_| is_plain)
        };
        let (hours, minutes) = text
            .split_once(':')
            .and_then(|(hours, minutes)| Some((number(hours)?, number(minutes)?)))
            .filter(|(hours, minutes)| *hours <= 24 && *minutes < 60)
            .ok_or(WindowError::Time)?;
        let time = hours * 60 + minutes;
        if time <= DAY {
            Ok(Self(time))
        } else {
            Err(WindowError::Time)
        }
    }
}

impl Window {
    pub fn new(days: Days, from: TimeOfDay, to: TimeOfDay) -> Result<Self, WindowError> {
        let (TimeOfDay(from), TimeOfDay(to)) = (from, to);
        if from == DAY {
            return Err(WindowError::BeginsAtTheEnd);
        }
        if from == to {
            return Err(WindowError::Empty);
        }
        let to = if to < from { to + DAY } else { to };
        Ok(Self { days, from, to })
    }
}

impl Default for Freeze {
    /// Never frozen, on the clock of UTC.
    fn default() -> Self {
        Self {
            windows: Vec::new(),
            time_zone: TimeZone::UTC,
        }
    }
}

impl Freeze {
    pub fn new(windows: Vec<Window>, time_zone: TimeZone) -> Result<Self, WindowError> {
        let mut frozen = vec![false; WEEK];
        for window in &windows {
            let days = (0..7).filter(|day| window.days.0[*day]);
            for day in days {
                for minute in window.from..window.to {
                    frozen[(day * usize::from(DAY) + usize::from(minute)) % WEEK] = true;
                }
            }
        }
        if frozen.contains(&false) {
            Ok(Self { windows, time_zone })
        } else {
            Err(WindowError::Always)
        }
    }

    /// Until when it is frozen at that moment: the end of the window, or of the last of those that
    /// follow each other without a break. `None` while it is not frozen. Microseconds UTC.
    pub fn frozen_until(&self, now: i64) -> Option<i64> {
        let now = Timestamp::from_microsecond(now).ok()?;
        let mut open = now;
        while let Some(end) = self.end_of_window_at(open) {
            open = end;
        }
        (open > now).then(|| open.as_microsecond())
    }

    /// The latest end of the windows that a moment is in.
    fn end_of_window_at(&self, at: Timestamp) -> Option<Timestamp> {
        if self.windows.is_empty() {
            return None;
        }
        let today = self.time_zone.to_datetime(at).date();
        // Tomorrow's may have begun where the clock shows the end of a day twice.
        let days = [today.yesterday().ok(), Some(today), today.tomorrow().ok()];
        days.into_iter()
            .flatten()
            .flat_map(|day| self.windows.iter().map(move |window| (day, window)))
            .filter(|(day, window)| window.days.contains(day.weekday()))
            .filter_map(|(day, window)| {
                let begin = self.first(moment(day, window.from)?)?;
                let end = self.last(moment(day, window.to)?)?;
                (begin <= at && at < end).then_some(end)
            })
            .max()
    }

    /// When the clock first shows this, or skips it.
    fn first(&self, shown: DateTime) -> Option<Timestamp> {
        let ambiguous = self.time_zone.to_ambiguous_timestamp(shown);
        let earlier = ambiguous.earlier().ok()?;
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => self.skip_after(earlier),
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => Some(earlier),
        }
    }

    /// When the clock last shows this, or skips it.
    fn last(&self, shown: DateTime) -> Option<Timestamp> {
        let ambiguous = self.time_zone.to_ambiguous_timestamp(shown);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => self.skip_after(ambiguous.earlier().ok()?),
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
                ambiguous.later().ok()
            }
        }
    }

    fn skip_after(&self, at: Timestamp) -> Option<Timestamp> {
        let mut transitions = self.time_zone.following(at);
        transitions.next().map(|transition| transition.timestamp())
    }

    /// A moment as the stack's clock shows it, for people.
    pub fn shown(&self, micros: i64) -> impl fmt::Display {
        let name = self.time_zone.iana_name().unwrap_or("UTC").to_owned();
        match Timestamp::from_microsecond(micros) {
            Ok(at) => {
                let shown = self.time_zone.to_datetime(at);
                format!("{} {name}", shown.strftime("%A %Y-%m-%d %H:%M"))
            }
            Err(_) => micros.to_string(),
        }
    }

    /// A moment to come, as microseconds UTC: a moment with its offset, a date and time on the
    /// stack's clock, or a duration from now.
    pub fn parse_until(&self, text: &str, now: i64) -> Result<i64, UntilError> {
        let text = text.trim();
        let until = match text.parse::<Timestamp>() {
            Ok(moment) => moment.as_microsecond(),
            Err(_) => match text.parse::<DateTime>() {
                // A zone in brackets would be passed over.
                Ok(shown) if !text.contains('[') => {
                    let last = self.last(shown).ok_or_else(|| UntilError::new(text))?;
                    last.as_microsecond()
                }
                _ => now
                    .checked_add(duration(text).ok_or_else(|| UntilError::new(text))?)
                    .ok_or_else(|| UntilError::new(text))?,
            },
        };
        if until > now {
            Ok(until)
        } else {
            Err(UntilError::Past(self.shown(until).to_string()))
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UntilError {
    #[error(
        "{0:?} is no moment to come: write a duration (90m, 36h, 7d), a date and time of the stack's \
         time zone (2026-11-23T18:00), or a moment (2026-11-23T18:00:00Z)"
    )]
    Unreadable(String),
    #[error("{0} is over already")]
    Past(String),
}

impl UntilError {
    fn new(text: &str) -> Self {
        Self::Unreadable(text.chars().take(60).collect())
    }
}

/// A whole number and a unit, in microseconds.
fn duration(text: &str) -> Option<i64> {
    const LONGEST: i64 = 100_000;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let minutes = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 24 * 60,
        _ => return None,
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = digits.parse().ok().filter(|_| is_number)?;
    (number <= LONGEST).then_some(number * minutes * 60_000_000)
}

/// A minute of a day, or of the one after it.
fn moment(day: Date, minute: u16) -> Option<DateTime> {
    let mut date = day;
    for _ in 0..minute / DAY {
        date = date.tomorrow().ok()?;
    }
    let minute = minute % DAY;
    let hour = i8::try_from(minute / 60).ok()?;
    let minute = i8::try_from(minute % 60).ok()?;
    Some(date.to_datetime(Time::new(hour, minute, 0, 0).ok()?))
}

fn place(day: Weekday) -> usize {
    DAYS.iter()
        .position(|(_, each)| *each == day)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000_000;

    /// "fri,sat 16:00-24:00", several parted by ";".
    fn freeze(windows: &str, zone: &str) -> Result<Freeze, WindowError> {
        let windows = windows
            .split(';')
            .filter(|window| !window.trim().is_empty())
            .map(|window| {
                let (days, times) = window.trim().split_once(' ').unwrap();
                let days = match days {
                    "all" => Days::ALL,
                    days => Days::new(days.split(',').map(|day| parse_day(day).unwrap()))?,
                };
                let (from, to) = times.split_once('-').unwrap();
                Window::new(days, from.parse()?, to.parse()?)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Freeze::new(windows, TimeZone::get(zone).unwrap())
    }

    fn micros(moment: &str) -> i64 {
        moment.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn until(freeze: &Freeze, now: &str) -> String {
        freeze
            .frozen_until(micros(now))
            .map_or_else(String::new, |until| {
                Timestamp::from_microsecond(until).unwrap().to_string()
            })
    }

    const BERLIN: &str = "Europe/Berlin";
    const YORK: &str = "America/New_York";
    const WEEKEND: &str = "fri 16:00-24:00; sat,sun 00:00-24:00; mon 00:00-06:00";

    /// Windows, a time zone, a moment, and until when it is frozen then.
    const FROZEN: &[(&str, &str, &str, &str)] = &[
        // Friday 15:59, 16:00; the union of four windows; Monday 06:00 is open.
        (WEEKEND, "UTC", "2026-11-20T15:59:59Z", ""),
        (
            WEEKEND,
            "UTC",
            "2026-11-20T16:00:00Z",
            "2026-11-23T06:00:00Z",
        ),
        (
            WEEKEND,
            "UTC",
            "2026-11-23T05:59:59.999999Z",
            "2026-11-23T06:00:00Z",
        ),
        (WEEKEND, "UTC", "2026-11-23T06:00:00Z", ""),
        (
            WEEKEND,
            BERLIN,
            "2026-11-20T15:00:00Z",
            "2026-11-23T05:00:00Z",
        ),
        // A weekend with a clock change in it is an hour shorter, or longer.
        (
            WEEKEND,
            BERLIN,
            "2026-03-27T15:00:00Z",
            "2026-03-30T04:00:00Z",
        ),
        (
            WEEKEND,
            BERLIN,
            "2026-10-23T14:00:00Z",
            "2026-10-26T05:00:00Z",
        ),
        (
            WEEKEND,
            YORK,
            "2026-03-06T21:00:00Z",
            "2026-03-09T10:00:00Z",
        ),
        (
            WEEKEND,
            YORK,
            "2026-10-30T20:00:00Z",
            "2026-11-02T11:00:00Z",
        ),
        // Over midnight: it belongs to the day on which it begins.
        (
            "thu 22:00-05:00",
            BERLIN,
            "2026-11-20T03:59:00Z",
            "2026-11-20T04:00:00Z",
        ),
        ("thu 22:00-05:00", BERLIN, "2026-11-20T22:00:00Z", ""),
        (
            "all 22:00-05:00",
            BERLIN,
            "2026-03-28T21:00:00Z",
            "2026-03-29T03:00:00Z",
        ),
        (
            "all 22:00-00:00",
            "UTC",
            "2026-11-20T23:59:00Z",
            "2026-11-21T00:00:00Z",
        ),
        // Berlin skips 02:00 to 03:00 on 2026-03-29, at 01:00 UTC.
        ("sun 02:15-02:45", BERLIN, "2026-03-29T00:59:59Z", ""),
        ("sun 02:15-02:45", BERLIN, "2026-03-29T01:00:00Z", ""),
        ("sun 02:30-04:00", BERLIN, "2026-03-29T00:59:59Z", ""),
        (
            "sun 02:30-04:00",
            BERLIN,
            "2026-03-29T01:00:00Z",
            "2026-03-29T02:00:00Z",
        ),
        (
            "sun 01:00-02:30",
            BERLIN,
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:00:00Z",
        ),
        ("sun 01:00-02:30", BERLIN, "2026-03-29T01:00:00Z", ""),
        // It shows 02:00 to 03:00 twice on 2026-10-25, from 00:00 to 02:00 UTC.
        ("sun 02:30-03:30", BERLIN, "2026-10-25T00:29:59Z", ""),
        (
            "sun 02:30-03:30",
            BERLIN,
            "2026-10-25T00:30:00Z",
            "2026-10-25T02:30:00Z",
        ),
        (
            "sun 01:00-02:30",
            BERLIN,
            "2026-10-25T00:45:00Z",
            "2026-10-25T01:30:00Z",
        ),
        ("sun 01:00-02:30", BERLIN, "2026-10-25T01:30:00Z", ""),
        // New York skips at 07:00 UTC on 2026-03-08, and repeats from 05:00 on 2026-11-01.
        (
            "sun 02:30-04:00",
            YORK,
            "2026-03-08T07:00:00Z",
            "2026-03-08T08:00:00Z",
        ),
        (
            "sun 00:00-01:30",
            YORK,
            "2026-11-01T05:45:00Z",
            "2026-11-01T06:30:00Z",
        ),
        // Havana shows 00:00 to 01:00 twice on 2026-11-01: Saturday's end is the second 00:00.
        (
            "sat 00:00-24:00",
            "America/Havana",
            "2026-11-01T04:30:00Z",
            "2026-11-01T05:00:00Z",
        ),
        // Overlapping windows end with the last of them.
        (
            "all 10:00-12:00; all 11:00-13:00; all 13:00-14:00; all 15:00-16:00",
            "UTC",
            "2026-11-20T10:30:00Z",
            "2026-11-20T14:00:00Z",
        ),
        ("", "UTC", "2026-11-20T10:30:00Z", ""),
    ];

    #[test]
    fn a_window_ends_when_the_clock_on_the_wall_says_so() {
        for (windows, zone, now, expected) in FROZEN {
            let freeze = freeze(windows, zone).unwrap();
            assert_eq!(until(&freeze, now), *expected, "{windows} {zone} at {now}");
        }
    }

    #[test]
    fn windows_that_make_no_sense_are_refused() {
        let cases = [
            ("all 08:00-08:00", WindowError::Empty),
            ("all 24:00-08:00", WindowError::BeginsAtTheEnd),
            ("all 8:00-09:00", WindowError::Time),
            ("all 08:00-24:01", WindowError::Time),
            ("all 08:60-09:00", WindowError::Time),
            ("all +8:00-09:00", WindowError::Time),
            ("all 00:00-24:00", WindowError::Always),
            ("all 06:00-18:00; all 18:00-06:00", WindowError::Always),
            (
                "mon,tue,wed,thu,fri,sat,sun 00:00-23:59; all 23:00-24:00",
                WindowError::Always,
            ),
        ];
        for (windows, expected) in cases {
            assert_eq!(freeze(windows, "UTC").unwrap_err(), expected, "{windows}");
        }
        assert_eq!(Days::new([]), Err(WindowError::NoDay));
        assert_eq!(parse_day("Mon"), Err(WindowError::Day));
        // One minute of the week is enough.
        assert!(
            freeze(
                "mon,tue,wed,thu,fri,sat 00:00-24:00; sun 00:01-24:00",
                "UTC"
            )
            .is_ok()
        );
    }

    #[test]
    fn a_moment_to_come_is_written_in_three_ways() {
        let now = micros("2026-11-20T12:00:00Z");
        let berlin = freeze("", "Europe/Berlin").unwrap();
        let cases = [
            ("90m", "2026-11-20T13:30:00Z"),
            ("2h", "2026-11-20T14:00:00Z"),
            (" 3d ", "2026-11-23T12:00:00Z"),
            ("2026-11-23T18:00", "2026-11-23T17:00:00Z"),
            ("2026-11-23 18:00", "2026-11-23T17:00:00Z"),
            ("2026-11-23", "2026-11-22T23:00:00Z"),
            ("2026-11-23T18:00:00Z", "2026-11-23T18:00:00Z"),
            ("2026-11-23T18:00:00-05:00", "2026-11-23T23:00:00Z"),
            // In doubt the later of two.
            ("2027-10-31T02:30", "2027-10-31T01:30:00Z"),
        ];
        for (text, expected) in cases {
            let until = berlin.parse_until(text, now).unwrap();
            assert_eq!(until, micros(expected), "{text}");
        }
        for text in [
            "",
            "m",
            "-2h",
            "+2h",
            "2w",
            "2",
            "soon",
            "100001d",
            "99999999999999999999d",
            "ähm",
            "2026-11-23T18:00[America/New_York]",
            "2026-13-01",
        ] {
            let error = berlin.parse_until(text, now).unwrap_err();
            assert!(
                matches!(error, UntilError::Unreadable(_)),
                "{text}: {error}"
            );
        }
        for text in [
            "0m",
            "2026-11-20T12:59",
            "2026-11-20T12:00:00Z",
            "1815-12-10",
        ] {
            let error = berlin.parse_until(text, now).unwrap_err();
            assert!(matches!(error, UntilError::Past(_)), "{text}: {error}");
        }
    }

    #[test]
    fn a_moment_is_shown_on_the_clock_of_the_stack() {
        let berlin = freeze("", "Europe/Berlin").unwrap();
        assert_eq!(
            berlin.shown(micros("2026-11-23T05:00:00Z")).to_string(),
            "Monday 2026-11-23 06:00 Europe/Berlin"
        );
        assert_eq!(
            Freeze::default()
                .shown(micros("2026-11-23T05:00:00Z"))
                .to_string(),
            "Monday 2026-11-23 05:00 UTC"
        );
    }

    fn windows() -> impl Strategy<Value = Vec<Window>> {
        let window = (any::<[bool; 7]>(), 0..DAY, 1..=DAY).prop_filter_map(
            "a window has a day and a length",
            |(days, from, to)| {
                let days = Days(days).0.contains(&true).then_some(Days(days))?;
                Window::new(days, TimeOfDay(from), TimeOfDay(to)).ok()
            },
        );
        proptest::collection::vec(window, 0..6)
    }

    proptest! {
        #[test]
        fn until_then_it_is_frozen_and_then_it_is_not(
            windows in windows(),
            zone in prop_oneof![
                Just("UTC"), Just("Europe/Berlin"), Just("America/New_York"),
                Just("Australia/Lord_Howe"), Just("America/Havana"),
            ],
            // Minutes since 2026-01-01, for a year.
            minute in 0_i64..366 * 24 * 60,
        ) {
            let zone = TimeZone::get(zone).unwrap();
            let Ok(freeze) = Freeze::new(windows, zone) else { return Ok(()) };
            let now = micros("2026-01-01T00:00:00Z") + minute * MINUTE;
            let Some(until) = freeze.frozen_until(now) else { return Ok(()) };
            prop_assert!(until > now);
            prop_assert_eq!(freeze.frozen_until(until), None);
            let mut between = now;
            while between < until {
                prop_assert_eq!(freeze.frozen_until(between), Some(until));
                between += 7 * MINUTE;
            }
            prop_assert_eq!(freeze.frozen_until(until - 1), Some(until));
        }

        /// Where the clock neither skips nor repeats, it is as the clock alone says.
        #[test]
        fn it_is_frozen_exactly_while_the_clock_shows_a_time_of_a_window(
            windows in windows(),
            minute in 0_i64..14 * 24 * 60,
        ) {
            let Ok(freeze) = Freeze::new(windows.clone(), TimeZone::UTC) else { return Ok(()) };
            let now = micros("2026-01-05T00:00:00Z") + minute * MINUTE;
            // 2026-01-05 is a Monday.
            let of_week = usize::try_from(minute).unwrap() % WEEK;
            let expected = windows.iter().any(|window| (0..7).any(|day| {
                let begins = day * usize::from(DAY);
                let is_in = |at: usize| {
                    (begins + usize::from(window.from)..begins + usize::from(window.to)).contains(&at)
                };
                window.days.0[day] && (is_in(of_week) || is_in(of_week + WEEK))
            }));
            prop_assert_eq!(freeze.frozen_until(now).is_some(), expected);
        }
    }
}
