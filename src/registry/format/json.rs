//! A plain JSON object with `address`, or with `host` and `port`, as people write it by hand. Other fields describe the
//! instance, at the top or inside `metadata`; the top wins.

use serde_json::{Map, Value};

use super::draft::{Draft, Location, text};
use super::{Place, go};
use crate::registry::{Instance, clip};

pub(super) fn is_it(fields: &Map<String, Value>) -> bool {
    fields.contains_key("address") || fields.contains_key("host")
}

/// Reads the object. The key says which service this is: `name` does so only where the key cannot, because it has one
/// part and that names the instance. `id` names the instance, or else the key does.
pub(super) fn read(place: &Place<'_>, fields: &Map<String, Value>) -> Result<Draft, String> {
    let mut draft = Draft::new(place, location(fields)?);
    let mut rest = fields.clone();
    for used in ["address", "host", "port"] {
        rest.remove(used);
    }
    let id = rest.remove("id").filter(|id| !id.is_null()).map(|id| text(&id));
    match rest.remove("metadata") {
        None | Some(Value::Null) => {}
        Some(Value::Object(metadata)) => draft.describe(&metadata),
        Some(other) => {
            draft.instance.metadata.insert("metadata".into(), text(&other));
        }
    }
    draft.describe(&rest);
    let key_names_the_instance = place.service.is_none() || (place.guessed && id.as_deref() == Some(place.id));
    if let (true, Some(Value::String(name))) = (key_names_the_instance, fields.get("name")) {
        draft.instance.service.clone_from(name);
        draft.instance.metadata.remove("name");
    }
    if let Some(id) = id {
        draft.instance.id = id;
    }
    Ok(draft)
}

/// The object with its address, and all else beside it.
pub(super) fn encode(instance: &Instance) -> String {
    let mut fields = go::describe(instance);
    fields.insert("address".to_owned(), instance.address.to_string().into());
    Value::Object(fields).to_string()
}

fn location(fields: &Map<String, Value>) -> Result<Location, String> {
    let port = fields.get("port").filter(|port| !port.is_null()).map(port).transpose()?;
    match (fields.get("address"), fields.get("host")) {
        (Some(Value::String(host)), _) | (_, Some(Value::String(host))) => Location::read(host, port),
        _ => Err("it has neither an `address` nor a `host` that is text".into()),
    }
}

fn port(value: &Value) -> Result<u16, String> {
    let text = text(value);
    let port = text.trim().parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| format!("its port is `{}`, not a number from 1 to 65535", clip(&text)))
}
