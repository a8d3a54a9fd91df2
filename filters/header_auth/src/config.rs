//! The configuration, as it is written and as it is needed.

use serde::Deserialize;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use waypost_policy::config::{self, Wrong};

/// Shorter tokens can be guessed.
const SHORTEST: usize = 16;

/// Who may pass.
pub(super) struct Config {
    callers: Vec<Caller>,
    pub(super) header: String,
    /// What stands before the token.
    pub(super) scheme: Option<String>,
    pub(super) caller_header: Option<String>,
    pub(super) forward_token: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Caller {
    name: String,
    token: String,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    tokens: Vec<Caller>,
    #[serde(default = "authorization")]
    header: String,
    scheme: Option<String>,
    #[serde(default = "caller")]
    caller_header: String,
    #[serde(default)]
    forward_token: bool,
}

fn authorization() -> String {
    "authorization".to_owned()
}

fn caller() -> String {
    "x-caller".to_owned()
}

impl Config {
    pub(super) fn read(config: &[u8]) -> Result<Self, String> {
        let written: Written = config::read(config)?;
        let mut wrong = Wrong::default();
        if written.tokens.is_empty() {
            wrong.add("tokens: must not be empty, or no request could pass");
        }
        for (at, Caller { name, token }) in written.tokens.iter().enumerate() {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                wrong.add(format!("tokens[{at}].name: must be letters, digits and signs, without spaces"));
            }
            // The message must not show the token.
            if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                let rule = "letters, digits and signs, without spaces";
                wrong.add(format!("tokens[{at}].token: must be {SHORTEST} or more {rule}; that of {name} is not"));
            }
            if written.tokens[..at].iter().any(|other| other.token == *token && other.name != *name) {
                wrong.add(format!("tokens[{at}].token: {name} has the same token as another caller"));
            }
        }
        let header = wrong.check(config::name("header", &written.header)).unwrap_or_default();
        let scheme = written.scheme.or_else(|| (header == "authorization").then(|| "Bearer".to_owned()));
        let scheme = scheme.filter(|scheme| !scheme.is_empty());
        if let Some(scheme) = &scheme {
            wrong.check(config::name("scheme", scheme));
        }
        let caller_header = Some(written.caller_header).filter(|name| !name.is_empty());
        let caller_header = caller_header.and_then(|name| wrong.check(config::name("caller_header", &name)));
        if caller_header.as_ref() == Some(&header) {
            wrong.add("caller_header: must be another header than that of the token");
        }
        wrong.end()?;
        Ok(Self { callers: written.tokens, header, scheme, caller_header, forward_token: written.forward_token })
    }

    /// The name of the caller whose token this value of the header carries. The time that it takes tells the length of
    /// tokens at most: all are compared, to their ends.
    pub(super) fn caller(&self, value: &[u8]) -> Option<&str> {
        let token = match &self.scheme {
            Some(scheme) => {
                let (before, token) = value.split_at_checked(scheme.len())?;
                let token = token.strip_prefix(b" ")?;
                before.eq_ignore_ascii_case(scheme.as_bytes()).then_some(token)?
            }
            None => value,
        };
        let mut found = u32::MAX;
        for (at, caller) in (0..).zip(&self.callers) {
            let is_it = caller.token.as_bytes().ct_eq(token.trim_ascii());
            found.conditional_assign(&at, is_it);
        }
        self.callers.get(found as usize).map(|caller| caller.name.as_str())
    }
}
