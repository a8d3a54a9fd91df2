//! `waypost register`: an instance is registered while this runs, or while a command does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use tokio::time::{sleep, timeout};

use super::Failure;
use super::child::{Child, Signals, with_code};
use super::connect::{Connect, Open, exit, pair};
use crate::config::parse_duration;
use crate::health::{self, Kind, Probe};
use crate::registry::format::FormatName;
use crate::registry::{Address, Instance, Protocol, Registering, Registration};
use crate::upstream;

/// Between two looks at whether a command is ready.
const LOOK: Duration = Duration::from_millis(200);

/// Register an instance of a service for as long as this runs.
///
/// With a command: it is started, and registered once it is healthy. It gets our signals, but for SIGTERM and Ctrl-C: then
/// the registration is taken back, callers get time to notice, and the command is asked to end. Its exit code is ours.
#[derive(Args)]
#[command(after_help = "Exit codes: that of the command; 1 if it was not healthy in time.

Examples:
  waypost register greeter --address 10.0.0.7:50051
  waypost register greeter --address 10.0.0.7:50051 --weight 3 --zone a --health grpc -- ./greeter
  waypost register web --address 10.0.0.7:80 --protocol http1 --health http:/ready -- ./web --port 80")]
pub(super) struct Arguments {
    /// The service.
    service: String,
    /// Where others reach the instance: host:port, or [v6]:port.
    #[arg(long, value_name = "HOST:PORT")]
    address: Address,
    /// The instance's name within the service. Default: its address.
    #[arg(long)]
    id: Option<String>,
    /// Its share of calls relative to its siblings; 0 takes no new calls.
    #[arg(long, default_value_t = 1)]
    weight: u32,
    /// Its version.
    #[arg(long = "version", value_name = "VERSION")]
    of_version: Option<String>,
    /// Its zone.
    #[arg(long)]
    zone: Option<String>,
    /// A tag; may be repeated.
    #[arg(long)]
    tag: Vec<String>,
    /// Something else that it says of itself; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// What it speaks: grpc, h2c, or http1.
    #[arg(long)]
    protocol: Option<Protocol>,
    /// How long it stays registered if this process crashes, in whole seconds from 2 (registry.ttl, default 10s).
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ttl: Option<Duration>,
    /// The format of the value: go, json, url or raw.
    #[arg(long, default_value = "go")]
    format: FormatName,
    /// When the command counts as healthy: grpc, http:PATH, or tcp.
    #[arg(long, value_name = "grpc|http:PATH|tcp", default_value = "tcp", value_parser = kind, requires = "command")]
    health: Kind,
    /// How long the command may take to become healthy.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration)]
    start: Duration,
    /// How long callers get to notice that it leaves, before the command is asked to end.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    drain: Duration,
    /// How long the command may take to end; then it is killed.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    grace: Duration,
    /// The command and its arguments.
    #[arg(last = true)]
    command: Vec<OsString>,
    #[command(flatten)]
    connect: Connect,
}

fn kind(text: &str) -> Result<Kind, String> {
    match text.split_once(':') {
        None if text == "grpc" => Ok(Kind::Grpc { service: String::new() }),
        None if text == "tcp" => Ok(Kind::Tcp),
        Some(("http", path)) if path.starts_with('/') => {
            Ok(Kind::Http { path: path.to_owned(), host: String::new(), statuses: vec![(200, 299)] })
        }
        _ => Err("write grpc, tcp, or http:/path".to_owned()),
    }
}

