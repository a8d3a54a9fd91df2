//! Endpoints as a policy sees them, and how they are read.

use crate::read::{Malformed, Reader};

/// One place that calls can go to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Endpoint {
    /// Its identity: the same as long as service and address are. Known to this proxy only: hash the address instead.
    pub id: u32,
    /// As registered, or as an operator set it.
    pub weight: u32,
    /// What it may get, in thousandths: 0 if it is unhealthy, less than 1,000 while it starts slowly.
    pub share: u32,
    /// A sum of flags; see [`Endpoint::is_unreachable`].
    pub flags: u32,
    /// Host and port.
    pub address: String,
    /// The id that it is registered under.
    pub instance: String,
    /// Its version; may be empty.
    pub version: String,
    /// Its zone; may be empty.
    pub zone: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Names and values, sorted by name.
    pub metadata: Vec<(String, String)>,
}

impl Endpoint {
    /// The flag of an endpoint that cannot be connected to at the moment.
    pub const UNREACHABLE: u32 = 1;

    /// Whether it cannot be connected to at the moment.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        self.flags & Self::UNREACHABLE != 0
    }

    /// What it can carry beside others: weight × share, in thousandths; 0 if it should get nothing.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        if self.is_unreachable() { 0 } else { u64::from(self.weight) * u64::from(self.share) }
    }

    /// Whether it has this tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }

    /// The value of this name in its metadata.
    #[must_use]
    pub fn metadata(&self, name: &str) -> Option<&str> {
        let at = self.metadata.binary_search_by(|(own, _)| own.as_str().cmp(name)).ok()?;
        Some(&self.metadata[at].1)
    }

    /// The endpoints that the proxy hands over.
    pub(crate) fn read_all(data: &[u8]) -> Result<Vec<Self>, Malformed> {
        // Four numbers, four texts, two counts.
        const LEAST: usize = 40;
        let mut reader = Reader::new(data);
        let endpoints = reader.list(LEAST, Self::read)?;
        reader.end()?;
        Ok(endpoints)
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: from.u32()?,
            weight: from.u32()?,
            share: from.u32()?,
            flags: from.u32()?,
            address: from.text()?,
            instance: from.text()?,
            version: from.text()?,
            zone: from.text()?,
            tags: from.list(4, Reader::text)?,
            metadata: from.list(8, |from| Ok((from.text()?, from.text()?)))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::encode_endpoints;

    fn full() -> Endpoint {
        Endpoint {
            id: 7,
            weight: 3,
            share: 500,
            flags: 0,
            address: "[::1]:443".to_owned(),
            instance: "one".to_owned(),
            version: "2.0".to_owned(),
            zone: "zürich".to_owned(),
            tags: vec!["fast".to_owned(), String::new()],
            metadata: vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())],
        }
    }

    #[test]
    fn what_is_encoded_is_read() {
        for endpoints in [vec![], vec![Endpoint::default()], vec![full(), Endpoint::default(), full()]] {
            assert_eq!(Endpoint::read_all(&encode_endpoints(&endpoints)), Ok(endpoints));
        }
    }

    #[test]
    fn data_that_is_cut_or_too_long_is_refused() {
        let data = encode_endpoints(&[full(), full()]);
        for cut in 0..data.len() {
            assert!(Endpoint::read_all(&data[..cut]).is_err(), "{cut} of {} bytes", data.len());
        }
        let longer = [data.as_slice(), &[0]].concat();
        assert!(Endpoint::read_all(&longer).is_err());
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        // A count of four thousand million must not be allocated for.
        assert!(Endpoint::read_all(&u32::MAX.to_le_bytes()).is_err());
        let mut data = encode_endpoints(&[full()]);
        // The length of the address, and then a text that is no UTF-8.
        data[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Endpoint::read_all(&data).is_err());
        data[20..24].copy_from_slice(&9_u32.to_le_bytes());
        data[24] = 0xff;
        assert!(Endpoint::read_all(&data).is_err());
    }

    #[test]
    fn capacity_is_what_may_be_sent_there() {
        let mut endpoint = full();
        assert_eq!(endpoint.capacity(), 1500);
        endpoint.flags = Endpoint::UNREACHABLE;
        assert_eq!(endpoint.capacity(), 0);
    }

    #[test]
    fn metadata_is_found_by_name() {
        let endpoint = full();
        assert_eq!(
            (endpoint.metadata("a"), endpoint.metadata("b"), endpoint.metadata("c")),
            (Some("1"), Some(""), None)
        );
        assert!(endpoint.has_tag("fast") && !endpoint.has_tag("slow"));
    }
}
