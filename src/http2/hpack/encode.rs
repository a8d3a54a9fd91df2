//! Writes header blocks.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use bytes::{BufMut, BytesMut};
use http::{HeaderName, HeaderValue};

use super::table::STATIC;
use super::{OVERHEAD, Pseudo, TABLE_LIMIT};

/// How each representation begins (RFC 7541 6): its first byte, and the bits of it that are left for an integer.
const INDEXED: (u8, u8) = (0x80, 0x7f);
const SIZE_UPDATE: (u8, u8) = (0x20, 0x1f);
/// Literals, by what becomes of the field.
const INDEXING: (u8, u8) = (0x40, 0x3f);
const NOT_INDEXING: (u8, u8) = (0x00, 0x0f);
const NEVER_INDEXING: (u8, u8) = (0x10, 0x0f);

/// The only regular field of the static table that has a value.
const ACCEPT_ENCODING: usize = 16;
/// The names of the static table whose fields are not inserted, as their values are secret or change each time:
/// authorization, content-length, cookie, proxy-authorization and set-cookie.
const NOT_INSERTED: [usize; 5] = [23, 28, 32, 49, 55];

/// The state of one direction of a connection, for the end that writes.
///
/// A field enters the dynamic table when it is written for the second time within a short while, so that values that
/// change with each call do not push out those that stay.
#[derive(Debug)]
pub(crate) struct Encoder {
    table: Table,
    /// What is left of the hashes of the fields that were written as literals lately, and where the next one goes.
    seen: [u32; 64],
    next: usize,
    /// The limit that the next block announces, if it is not that of the table, and the least since the last block.
    limit: usize,
    least: usize,
    seed: u64,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        let seed = RandomState::new().hash_one(0);
        Self { table: Table::new(), seen: [0; 64], next: 0, limit: TABLE_LIMIT, least: TABLE_LIMIT, seed }
    }

    /// Takes the peer's `SETTINGS_HEADER_TABLE_SIZE`, of which at most 4,096 bytes are used, from the next block on.
    pub(crate) fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes.min(TABLE_LIMIT);
        self.least = self.least.min(self.limit);
    }

    /// Begins a block: tells how the limit changed since the last one (RFC 7541 4.2).
    pub(crate) fn begin(&mut self, out: &mut BytesMut) {
        for limit in [self.least, self.limit] {
            if limit != self.table.limit {
                self.table.set_limit(limit);
                integer(SIZE_UPDATE, limit, out);
            }
        }
        self.least = self.limit;
    }

    /// Writes a pseudo-header field. If it must not be indexed, it is not looked up in the dynamic table either.
    pub(crate) fn pseudo(&mut self, name: Pseudo, value: &[u8], may_index: bool, out: &mut BytesMut) {
        let (index, exact) = pseudo_index(name, value);
        let name = name.name().as_bytes();
        if exact {
            integer(INDEXED, index, out);
        } else if may_index {
            self.indexed_or_literal(name, value, out, || Known { index, exact, insert: true });
        } else {
            literal(NOT_INDEXING, index, name, value, out);
        }
    }

    /// Writes a regular field; one whose value is sensitive as a literal that nobody may ever index.
    pub(crate) fn field(&mut self, name: &HeaderName, value: &HeaderValue, out: &mut BytesMut) {
        let (sensitive, name, value) = (value.is_sensitive(), name.as_str(), value.as_bytes());
        if sensitive {
            return literal(NEVER_INDEXING, static_index(name), name.as_bytes(), value, out);
        }
        self.indexed_or_literal(name.as_bytes(), value, out, || {
            let index = static_index(name);
            let exact = is_static(index, value);
            Known { index, exact, insert: !NOT_INSERTED.contains(&index) && name != "grpc-timeout" }
        });
    }

    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size
    }

    /// Writes a field as the index of an entry, or as a literal. `known` is only asked if the dynamic table does not
    /// have the field.
    #[inline]
    fn indexed_or_literal(&mut self, name: &[u8], value: &[u8], out: &mut BytesMut, known: impl FnOnce() -> Known) {
        let small = name.len() + value.len() + OVERHEAD <= self.table.limit / 4;
        let hash = if small { hash(self.seed, name, value) } else { 0 };
        if small && let Some(index) = self.table.find(hash, name, value) {
            return integer(INDEXED, index, out);
        }
        let Known { index, exact, insert } = known();
        if exact {
            return integer(INDEXED, index, out);
        }
        let inserted = small && insert && self.was_seen(hash) && self.table.insert(hash, name, value);
        let kind = if inserted { INDEXING } else { NOT_INDEXING };
        literal(kind, index, name, value, out);
    }

    /// Whether the field was written lately; from now on it was.
    fn was_seen(&mut self, hash: u64) -> bool {
        let hash = (hash >> 32) as u32;
        // Without an early end, many are compared at once.
        let seen = self.seen.iter().fold(false, |found, seen| found | (*seen == hash));
        if !seen {
            self.seen[self.next] = hash;
            self.next = (self.next + 1) % self.seen.len();
        }
        seen
    }
}

