//! `waypost get`, `put` and `watch`: plain keys.

use std::io::{Read, Write};

use clap::Args;
use futures_util::StreamExt;
use serde_json::json;

use super::connect::{Connect, exit, lease};
use super::process::{Error, Stop};
use super::{Failure, show};
use crate::etcd::{Event, prefix_end};
use crate::registry::{Heard, clip, follow};

/// Print the value of a key, or all keys that begin with it.
#[derive(Args)]
#[command(after_help = "Exit code 3: there is no such key.

Examples:
  waypost get /config/limit
  waypost get /config/ --prefix")]
pub(super) struct Get {
    /// The key.
    key: String,
    #[command(flatten)]
    common: Common,
}

/// Write a key.
#[derive(Args)]
#[command(after_help = "Examples:
  waypost put /config/limit 10
  waypost put /config/motd - < motd.txt")]
pub(super) struct Put {
    /// The key.
    key: String,
    /// The value; `-` reads it from standard input.
    value: String,
    /// The lease on which the key is to hang, hexadecimal. Without it, the key stays until it is deleted.
    #[arg(long, value_parser = lease)]
    lease: Option<i64>,
    #[command(flatten)]
    connect: Connect,
}

/// Print what happens to a key, or to all keys that begin with it, until Ctrl-C.
#[derive(Args)]
#[command(after_help = "Examples:
  waypost watch /config/limit
  waypost watch /services/ --prefix --json")]
pub(super) struct Watch {
    /// The key.
    key: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// All keys that begin with KEY.
    #[arg(long)]
    prefix: bool,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(super) fn get(
    Get { key, common }: Get,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    common.connect.run(environment, async |open| {
        let etcd = |error| Failure::Registry(crate::registry::Error::Etcd(error));
        if common.prefix {
            let keys = open.client.list(key.as_bytes()).await.map_err(etcd)?.keys;
            if common.json {
                show::document(out, &keys.iter().map(show::key_json).collect())?;
                return Ok(());
            }
            let row = |kv: &crate::etcd::KeyValue| vec![show::lossy(&kv.key), show::lossy(&kv.value)];
            show::table(out, &["KEY", "VALUE"], &keys.iter().map(row).collect::<Vec<_>>())?;
            return Ok(());
        }
        let kv = open.client.get(key.as_bytes()).await.map_err(etcd)?;
        let kv = kv.ok_or_else(|| exit(3, format!("there is no key `{}`", clip(&key))))?;
        if common.json {
            show::document(out, &show::key_json(&kv))?;
        } else {
            // As it is, for whoever reads it from a pipe.
            out.write_all(&kv.value)?;
            writeln!(out)?;
        }
        Ok(())
    })
}

pub(super) fn put(
    Put { key, value, lease, connect }: Put,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut bytes = value.into_bytes();
    if bytes == b"-" {
        bytes.clear();
        std::io::stdin().read_to_end(&mut bytes).map_err(|error| exit(1, format!("cannot read the value: {error}")))?;
    }
    connect.run(environment, async |open| {
        let header = open.client.put(key.as_bytes(), &bytes, lease.unwrap_or_default()).await;
        let header = header.map_err(crate::registry::Error::from)?;
        writeln!(out, "revision {}", header.revision)?;
        Ok(())
    })
}

pub(super) fn watch(
    Watch { key, common }: Watch,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    common.connect.run(environment, async |open| {
        let mut stop = Stop::new().map_err(Error::from)?;
        let first = key.into_bytes();
        let end = if common.prefix { prefix_end(&first) } else { [&first[..], b"\0"].concat() };
        let mut events = follow(open.client, (first, end), open.settings.registry.retry, 0);
        loop {
            let heard = tokio::select! {
                heard = events.next() => heard,
                () = stop.told() => return Ok(()),
            };
            match heard {
                Some(Heard::Events(events)) => {
                    for event in &events {
                        tell(out, event, common.json)?;
                    }
                }
                Some(Heard::Gap) => tracing::info!("watching from now on"),
                None => return Ok(()),
            }
        }
    })
}

fn tell(out: &mut dyn Write, event: &Event, json: bool) -> std::io::Result<()> {
    match (event, json) {
        (Event::Put(kv), true) => show::line(out, &json!({"event": "put", "key": show::key_json(kv)})),
        (Event::Delete { key, mod_revision }, true) => {
            let key = show::lossy(key);
            show::line(out, &json!({"event": "delete", "key": {"key": key, "mod_revision": mod_revision}}))
        }
        (Event::Put(kv), false) => {
            writeln!(out, "put {} {}", clip(&show::lossy(&kv.key)), clip(&show::lossy(&kv.value)))?;
            out.flush()
        }
        (Event::Delete { key, .. }, false) => {
            writeln!(out, "delete {}", clip(&show::lossy(key)))?;
            out.flush()
        }
    }
}
