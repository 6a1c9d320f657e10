//! A document beside its table: wrong shapes, what is missing, what nobody knows.

use core::net::IpAddr;

use serde_json::{Map, Number, Value};

use super::{EXTENSION, Field, Shape, Type, Units};
use crate::{
    domain::way::Way,
    manifest::{Place, Reading, checks, pattern},
};

/// What becomes of members that a table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// They are named.
    Told,
    /// Somebody else has looked at them.
    Passed,
}

/// Says what of a document is not as its table has it.
///
/// The gateway refuses a wrong shape with two words, "Request malformed", and drops what it does
/// not know with none.
pub fn check(
    body: &Value,
    pointer: &str,
    of: &'static Type,
    unknown: Unknown,
    place: &Place,
    reading: &mut Reading<'_>,
) {
    let mut walk = Walk {
        root: of,
        is_extension: std::ptr::eq(of, EXTENSION),
        unknown,
        place,
        reading,
    };
    walk.value(body, Shape::Object(of), Way::Root(pointer), true);
}

struct Walk<'p, 'r, 'o> {
    root: &'static Type,
    /// Below `x-tyk-api-gateway` null is no value.
    is_extension: bool,
    unknown: Unknown,
    place: &'p Place,
    reading: &'r mut Reading<'o>,
}

