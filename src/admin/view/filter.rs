//! Narrowing and sorting rows, as the address of the page says: `zone:a !healthy` keeps the rows of zone a that are not
//! healthy. Done here and not in the browser, so that it works for rows that the browser has not got.

use std::cmp::Ordering;

/// A row that can be narrowed and sorted.
pub(in crate::admin) trait Row {
    /// Gives each field with its name.
    fn fields(&self, field: &mut dyn FnMut(&'static str, &str));
    /// What it is sorted by in this column; the first field for a column that there is not.
    fn rank(&self, column: &str) -> Rank<'_>;
}

/// What rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::admin) enum Rank<'a> {
    /// By size.
    Number(f64),
    /// By letter.
    Text(&'a str),
}

impl Rank<'_> {
    fn compare(&self, other: &Rank<'_>) -> Ordering {
        match (self, other) {
            (Rank::Number(a), Rank::Number(b)) => a.total_cmp(b),
            (Rank::Text(a), Rank::Text(b)) => a.cmp(b),
            (Rank::Number(_), Rank::Text(_)) => Ordering::Less,
            (Rank::Text(_), Rank::Number(_)) => Ordering::Greater,
        }
    }
}

/// Keeps the rows that have every word of `words`, and sorts them by a column; `-column` is from the end. Without a column
/// they stay as they are.
pub(in crate::admin) fn narrow<R: Row>(rows: &mut Vec<R>, words: &str, column: &str) {
    let words = words.to_lowercase();
    let words: Vec<_> = words.split_whitespace().map(Word::read).collect();
    if !words.is_empty() {
        rows.retain(|row| words.iter().all(|word| word.takes(row)));
    }
    let (column, backwards) = column.strip_prefix('-').map_or((column, false), |column| (column, true));
    if !column.is_empty() {
        rows.sort_by(|a, b| {
            let order = a.rank(column).compare(&b.rank(column));
            if backwards { order.reverse() } else { order }
        });
    }
}

struct Word<'a> {
    field: Option<&'a str>,
    text: &'a str,
    not: bool,
}

impl<'a> Word<'a> {
    fn read(word: &'a str) -> Self {
        let (word, not) = word.strip_prefix('!').map_or((word, false), |word| (word, true));
        // Before a colon stands the name of a field, unless it is an address.
        let field = word.split_once(':').filter(|(name, _)| {
            !name.is_empty() && *name != "localhost" && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        });
        let (field, text) = field.map_or((None, word), |(name, text)| (Some(name), text));
        Word { field, text, not }
    }

    /// With a field, its start must be so; without, any field may have it anywhere. States are whole words, for
    /// `healthy` is a part of `unhealthy`.
    fn takes(&self, row: &impl Row) -> bool {
        let mut found = false;
        row.fields(&mut |name, value| {
            let value = value.to_lowercase();
            found |= match (self.field, name) {
                (Some(field), _) => field == name && value.starts_with(self.text),
                (None, "state") => value == self.text,
                (None, _) => value.contains(self.text),
            };
        });
        found != self.not
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(&'static str, &'static str, &'static str, f64);

    impl Row for Fake {
        fn fields(&self, field: &mut dyn FnMut(&'static str, &str)) {
            field("address", self.0);
            field("zone", self.1);
            field("state", self.2);
        }

        fn rank(&self, column: &str) -> Rank<'_> {
            match column {
                "weight" => Rank::Number(self.3),
                _ => Rank::Text(self.0),
            }
        }
    }

    #[track_caller]
    fn check(words: &str, column: &str, expected: &[&str]) {
        let mut rows = vec![
            Fake("10.0.0.1:80", "a", "healthy", 2.0),
            Fake("10.0.0.2:80", "a", "unhealthy", 10.0),
            Fake("[::1]:80", "B", "ejected", 1.0),
        ];
        narrow(&mut rows, words, column);
        assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), expected, "{words} {column}");
    }

    #[test]
    fn words_narrow_and_columns_sort() {
        let all = ["10.0.0.1:80", "10.0.0.2:80", "[::1]:80"];
        check("", "", &all);
        check("zone:a !healthy", "", &["10.0.0.2:80"]);
        check("healthy", "", &["10.0.0.1:80"]);
        check("10.0.0.2:80", "", &["10.0.0.2:80"]);
        check("zone:b", "", &["[::1]:80"]);
        check("nothing:a", "", &[]);
        check("!nothing:a", "", &all);
        check("", "-weight", &["10.0.0.2:80", "10.0.0.1:80", "[::1]:80"]);
        check("", "weight", &["[::1]:80", "10.0.0.1:80", "10.0.0.2:80"]);
        check("", "-address", &["[::1]:80", "10.0.0.2:80", "10.0.0.1:80"]);
    }
}
