//! Reads what the proxy writes into a module's memory. Nothing is read beyond the end, whatever the lengths in it say.

use std::fmt;

/// Why data could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Malformed {
    Cut,
    TooLong,
    NotText,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut => "it ends too early",
            Self::TooLong => "there is more of it than it says",
            Self::NotText => "a text in it is not UTF-8",
        })
    }
}

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        let (number, rest) = self.rest.split_first_chunk().ok_or(Malformed::Cut)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*number))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        let (number, rest) = self.rest.split_first_chunk().ok_or(Malformed::Cut)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*number))
    }

    pub(crate) fn numbers<const N: usize>(&mut self) -> Result<[u64; N], Malformed> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.u64()?;
        }
        Ok(numbers)
    }

    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        let size = self.u32()? as usize;
        let (text, rest) = self.rest.split_at_checked(size).ok_or(Malformed::Cut)?;
        self.rest = rest;
        Ok(str::from_utf8(text).map_err(|_| Malformed::NotText)?.to_owned())
    }

    /// A count and as many of what `item` reads, each of which takes `least` bytes or more.
    pub(crate) fn list<T>(
        &mut self,
        least: usize,
        item: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.u32()? as usize;
        self.items(count, least, item)
    }

    /// As many of what `item` reads; no count stands before them.
    pub(crate) fn items<T>(
        &mut self,
        count: usize,
        least: usize,
        item: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        // Before anything is allocated for a count that cannot be true.
        if count > self.rest.len() / least {
            return Err(Malformed::Cut);
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::TooLong) }
    }
}
