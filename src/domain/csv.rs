//! Comma-separated values that a spreadsheet opens as what they are (RFC 4180, every cell in
//! quotes): no cell is a formula to it.

/// One line, without its line break.
pub fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = cells
        .into_iter()
        .map(|cell| format!("\"{}\"", inert(cell).replace('"', "\"\"")))
        .collect();
    quoted.join(",")
}

/// The text as no spreadsheet takes for a formula: where it might, an apostrophe comes first. A
/// control character becomes a space, because some programs begin a cell anew at a line break.
fn inert(cell: &str) -> String {
    const STARTS: &[char] = &['=', '+', '-', '@', '＝', '＋', '－', '＠', '|', '%'];
    let line: String = cell
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let may_be_formula = line
        .trim_start_matches(|letter: char| letter.is_whitespace() || letter == '\u{feff}')
        .starts_with(STARTS);
    if may_be_formula {
        format!("'{line}")
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cell_that_looks_like_a_formula_is_a_text() {
        for (cell, expected) in [
            ("orders", "\"orders\""),
            ("=1+1", "\"'=1+1\""),
            ("  @sum", "\"'  @sum\""),
            ("\t=cmd", "\"' =cmd\""),
            ("a \"b\", c", "\"a \"\"b\"\", c\""),
            ("a\n=b", "\"a =b\""),
            ("", "\"\""),
        ] {
            assert_eq!(line([cell]), expected);
        }
    }

    proptest! {
        #[test]
        fn no_cell_starts_a_formula_or_a_line(cell in "(?s).{0,40}") {
            let line = line([cell.as_str()]);
            let inner = &line[1..line.len() - 1];
            prop_assert!(!inner.trim_start().starts_with(['=', '+', '-', '@']));
            prop_assert!(!inner.contains(['\n', '\r', '\t']));
            prop_assert_eq!(inner.replace("\"\"", "").matches('"').count(), 0);
        }
    }
}
