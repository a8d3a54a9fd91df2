//! The configuration, as it is written and as it is needed.

use std::time::Duration;

use serde::Deserialize;
use waypost_policy::config::{self, Wrong};

/// Who goes where.
pub(super) struct Config {
    pub(super) percent: f64,
    pub(super) header: Option<String>,
    pub(super) cookie: Option<Cookie>,
    pub(super) service: Option<String>,
    pub(super) version: Option<String>,
    pub(super) salt: String,
}

/// A cookie that tells users apart.
pub(super) struct Cookie {
    name: String,
    /// All that follows the value when it is set.
    attributes: String,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    percent: Option<f64>,
    header: Option<String>,
    cookie: Option<String>,
    #[serde(default = "month", deserialize_with = "config::duration")]
    cookie_max_age: Duration,
    #[serde(default = "yes")]
    cookie_secure: bool,
    service: Option<String>,
    version: Option<String>,
    salt: Option<String>,
}

fn month() -> Duration {
    Duration::from_secs(30 * 24 * 3600)
}

fn yes() -> bool {
    true
}

impl Config {
    pub(super) fn read(config: &[u8]) -> Result<Self, String> {
        let written: Written = config::read(config)?;
        let mut wrong = Wrong::default();
        let percent = written.percent.ok_or_else(|| "percent: is needed, from 0 to 100".to_owned());
        let percent = percent.and_then(|percent| config::within("percent", percent, 0.0..=100.0).map(|()| percent));
        let percent = wrong.check(percent).unwrap_or_default();
        if written.header.is_none() && written.cookie.is_none() {
            wrong.add("header or cookie: one is needed to tell users apart");
        }
        let is_empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
        if is_empty(&written.service) && is_empty(&written.version) {
            wrong.add("service or version: one is needed to say where the users go");
        }
        if let Some(name) = &written.cookie {
            wrong.check(config::name("cookie", name));
        }
        let header = written.header.and_then(|name| wrong.check(config::name("header", &name)));
        wrong.end()?;
        let secure = if written.cookie_secure { "; Secure" } else { "" };
        let attributes =
            format!("; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}", written.cookie_max_age.as_secs());
        // Other users for other trials, without anybody thinking of it.
        let place = || [&written.service, &written.version].map(|part| part.as_deref().unwrap_or("")).join("/");
        Ok(Self {
            percent,
            header,
            salt: written.salt.clone().unwrap_or_else(place),
            cookie: written.cookie.map(|name| Cookie { name, attributes }),
            service: written.service.filter(|service| !service.is_empty()),
            version: written.version.filter(|version| !version.is_empty()),
        })
    }
}

impl Cookie {
    /// Its value in a header of cookies, if it is there and not empty.
    pub(super) fn find<'a>(&self, cookies: &'a str) -> Option<&'a str> {
        let pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(name, _)| *name == self.name).map(|(_, value)| value);
        values.find(|value| !value.is_empty())
    }

    /// The header that sets it.
    pub(super) fn set(&self, value: &str) -> String {
        format!("{}={value}{}", self.name, self.attributes)
    }
}