impl Walk<'_, '_, '_> {
    /// `is_checked` is false where the gateway decodes a value and looks no closer.
    fn value(&mut self, value: &Value, shape: Shape, way: Way<'_>, is_checked: bool) {
        if value.is_null() {
            // Of all types a duration alone has no null, and below the extension nearly none.
            let is_refused = match shape {
                Shape::Duration(_) => true,
                Shape::Any | Shape::List(_) => false,
                _ => self.is_extension,
            };
            if is_refused {
                self.misshapen(value, shape, way);
            }
            return;
        }
        match (shape, value) {
            (Shape::Any, _) | (Shape::Flag, Value::Bool(_)) => {}
            (Shape::Object(of), Value::Object(members)) => {
                let was_extension = self.is_extension;
                self.is_extension |= std::ptr::eq(of, EXTENSION);
                self.members(members, of, way, is_checked);
                self.is_extension = was_extension;
            }
            (Shape::Map(of), Value::Object(members)) => {
                for (name, member) in members {
                    if !name.starts_with("x-") {
                        self.value(member, *of, Way::Member(&way, name), is_checked);
                    }
                }
            }
            (Shape::List(of) | Shape::First(of), Value::Array(items)) => {
                let first_only = matches!(shape, Shape::First(_));
                for (index, item) in items.iter().enumerate() {
                    let is_checked = is_checked && (index == 0 || !first_only);
                    self.value(item, *of, Way::Item(&way, index), is_checked);
                }
            }
            (
                Shape::Number | Shape::Fraction | Shape::Whole | Shape::Count | Shape::Port,
                Value::Number(number),
            ) => self.number(number, shape, way, is_checked),
            (
                Shape::Text
                | Shape::Filled
                | Shape::Duration(_)
                | Shape::Pattern
                | Shape::Path
                | Shape::Address
                | Shape::Domain
                | Shape::OneOf(_)
                | Shape::Known(_),
                Value::String(text),
            ) => self.text(text, shape, way, is_checked),
            _ => self.misshapen(value, shape, way),
        }
    }

    fn misshapen(&mut self, value: &Value, shape: Shape, way: Way<'_>) {
        let pointer = way.pointer();
        let message = format!(
            "must be {}, and is {}",
            shape.words(),
            checks::shown(value, &pointer)
        );
        let fix = match (shape, value) {
            (Shape::Flag, Value::String(text)) if text == "true" || text == "false" => {
                Some("take the quotes away")
            }
            (Shape::Number | Shape::Whole | Shape::Count, Value::String(text))
                if text.parse::<f64>().is_ok() =>
            {
                Some("take the quotes away")
            }
            (Shape::Text | Shape::Filled, Value::Number(_) | Value::Bool(_)) => {
                Some("put it in quotes")
            }
            (_, Value::Null) => Some("remove it"),
            (Shape::List(_) | Shape::First(_), _) => Some("write it as a list: [ … ]"),
            _ => None,
        };
        self.say(true, way, message, fix);
    }

    fn members(
        &mut self,
        members: &Map<String, Value>,
        of: &'static Type,
        way: Way<'_>,
        is_checked: bool,
    ) {
        if of.may_refer && members.contains_key("$ref") {
            return;
        }
        for (name, member) in members {
            match of.field(name) {
                Some(field) => {
                    self.value(member, field.shape, Way::Member(&way, name), is_checked);
                }
                None => self.unknown(name, of, Way::Member(&way, name)),
            }
        }
        for name in of.required {
            if members.get(*name).is_none_or(Value::is_null) {
                let message = format!("{name} is missing");
                self.say(is_checked, Way::Member(&way, name), message, None);
            }
        }
        if !of.one_of.is_empty() && !of.one_of.iter().any(|name| members.contains_key(*name)) {
            let message = format!("one of {} must be there", of.one_of.join(" and "));
            self.say(is_checked, way, message, None);
        }
    }

    fn unknown(&mut self, name: &str, of: &'static Type, way: Way<'_>) {
        if of.is_closed {
            if name.starts_with("x-") {
                return;
            }
            let message = format!("OpenAPI has no field {name} here, and the gateway refuses it");
            let fix = nearest(name, of).map_or_else(
                || "remove it, or begin its name with x-".to_owned(),
                |nearest| format!("did you mean {}?", nearest.name),
            );
            self.say(true, way, message, Some(&fix));
            return;
        }
        if self.unknown == Unknown::Passed {
            return;
        }
        // Names count without regard to their case in a gateway.
        let same = of
            .fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        if let Some(field) = same {
            let message = format!("the gateway reads it as {}", field.name);
            let fix = format!(
                "write {}: what is written otherwise is not looked at here",
                field.name
            );
            self.say(false, way, message, Some(&fix));
            return;
        }
        let message = format!("the gateway does not know the field {name}, and drops it");
        let fix = match (nearest(name, of), elsewhere(name, self.root)) {
            (Some(nearest), _) => format!("did you mean {}?", nearest.name),
            (None, Some(path)) => format!("it is read at {path}"),
            (None, None) => "remove it".to_owned(),
        };
        self.say(false, way, message, Some(&fix));
    }

    /// Says it, unless a check that knows more has.
    fn say(&mut self, is_wrong: bool, way: Way<'_>, message: String, fix: Option<&str>) {
        let pointer = way.pointer();
        if self.reading.has_said(self.place, &pointer) {
            return;
        }
        if is_wrong {
            self.reading.wrong(self.place, pointer, message, fix);
        } else {
            self.reading.warn(self.place, pointer, message, fix);
        }
    }

    fn number(&mut self, number: &Number, shape: Shape, way: Way<'_>, is_checked: bool) {
        let value = Value::Number(number.clone());
        match shape {
            Shape::Whole if number.is_i64() => {}
            Shape::Count if number.is_u64() => {}
            Shape::Port
                if number
                    .as_u64()
                    .is_some_and(|port| (1..=65_535).contains(&port)) => {}
            Shape::Fraction
                if !number
                    .as_f64()
                    .is_some_and(|part| (0.0..=1.0).contains(&part)) =>
            {
                let message = format!("must be {}, and is {number}", shape.words());
                self.say(is_checked, way, message, None);
            }
            Shape::Whole | Shape::Count | Shape::Port => self.misshapen(&value, shape, way),
            _ => {}
        }
    }

    fn text(&mut self, text: &str, shape: Shape, way: Way<'_>, is_checked: bool) {
        if checks::is_filled_in_later(text) {
            return;
        }
        let is_right = match shape {
            Shape::Filled => !text.trim().is_empty(),
            Shape::Duration(units) => units.fits(text),
            Shape::Address => text.is_empty() || is_address(text),
            Shape::Domain => is_domain(text),
            Shape::OneOf(texts) | Shape::Known(texts) => texts.contains(&text),
            Shape::Pattern | Shape::Path => {
                self.pattern(text, shape, way);
                return;
            }
            _ => true,
        };
        if is_right {
            return;
        }
        let pointer = way.pointer();
        let shown = checks::shown(&Value::from(text), &pointer);
        let mut message = format!("must be {}, and is {shown}", shape.words());
        let mut fix = None;
        let mut is_wrong = is_checked;
        match shape {
            Shape::Duration(Units::Any) => {
                message.push_str(": the gateway reads it as 0");
                is_wrong = false;
            }
            Shape::OneOf(texts) | Shape::Known(texts) => {
                is_wrong &= matches!(shape, Shape::OneOf(_));
                fix =
                    checks::nearest(text, texts).map(|nearest| format!("did you mean {nearest}?"));
            }
            Shape::Address => {
                message.push_str(": the gateway matches it with nobody");
                is_wrong = false;
            }
            _ => {}
        }
        self.say(is_wrong, way, message, fix.as_deref());
    }

    fn pattern(&mut self, text: &str, shape: Shape, way: Way<'_>) {
        let fault = if matches!(shape, Shape::Path) {
            pattern::path_fault(text)
        } else {
            pattern::fault(text)
        };
        if let Some(fault) = fault {
            let message =
                format!("the gateway cannot compile the regular expression {text:?}: {fault}");
            self.say(true, way, message, Some("write it in Go's syntax, RE2"));
        }
    }
}

