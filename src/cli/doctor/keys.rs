//! What stands below a prefix.

use std::collections::BTreeMap;

use super::{Findings, Grade};
use crate::etcd::KeyValue;
use crate::registry::clip;
use crate::registry::format::{Decoded, Decoder, FormatName};
use crate::table::Source;

/// So many keys are named; of more, their number says enough.
const NAMED: usize = 5;

pub(super) async fn look(source: &Source, findings: &mut Findings) {
    let path = source.prefix.path();
    let keys = match source.client.list(path.as_bytes()).await {
        Ok(listing) => listing.keys,
        Err(error) => return findings.add(path, Grade::Wrong, format!("it cannot be read: {error}")),
    };
    let decoder = |format| Decoder::new(path, format, source.prefix.service.clone()).with_layout(source.prefix.layout);
    let configured = decoder(source.prefix.format);
    let mut layouts: BTreeMap<String, usize> = BTreeMap::new();
    let (mut free, mut unreadable) = (Vec::new(), Vec::new());
    for kv in &keys {
        match configured.decode(kv) {
            Decoded::Instances(_) => {
                *layouts.entry(format!("instances as {}", layout(&decoder, kv))).or_default() += 1;
                if kv.lease == 0 {
                    free.push(name(kv));
                }
            }
            Decoded::Flawed(_, reason) | Decoded::Unreadable(reason) => {
                unreadable.push(format!("{}: {reason}", name(kv)));
            }
            Decoded::NotAnInstance(what) => *layouts.entry(what.to_owned()).or_default() += 1,
        }
    }
    let found: Vec<_> = layouts.iter().map(|(layout, count)| format!("{count} {layout}")).collect();
    let found = if found.is_empty() { "nothing is registered".to_owned() } else { found.join(", ") };
    findings.add(path, Grade::Well, format!("{} keys: {found}", keys.len()));
    if !free.is_empty() {
        let text = format!("{} have no lease, and stay when their processes end: {}", free.len(), some(&free));
        findings.add(path, Grade::Warning, text);
    }
    if !unreadable.is_empty() {
        let text = format!("{} cannot be read, or only in part: {}", unreadable.len(), some(&unreadable));
        findings.add(path, Grade::Wrong, text);
    }
}

/// The format that reads it when asked for by name.
fn layout(decoder: &impl Fn(FormatName) -> Decoder, kv: &KeyValue) -> FormatName {
    let reads = |format: &FormatName| matches!(decoder(*format).decode(kv), Decoded::Instances(_));
    [FormatName::Url, FormatName::Raw, FormatName::Go, FormatName::Json].into_iter().find(reads).unwrap_or_default()
}

fn name(kv: &KeyValue) -> String {
    clip(&String::from_utf8_lossy(&kv.key))
}

fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let named = names[..names.len() - more].join(", ");
    if more > 0 { format!("{named}, and {more} more") } else { named }
}
