//! Text of strangers, made fit for logs, terminals and pages. It never lets a character through that moves
//! the cursor, reorders the line or starts a new one. It does not escape HTML: that is the page's own work.

use std::fmt::Write;

/// At most `limit` characters; control, bidirectional and invisible ones are spelled out as `\u{202e}`.
pub fn displayable(text: &str, limit: usize) -> String {
    // Nearly every text is short and plain.
    if text.len() <= limit && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len().min(limit));
    let mut length = 0;
    for character in text.chars() {
        let before = (shown.len(), length);
        if is_misleading(character) {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
            // What is spelled out is ASCII.
            length += shown.len() - before.0;
        } else {
            shown.push(character);
            length += 1;
        }
        if length > limit {
            shown.truncate(before.0);
            length = before.1;
            // Make room for the mark that something is missing.
            while length + 1 > limit && shown.pop().is_some() {
                length -= 1;
            }
            if limit > 0 {
                shown.push('…');
            }
            break;
        }
    }
    shown
}

/// The first line that says something.
pub(super) fn first_line(text: &str) -> &str {
    text.split(['\n', '\r'])
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

fn is_misleading(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
