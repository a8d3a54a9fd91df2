//! Reads header blocks.

use super::table::{Entry, Name, Table};
use super::{Field, Invalid, OVERHEAD, TABLE_LIMIT, huffman};

/// The buffer of an idle connection is no longer than this.
const KEPT: usize = 4 << 10;

/// The state of one direction of a connection, for the end that reads.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    /// What the peer may choose as the limit of the table.
    limit: usize,
    /// The string that was Huffman-decoded last.
    buffer: Vec<u8>,
}

impl Decoder {
    /// With a dynamic table of 4,096 bytes: the limit as long as no other is announced.
    pub(crate) fn new() -> Self {
        Self::with_limit(TABLE_LIMIT)
    }

    /// With another limit, as if it was announced and agreed upon.
    pub(super) fn with_limit(limit: usize) -> Self {
        Self { table: Table::new(limit), limit, buffer: Vec::new() }
    }

    /// Decodes a whole block: gives `take` each field and its size, as RFC 7541 4.1 counts it.
    ///
    /// # Errors
    ///
    /// If the block is not HPACK. The fields before the fault were given.
    pub(crate) fn decode(&mut self, block: &[u8], take: &mut impl FnMut(Field, usize)) -> Result<(), Invalid> {
        let mut rest = self.updates(block)?;
        while let [first, after @ ..] = rest {
            rest = after;
            if first & 0x80 != 0 {
                let index = integer(*first, 0x7f, &mut rest)?;
                let entry = self.table.get(index).ok_or(Invalid)?;
                take(entry.field.clone(), entry.size);
            } else if first & 0x40 != 0 {
                let name = self.name(*first, 0x3f, &mut rest)?;
                let entry = Entry::new(name, string(&mut rest, &mut self.buffer)?);
                take(entry.field.clone(), entry.size);
                self.table.insert(entry);
            } else if first & 0x20 == 0 {
                let name = self.name(*first, 0x0f, &mut rest)?;
                let value = string(&mut rest, &mut self.buffer)?;
                let size = name.len() + value.len() + OVERHEAD;
                let mut field = name.field(value);
                if let (0x10, Field::Regular(_, value)) = (first & 0x10, &mut field) {
                    value.set_sensitive(true);
                }
                take(field, size);
            } else {
                return Err(Invalid);
            }
        }
        if self.buffer.capacity() > KEPT {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }

    /// Reads the size updates, of which at most two may begin a block (RFC 7541 4.2). Gives the rest.
    fn updates<'a>(&mut self, mut rest: &'a [u8]) -> Result<&'a [u8], Invalid> {
        for _ in 0..2 {
            let [first @ 0x20..0x40, after @ ..] = rest else { break };
            rest = after;
            let limit = integer(*first, 0x1f, &mut rest)?;
            if limit > self.limit {
                return Err(Invalid);
            }
            self.table.set_limit(limit);
        }
        Ok(rest)
    }

    /// Reads the name of a literal, or the index of an entry that has it.
    fn name(&mut self, first: u8, mask: u8, rest: &mut &[u8]) -> Result<Name, Invalid> {
        match integer(first, mask, rest)? {
            0 => Ok(Name::new(string(rest, &mut self.buffer)?)),
            index => Ok(self.table.get(index).ok_or(Invalid)?.name.clone()),
        }
    }
}

/// Reads an integer that begins in the bits of `mask` of the byte `first` (RFC 7541 5.1). It must fit 32 bits, in at
/// most five further bytes.
#[inline]
fn integer(first: u8, mask: u8, rest: &mut &[u8]) -> Result<usize, Invalid> {
    match first & mask {
        full if full == mask => long_integer(mask, rest),
        short => Ok(usize::from(short)),
    }
}

fn long_integer(mask: u8, rest: &mut &[u8]) -> Result<usize, Invalid> {
    let mut value = u64::from(mask);
    for shift in [0, 7, 14, 21, 28] {
        let (byte, after) = rest.split_first().ok_or(Invalid)?;
        *rest = after;
        value += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| Invalid)?;
            return usize::try_from(value).map_err(|_| Invalid);
        }
    }
    Err(Invalid)
}

/// Reads a string (RFC 7541 5.2); a Huffman-coded one is decoded into the buffer.
fn string<'a, 'b: 'a>(rest: &mut &'b [u8], buffer: &'a mut Vec<u8>) -> Result<&'a [u8], Invalid> {
    let (first, after) = rest.split_first().ok_or(Invalid)?;
    *rest = after;
    let length = integer(*first, 0x7f, rest)?;
    let (raw, after) = rest.split_at_checked(length).ok_or(Invalid)?;
    *rest = after;
    if first & 0x80 == 0 {
        return Ok(raw);
    }
    huffman::decode(raw, buffer)?;
    Ok(buffer)
}
