//! Durations, sizes and listen addresses as people write them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const TIMES: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads where to listen: an IP address and a port. `localhost` is 127.0.0.1, whatever the machine makes of it; no other
/// name is resolved, because what it stands for may change.
///
/// # Errors
///
/// What is wrong, and what to write instead.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    match (text.parse(), port.parse()) {
        (Ok(address), _) => Ok(address),
        (Err(_), Ok(port)) if host.eq_ignore_ascii_case("localhost") => Ok((Ipv4Addr::LOCALHOST, port).into()),
        _ => Err(format!(
            "must be an IP address and a port, such as 127.0.0.1:8400 or [::]:8400, or localhost and a port; is `{text}`"
        )),
    }
}

/// Reads `5s`, `200ms`, `1m30s`, `2h`.
///
/// # Errors
///
/// What is wrong with the text, and how to write it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration; write it like `5s`, `200ms` or `1m30s`");
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("`{text}` has no unit; write `{text}s` for seconds or `{text}ms` for milliseconds"));
    }
    let mut rest = text;
    let mut micros = 0u64;
    while !rest.is_empty() || micros == 0 && rest.len() == text.len() {
        let (number, tail) = split_number(rest).ok_or_else(bad)?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let (_, scale) = TIMES.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        micros = number.checked_mul(*scale).and_then(|n| micros.checked_add(n)).ok_or_else(bad)?;
        rest = tail;
    }
    Ok(Duration::from_micros(micros))
}

/// Writes a duration so that it can be read again; below a microsecond is cut off.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, scale) in TIMES {
        if rest >= scale {
            text.push_str(&format!("{}{unit}", rest / scale));
            rest %= scale;
        }
    }
    text
}

/// Reads `64KiB`, `4MiB`, `10MB`, or a plain number of bytes.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size; write it like `64KiB` or `4MiB`, or as a number of bytes");
    let (number, unit) = split_number(text).ok_or_else(bad)?;
    let scale = match unit.trim_start() {
        "" => 1,
        unit => SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1,
    };
    number.checked_mul(scale).ok_or_else(bad)
}

/// Writes a size so that it can be read again.
pub(super) fn show_bytes(bytes: u64) -> String {
    match SIZES[..3].iter().find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", bytes / scale),
        None => bytes.to_string(),
    }
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_the_only_name_to_listen_on() {
        for (text, address) in [
            ("127.0.0.1:8400", "127.0.0.1:8400"),
            ("localhost:0", "127.0.0.1:0"),
            ("LocalHost:8400", "127.0.0.1:8400"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(parse_listen(text).unwrap().to_string(), address);
        }
        for text in ["", "localhost", ":8400", "8400", "127.0.0.1", "localhost:65536", "proxy.example:8400", "[::1]"] {
            let error = parse_listen(text).unwrap_err();
            assert!(error.contains("or localhost and a port; is `"), "{text}: {error}");
        }
    }

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in [("5s", 5_000), ("200ms", 200), ("1m30s", 90_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
            assert_eq!(show_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert_eq!(show_duration(Duration::ZERO), "0s");
        assert_eq!(show_duration(Duration::from_secs(90)), "1m30s");
    }

    #[test]
    fn what_is_no_duration_says_why() {
        for text in ["", "s", "5 s", "1.5s", "-1s", "5x", "5s3", "99999999999999999999s", "99999999999999999h", "µ"] {
            assert!(parse_duration(text).unwrap_err().contains("not a duration"), "{text}");
        }
        assert!(parse_duration("30").unwrap_err().contains("`30s`"));
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [("64KiB", 65_536), ("4MiB", 4 << 20), ("1GiB", 1 << 30), ("0", 0), ("1000", 1_000)] {
            assert_eq!(parse_bytes(text), Ok(bytes));
            assert_eq!(show_bytes(bytes), text);
        }
        assert_eq!(parse_bytes("10 MB"), Ok(10_000_000));
        for text in ["", "KiB", "4 Mib", "1.5MiB", "-1", "99999999999999999999", "99999999999GiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}
