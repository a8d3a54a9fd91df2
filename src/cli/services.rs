//! `waypost services` and `waypost resolve`: what is registered.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use serde_json::json;

use super::connect::{Connect, Open, exit, pair};
use super::process::{Error, Stop};
use super::{Failure, show};
use crate::config::parse_duration;
use crate::discovery::{Discovery, Event, Filter};

/// Show the instances of all services, or of some.
#[derive(Args)]
#[command(after_help = "Examples:
  waypost services
  waypost services greeter --zone a
  waypost services --watch --json")]
pub(super) struct Services {
    /// Only services whose names begin with this.
    #[arg(default_value = "")]
    prefix: String,
    /// Go on, and show what happens to them, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    wanted: Wanted,
}

/// Print the address of one instance of a service, drawn by weight.
#[derive(Args)]
#[command(after_help = "Exit code 3: there is no such service, or no such instance of it.

Examples:
  waypost resolve greeter
  curl http://$(waypost resolve web --version 1.4)/")]
pub(super) struct Resolve {
    /// The service.
    service: String,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Args)]
struct Wanted {
    /// Only instances of this version.
    #[arg(long = "version", value_name = "VERSION")]
    of_version: Option<String>,
    /// Only instances in this zone.
    #[arg(long)]
    zone: Option<String>,
    /// Only instances with this tag; may be repeated.
    #[arg(long)]
    tag: Vec<String>,
    /// Only instances that say this of themselves; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// How long etcd may take to answer.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    wait: Duration,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Wanted {
    fn filter(&self) -> Filter {
        let mut filter = Filter::default();
        if let Some(version) = &self.of_version {
            filter = filter.version(version);
        }
        if let Some(zone) = &self.zone {
            filter = filter.zone(zone);
        }
        filter = self.tag.iter().fold(filter, |filter, tag| filter.tag(tag));
        self.metadata.iter().fold(filter, |filter, (name, value)| filter.metadata(name, value))
    }
}

/// Everything that is registered, once it has been read.
async fn discover(open: &Open, wait: Duration) -> Result<Discovery, Failure> {
    let discovery = Discovery::start(open.sources()?, open.settings.table.clone()).await;
    // Nothing was found to be missing: nothing was found out.
    discovery.ready(wait).await.map_err(|error| exit(1, error.to_string()))?;
    Ok(discovery)
}

pub(super) fn list(
    arguments: Services,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Services { prefix, watch, wanted } = arguments;
    let filter = wanted.filter();
    wanted.connect.run(environment, async |open| {
        let discovery = discover(&open, wanted.wait).await?;
        if watch {
            return follow(&discovery, &prefix, &filter, wanted.json, out).await;
        }
        let services = discovery.services();
        let services = services.iter().filter(|service| service.starts_with(&prefix));
        let instances: Vec<_> = services.flat_map(|service| discovery.instances(service, &filter).list).collect();
        if wanted.json {
            show::document(out, &instances.iter().map(|instance| show::instance_json(instance)).collect())?;
        } else {
            let rows: Vec<_> = instances.iter().map(|instance| show::instance_row(instance)).collect();
            show::table(out, &show::INSTANCE, &rows)?;
        }
        for prefix in discovery.table().prefixes() {
            for key in &*prefix.unreadable {
                tracing::warn!(key = key.key, reason = key.reason, "a key cannot be read, or only in part");
            }
        }
        Ok(())
    })
}

async fn follow(
    discovery: &Discovery,
    prefix: &str,
    filter: &Filter,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut stop = Stop::new().map_err(Error::from)?;
    let mut events = discovery.watch(prefix);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stop.told() => return Ok(()),
        };
        let Some(event) = event else { return Ok(()) };
        if !filter.lets(event.instance()) {
            continue;
        }
        let what = match event {
            Event::Joined(_) => "joined",
            Event::Changed(_) => "changed",
            Event::Left(_) => "left",
        };
        if json {
            show::line(out, &json!({"event": what, "instance": show::instance_json(event.instance())}))?;
        } else {
            let row = show::instance_row(event.instance()).into_iter().filter(|cell| !cell.is_empty());
            writeln!(out, "{what} {}", row.map(|cell| crate::registry::clip(&cell)).collect::<Vec<_>>().join(" "))?;
            out.flush()?;
        }
    }
}

pub(super) fn resolve(
    arguments: Resolve,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Resolve { service, wanted } = arguments;
    let filter = wanted.filter();
    wanted.connect.run(environment, async |open| {
        let instance = discover(&open, wanted.wait).await?.resolve(&service, &filter)?;
        match wanted.json {
            true => show::document(out, &show::instance_json(&instance))?,
            false => writeln!(out, "{}", instance.address)?,
        }
        Ok(())
    })
}
