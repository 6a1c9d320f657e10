//! The pull request that a commit's message names, as Git hosts write it there when they merge one.

/// `#12` of `Merge pull request #12 from …` and of `Title (#12)`; `acme/shop!7` of
/// `See merge request acme/shop!7`. `None` when it names none.
pub fn named_in(message: &str) -> Option<String> {
    const LONGEST: usize = 200;
    let title = message.lines().next().unwrap_or_default().trim_end();
    if let Some(rest) = title.strip_prefix("Merge pull request #") {
        return number(rest).map(|number| format!("#{number}"));
    }
    let in_brackets = title
        .strip_suffix(')')
        .and_then(|title| title.rsplit_once("(#"))
        .map(|(_, number)| number);
    if let Some(text) = in_brackets
        && number(text) == Some(text)
    {
        return Some(format!("#{text}"));
    }
    let named = message
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("See merge request "))?;
    let (project, id) = named.rsplit_once('!')?;
    let is_project = project
        .chars()
        .all(|letter| letter.is_alphanumeric() || "/-_.".contains(letter));
    (is_project && named.len() <= LONGEST && number(id) == Some(id)).then(|| named.to_owned())
}

/// The digits that a text begins with.
fn number(text: &str) -> Option<&str> {
    const MOST: usize = 12;
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    (1..=MOST).contains(&end).then(|| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_host_names_it_in_its_own_way() {
        for (message, named) in [
            (
                "Merge pull request #12 from acme/branch\n\nOrders",
                Some("#12"),
            ),
            ("Raise the limit (#345)", Some("#345")),
            ("Raise the limit (#345)\n\nMore", Some("#345")),
            (
                "Merge branch 'a' into 'main'\n\nOrders\n\nSee merge request acme/shop!7",
                Some("acme/shop!7"),
            ),
            ("Raise the limit", None),
            ("Fixes #12", None),
            ("Raise (#12a)", None),
            ("Raise (#)", None),
            ("See merge request =cmd()!7", None),
        ] {
            assert_eq!(named_in(message).as_deref(), named, "{message}");
        }
    }

    proptest! {
        #[test]
        fn any_message_is_read(message in "(?s).{0,200}") {
            let _ = named_in(&message);
        }
    }
}
