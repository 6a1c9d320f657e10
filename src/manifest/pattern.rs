//! Regular expressions as Go compiles them (RE2). A gateway says nothing of one that it cannot
//! compile: a path that was to be blocked is then open, a rewrite does not happen.
//!
//! The parser is that of Rust's regex, which differs in few places: they are put right before and
//! after it, and where it stays in doubt nothing is said.

use regex_syntax::ast::{
    self, Ast, ErrorKind, Flag, FlagsItemKind, HexLiteralKind, LiteralKind, RepetitionKind,
    RepetitionRange,
};

/// Go's limits.
const MOST_REPETITIONS: u32 = 1_000;
const DEEPEST: u32 = 1_000;

/// Longer ones are not looked at.
const LONGEST: usize = 64 * 1024;

/// Why Go would not compile it.
pub(super) fn fault(pattern: &str) -> Option<String> {
    if is_plain(pattern)
        || pattern.len() > LONGEST
        || pattern.contains("\\Q")
        || pattern.contains("\\C")
    {
        return None;
    }
    let plain = without_set_operations(pattern)?;
    let mut parser = ast::parse::ParserBuilder::new().nest_limit(DEEPEST).build();
    match parser.parse(&plain) {
        Ok(tree) => ast::visit(&tree, OnlyHere).err(),
        Err(error) => {
            let at = &plain[error.span().start.offset..];
            match error.kind() {
                // A brace that counts nothing is a brace to Go.
                ErrorKind::RepetitionCountUnclosed
                | ErrorKind::RepetitionCountDecimalEmpty
                | ErrorKind::DecimalEmpty
                | ErrorKind::NestLimitExceeded(_)
                | ErrorKind::CaptureLimitExceeded => None,
                ErrorKind::RepetitionMissing if at.starts_with('{') => None,
                ErrorKind::UnsupportedBackreference if is_octal(at) => None,
                ErrorKind::UnsupportedBackreference => {
                    Some("there are no back-references".to_owned())
                }
                ErrorKind::UnsupportedLookAround => Some(
                    "there is no look-around: (?=, (?!, (?<= and (?<! are not known".to_owned(),
                ),
                kind => Some(kind.to_string()),
            }
        }
    }
}

/// Most are paths with nothing special in them but groups of anything, and need no parser.
fn is_plain(pattern: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    pattern.split("(.*)").all(|part| part.bytes().all(is_plain))
}

/// The same for a path of the gateway, in which `{name}` stands for one part and `/*` for any.
pub(super) fn path_fault(path: &str) -> Option<String> {
    if is_plain(path) {
        return None;
    }
    let opened = path.matches('{').count();
    let mut pattern = String::with_capacity(path.len());
    let mut is_plain_between = true;
    if opened > 0 && opened == path.matches('}').count() {
        let mut left = path;
        while let Some(start) = left.find('{') {
            let Some(length) = left[start..].find('}') else {
                break;
            };
            is_plain_between &= is_plain(&left[..start]);
            pattern.push_str(&left[..start]);
            pattern.push_str("([^/]+)");
            left = &left[start + length + 1..];
        }
        if is_plain_between && is_plain(left) {
            return None;
        }
        pattern.push_str(left);
    } else {
        pattern.push_str(path);
    }
    fault(&pattern.replace("/*", "/.*"))
}

/// `\12` is a character to Go; `\1` is nothing.
fn is_octal(at: &str) -> bool {
    let mut digits = at.chars().skip(1);
    let is_digit = |digit: Option<char>| digit.is_some_and(|digit| ('0'..='7').contains(&digit));
    at.starts_with("\\0") || (is_digit(digits.next()) && is_digit(digits.next()))
}

