//! Answers as people read them, a table, or as programs do, JSON. What others wrote into etcd is made printable first.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::etcd::KeyValue;
use crate::registry::{Instance, clip};

/// Writes rows with their columns one below the other.
pub(super) fn table(out: &mut dyn Write, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let header: Vec<_> = header.iter().map(ToString::to_string).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| clip(cell)).collect()).collect();
    let all = || std::iter::once(&header).chain(&rows);
    let widths: Vec<_> = (0..header.len())
        .map(|column| all().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max().unwrap_or(0))
        .collect();
    for row in all() {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Writes a document.
pub(super) fn document(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{value:#}")
}

/// Writes one of many documents, a line each.
pub(super) fn line(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{value}")?;
    out.flush()
}

/// The columns of an instance.
pub(super) const INSTANCE: [&str; 8] =
    ["SERVICE", "INSTANCE", "ADDRESS", "WEIGHT", "VERSION", "ZONE", "PROTOCOL", "TAGS"];

pub(super) fn instance_row(instance: &Instance) -> Vec<String> {
    let Instance { service, id, address, weight, version, zone, tags, protocol, .. } = instance;
    let protocol = protocol.map(|protocol| protocol.to_string()).unwrap_or_default();
    let (address, weight) = (address.to_string(), weight.to_string());
    vec![service.clone(), id.clone(), address, weight, version.clone(), zone.clone(), protocol, tags.join(",")]
}

pub(super) fn instance_json(instance: &Instance) -> Value {
    let Instance { service, id, address, weight, version, zone, tags, protocol, tls, metadata } = instance;
    json!({
        "service": service,
        "id": id,
        "address": address.to_string(),
        "weight": weight,
        "version": version,
        "zone": zone,
        "tags": tags,
        "protocol": protocol.map(|protocol| protocol.to_string()),
        "tls": tls,
        "metadata": metadata,
    })
}

/// A key as JSON. What is no UTF-8 is written as hexadecimal digits under another name.
pub(super) fn key_json(kv: &KeyValue) -> Value {
    let mut object = json!({
        "lease": lease(kv.lease),
        "create_revision": kv.create_revision,
        "mod_revision": kv.mod_revision,
    });
    for (name, bytes) in [("key", &kv.key), ("value", &kv.value)] {
        match std::str::from_utf8(bytes) {
            Ok(text) => object[name] = text.into(),
            Err(_) => object[format!("{name}_hex")] = hex(bytes).into(),
        }
    }
    object
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A lease as etcd's tools write it; none for 0.
pub(super) fn lease(id: i64) -> Value {
    if id == 0 { Value::Null } else { format!("{id:x}").into() }
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
