//! Reading a module's configuration.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error};

/// Reads JSON. No configuration at all is read as an empty object, so that defaults apply.
///
/// ```
/// use waypost_policy::config;
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Config {
///     zone: String,
///     #[serde(default = "full")]
///     percent: f64,
/// }
///
/// fn full() -> f64 {
///     100.0
/// }
///
/// let config: Config = config::read(br#"{"zone": "a"}"#)?;
/// config::within("percent", config.percent, 0.0..=100.0)?;
/// let error = config::read::<Config>(b"").err();
/// assert_eq!(error.as_deref(), Some("the configuration can't be read: missing field `zone` at line 1 column 2"));
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
///
/// What does not fit, with line and column.
pub fn read<T: DeserializeOwned>(config: &[u8]) -> Result<T, String> {
    let config = if config.trim_ascii().is_empty() { b"{}" } else { config };
    serde_json::from_slice(config).map_err(|error| format!("the configuration can't be read: {error}"))
}

/// What is wrong with a configuration, gathered so that all of it is told at once.
///
/// ```
/// use waypost_policy::config::{self, Wrong};
///
/// let mut wrong = Wrong::default();
/// wrong.check(config::within("percent", 101.0, 0.0..=100.0));
/// let header = wrong.check(config::name("header", "a b"));
/// assert_eq!(header, None);
/// let told = wrong.end().unwrap_err();
/// assert!(told.starts_with("percent: must be from 0 to 100, is 101; header: "), "{told}");
/// ```
#[derive(Debug, Default)]
pub struct Wrong(Vec<String>);

impl Wrong {
    /// Notes what is wrong.
    pub fn add(&mut self, why: impl Into<String>) {
        self.0.push(why.into());
    }

    /// The value if it is good; what is wrong with it is noted.
    pub fn check<T>(&mut self, checked: Result<T, String>) -> Option<T> {
        checked.map_err(|why| self.add(why)).ok()
    }

    /// Ends the checks.
    ///
    /// # Errors
    ///
    /// All that was noted, if anything was.
    pub fn end(self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0.join("; ")) }
    }
}

/// Checks that the value of a key is within a range, both ends included.
///
/// # Errors
///
/// The key, the range and the value.
pub fn within<T: PartialOrd + Display + Copy>(key: &str, value: T, range: RangeInclusive<T>) -> Result<(), String> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(format!("{key}: must be from {} to {}, is {value}", range.start(), range.end()))
}

/// Checks the name of a header or a cookie, and returns it in small letters, as headers are compared.
///
/// # Errors
///
/// The key, and what is wrong with the name.
pub fn name(key: &str, name: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(format!("{key}: {name:?} cannot be a name; use letters, digits and hyphens"));
    }
    Ok(name.to_ascii_lowercase())
}

/// Reads a duration such as `300ms`, `10s`, `5m` or `1h`, for serde's attribute `deserialize_with`.
///
/// ```
/// use std::time::Duration;
/// use waypost_policy::config;
///
/// #[derive(serde::Deserialize)]
/// struct Config {
///     #[serde(deserialize_with = "config::duration")]
///     window: Duration,
/// }
///
/// let config: Config = config::read(br#"{"window": "10s"}"#)?;
/// assert_eq!(config.window, Duration::from_secs(10));
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
///
/// Anything but a text of digits and one of the units `ms`, `s`, `m` and `h`.
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is no duration; write digits and a unit, such as `300ms`, `10s`, `5m` or `1h`"
        ))
    })
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(digits.parse::<u64>().ok()?.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let cases = [("300ms", Some(300)), ("10s", Some(10_000)), ("5m", Some(300_000)), ("1h", Some(3_600_000))];
        for (text, millis) in cases {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "10 s", "1d", "99999999999999999999s", "9999999999999999999h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_include_their_ends() {
        assert_eq!(within("bound", 1.0, 1.0..=2.0), Ok(()));
        assert_eq!(within("bound", 2.0, 1.0..=2.0), Ok(()));
        assert_eq!(within("bound", 2.5, 1.0..=2.0), Err("bound: must be from 1 to 2, is 2.5".to_owned()));
        assert!(within("bound", f64::NAN, 1.0..=2.0).is_err());
    }

    #[test]
    fn names_are_those_of_http() {
        assert_eq!(name("header", "X-User_1"), Ok("x-user_1".to_owned()));
        for bad in ["", "a b", "a:", "a;b", "ü", ":path", "a\n"] {
            assert!(name("header", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_configuration_is_an_empty_one() {
        for empty in ["", " \n", "{}"] {
            assert!(read::<serde_json::Map<_, _>>(empty.as_bytes()).is_ok_and(|config| config.is_empty()));
        }
        assert!(read::<serde_json::Value>(b"{").is_err());
    }
}
