//! How the calls to one endpoint ended, by gRPC status and HTTP class.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

/// The gRPC statuses by number, as the specification names them.
pub const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// What is counted beside these: gRPC statuses that are none, and the classes of HTTP.
const OTHERS: [(&str, &str); 7] = [
    ("grpc", "other"),
    ("http", "other"),
    ("http", "1xx"),
    ("http", "2xx"),
    ("http", "3xx"),
    ("http", "4xx"),
    ("http", "5xx"),
];
const COUNTERS: usize = GRPC_STATUSES.len() + OTHERS.len();
const GRPC_OTHER: usize = 17;
const HTTP_OTHER: usize = 18;
const HTTP_5XX: usize = 23;

/// Counters of how calls ended, shared by all workers. They take two words until the first call, so that ten thousand
/// endpoints of which ten are called cost ten.
///
/// Unlike a [`Histogram`](super::Histogram) it may be written by many: it belongs to an endpoint, which all workers call.
#[derive(Debug, Default)]
pub struct StatusCounters(OnceLock<Box<[AtomicU64; COUNTERS]>>);

impl StatusCounters {
    /// Counts a call that ended with this gRPC status.
    pub fn record_grpc(&self, status: u32) {
        self.record((status as usize).min(GRPC_OTHER));
    }

    /// Counts a call that is not gRPC and was answered with this HTTP status.
    pub fn record_http(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        self.record(HTTP_OTHER + if class <= 5 { class } else { 0 });
    }

    /// What was counted: protocol (`grpc` or `http`), status (`OK`, .., `other`; `1xx`, .., `other`) and count, without
    /// the zeros.
    pub fn samples(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let counters = self.0.get().map(|counters| counters.as_slice()).unwrap_or_default();
        let statuses = GRPC_STATUSES.iter().map(|&status| ("grpc", status)).chain(OTHERS);
        statuses
            .zip(counters)
            .map(|((protocol, status), counter)| (protocol, status, counter.load(Ordering::Relaxed)))
            .filter(|(_, _, count)| *count > 0)
    }

    /// What was counted by gRPC status, the last for any other number, and by HTTP class from 1xx to 5xx.
    pub fn counts(&self) -> ([u64; 18], [u64; 5]) {
        let counters = self.0.get().map(|counters| counters.as_slice()).unwrap_or_default();
        let at = |place: usize| counters.get(place).map_or(0, |counter| counter.load(Ordering::Relaxed));
        (std::array::from_fn(at), std::array::from_fn(|class| at(HTTP_OTHER + 1 + class)))
    }

    /// All that was counted, and how many of it are failures: of gRPC the statuses that stand in the list, by number; of
    /// others the class 5xx.
    pub fn totals(&self, failures: &[u32]) -> (u64, u64) {
        let counters = self.0.get().map(|counters| counters.as_slice()).unwrap_or_default();
        let is_failure = |place: usize| place == HTTP_5XX || failures.iter().any(|&status| status as usize == place);
        counters.iter().enumerate().fold((0, 0), |(all, failed), (place, counter)| {
            let count = counter.load(Ordering::Relaxed);
            (all + count, failed + if is_failure(place) { count } else { 0 })
        })
    }

    fn record(&self, place: usize) {
        let counters = self.0.get_or_init(|| Box::new([const { AtomicU64::new(0) }; COUNTERS]));
        counters[place].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_counted_under_their_names() {
        let grpc = |statuses: &[u32]| {
            let counters = StatusCounters::default();
            statuses.iter().for_each(|&status| counters.record_grpc(status));
            counters.samples().collect::<Vec<_>>()
        };
        assert_eq!(grpc(&[]), []);
        assert_eq!(grpc(&[14, 14, 0]), [("grpc", "OK", 1), ("grpc", "UNAVAILABLE", 2)]);
        assert_eq!(grpc(&[16, 17, u32::MAX]), [("grpc", "UNAUTHENTICATED", 1), ("grpc", "other", 2)]);

        let counters = StatusCounters::default();
        for status in [101, 200, 204, 304, 404, 503, 599, 600, 999] {
            counters.record_http(StatusCode::from_u16(status).unwrap());
        }
        let expected = [("other", 2), ("1xx", 1), ("2xx", 2), ("3xx", 1), ("4xx", 1), ("5xx", 2)];
        assert_eq!(counters.samples().collect::<Vec<_>>(), expected.map(|(status, count)| ("http", status, count)));
        assert_eq!(counters.totals(&[14]), (9, 2));
        [0, 4, 14].into_iter().for_each(|status| counters.record_grpc(status));
        assert_eq!(counters.totals(&[14]), (12, 3));
        assert_eq!(counters.totals(&[14, 4]), (12, 4));
    }
}
