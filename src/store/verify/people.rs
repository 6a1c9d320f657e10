//! What stands beside the events of a page for the commitments in them.

use std::{
    iter::{self, Peekable},
    vec,
};

use serde::Deserialize;
use sqlx::{Row as _, postgres::PgRow};

use super::{
    Found, broken,
    text::{Left, Unreadable, bytes, number, text},
};
use crate::{
    domain::audit::{
        event::Opening,
        verify::{Broken, Text, check_people},
    },
    store::{Store, db::Db, error},
};

const IN_ROWS: &str = "select sequence, position, commitment, salt, value from audit_person \
     where sequence >= $1 and sequence < $2 order by sequence, position";

const IN_TEXT: &str = concat!(
    "select string_agg(person, '') from (select concat(",
    number!("sequence"),
    ", ",
    number!("position"),
    ", ",
    text!("commitment"),
    ", ",
    bytes!("salt"),
    ", ",
    text!("value"),
    ") as person from audit_person \
     where sequence >= $1 and sequence < $2 order by sequence, position) as people"
);

/// People in the order of their events.
pub(super) struct People(Peekable<vec::IntoIter<Person>>);

/// What stands behind a commitment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Person {
    sequence: i64,
    /// Its place among those of its event; `None` if it cannot be read.
    opening: Option<(usize, Opening)>,
}

impl People {
    /// Checks those of an event, and takes them out. They are asked for in order.
    pub fn check(&mut self, sequence: i64, payload: &str) -> Result<(), Broken> {
        let mut named = None;
        for person in iter::from_fn(|| self.0.next_if(|person| person.sequence == sequence)) {
            let Some((place, opening)) = person.opening else {
                return Err(Broken {
                    sequence,
                    what: "a person beside it cannot be read".to_owned(),
                });
            };
            let named = named.get_or_insert_with(|| commitments_in(payload));
            let is_named = named
                .get(place)
                .is_some_and(|Text(named)| named.parse() == Ok(opening.commitment));
            check_people(sequence, [&opening], |_| is_named)?;
        }
        Ok(())
    }

    /// The event of the next one, whether or not it is there.
    pub fn next(&mut self) -> Option<i64> {
        self.0.peek().map(|person| person.sequence)
    }
}

impl Person {
    fn of(row: &PgRow) -> Result<Self, Unreadable> {
        let opening = || -> Option<(usize, Opening)> {
            let place: i64 = row.try_get(1).ok()?;
            let opening = Opening {
                commitment: row.try_get::<&str, _>(2).ok()?.parse().ok()?,
                salt: row.try_get::<&[u8], _>(3).ok()?.try_into().ok()?,
                value: row.try_get(4).ok()?,
            };
            Some((usize::try_from(place).ok()?, opening))
        };
        Ok(Self {
            sequence: row.try_get(0).map_err(|_| Unreadable)?,
            opening: opening(),
        })
    }

    fn read(left: &mut Left<'_>) -> Result<Self, Unreadable> {
        let sequence = left.number()?.ok_or(Unreadable)?;
        let mut opening = || -> Option<(usize, Opening)> {
            let place = left.number().ok()??;
            let commitment = left.text().ok()??.parse().ok()?;
            let mut salt = [0; 32];
            hex::decode_to_slice(left.text().ok()??, &mut salt).ok()?;
            let opening = Opening {
                commitment,
                salt,
                value: left.text().ok()??.to_owned(),
            };
            Some((usize::try_from(place).ok()?, opening))
        };
        Ok(Self {
            sequence,
            opening: opening(),
        })
    }
}

/// The commitments that an event's payload names, in their order.
fn commitments_in(payload: &str) -> Vec<Text<'_>> {
    #[derive(Deserialize)]
    struct Payload<'text> {
        #[serde(borrow, default)]
        people: Vec<Named<'text>>,
    }
    #[derive(Deserialize)]
    struct Named<'text> {
        #[serde(borrow)]
        person: Text<'text>,
    }
    let payload: Option<Payload<'_>> = serde_json::from_str(payload).ok();
    let people = payload.map_or(Vec::new(), |payload| payload.people);
    people.into_iter().map(|named| named.person).collect()
}

/// Up to the first one that cannot be read: in one text nothing is known of what is behind it.
fn readable(left: &mut Left<'_>) -> Result<Vec<Person>, Unreadable> {
    let mut people: Vec<Person> = Vec::new();
    while !left.is_empty() && people.last().is_none_or(|last| last.opening.is_some()) {
        people.push(Person::read(left)?);
    }
    Ok(people)
}

impl Store {
    pub(super) async fn people_between(
        &self,
        first: i64,
        end: i64,
    ) -> error::Result<Found<People>> {
        let people = match &self.db {
            Db::Postgres(pool) => {
                let rows = sqlx::query(IN_ROWS).bind(first).bind(end);
                rows.fetch_all(pool).await?.iter().map(Person::of).collect()
            }
            Db::Sqlite { readers, .. } => {
                let text = sqlx::query(IN_TEXT).bind(first).bind(end);
                readable(&mut Left::of(&text.fetch_one(readers).await?)?)
            }
        };
        Ok(people
            .map(|people| People(people.into_iter().peekable()))
            .or_else(|Unreadable| {
                let what = "a person beside it, or beside an event after it, cannot be read";
                broken(first, what)
            }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::canonical::Digest;

    proptest! {
        #[test]
        fn people_are_told_apart_whatever_is_said_of_them(
            sequence in 0..i64::MAX,
            place in 0..i64::MAX,
            salt in any::<[u8; 32]>(),
            value in "[a-z:,0-9é\0]{0,12}",
        ) {
            let commitment = Digest::of(&salt);
            let salted = hex::encode_upper(salt);
            let length = value.len();
            let one = format!("{sequence},{place},64:{commitment}64:{salted}{length}:{value}");
            let page = one.repeat(2);
            let people = readable(&mut Left::new(&page));
            let opening = Opening { commitment, salt, value };
            let expected = Person {
                sequence,
                opening: Some((usize::try_from(place).unwrap(), opening)),
            };
            prop_assert_eq!(people, Ok(vec![expected.clone(), expected]));
        }

        #[test]
        fn no_text_of_people_makes_it_panic(text in "[0-9:,af]{0,80}") {
            let _ = readable(&mut Left::new(&text));
        }
    }
}
