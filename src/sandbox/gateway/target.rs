//! Whether the address of an upstream can be read. An API whose address cannot shows up in the lists
//! and is not served; it looks at the address alone.

/// As the loader reads it: a scheme may be missing, what is there must be well-formed.
pub fn is_readable(address: &str) -> bool {
    let escapes = address.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !escapes || address.chars().any(char::is_control) {
        return false;
    }
    let Some((_, rest)) = address.split_once("//") else {
        return true;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let port = match host.strip_prefix('[') {
        Some(inside) => match inside.split_once(']') {
            Some((_, after)) => after,
            None => return false,
        },
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    is_port && !host.contains([' ', '{', '}', '|', '\\', '^', '`'])
}
