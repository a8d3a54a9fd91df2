//! What etcd's own Go client writes and reads (`client/v3/naming/endpoints`): `{"Op":0,"Addr":"host:port","Metadata":…}`.
//! It is also what we write ourselves.
//!
//! That client's reader ignores `Op`, for a removal is the key's deletion, and ignores the case of names. It gives no
//! meaning to `Metadata`, which may be any JSON.

use serde_json::{Map, Value, json};

use super::Place;
use super::draft::{Draft, Location};
use crate::registry::Instance;

pub(super) fn is_it(fields: &Map<String, Value>) -> bool {
    field(fields, "Addr").is_some()
}

pub(super) fn read(place: &Place<'_>, fields: &Map<String, Value>) -> Result<Draft, String> {
    let address = field(fields, "Addr").and_then(Value::as_str).ok_or("it has no `Addr` that is text")?;
    let mut draft = Draft::new(place, Location::read(address, None)?);
    match field(fields, "Metadata") {
        None | Some(Value::Null) => {}
        Some(Value::Object(metadata)) => draft.describe(metadata),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(metadata)) => draft.describe(&metadata),
            _ => keep(&mut draft, text.clone()),
        },
        Some(other) => keep(&mut draft, other.to_string()),
    }
    Ok(draft)
}

/// Metadata without names is kept under its own.
fn keep(draft: &mut Draft, metadata: String) {
    draft.instance.metadata.insert("metadata".into(), metadata);
}

/// A field by its name, or else by its name in another case, as Go reads JSON.
fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let folded = || fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    fields.get(name).or_else(folded)
}

/// The value under which Waypost registers an instance. Service and id are the key's to say.
///
/// `Metadata` is JSON inside a string, as etcd's own gRPC proxy writes it: grpc-go compares the metadata of addresses
/// with `==`, which panics on what an object decodes to.
pub fn encode(instance: &Instance) -> String {
    let about = describe(instance);
    let metadata = if about.is_empty() { Value::Null } else { Value::Object(about).to_string().into() };
    json!({"Op": 0, "Addr": instance.address.to_string(), "Metadata": metadata}).to_string()
}

/// What an instance says of itself besides its address.
pub(super) fn describe(instance: &Instance) -> Map<String, Value> {
    let mut about: Map<String, Value> =
        instance.metadata.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let mut say = |name: &str, value: Value| about.insert(name.to_owned(), value);
    if instance.weight != 1 {
        say("weight", instance.weight.into());
    }
    if !instance.version.is_empty() {
        say("version", instance.version.as_str().into());
    }
    if !instance.zone.is_empty() {
        say("zone", instance.zone.as_str().into());
    }
    if !instance.tags.is_empty() {
        say("tags", instance.tags.as_slice().into());
    }
    if let Some(protocol) = instance.protocol {
        say("protocol", protocol.to_string().into());
    }
    if let Some(tls) = instance.tls {
        say("tls", tls.into());
    }
    about
}
