//! What a person goes by: which records mean them, and where a text names them.

use std::collections::BTreeSet;

use super::event::Person;

/// What stands where a person was named in a text.
pub const ERASED: &str = "[erased]";

/// The names of one person. Who goes by one of the logins and addresses is that person; a full name
/// may be another one's, too, and means the person only where nothing else is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// In lower case: logins, addresses, and what was asked for.
    own: BTreeSet<String>,
    /// In lower case.
    full: BTreeSet<String>,
    /// All of them as they were spelled, the longest first, so that an address goes as a whole.
    spelled: Vec<String>,
}

impl Names {
    /// Who goes by exactly this.
    pub fn only(name: &str) -> Self {
        let mut names = Self::default();
        names.own.insert(name.to_lowercase());
        names.spell(name);
        names
    }

    /// Who goes by this, and by what the people on record show them to go by as well: a record with
    /// a login and an address ties the two together.
    pub fn tied(name: &str, people: &[Person]) -> Self {
        let mut names = Self::only(name);
        loop {
            let before = names.spelled.len();
            let is_meant: Vec<bool> = people.iter().map(|person| names.mean(person)).collect();
            let meant = people
                .iter()
                .zip(is_meant)
                .filter(|(_, is_meant)| *is_meant);
            for (person, _) in meant {
                let Person {
                    name: full,
                    login,
                    email,
                    address: _,
                } = person;
                for own in [login, email].into_iter().flatten() {
                    names.own.insert(own.to_lowercase());
                    names.spell(own);
                }
                if let Some(full) = full {
                    names.full.insert(full.to_lowercase());
                    names.spell(full);
                }
            }
            if names.spelled.len() == before {
                return names;
            }
        }
    }

    /// As they were spelled.
    pub fn all(&self) -> &[String] {
        &self.spelled
    }

    pub fn mean(&self, person: &Person) -> bool {
        let Person {
            name,
            login,
            email,
            address,
        } = person;
        let is_own = |text: &String| self.own.contains(&text.to_lowercase());
        let says_no_more = login.is_none() && email.is_none();
        [name, login, email, address]
            .into_iter()
            .flatten()
            .any(is_own)
            || says_no_more
                && name
                    .as_ref()
                    .is_some_and(|name| self.full.contains(&name.to_lowercase()))
    }

    /// The text without the names; `None` when none is in it. A name counts as a word of its own
    /// only: ada is not in canada.
    pub fn without(&self, text: &str) -> Option<String> {
        let mut left = text.to_owned();
        for name in &self.spelled {
            if let Some(without) = without(&left, name) {
                left = without;
            }
        }
        (left != text).then_some(left)
    }

    pub fn are_in(&self, text: &str) -> bool {
        self.without(text).is_some()
    }

    fn spell(&mut self, name: &str) {
        // Words that differ in case alone are found by one of them.
        let is_new = !self
            .spelled
            .iter()
            .any(|spelled| spelled.eq_ignore_ascii_case(name));
        if is_new && !name.is_empty() {
            self.spelled.push(name.to_owned());
            self.spelled
                .sort_by(|left, right| right.len().cmp(&left.len()).then(left.cmp(right)));
        }
    }
}

fn without(text: &str, name: &str) -> Option<String> {
    // ASCII alone, because that keeps every letter at its place.
    let searched = text.to_ascii_lowercase();
    let name = name.to_ascii_lowercase();
    let goes_on = |letter: Option<char>| {
        letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    };
    let mut kept = String::with_capacity(text.len());
    let mut end = 0;
    for (start, found) in searched.match_indices(&name) {
        let after = start + found.len();
        let is_part = goes_on(searched[..start].chars().next_back())
            || goes_on(searched[after..].chars().next());
        if is_part {
            continue;
        }
        kept.push_str(&text[end..start]);
        kept.push_str(ERASED);
        end = after;
    }
    kept.push_str(&text[end..]);
    (end > 0).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str, login: &str, email: &str) -> Person {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Person {
            name: text(name),
            login: text(login),
            email: text(email),
            address: None,
        }
    }

    #[test]
    fn logins_and_addresses_tie_records_together_and_full_names_do_not() {
        let people = [
            person("", "ada", "ada@work.example"),
            person("Ada Lovelace", "", "ADA@work.example"),
            person("Ada Lovelace", "", "ada@home.example"),
            person("Ada Lovelace", "", ""),
            person("", "countess", "ada@work.example"),
            person("", "grace", "grace@work.example"),
        ];
        let names = Names::tied("Ada", &people);
        let meant: Vec<bool> = people.iter().map(|person| names.mean(person)).collect();
        assert_eq!(meant, [true, true, false, true, true, false]);
        let only = Names::only("ada");
        let meant = people.iter().filter(|person| only.mean(person)).count();
        assert_eq!(meant, 1);
        let asked_for = Names::tied("Ada Lovelace", &people);
        assert!(people[..5].iter().all(|person| asked_for.mean(person)));
    }

    proptest::proptest! {
        #[test]
        fn a_text_without_the_names_has_none_of_them(
            text in "[aAdDéßİ _.@<>\\[\\]-]{0,40}",
            name in "[aAdDéßİ@.-]{1,6}",
        ) {
            let names = Names::only(&name);
            if let Some(left) = names.without(&text) {
                proptest::prop_assert!(left.contains(ERASED));
                proptest::prop_assert!(!names.are_in(&left.replace(ERASED, " ")));
            } else {
                proptest::prop_assert!(!text.split(' ').any(|word| word == name));
            }
        }
    }

    #[test]
    fn names_leave_a_text_as_whole_words() {
        let people = [person("Ada Lovelace", "ada", "ada@work.example")];
        let names = Names::tied("ada", &people);
        let cases = [
            ("by ADA.", Some("by [erased].")),
            (
                "Signed-off-by: Ada Lovelace <ada@work.example>",
                Some("Signed-off-by: [erased] <[erased]>"),
            ),
            ("canada and ada_l", None),
            ("thanks @ada, canada", Some("thanks @[erased], canada")),
            ("", None),
            ("übada ada", Some("übada [erased]")),
        ];
        for (text, expected) in cases {
            assert_eq!(names.without(text).as_deref(), expected, "{text}");
        }
    }
}
