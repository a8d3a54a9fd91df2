//! `grpc-timeout`: how long the caller will wait. Format: the gRPC over HTTP/2 protocol, "Timeout".

use std::fmt::Write;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// A `grpc-timeout` that is not one to eight digits and one of H, M, S, m, u, n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadTimeout;

/// The moment at which a call that starts now must be done: the caller's wish or our limit, whichever is sooner.
pub(super) fn of(headers: &HeaderMap, limit: Option<Duration>, now: Instant) -> Result<Option<Instant>, BadTimeout> {
    let wish = headers.get(GRPC_TIMEOUT).map(|value| parse(value.as_bytes()).ok_or(BadTimeout)).transpose()?;
    let within = match (wish, limit) {
        (Some(wish), Some(limit)) => Some(wish.min(limit)),
        (wish, limit) => wish.or(limit),
    };
    // Further off than the clock reaches is never.
    Ok(within.and_then(|within| now.checked_add(within)))
}

fn parse(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n = digits.iter().fold(0u64, |n, digit| n * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(n * 3_600),
        b'M' => Duration::from_secs(n * 60),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

/// What is left, in the finest unit that fits into eight digits, rounded down but never to nothing.
pub(super) fn to_header(left: Duration) -> HeaderValue {
    let micros = left.as_micros().max(1);
    let (n, unit) = [(1, 'u'), (1_000, 'm'), (1_000_000, 'S'), (60_000_000, 'M'), (3_600_000_000, 'H')]
        .into_iter()
        .map(|(size, unit)| (micros / size, unit))
        .find(|(n, _)| *n < 100_000_000)
        .unwrap_or((99_999_999, 'H'));
    let mut text = BytesMut::with_capacity(9);
    // Writing digits into a buffer that grows cannot fail, and digits are a valid header.
    let _ = write!(text, "{n}{unit}");
    HeaderValue::from_maybe_shared(text.freeze()).unwrap_or_else(|_| HeaderValue::from_static("1u"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("7n", Some(Duration::from_nanos(7))),
            ("0n", Some(Duration::ZERO)),
            ("100000000n", None),
            ("", None),
            ("S", None),
            ("1s", None),
            ("-1S", None),
            ("1.5S", None),
            (" 1S", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_left_is_written_in_the_finest_unit_that_fits() {
        for (left, expected) in [
            (Duration::ZERO, "1u"),
            (Duration::from_nanos(1), "1u"),
            (Duration::from_millis(250), "250000u"),
            (Duration::from_secs(99), "99000000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(100_000_000), "1666666M"),
            (Duration::from_secs(99_999_999 * 3_600), "99999999H"),
        ] {
            assert_eq!(to_header(left), expected);
            assert!(parse(to_header(left).as_bytes()).is_some());
        }
    }

    #[test]
    fn the_sooner_of_wish_and_limit_counts() {
        let now = Instant::now();
        let limit = Some(Duration::from_secs(1));
        let mut headers = HeaderMap::new();
        assert_eq!(of(&headers, None, now), Ok(None));
        assert_eq!(of(&headers, limit, now), Ok(Some(now + Duration::from_secs(1))));
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_static("10S"));
        assert_eq!(of(&headers, limit, now), Ok(Some(now + Duration::from_secs(1))));
        assert_eq!(of(&headers, None, now), Ok(Some(now + Duration::from_secs(10))));
        headers.insert(GRPC_TIMEOUT, HeaderValue::from_static("soon"));
        assert_eq!(of(&headers, limit, now), Err(BadTimeout));
    }
}