pub(super) fn run(
    mut arguments: Arguments,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let connect = arguments.connect.clone();
    connect.run(environment, async |open| {
        let mut signals = Signals::new()?;
        let command = std::mem::take(&mut arguments.command);
        let registering = arguments.registering(&open);
        if command.is_empty() {
            let registration = registering.await?;
            tell(out, &registration)?;
            signals.stop(None).await;
            registration.deregister().await?;
            return Ok(());
        }
        // What is wrong with the instance is known before anything is started.
        registering.entry()?;
        let mut child = Child::start(&command, &[])?;
        if let Some(code) = arguments.healthy(&open, &mut child, &mut signals).await? {
            return with_code(code);
        }
        let registration = match registering.await {
            Ok(registration) => registration,
            Err(error) => {
                child.end(arguments.grace).await?;
                return Err(error.into());
            }
        };
        tell(out, &registration)?;
        let remote = child.remote();
        let code = tokio::select! {
            code = child.ended() => Some(code?),
            _ = signals.stop(Some(remote)) => None,
        };
        if let Err(error) = registration.deregister().await {
            tracing::error!("the registration could not be taken back and runs out: {error}");
        }
        match code {
            Some(code) => with_code(code),
            None => with_code(arguments.stop(&mut child, &mut signals).await?),
        }
    })
}

fn tell(out: &mut dyn Write, registration: &Registration) -> Result<(), Failure> {
    writeln!(out, "registered {}", registration.keys().join(", "))?;
    Ok(out.flush()?)
}

impl Arguments {
    fn registering(&self, open: &Open) -> Registering {
        let address = self.address.to_string();
        let id = self.id.as_deref().unwrap_or(&address);
        let mut registering = open.registry.register(&self.service, id, &address).weight(self.weight);
        registering = registering.format(self.format).ttl(self.ttl.unwrap_or(open.settings.registry.ttl));
        if let Some(version) = &self.of_version {
            registering = registering.version(version);
        }
        if let Some(zone) = &self.zone {
            registering = registering.zone(zone);
        }
        if let Some(protocol) = self.protocol {
            registering = registering.protocol(protocol);
        }
        registering = self.tag.iter().fold(registering, |registering, tag| registering.tag(tag));
        self.metadata.iter().fold(registering, |registering, (name, value)| registering.metadata(name, value))
    }

    /// Waits until the command is healthy. If it ends before, or we are to stop: its exit code.
    async fn healthy(&self, open: &Open, child: &mut Child, signals: &mut Signals) -> Result<Option<u8>, Failure> {
        let probe = Probe {
            kind: self.health.clone(),
            interval: LOOK,
            jitter: 0,
            timeout: open.settings.registry.health_timeout,
            rise: 1,
            fall: 1,
        };
        let config = upstream::Config::default();
        let mut last = "it has not been asked".to_owned();
        let asking = async {
            while let Err(why) = health::ask(&probe, self.instance(), &config).await {
                last = why;
                sleep(LOOK).await;
            }
        };
        let remote = child.remote();
        let healthy = tokio::select! {
            healthy = timeout(self.start, asking) => healthy,
            code = child.ended() => {
                let code = code?;
                tracing::error!(code, "the command ended before it was healthy; nothing was registered");
                return Ok(Some(code));
            }
            _ = signals.stop(Some(remote)) => {
                return Ok(Some(child.end(self.grace).await?));
            }
        };
        if healthy.is_err() {
            child.end(self.grace).await?;
            return Err(exit(1, format!("the command was not healthy within {:?}: {last}", self.start)));
        }
        Ok(None)
    }

    fn instance(&self) -> Instance {
        Instance {
            service: self.service.clone(),
            id: String::new(),
            address: self.address.clone(),
            weight: 1,
            version: String::new(),
            zone: String::new(),
            tags: Vec::new(),
            protocol: self.protocol,
            tls: None,
            metadata: BTreeMap::new(),
        }
    }

    /// Gives callers time, unless we are told to stop once more, and ends the command.
    async fn stop(&self, child: &mut Child, signals: &mut Signals) -> Result<u8, Failure> {
        let remote = child.remote();
        tokio::select! {
            code = child.ended() => return code,
            () = sleep(self.drain) => {}
            _ = signals.stop(Some(remote)) => {}
        }
        child.end(self.grace).await
    }
}
