//! Ranges of keys as etcd writes them.

use std::ops::Bound;

/// The keys that a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::embedded) enum Keys {
    /// This one.
    One(Vec<u8>),
    /// From the first, included, to the second, excluded.
    Range(Vec<u8>, Vec<u8>),
    /// This one and all behind it.
    From(Vec<u8>),
}

impl Keys {
    /// No end means one key; an end of one zero byte means that there is none.
    pub(in crate::embedded) fn new(key: &[u8], range_end: &[u8]) -> Self {
        match range_end {
            [] => Keys::One(key.to_vec()),
            [0] => Keys::From(key.to_vec()),
            end => Keys::Range(key.to_vec(), end.to_vec()),
        }
    }

    pub(in crate::embedded) fn contains(&self, key: &[u8]) -> bool {
        match self {
            Keys::One(one) => one == key,
            Keys::Range(first, end) => first.as_slice() <= key && key < end.as_slice(),
            Keys::From(first) => first.as_slice() <= key,
        }
    }

    /// Whether no key can be in it.
    pub(in crate::embedded) fn is_empty(&self) -> bool {
        matches!(self, Keys::Range(first, end) if first >= end)
    }

    /// The bounds to look it up with. Ordered sets refuse bounds that are the wrong way round.
    pub(super) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        match self {
            Keys::One(key) => (Bound::Included(key), Bound::Included(key)),
            Keys::Range(first, _) if self.is_empty() => (Bound::Included(first), Bound::Excluded(first)),
            Keys::Range(first, end) => (Bound::Included(first), Bound::Excluded(end)),
            Keys::From(first) => (Bound::Included(first), Bound::Unbounded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_says_which_keys_are_meant() {
        for (key, end, within, without) in [
            ("b", "", &["b"][..], &["a", "ba", "c"][..]),
            ("b", "c", &["b", "ba", "b\u{7f}"], &["a", "c"]),
            ("b", "\0", &["b", "ba", "z"], &["a", ""]),
            ("b", "a", &[], &["a", "b", "c"]),
            ("b", "b", &[], &["a", "b", "c"]),
        ] {
            let keys = Keys::new(key.as_bytes(), end.as_bytes());
            assert!(within.iter().all(|key| keys.contains(key.as_bytes())), "{keys:?}");
            assert!(!without.iter().any(|key| keys.contains(key.as_bytes())), "{keys:?}");
            assert_eq!(keys.is_empty(), within.is_empty());
            let set: std::collections::BTreeSet<Vec<u8>> = within.iter().map(|key| key.as_bytes().to_vec()).collect();
            assert_eq!(set.range::<[u8], _>(keys.bounds()).count(), within.len());
        }
    }
}