/// The field that a name is a slip of the pen for.
fn nearest(name: &str, of: &'static Type) -> Option<&'static Field> {
    let slips = |field: &&Field| {
        let most = (field.name.len() / 4).max(1);
        let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_lowercase();
        let slips = strsim::damerau_levenshtein(&plain(field.name), &plain(name));
        (slips <= most).then_some(slips)
    };
    let fields = of.fields.iter();
    let near = fields.filter_map(|field| slips(&field).map(|slips| (slips, field)));
    near.min_by_key(|(slips, _)| *slips).map(|(_, field)| field)
}

/// The one place of a kind where a field of that name is read, if it is not far from the top.
fn elsewhere(name: &str, root: &'static Type) -> Option<String> {
    const DEEPEST: usize = 4;
    let mut level = vec![(String::new(), root)];
    for _ in 0..DEEPEST {
        let mut below = Vec::new();
        let mut found = Vec::new();
        for (path, of) in level {
            for field in of.fields {
                let here = if path.is_empty() {
                    field.name.to_owned()
                } else {
                    format!("{path}.{}", field.name)
                };
                if field.name == name {
                    found.push(here);
                } else if let Shape::Object(of) = field.shape {
                    below.push((here, of));
                }
            }
        }
        match found.len() {
            0 => level = below,
            1 => return found.pop(),
            _ => return None,
        }
    }
    None
}

pub fn is_address(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return text.parse::<IpAddr>().is_ok();
    };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.bytes().all(|byte| byte.is_ascii_digit())
        && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn is_domain(text: &str) -> bool {
    let (name, port) = text.split_once(':').unwrap_or((text, "0"));
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"*-".contains(&byte);
        !label.is_empty() && label.bytes().all(allowed)
    };
    name.split('.').all(is_label)
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

impl Units {
    fn fits(self, text: &str) -> bool {
        match self {
            Self::Any => is_go_duration(text),
            Self::Nanoseconds => {
                in_order(text, &["h", "m", "s", "ms", "µs", "ns"], false).is_some()
            }
            Self::Seconds => in_order(text, &["h", "m", "s"], false).is_some(),
            Self::Lifetime => in_order(text, &["h", "m", "s"], false) == Some(true),
            Self::Timeout => in_order(text, &["m", "s", "ms"], true).is_some(),
        }
    }
}

/// One number and its unit off the front of a text.
fn number_and_unit(text: &str) -> Option<(&str, &str, &str)> {
    let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
    let number = text.find(|letter| !is_number(letter))?;
    let rest = &text[number..];
    let unit = rest.find(is_number).unwrap_or(rest.len());
    (number > 0).then(|| (&text[..number], &rest[..unit], &rest[unit..]))
}

/// Whether all units are known, each at most once and the larger first; and whether it is more
/// than nothing.
fn in_order(text: &str, units: &[&str], decimals: bool) -> Option<bool> {
    let mut left = text;
    let mut from = 0;
    let mut is_something = false;
    while !left.is_empty() {
        let (number, unit, rest) = number_and_unit(left)?;
        let at = units.iter().position(|known| *known == unit)?;
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_number = match number.split_once('.') {
            Some((whole, part)) => decimals && digits(whole) && digits(part),
            None => digits(number),
        };
        if at < from || !is_number {
            return None;
        }
        is_something |= number.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
        from = at + 1;
        left = rest;
    }
    Some(is_something)
}

/// As Go's `time.ParseDuration` reads it; the empty text counts as 0.
fn is_go_duration(text: &str) -> bool {
    const UNITS: &[&str] = &["h", "m", "s", "ms", "us", "µs", "μs", "ns"];
    let mut left = text.strip_prefix(['-', '+']).unwrap_or(text);
    if text.is_empty() || left == "0" {
        return true;
    }
    if left.is_empty() {
        return false;
    }
    while !left.is_empty() {
        let Some((number, unit, rest)) = number_and_unit(left) else {
            return false;
        };
        let is_number = number.bytes().filter(|byte| *byte == b'.').count() <= 1 && number != ".";
        if !is_number || !UNITS.contains(&unit) {
            return false;
        }
        left = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_as_the_gateway_tells_them() {
        for (units, good, bad) in [
            (
                Units::Any,
                &["", "0", "1h30m", "1.5h", "-2s", "10us", "3m2h"][..],
                &["5", "1 h", "1d", "s", "1..5s", "-", "."][..],
            ),
            (
                Units::Nanoseconds,
                &["", "1h2m3s4ms5µs6ns", "0s"],
                &["1.5s", "1s1h", "1d", "5", "-1s"],
            ),
            (
                Units::Seconds,
                &["", "60s", "1h"],
                &["100ms", "1m1m", "1.5s"],
            ),
            (Units::Lifetime, &["60s"], &["", "0s", "0h0m", "1ms"]),
            (
                Units::Timeout,
                &["", "1.5s", "100ms"],
                &["1h", "1.s", ".5s"],
            ),
        ] {
            for text in good {
                assert!(units.fits(text), "{units:?} {text:?}");
            }
            for text in bad {
                assert!(!units.fits(text), "{units:?} {text:?}");
            }
        }
    }

    #[test]
    fn a_misplaced_field_is_led_to_its_place_and_a_misspelt_one_to_its_name() {
        use super::super::CLASSIC;
        let near = |name| nearest(name, CLASSIC).map(|field| field.name);
        assert_eq!(near("use_keyles"), Some("use_keyless"));
        assert_eq!(near("disableratelimit"), Some("disable_rate_limit"));
        assert_eq!(near("enable_load_balancing"), None);
        let path = elsewhere("enable_load_balancing", CLASSIC);
        assert_eq!(path.as_deref(), Some("proxy.enable_load_balancing"));
        assert_eq!(elsewhere("nonsense", CLASSIC), None);
    }

    #[test]
    fn addresses_and_networks_are_told_from_names() {
        for good in ["10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "10.0.0",
            "host",
            "10.0.0.0/33",
            "10.0.0.0/8/8",
            "10.0.0.0/+8",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
