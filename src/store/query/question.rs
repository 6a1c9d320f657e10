//! What a list is asked, and the statement that it becomes: the keys of one index in their order,
//! then the rows that they name, then what no index answers.

use sqlx::{Database, Encode, QueryBuilder, Type};

use super::{
    Filter,
    page::{Cursor, From, Paging},
};

/// A part of a condition.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Sql(&'static str),
    Text(String),
    Number(i64),
}

pub(super) type Condition = Vec<Piece>;

pub(super) fn text(sql: &'static str, value: &str) -> Condition {
    vec![Piece::Sql(sql), Piece::Text(clean(value))]
}

pub(super) fn number(sql: &'static str, value: i64) -> Condition {
    vec![Piece::Sql(sql), Piece::Number(value)]
}

pub(super) fn clean(value: &str) -> String {
    crate::store::db::clean(value)
}

/// A column of the order, and which part of a cursor it is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    Number(&'static str),
    Text(&'static str),
    Position(&'static str),
}

impl Key {
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Number(column) | Self::Text(column) | Self::Position(column) => column,
        }
    }

    pub(super) fn of(self, cursor: &Cursor) -> Piece {
        match self {
            Self::Number(_) => Piece::Number(cursor.number),
            Self::Text(_) => Piece::Text(cursor.text.clone()),
            Self::Position(_) => Piece::Number(cursor.position),
        }
    }
}

/// Where the keys of what is asked for are found in their order: a table, and the conditions that
/// its index answers.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) table: &'static str,
    pub(super) keys: &'static [Key],
    /// One row may stand several times in it.
    pub(super) repeats: bool,
    pub(super) conditions: Vec<Condition>,
}

/// What one list is asked.
pub(super) struct Question {
    pub(super) columns: &'static str,
    /// The list's own tables, joined to the keys `l.k1`, `l.k2`, `l.k3`.
    pub(super) join: &'static str,
    pub(super) sources: Vec<Source>,
    /// What is looked at row by row.
    pub(super) rest: Vec<Condition>,
}

/// What is asked for, as it is gathered: the narrowest comes first.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) sources: Vec<Source>,
    pub(super) rest: Vec<Condition>,
}

impl Asked {
    /// The first that comes is found by its index, the others are looked at.
    pub(super) fn by(&mut self, sources: Vec<Source>, otherwise: Condition) {
        if self.sources.is_empty() {
            self.sources = sources;
        } else {
            self.rest.push(otherwise);
        }
    }

    /// The times of the filter are bounds of every source; `whole` is the one without any.
    pub(super) fn between(&mut self, filter: &Filter, whole: Source) {
        if self.sources.is_empty() {
            self.sources.push(whole);
        }
        for source in &mut self.sources {
            let column = source.keys[0].column();
            for (comparison, moment) in [(" >= ", filter.since), (" < ", filter.until)] {
                if let Some(moment) = moment {
                    source.conditions.push(vec![
                        Piece::Sql(column),
                        Piece::Sql(comparison),
                        Piece::Number(moment),
                    ]);
                }
            }
        }
    }
}

impl Source {
    pub(super) fn new(
        table: &'static str,
        keys: &'static [Key],
        conditions: Vec<Condition>,
    ) -> Self {
        Self {
            table,
            keys,
            repeats: false,
            conditions,
        }
    }

    /// `select k1, k2, k3 from … order by … limit`, with empty keys where there are fewer.
    fn push<DB>(&self, select: &mut QueryBuilder<DB>, paging: &Paging, look: i64)
    where
        DB: Database,
        for<'t> String: Encode<'t, DB> + Type<DB>,
        for<'t> i64: Encode<'t, DB> + Type<DB>,
    {
        let column = |index: usize, otherwise: &'static str| {
            self.keys.get(index).map_or(otherwise, |key| key.column())
        };
        select.push(if self.repeats {
            "select distinct "
        } else {
            "select "
        });
        select
            .push(column(0, "0"))
            .push(" as k1, ")
            .push(column(1, "''"))
            .push(" as k2, ")
            .push(column(2, "0"))
            .push(" as k3 from ")
            .push(self.table);
        let mut conditions = self.conditions.clone();
        let bound = match &paging.from {
            From::Newest => None,
            From::Before(cursor) => Some((" < ", cursor)),
            From::After(cursor) => Some((" > ", cursor)),
        };
        if let Some((comparison, cursor)) = bound {
            let mut condition = vec![Piece::Sql("(")];
            for (index, key) in self.keys.iter().enumerate() {
                if index > 0 {
                    condition.push(Piece::Sql(", "));
                }
                condition.push(Piece::Sql(key.column()));
            }
            condition.extend([Piece::Sql(")"), Piece::Sql(comparison), Piece::Sql("(")]);
            for (index, key) in self.keys.iter().enumerate() {
                if index > 0 {
                    condition.push(Piece::Sql(", "));
                }
                condition.push(key.of(cursor));
            }
            condition.push(Piece::Sql(")"));
            conditions.push(condition);
        }
        push_conditions(select, " where ", &conditions);
        select.push(" order by ");
        let direction = direction(paging);
        for (index, key) in self.keys.iter().enumerate() {
            if index > 0 {
                select.push(", ");
            }
            select.push(key.column()).push(direction);
        }
        select.push(" limit ").push_bind(look);
    }
}

