//! The kinds of values that a key can have.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::{Found, Raw, Section};
use crate::config::Secret;
use crate::config::effective::Text;
use crate::config::nearest::by_distance;
use crate::config::units::{parse_bytes, parse_duration, parse_listen, show_bytes, show_duration};
use crate::config::yaml::Value;

impl Section<'_> {
    /// A string.
    pub fn string(&mut self, key: &str, default: &str) -> String {
        self.value(key, default.to_owned(), |text| Ok(text.to_owned()), |s| Text::String(s.clone()))
    }

    /// A string that need not be there.
    pub fn optional(&mut self, key: &str) -> Option<String> {
        self.optional_value(key, |text| Ok(text.to_owned()), |s| Text::String(s.clone()))
    }

    /// A password or token, masked wherever it is printed.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        self.optional_value(key, |text| Ok(Secret::new(text)), |s| Text::Secret(s.expose().to_owned()))
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        let parse = |text: &str| text.parse().map_err(|_| format!("must be true or false, is `{text}`"));
        self.value(key, default, parse, plain)
    }

    /// A whole number in a range.
    pub fn integer<T: Copy + PartialOrd + FromStr + Display>(
        &mut self,
        key: &str,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        let parse = |text: &str| match text.parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(format!("must be a whole number from {} to {}, is `{text}`", range.start(), range.end())),
        };
        self.value(key, default, parse, plain)
    }

    /// A duration in a range: `5s`, `200ms`, `1m30s`, `2h`.
    pub fn duration(&mut self, key: &str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let show = |d: &Duration| Text::Plain(show_duration(*d));
        self.value(key, default, |text| duration_in(text, &range), show)
    }

    /// A duration in a range, or none: `off`.
    pub fn optional_duration(
        &mut self,
        key: &str,
        default: Option<Duration>,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let parse = |text: &str| match text {
            "off" => Ok(None),
            text => duration_in(text, &range).map(Some).map_err(|e| format!("{e}; or `off`")),
        };
        let show = |d: &Option<Duration>| Text::Plain(d.map_or_else(|| "off".to_owned(), show_duration));
        self.value(key, default, parse, show)
    }

    /// A size in a range: `64KiB`, `4MiB`, or a plain number of bytes.
    pub fn bytes(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let parse = |text: &str| {
            let bytes = parse_bytes(text)?;
            if range.contains(&bytes) {
                return Ok(bytes);
            }
            Err(format!("must be from {} to {}, is `{text}`", show_bytes(*range.start()), show_bytes(*range.end())))
        };
        self.value(key, default, parse, |bytes| Text::Plain(show_bytes(*bytes)))
    }

    /// Where to listen: an IP address, or `localhost`, and a port.
    pub fn listen(&mut self, key: &str, default: SocketAddr) -> SocketAddr {
        self.value(key, default, parse_listen, |address| Text::String(address.to_string()))
    }

    /// Anything that knows how to parse itself, such as a URL.
    pub fn parsed<T: FromStr + Display>(&mut self, key: &str, default: T) -> T
    where
        T::Err: Display,
    {
        self.value(key, default, from_str, |value| Text::String(value.to_string()))
    }

    /// Like [`parsed`](Section::parsed), and need not be there.
    pub fn optional_parsed<T: FromStr>(&mut self, key: &str) -> Option<T>
    where
        T::Err: Display,
    {
        let parse = |text: &str| from_str(text).map(|value| (value, text.to_owned()));
        self.optional_value(key, parse, |(_, text)| Text::String(text.clone())).map(|(value, _)| value)
    }

    /// One of several words.
    pub fn choice<T: Copy + PartialEq>(&mut self, key: &str, choices: &[(&str, T)], default: T) -> T {
        let parse = |text: &str| match choices.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let words = by_distance(text, choices.iter().map(|(word, _)| *word)).join(", ");
                Err(format!("must be one of {words}; is `{text}`"))
            }
        };
        let show = |value: &T| {
            let word = choices.iter().find(|(_, v)| v == value).map_or("", |(word, _)| word);
            Text::Plain(word.to_owned())
        };
        self.value(key, default, parse, show)
    }

    /// A list of strings, or one string with commas between.
    pub fn strings(&mut self, key: &str, default: &[&str]) -> Vec<String> {
        let found = self.find(key);
        let strings = match &found {
            None => default.iter().map(|&s| s.to_owned()).collect(),
            Some(found) => self.read_strings(found),
        };
        self.record(key, found.as_ref(), Text::Strings(strings.clone()));
        strings
    }

    fn read_strings(&mut self, found: &Found<'_>) -> Vec<String> {
        let items = match &found.value {
            Raw::Text(text) => {
                return text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect();
            }
            Raw::Node(node) => match &node.value {
                Value::List(items) => items.as_slice(),
                _ => {
                    self.report(found, "must be a list, such as `[a, b]`, or one string with commas between");
                    &[]
                }
            },
        };
        let mut strings = Vec::new();
        for (i, item) in items.iter().enumerate() {
            match &item.value {
                Value::Scalar(text) => strings.push(text.clone()),
                _ => {
                    let item = Found {
                        path: format!("{}[{i}]", found.path),
                        place: item.place.clone(),
                        value: Raw::Node(item),
                        inherited: found.inherited,
                    };
                    self.report(&item, "must be a string");
                }
            }
        }
        strings
    }

    /// A text for somebody else: as it stands, or, from a section or list, as JSON. Empty if it is not there. Masked
    /// wherever it is printed, for what is in it is not known.
    pub fn document(&mut self, key: &str) -> String {
        let found = self.find(key);
        let text = match found.as_ref().map(|found| &found.value) {
            None => String::new(),
            Some(Raw::Text(text)) => text.clone(),
            Some(Raw::Node(node)) => match &node.value {
                Value::Null => String::new(),
                _ => node.json().to_string(),
            },
        };
        self.record(
            key,
            found.as_ref(),
            if text.is_empty() { Text::String(String::new()) } else { Text::Secret(text.clone()) },
        );
        text
    }

    /// A scalar with a default.
    fn value<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
        show: impl FnOnce(&T) -> Text,
    ) -> T {
        let found = self.find(key);
        let value = found.as_ref().and_then(|found| self.parse(found, parse)).unwrap_or(default);
        self.record(key, found.as_ref(), show(&value));
        value
    }

    /// A scalar without a default.
    fn optional_value<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
        show: impl FnOnce(&T) -> Text,
    ) -> Option<T> {
        let found = self.find(key)?;
        let value = self.parse(&found, parse)?;
        self.record(key, Some(&found), show(&value));
        Some(value)
    }

    /// What is found, if it is a scalar that parses. Otherwise notes why not.
    fn parse<T>(&mut self, found: &Found<'_>, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let result = match &found.value {
            Raw::Text(text) => parse(text),
            Raw::Node(node) => Err(match &node.value {
                Value::Null => "has no value; write one or remove the key",
                Value::List(_) => "must be one value, not a list",
                _ => "must be one value, not a section",
            }
            .to_owned()),
        };
        result.map_err(|message| self.report(found, message)).ok()
    }
}

fn plain<T: Display>(value: &T) -> Text {
    Text::Plain(value.to_string())
}

fn from_str<T: FromStr>(text: &str) -> Result<T, String>
where
    T::Err: Display,
{
    text.parse().map_err(|e: T::Err| format!("`{text}` cannot be read: {e}"))
}

fn duration_in(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    Err(format!("must be from {} to {}, is `{text}`", show_duration(*range.start()), show_duration(*range.end())))
}
