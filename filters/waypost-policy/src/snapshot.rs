//! What the proxy counted at each endpoint since the last tick.

use std::time::Duration;

use crate::read::{Malformed, Reader};

/// All endpoints of the service, as they did since the last tick.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    /// The time since the last tick.
    pub elapsed: Duration,
    /// One for each endpoint, in the order of the list of endpoints.
    pub loads: Vec<Load>,
}

/// One endpoint, as it did since the last tick.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Load {
    /// The endpoint's identity.
    pub id: u32,
    /// Exchanges under way now.
    pub in_flight: u32,
    /// What its probes say.
    pub probes: Probes,
    /// Whether it cannot be connected to at the moment.
    pub unreachable: bool,
    /// Calls that ended.
    pub calls: u64,
    /// What these took in all.
    pub took: Duration,
    /// Of these, by gRPC status from 0 to 16; the last for any other number.
    pub grpc: [u64; 18],
    /// Of these, by HTTP class from 1xx to 5xx; the last for no response. Calls with a gRPC status are not among them.
    pub http: [u64; 6],
}

/// What the probes of an endpoint say.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Probes {
    /// There are none, or none was answered yet.
    #[default]
    Unknown,
    /// They succeed.
    Succeed,
    /// They fail.
    Fail,
}

impl Load {
    /// The mean time of the calls that ended; `None` if there was none.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        (self.calls > 0).then(|| self.took.div_f64(self.calls as f64))
    }

    /// The calls that the endpoint is to blame for: HTTP 5xx, no response, and of the gRPC statuses UNKNOWN (2),
    /// INTERNAL (13), UNAVAILABLE (14) and DATA_LOSS (15).
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed_with(&[2, 13, 14, 15])
    }

    /// The calls that ended with HTTP 5xx, without a response, or with one of these gRPC statuses. A number above 16
    /// stands for all that gRPC does not know.
    #[must_use]
    pub fn failed_with(&self, statuses: &[usize]) -> u64 {
        let grpc: u64 = statuses.iter().map(|status| self.grpc[(*status).min(17)]).sum();
        grpc + self.http[4] + self.http[5]
    }
}

impl Snapshot {
    pub(crate) fn read(data: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data);
        let count = reader.u32()? as usize;
        let elapsed = Duration::from_millis(reader.u32()?.into());
        let loads = reader.items(count, 224, Load::read)?;
        reader.end()?;
        Ok(Self { elapsed, loads })
    }
}

impl Load {
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: from.u32()?,
            in_flight: from.u32()?,
            probes: match from.u32()? {
                1 => Probes::Succeed,
                2 => Probes::Fail,
                _ => Probes::Unknown,
            },
            unreachable: from.u32()? != 0,
            calls: from.u64()?,
            took: Duration::from_micros(from.u64()?),
            grpc: from.numbers()?,
            http: from.numbers()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::encode_snapshot;

    fn load(id: u32) -> Load {
        Load {
            id,
            in_flight: 2,
            probes: Probes::Fail,
            unreachable: true,
            calls: 10,
            took: Duration::from_millis(25),
            grpc: std::array::from_fn(|status| status as u64),
            http: [1, 2, 3, 4, 5, 6],
        }
    }

    #[test]
    fn what_is_encoded_is_read() {
        for loads in [vec![], vec![Load::default()], vec![load(1), load(2)]] {
            let snapshot = Snapshot { elapsed: Duration::from_millis(1001), loads };
            let data = encode_snapshot(&snapshot);
            assert_eq!(data.len(), 8 + snapshot.loads.len() * 224);
            assert_eq!(Snapshot::read(&data), Ok(snapshot));
        }
    }

    #[test]
    fn data_that_is_cut_or_too_long_is_refused() {
        let data = encode_snapshot(&Snapshot { elapsed: Duration::ZERO, loads: vec![load(1)] });
        for cut in 0..data.len() {
            assert!(Snapshot::read(&data[..cut]).is_err(), "{cut} bytes");
        }
        assert!(Snapshot::read(&[data.as_slice(), &[0]].concat()).is_err());
        assert!(Snapshot::read(&[0xff; 8]).is_err());
    }

    #[test]
    fn failures_are_those_of_the_endpoint() {
        assert_eq!(load(1).failed(), 2 + 13 + 14 + 15 + 5 + 6);
        // 17 and all above are one.
        assert_eq!(load(1).failed_with(&[99]), 17 + 5 + 6);
        assert_eq!(load(1).mean(), Some(Duration::from_micros(2500)));
        assert_eq!(Load::default().mean(), None);
    }
}