/// What is known of a field: the index of its name in the static table, or 0; whether that entry has the value too; and
/// whether the field may be inserted.
struct Known {
    index: usize,
    exact: bool,
    insert: bool,
}

/// Whether the entry of the static table for a regular name has this value too.
fn is_static(index: usize, value: &[u8]) -> bool {
    match index {
        0 => false,
        ACCEPT_ENCODING => value == b"gzip, deflate",
        _ => value.is_empty(),
    }
}

/// The index of an entry of the static table that has the name, and whether it has the value.
fn pseudo_index(name: Pseudo, value: &[u8]) -> (usize, bool) {
    match (name, value) {
        (Pseudo::Authority, _) => (1, false),
        (Pseudo::Method, b"GET") => (2, true),
        (Pseudo::Method, b"POST") => (3, true),
        (Pseudo::Method, _) => (2, false),
        (Pseudo::Path, b"/") => (4, true),
        (Pseudo::Path, b"/index.html") => (5, true),
        (Pseudo::Path, _) => (4, false),
        (Pseudo::Scheme, b"http") => (6, true),
        (Pseudo::Scheme, b"https") => (7, true),
        (Pseudo::Scheme, _) => (6, false),
        (Pseudo::Status, b"200") => (8, true),
        (Pseudo::Status, b"204") => (9, true),
        (Pseudo::Status, b"206") => (10, true),
        (Pseudo::Status, b"304") => (11, true),
        (Pseudo::Status, b"400") => (12, true),
        (Pseudo::Status, b"404") => (13, true),
        (Pseudo::Status, b"500") => (14, true),
        (Pseudo::Status, _) => (8, false),
    }
}

/// The indices of the regular names of the static table, from the place on that the name points to.
static NAMES: [u8; 128] = {
    let mut names = [0; 128];
    let mut index = ACCEPT_ENCODING - 1;
    while index <= STATIC.len() {
        let mut place = place(STATIC[index - 1].0.as_bytes());
        while names[place] != 0 {
            place = (place + 1) % names.len();
        }
        names[place] = index as u8;
        index += 1;
    }
    names
};

/// Where a name is in `NAMES`, or before it; the name is not empty.
const fn place(name: &[u8]) -> usize {
    let (first, middle, last) = (name[0], name[name.len() / 2], name[name.len() - 1]);
    (name.len() + 5 * first as usize + 11 * middle as usize + 29 * last as usize) % 128
}

/// The index of a regular name in the static table, or 0.
pub(super) fn static_index(name: &str) -> usize {
    let mut place = place(name.as_bytes());
    loop {
        let index = usize::from(NAMES[place]);
        if index == 0 || STATIC[index - 1].0 == name {
            return index;
        }
        place = (place + 1) % NAMES.len();
    }
}

/// Writes a literal; its name as an index, unless that is 0.
fn literal(kind: (u8, u8), index: usize, name: &[u8], value: &[u8], out: &mut BytesMut) {
    out.reserve(name.len() + value.len() + 16);
    integer(kind, index, out);
    if index == 0 {
        string(name, out);
    }
    string(value, out);
}

fn string(raw: &[u8], out: &mut BytesMut) {
    integer((0x00, 0x7f), raw.len(), out);
    out.put_slice(raw);
}

