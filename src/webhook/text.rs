//! Text of strangers, made fit for logs, terminals and pages. It never lets a character through that moves
//! the cursor, reorders the line or starts a new one. It does not escape HTML: that is the page's own work.

use std::fmt::Write;

/// At most `limit` characters; control, bidirectional and invisible ones are spelled out as `\u{202e}`.
pub fn displayable(text: &str, limit: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(limit));
    let mut length = 0;
    for character in text.chars() {
        let mut piece = String::new();
        if is_misleading(character) {
            let _ = write!(piece, "\\u{{{:x}}}", u32::from(character));
        } else {
            piece.push(character);
        }
        // Misleading characters become ASCII, all others are one character.
        let piece_length = if is_misleading(character) {
            piece.len()
        } else {
            1
        };
        if length + piece_length > limit {
            // Make room for the mark that something is missing.
            while length + 1 > limit && shown.pop().is_some() {
                length -= 1;
            }
            if limit > 0 {
                shown.push('…');
            }
            break;
        }
        shown.push_str(&piece);
        length += piece_length;
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
