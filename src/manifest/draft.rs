//! A document on its way to becoming an object, and who wrote which part of it: its own file, a
//! patch, an index.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::Place;

/// A document that several files may have made together.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub value: Value,
    /// Where the document itself stands.
    pub place: Place,
    pub written: Written,
}

impl Draft {
    pub fn new(value: Value, place: Place) -> Self {
        Self {
            value,
            place,
            written: Written::default(),
        }
    }

    /// A part of the document as one of its own.
    pub fn part(&self, pointer: &str, value: Value) -> Self {
        Self {
            value,
            place: self.place.below(pointer),
            written: self.written.at(pointer),
        }
    }

    /// The place, with what others wrote there.
    pub fn into_parts(self) -> (Value, Place) {
        let Self {
            value,
            mut place,
            written,
        } = self;
        if !written.is_empty() {
            place.written = Some(Arc::new(Root {
                base: place.base.clone(),
                written,
            }));
        }
        (value, place)
    }

    /// Where what stands at a pointer was written.
    pub fn writer(&self, pointer: &str) -> Place {
        let own = || self.place.below(pointer);
        self.written.writer(pointer).unwrap_or_else(own)
    }
}

/// What others wrote below a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Root {
    base: String,
    written: Written,
}

impl Root {
    /// Who wrote what stands at a pointer into the file's document, if it was another.
    pub fn writer(&self, whole: &str) -> Option<Place> {
        self.written.writer(whole.strip_prefix(&self.base)?)
    }
}

/// Who wrote a part of a document, and the parts of that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Of everything here that has no writer of its own.
    by: Option<Place>,
    members: BTreeMap<String, Self>,
    /// Once items were put in or taken out, each item's own.
    items: Option<Vec<Self>>,
}

impl Written {
    fn by(place: Place) -> Self {
        Self {
            by: Some(place),
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.by.is_none() && self.members.is_empty() && self.items.is_none()
    }

    fn next(&self, token: &str) -> Option<&Self> {
        match &self.items {
            Some(items) => items.get(token.parse::<usize>().ok()?),
            None => self.members.get(token),
        }
    }

    fn next_mut(&mut self, token: &str) -> &mut Self {
        if let Some(items) = &mut self.items
            && let Ok(index) = token.parse::<usize>()
            && index < items.len()
        {
            return &mut items[index];
        }
        self.members.entry(token.to_owned()).or_default()
    }

    fn walk(&mut self, pointer: &str) -> &mut Self {
        let mut here = self;
        for token in tokens(pointer) {
            here = here.next_mut(&token);
        }
        here
    }

    /// Everything at a pointer is from now on by one writer.
    pub fn put(&mut self, pointer: &str, by: Place) {
        *self.walk(pointer) = Self::by(by);
    }

    pub fn remove_member(&mut self, parent: &str, name: &str) {
        self.walk(parent).members.remove(name);
    }

    /// An item was put into a list that had so many.
    pub fn insert_item(&mut self, list: &str, index: usize, before: usize, own: &Place, by: Place) {
        let items = self.items_of(list, before, own);
        items.insert(index.min(items.len()), Self::by(by));
    }

    pub fn remove_item(&mut self, list: &str, index: usize, before: usize, own: &Place) {
        let items = self.items_of(list, before, own);
        if index < items.len() {
            items.remove(index);
        }
    }

    /// Items move, so each must know where it was written. `own` is where the list stands.
    fn items_of(&mut self, list: &str, count: usize, own: &Place) -> &mut Vec<Self> {
        let own = self.writer(list).unwrap_or_else(|| own.clone());
        let here = self.walk(list);
        let mut members = std::mem::take(&mut here.members);
        here.items.get_or_insert_with(|| {
            let item = |index: usize| {
                let mut item = members.remove(&index.to_string()).unwrap_or_default();
                let place = own.below(&format!("/{index}"));
                item.by.get_or_insert(place);
                item
            };
            (0..count).map(item).collect()
        })
    }

    fn at(&self, pointer: &str) -> Self {
        let mut here = self;
        let mut by = self.by.clone();
        for token in tokens(pointer) {
            by = by.map(|place| place.below(&format!("/{}", escaped(&token))));
            let Some(next) = here.next(&token) else {
                return Self {
                    by,
                    ..Self::default()
                };
            };
            by = next.by.clone().or(by);
            here = next;
        }
        Self { by, ..here.clone() }
    }

    pub fn writer(&self, pointer: &str) -> Option<Place> {
        let mut here = Some(self);
        let mut found = self.by.clone();
        for token in tokens(pointer) {
            here = here.and_then(|here| here.next(&token));
            found = match here.and_then(|here| here.by.clone()) {
                Some(own) => Some(own),
                None => found.map(|place| place.below(&format!("/{}", escaped(&token)))),
            };
        }
        found
    }
}

/// The unescaped tokens of a JSON pointer (RFC 6901).
pub(super) fn tokens(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer
        .split('/')
        .skip(1)
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
}

pub(super) fn escaped(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}