/// Writes an integer (RFC 7541 5.1), behind the bits `high` and in the bits of `mask` of its first byte.
#[inline]
fn integer((high, mask): (u8, u8), value: usize, out: &mut BytesMut) {
    match value.checked_sub(mask.into()) {
        None => out.put_u8(high | value as u8),
        Some(mut more) => {
            out.put_u8(high | mask);
            while more >= 0x80 {
                out.put_u8(0x80 | more as u8);
                more >>= 7;
            }
            out.put_u8(more as u8);
        }
    }
}

/// A hash of a field. Without the seed, nobody can tell which fields have the same.
fn hash(seed: u64, name: &[u8], value: &[u8]) -> u64 {
    let lengths = (name.len() as u64) << 32 | value.len() as u64;
    mix(absorb(absorb(mix(seed, lengths), name), value), seed)
}

fn absorb(mut state: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    // Bytes may count twice, as the length is in the hash.
    let last = match (rest, bytes.last_chunk::<8>()) {
        ([], _) => return state,
        (_, Some(word)) => u64::from_le_bytes(*word),
        ([first, .., last], None) if rest.len() < 4 => {
            u64::from(*first) | u64::from(rest[rest.len() / 2]) << 8 | u64::from(*last) << 16
        }
        ([one], None) => u64::from(*one),
        (_, None) => match (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
            (Some(first), Some(last)) => {
                u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
            }
            _ => 0,
        },
    };
    mix(state, last)
}

/// Multiplies to twice the length, and folds the halves.
fn mix(state: u64, word: u64) -> u64 {
    let wide = u128::from(state ^ word) * u128::from(state.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15);
    wide as u64 ^ (wide >> 64) as u64
}

/// The dynamic table, found by hash.
#[derive(Debug)]
struct Table {
    /// The newest is in front.
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
    /// The number of the newest entry; they are counted from 1, and past the last number from 0.
    newest: u32,
    /// The numbers of entries, each in one of the `PROBES` places from the one on that its hash points to. Those of
    /// entries that were evicted are there too, until their places are needed. 0 is a place that was never used.
    places: [u32; 256],
}

/// A table is at most half full, and then it is rare that so many neighbours are taken.
const PROBES: usize = 4;

#[derive(Debug)]
struct Entry {
    hash: u64,
    /// The name, of so many bytes, and the value.
    name: usize,
    bytes: Box<[u8]>,
}

impl Table {
    fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, limit: TABLE_LIMIT, newest: 0, places: [0; 256] }
    }

    /// The index of an entry, as it is written.
    #[inline]
    fn find(&self, hash: u64, name: &[u8], value: &[u8]) -> Option<usize> {
        for place in places(hash) {
            let number = self.places[place];
            if number == 0 {
                return None;
            }
            let age = self.newest.wrapping_sub(number) as usize;
            if let Some(entry) = self.entries.get(age)
                && entry.hash == hash
                && entry.bytes.split_at_checked(entry.name) == Some((name, value))
            {
                return Some(STATIC.len() + 1 + age);
            }
        }
        None
    }

    /// Adds an entry that is no larger than the table. Does not if its places are taken: it would not be found again.
    fn insert(&mut self, hash: u64, name: &[u8], value: &[u8]) -> bool {
        let Some(place) = places(hash).find(|place| {
            let number = self.places[*place];
            number == 0 || self.newest.wrapping_sub(number) as usize >= self.entries.len()
        }) else {
            return false;
        };
        let bytes = [name, value].concat().into_boxed_slice();
        self.evict(self.limit.saturating_sub(bytes.len() + OVERHEAD));
        self.newest = self.newest.wrapping_add(1);
        self.places[place] = self.newest;
        self.size += bytes.len() + OVERHEAD;
        self.entries.push_front(Entry { hash, name: name.len(), bytes });
        true
    }

    fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.evict(limit);
    }

    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= oldest.bytes.len() + OVERHEAD;
        }
    }
}

fn places(hash: u64) -> impl Iterator<Item = usize> {
    (0..PROBES).map(move |probe| (hash as usize).wrapping_add(probe) % 256)
}
