//! `[person.NAME]`

use std::collections::BTreeMap;

use super::{
    Name,
    reader::{Field, NamedSections, Read, Section},
};
use crate::{domain::approval::Identity, webhook::Host};

/// Longer than any host's logins and than any address.
const LONGEST: usize = 254;
const MOST_EMAILS: usize = 50;

/// Somebody who may be given tokens, and what they go by at the Git hosts: nobody approves what
/// they pushed or wrote themselves.
#[derive(Clone, Debug)]
pub struct Person {
    pub identity: Identity,
    logins: BTreeMap<String, String>,
    emails: Vec<String>,
}

pub(super) fn read(section: &Section<'_>) -> Read<Person> {
    let logins = section.or_default("logins", BTreeMap::new(), read_logins);
    let emails = section.or_default("emails", Vec::new(), read_emails);
    let (logins, emails) = (logins?, emails?);
    if logins.is_empty() && emails.is_empty() {
        return Err(section.problem(
            &"needs logins or emails: without them nobody could tell what this person pushed, and that they may not approve it",
        ));
    }
    let identity = Identity::new(
        logins.values().map(String::as_str),
        emails.iter().map(String::as_str),
    );
    Ok(Person {
        identity,
        logins,
        emails,
    })
}

/// A login or an address that two people share would make the two one.
pub(super) fn refuse_shared_names(sections: &NamedSections<'_>, people: &BTreeMap<Name, Person>) {
    let mut first_with: BTreeMap<(&str, String), &Name> = BTreeMap::new();
    for (name, person) in people {
        let logins = person
            .logins
            .iter()
            .map(|(host, login)| (host.as_str(), login));
        let emails = person.emails.iter().map(|email| ("", email));
        for (host, text) in logins.chain(emails) {
            let key = (host, text.to_lowercase());
            let first = *first_with.entry(key).or_insert(name);
            if first == name {
                continue;
            }
            if let Some(section) = sections.get(name) {
                section.problem(&format!(
                    "\"{text}\" is person.{first}'s too; each login and address belongs to one person"
                ));
            }
        }
    }
}

fn read_logins(field: &Field<'_>) -> Read<BTreeMap<String, String>> {
    let logins: Vec<Read<(String, String)>> = field
        .entries()?
        .iter()
        .map(|(host, login)| {
            let host: Host = host.parse().map_err(|error| login.problem(&error))?;
            Ok((host.to_string(), login.parse(plain)?))
        })
        .collect();
    logins.into_iter().collect()
}

fn read_emails(field: &Field<'_>) -> Read<Vec<String>> {
    let items = field.items()?;
    if items.len() > MOST_EMAILS {
        return Err(field.problem(&format!("lists more than {MOST_EMAILS} addresses")));
    }
    let emails: Vec<Read<String>> = items
        .iter()
        .map(|item| {
            item.parse(|text| {
                let text = plain(text)?;
                let is_address = text
                    .split_once('@')
                    .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
                if is_address {
                    Ok(text)
                } else {
                    Err("must be an e-mail address")
                }
            })
        })
        .collect();
    emails.into_iter().collect()
}

fn plain(text: &str) -> Result<String, &'static str> {
    let is_plain = (1..=LONGEST).contains(&text.len())
        && !text.contains(|letter: char| letter.is_control() || letter.is_whitespace());
    if is_plain {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 254 characters without spaces")
    }
}
