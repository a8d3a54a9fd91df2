//! What happened last, the newest first.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::attention::{encode, link};
use super::filter::{Rank, Row};
use super::{Facts, Level, Query, Rows};
use crate::admin::log::{Entry, Kind};
use crate::admin::show::{Seconds, anchor};
use crate::health::{self, State};
use crate::registry::clip;

/// The longest text of an event, in characters.
const LONGEST: usize = 400;
/// Marks that would turn round how what follows is read.
const BIDI: [char; 9] =
    ['\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}'];

/// The page of events.
#[derive(Debug, Serialize)]
pub(in crate::admin) struct Events {
    pub(in crate::admin) events: Rows<Event>,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub(in crate::admin) struct Event {
    /// Milliseconds since 1970.
    pub(in crate::admin) at: u64,
    pub(in crate::admin) age: Seconds,
    pub(in crate::admin) level: Level,
    pub(in crate::admin) kind: &'static str,
    pub(in crate::admin) subject: String,
    pub(in crate::admin) text: String,
    /// Where to look.
    pub(in crate::admin) link: String,
}

impl Event {
    pub(in crate::admin) fn id(&self) -> String {
        anchor('v', (self.at, self.kind, &self.subject, &self.text))
    }

    /// The time as everybody reads it.
    pub(in crate::admin) fn date(&self) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_millis(self.at))
    }

    pub(in crate::admin) fn about(&self) -> String {
        clip(&self.subject)
    }

    /// Texts are short already, but for what foreign words they hold.
    pub(in crate::admin) fn shown(&self) -> String {
        self.text.chars().filter(|c| !c.is_control() && !BIDI.contains(c)).take(LONGEST).collect()
    }
}

impl Row for Event {
    fn fields(&self, field: &mut dyn FnMut(&'static str, &str)) {
        field("kind", self.kind);
        field("about", &self.subject);
        field("level", self.level.word());
        field("text", &self.text);
    }

    fn rank(&self, column: &str) -> Rank<'_> {
        match column {
            "kind" => Rank::Text(self.kind),
            "about" => Rank::Text(&self.subject),
            _ => Rank::Number(self.at as f64),
        }
    }
}

pub(in crate::admin) fn events(facts: &Facts<'_>, health: &[health::Event], log: &[Entry], query: &Query) -> Events {
    let mut events: Vec<_> = health.iter().map(|event| judged(facts, event)).collect();
    events.extend(log.iter().map(|entry| {
        let (kind, link) = match entry.kind {
            Kind::Registry => ("registry", link(&entry.subject)),
            Kind::Lock => ("lock", format!("/locks?q={}", encode(&entry.subject))),
            Kind::Action | Kind::Refused => ("action", "/events?q=kind%3Aaction".to_owned()),
        };
        let level = if entry.kind == Kind::Refused { Level::Care } else { Level::Good };
        let (at, age) = times(facts, entry.at);
        Event { at, age, level, kind, subject: entry.subject.clone(), text: entry.text.clone(), link }
    }));
    events.sort_by_key(|event| std::cmp::Reverse(event.at));
    Events { events: Rows::new(events, query) }
}

fn judged(facts: &Facts<'_>, event: &health::Event) -> Event {
    let (at, age) = times(facts, event.at);
    let level = match event.state {
        Some(State::Healthy) => Level::Good,
        Some(State::Draining) | None => Level::Care,
        Some(State::Unhealthy | State::Ejected) => Level::Bad,
    };
    let text = match (&event.endpoint, event.state) {
        (Some(endpoint), Some(state)) => format!("{endpoint} is {state}: {}", event.text),
        _ => event.text.clone(),
    };
    let subject = event.service.to_string();
    Event { at, age, level, kind: "health", link: link(&subject), subject, text }
}

fn times(facts: &Facts<'_>, at: SystemTime) -> (u64, Seconds) {
    let millis = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    // A clock that was set back is no reason for a negative age.
    (u64::try_from(millis).unwrap_or(u64::MAX), facts.wall.duration_since(at).unwrap_or_default().into())
}
