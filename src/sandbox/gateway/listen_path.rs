//! Listen paths: which the router takes, and how a request is matched to one. It looks at the
//! path alone, never at the API behind it.

/// A fault in the template of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A brace is not closed; the length of the text.
    Unclosed(usize),
    UnexpectedClose,
    BadPattern,
    Nameless,
    /// A variable that says that it has a pattern and has none.
    NoPattern,
    /// Two variables of one name, where that matters.
    Collision,
}

#[derive(Debug, PartialEq, Eq)]
enum Part<'path> {
    Text(&'path str),
    Variable { name: &'path str },
}

/// Whether the router serves an API under this path.
pub fn is_reachable(path: &str) -> bool {
    path.starts_with('/') && !path.contains(' ') && parts(path).is_ok()
}

/// Whether the API shows up in the lists though the router never sees it.
pub fn is_ignored(path: &str) -> bool {
    path.is_empty() || (path.starts_with('/') && path.contains(' ') && parts(path).is_ok())
}

/// The names of the variables in a path, or what is wrong with it.
pub fn variables(path: &str) -> Result<Vec<&str>, Fault> {
    Ok(parts(path)?
        .into_iter()
        .filter_map(|part| match part {
            Part::Variable { name } => Some(name),
            Part::Text(_) => None,
        })
        .collect())
}

/// The path without the patterns of its variables: `/a/{x:[0-9]+}` is `/a/{x}`.
pub fn without_patterns(path: &str) -> String {
    let Ok(parts) = parts(path) else {
        return path.to_owned();
    };
    parts
        .into_iter()
        .map(|part| match part {
            Part::Text(text) => text.to_owned(),
            Part::Variable { name } => format!("{{{name}}}"),
        })
        .collect()
}

/// What remains of `asked` behind the listen path, if it begins with it.
pub fn strip<'asked>(listen_path: &str, asked: &'asked str) -> Option<&'asked str> {
    let mut rest = asked;
    for part in parts(listen_path).ok()? {
        match part {
            Part::Text(text) => rest = rest.strip_prefix(text)?,
            Part::Variable { .. } => {
                let end = rest.find('/').unwrap_or(rest.len());
                if end == 0 {
                    return None;
                }
                rest = &rest[end..];
            }
        }
    }
    Some(rest)
}

/// The path with `.`, `..` and doubled slashes worked out, without a slash at its end.
pub fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

fn parts(path: &str) -> Result<Vec<Part<'_>>, Fault> {
    let mut found = Vec::new();
    let mut rest = path;
    while let Some(open) = rest.find(['{', '}']) {
        if rest.as_bytes()[open] == b'}' {
            return Err(Fault::UnexpectedClose);
        }
        if open > 0 {
            found.push(Part::Text(&rest[..open]));
        }
        let inside = &rest[open + 1..];
        let close = matching_brace(inside).ok_or(Fault::Unclosed(path.len()))?;
        let variable = &inside[..close];
        let (name, pattern) = variable.split_once(':').unwrap_or((variable, "[^/]+"));
        if name.is_empty() {
            return Err(Fault::Nameless);
        }
        if pattern.is_empty() {
            return Err(Fault::NoPattern);
        }
        if !is_balanced(pattern) {
            return Err(Fault::BadPattern);
        }
        found.push(Part::Variable { name });
        rest = &inside[close + 1..];
    }
    if !rest.is_empty() {
        found.push(Part::Text(rest));
    }
    Ok(found)
}

fn matching_brace(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (position, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(position);
                }
            }
            _ => {}
        }
    }
    None
}

/// Groups and classes of a regular expression are closed, and a repetition has something before
/// it: enough to tell the faults that people make.
fn is_balanced(pattern: &str) -> bool {
    let mut groups = 0_i32;
    let mut class = false;
    let mut escaped = false;
    let mut previous = None;
    for character in pattern.chars() {
        if escaped {
            escaped = false;
        } else {
            match character {
                '\\' => escaped = true,
                '[' => class = true,
                ']' => class = false,
                '(' if !class => groups += 1,
                ')' if !class => groups -= 1,
                '*' | '+' | '?' if !class && matches!(previous, None | Some('|')) => return false,
                _ => {}
            }
        }
        if groups < 0 {
            return false;
        }
        previous = Some(character);
    }
    groups == 0 && !class && !escaped
}
