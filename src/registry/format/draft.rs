//! An instance while it is being read, with what was wrong with it that did not stop it.

use serde_json::{Map, Value};

use super::{Decoded, LONGEST_SERVICE, Place, raw, url};
use crate::registry::clip;
use crate::registry::{Address, Instance, Protocol};

/// Where an instance listens, with what its address says of the way to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) address: Address,
    pub(super) protocol: Option<Protocol>,
    pub(super) tls: Option<bool>,
}

impl Location {
    /// Reads an address that stands in a field: people write both forms there, and some give the port in another field.
    pub(super) fn read(text: &str, port: Option<u16>) -> Result<Self, String> {
        let text = text.trim();
        if text.contains("://") { url::location(text, port) } else { raw::location(text, port) }
    }
}

/// An instance while it is being read.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) instance: Instance,
    flaws: Vec<String>,
}

impl Draft {
    /// An instance of which no more is known than where it stands and listens.
    pub(super) fn new(place: &Place<'_>, location: Location) -> Self {
        let instance = Instance {
            service: place.service.unwrap_or_default().to_owned(),
            id: place.id.to_owned(),
            address: location.address,
            weight: 1,
            version: String::new(),
            zone: String::new(),
            tags: Vec::new(),
            protocol: location.protocol,
            tls: location.tls,
            metadata: Default::default(),
        };
        Draft { instance, flaws: Vec::new() }
    }

    /// Takes over what the fields say: those that mean something to us (in any case, as Go programs write them with a
    /// capital), and all others as metadata. Nulls say nothing.
    pub(super) fn describe(&mut self, fields: &Map<String, Value>) {
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            match name.to_ascii_lowercase().as_str() {
                "weight" => match weight(value) {
                    Some(weight) => self.instance.weight = weight,
                    None => self.flaw("weight", value, "a whole number from 0 to 4294967295; 1 is used"),
                },
                "version" => self.instance.version = text(value),
                "zone" => self.instance.zone = text(value),
                "tags" => self.instance.tags = tags(value),
                "protocol" => match text(value).parse() {
                    Ok(protocol) => {
                        self.instance.protocol = Some(protocol);
                        if matches!(text(value).to_ascii_lowercase().as_str(), "grpcs" | "https") {
                            self.instance.tls = Some(true);
                        }
                    }
                    Err(_) => self.flaw("protocol", value, "one of grpc, grpcs, h2c, http1, https; it is ignored"),
                },
                "tls" => match text(value).parse() {
                    Ok(tls) => self.instance.tls = Some(tls),
                    Err(_) => self.flaw("tls", value, "true or false; it is ignored"),
                },
                _ => {
                    self.instance.metadata.insert(name.clone(), text(value));
                }
            }
        }
    }

    fn flaw(&mut self, field: &str, value: &Value, wanted: &str) {
        self.flaws.push(format!("its {field} is `{}`, not {wanted}", clip(&text(value))));
    }

    /// The finished instance, if it can be called by its service's name.
    pub(super) fn finish(self) -> Result<Decoded, String> {
        let service = &self.instance.service;
        if service.is_empty() {
            return Err("its key names no service; set `service` for this prefix".into());
        }
        if service.len() > LONGEST_SERVICE {
            return Err(format!("its service's name is longer than {LONGEST_SERVICE} bytes: `{}`", clip(service)));
        }
        if service.chars().any(char::is_control) {
            return Err(format!("its service's name has control characters: `{}`", clip(service)));
        }
        Ok(if self.flaws.is_empty() {
            Decoded::Instances(vec![self.instance])
        } else {
            Decoded::Flawed(vec![self.instance], self.flaws.join("; "))
        })
    }
}

/// A value as text: a string without its quotes, anything else as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A weight, as a number or as text; `None` if no share can be made of it. A float of that size is exact.
fn weight(value: &Value) -> Option<u32> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }?;
    (number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number)).then_some(number as u32)
}

/// Tags as a list, as comma-separated text, or as an object whose pairs become `key=value`.
fn tags(value: &Value) -> Vec<String> {
    match value {
        Value::Array(list) => list.iter().map(text).collect(),
        Value::Object(pairs) => pairs.iter().map(|(name, value)| format!("{name}={}", text(value))).collect(),
        other => text(other).split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect(),
    }
}