impl Question {
    /// The keys that are looked at, in their order.
    fn push_looked<DB>(&self, select: &mut QueryBuilder<DB>, paging: &Paging, look: i64)
    where
        DB: Database,
        for<'t> String: Encode<'t, DB> + Type<DB>,
        for<'t> i64: Encode<'t, DB> + Type<DB>,
    {
        if let [only] = self.sources.as_slice() {
            only.push(select, paging, look);
            return;
        }
        select.push("select k1, k2, k3 from (");
        for (index, source) in self.sources.iter().enumerate() {
            if index > 0 {
                select.push(" union ");
            }
            select.push("select k1, k2, k3 from (");
            source.push(select, paging, look);
            select.push(") as s").push(index);
        }
        select.push(") as looked order by ");
        push_order(select, "", paging);
        select.push(" limit ").push_bind(look);
    }

    pub(super) fn push_page<DB>(
        &self,
        select: &mut QueryBuilder<DB>,
        paging: &Paging,
        look: i64,
        rows: i64,
    ) where
        DB: Database,
        for<'t> String: Encode<'t, DB> + Type<DB>,
        for<'t> i64: Encode<'t, DB> + Type<DB>,
    {
        select.push("select ").push(self.columns).push(" from (");
        self.push_looked(select, paging, look);
        select.push(") as l join ").push(self.join);
        push_conditions(select, " where ", &self.rest);
        select.push(" order by ");
        push_order(select, "l.", paging);
        select.push(" limit ").push_bind(rows);
    }

    /// The last of the keys that are looked at, if there are so many.
    pub(super) fn push_end<DB>(&self, select: &mut QueryBuilder<DB>, paging: &Paging, look: i64)
    where
        DB: Database,
        for<'t> String: Encode<'t, DB> + Type<DB>,
        for<'t> i64: Encode<'t, DB> + Type<DB>,
    {
        select.push("select cast(l.k1 as bigint), l.k2, cast(l.k3 as bigint) from (");
        self.push_looked(select, paging, look);
        select.push(") as l order by ");
        push_order(select, "l.", paging);
        select.push(" limit 1 offset ").push_bind(look - 1);
    }
}

fn direction(paging: &Paging) -> &'static str {
    if paging.is_forward() { "" } else { " desc" }
}

fn push_order<DB: Database>(select: &mut QueryBuilder<DB>, prefix: &str, paging: &Paging) {
    let direction = direction(paging);
    for key in ["k1", "k2", "k3"] {
        if key != "k1" {
            select.push(", ");
        }
        select.push(prefix).push(key).push(direction);
    }
}

pub(super) fn push_conditions<DB>(
    select: &mut QueryBuilder<DB>,
    first: &'static str,
    conditions: &[Condition],
) where
    DB: Database,
    for<'t> String: Encode<'t, DB> + Type<DB>,
    for<'t> i64: Encode<'t, DB> + Type<DB>,
{
    let conditions = conditions.iter().filter(|condition| !condition.is_empty());
    for (index, condition) in conditions.enumerate() {
        select.push(if index == 0 { first } else { " and " });
        for piece in condition {
            match piece {
                Piece::Sql(sql) => {
                    select.push(*sql);
                }
                Piece::Text(text) => {
                    select.push_bind(text.clone());
                }
                Piece::Number(number) => {
                    select.push_bind(*number);
                }
            }
        }
    }
}

/// Whether these words stand in one of the columns, as they are and in this order.
pub(super) fn words_in(columns: &[&'static str], words: &str) -> Condition {
    let mut pattern = String::from("%");
    for letter in clean(words).chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    let mut condition = vec![Piece::Sql("(")];
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            condition.push(Piece::Sql(" or "));
        }
        condition.extend([
            Piece::Sql("lower("),
            Piece::Sql(column),
            Piece::Sql(") like lower("),
            Piece::Text(pattern.clone()),
            Piece::Sql(") escape '\\'"),
        ]);
    }
    condition.push(Piece::Sql(")"));
    condition
}