/// Inside of `[…]` Go knows no brackets and no operations on sets. `None` where the two cannot be
/// told apart.
fn without_set_operations(pattern: &str) -> Option<String> {
    let mut plain = String::with_capacity(pattern.len() + 8);
    let mut letters = pattern.chars().peekable();
    let mut is_in_set = false;
    // A ] that comes first is a member.
    let mut is_first = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                plain.push(letter);
                plain.extend(letters.next());
                is_first = false;
                continue;
            }
            '[' if !is_in_set => {
                is_in_set = true;
                is_first = true;
                plain.push(letter);
                if letters.peek() == Some(&'^') {
                    plain.extend(letters.next());
                }
                continue;
            }
            '[' if letters.peek() == Some(&':') => {
                // [:alpha:] up to its end.
                plain.push(letter);
                for inner in letters.by_ref() {
                    plain.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            '[' | '&' | '~' if is_in_set => {
                plain.push('\\');
                plain.push(letter);
            }
            '-' if is_in_set && letters.peek() == Some(&'-') => return None,
            ']' if is_in_set && !is_first => {
                is_in_set = false;
                plain.push(letter);
            }
            _ => plain.push(letter),
        }
        is_first = false;
    }
    Some(plain)
}

/// Finds what Rust's parser takes and Go's does not.
struct OnlyHere;

impl ast::Visitor for OnlyHere {
    type Output = ();
    type Err = String;

    fn finish(self) -> Result<(), String> {
        Ok(())
    }

    fn visit_pre(&mut self, tree: &Ast) -> Result<(), String> {
        match tree {
            Ast::Repetition(repetition) => {
                if matches!(*repetition.ast, Ast::Repetition(_)) {
                    return Err("one repetition follows another, as in a** or a*+".to_owned());
                }
                let most = match &repetition.op.kind {
                    RepetitionKind::Range(
                        RepetitionRange::Exactly(most)
                        | RepetitionRange::AtLeast(most)
                        | RepetitionRange::Bounded(_, most),
                    ) => *most,
                    _ => 0,
                };
                if most > MOST_REPETITIONS {
                    return Err(format!("more than {MOST_REPETITIONS} repetitions"));
                }
            }
            Ast::Flags(set) => flags(&set.flags)?,
            Ast::Group(group) => {
                if let Some(set) = group.flags() {
                    flags(set)?;
                }
            }
            Ast::Literal(literal) => {
                if let LiteralKind::HexFixed(kind) | LiteralKind::HexBrace(kind) = &literal.kind
                    && !matches!(kind, HexLiteralKind::X)
                {
                    return Err("\\u and \\U are not known; write \\x{…}".to_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn flags(set: &ast::Flags) -> Result<(), String> {
    for item in &set.items {
        let unknown = match item.kind {
            FlagsItemKind::Flag(Flag::IgnoreWhitespace) => "x",
            FlagsItemKind::Flag(Flag::Unicode) => "u",
            FlagsItemKind::Flag(Flag::CRLF) => "R",
            _ => continue,
        };
        return Err(format!("the flag {unknown} is not known"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_compiles_is_let_through() {
        for pattern in [
            "",
            "^/users/(\\d+)$",
            "a{",
            "{id}",
            "a{,5}",
            "[[]",
            "[]a]",
            "[^]a]",
            "[a&&b]",
            "[~~]",
            "[[:alpha:]_]",
            "(?i)x",
            "(?P<name>x)",
            "(?<name>x)",
            "a*?b+?c??",
            "\\12",
            "\\x{10FFFF}",
            "\\pL\\p{Greek}",
            "\\Qa[b\\E",
            "(?:a|b)*",
            "a{1000}",
            "[a-z--]",
            "\\/\\-\\.",
        ] {
            assert_eq!(fault(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn what_go_does_not_compile_is_told() {
        for pattern in [
            "(",
            ")",
            "[a",
            "*a",
            "a**",
            "a*+",
            "a++",
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?<!a)",
            "\\1",
            "(a)\\1",
            "[z-a]",
            "a{2,1}",
            "a{1001}",
            "(?x)a",
            "(?u)a",
            "\\u0041",
            "\\y",
            "(?P<n>a)(?P<n>b)",
            "a\\",
        ] {
            assert!(fault(pattern).is_some(), "{pattern}");
        }
    }

    #[test]
    fn a_path_may_have_variables_and_wildcards() {
        for path in [
            "/a/{id}",
            "/a/{id:[0-9]+}/b",
            "/*",
            "/a/*/b",
            "^/a$",
            "/a/(\\d+",
        ] {
            assert_eq!(path_fault(path).is_some(), path.ends_with('+'), "{path}");
        }
    }
}
