//! `waypost leases` and `waypost lease`.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::connect::{Connect, exit, lease};
use super::process::{Error, Stop};
use super::{Failure, show};
use crate::config::parse_duration;
use crate::etcd::LeaseStatus;

/// Show all leases, and what hangs on them.
#[derive(Args)]
#[command(after_help = "Examples:\n  waypost leases\n  waypost leases --json")]
pub(super) struct Leases {
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(super) struct Common {
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Subcommand)]
pub(super) enum Lease {
    /// Grant a lease, and print its id.
    #[command(after_help = "Example:\n  waypost put /a b --lease $(waypost lease grant 30s)")]
    Grant {
        /// How long it lives without being renewed, in whole seconds.
        #[arg(value_name = "TIME", value_parser = parse_duration)]
        ttl: Duration,
        #[command(flatten)]
        common: Common,
    },
    /// End a lease, and with it all that hangs on it. Exit code 3: there is no such lease.
    Revoke {
        /// The lease's id, hexadecimal.
        #[arg(value_name = "LEASE", value_parser = lease)]
        id: i64,
        #[command(flatten)]
        common: Common,
    },
    /// Show how long a lease still lives, and what hangs on it. Exit code 3: there is no such lease.
    Ttl {
        /// The lease's id, hexadecimal.
        #[arg(value_name = "LEASE", value_parser = lease)]
        id: i64,
        #[command(flatten)]
        common: Common,
    },
    /// Renew a lease until SIGTERM or Ctrl-C. Exit code 4: it was lost.
    KeepAlive {
        /// The lease's id, hexadecimal.
        #[arg(value_name = "LEASE", value_parser = lease)]
        id: i64,
        #[command(flatten)]
        common: Common,
    },
}

pub(super) fn list(
    Leases { common }: Leases,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    common.connect.run(environment, async |open| {
        let leases = open.registry.leases().list().await?;
        if common.json {
            show::document(out, &leases.iter().map(status_json).collect())?;
            return Ok(());
        }
        let row = |lease: &LeaseStatus| {
            let keys: Vec<_> = lease.keys.iter().map(|key| show::lossy(key)).collect();
            vec![
                format!("{:x}", lease.id),
                format!("{}s", lease.granted.as_secs()),
                format!("{}s", lease.remaining.as_secs()),
                keys.len().to_string(),
                keys.first().cloned().unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = leases.iter().map(row).collect();
        show::table(out, &["LEASE", "TTL", "REMAINING", "KEYS", "FIRST KEY"], &rows)?;
        Ok(())
    })
}

fn status_json(lease: &LeaseStatus) -> Value {
    json!({
        "lease": show::lease(lease.id),
        "ttl_seconds": lease.granted.as_secs(),
        "remaining_seconds": lease.remaining.as_secs(),
        "keys": lease.keys.iter().map(|key| show::lossy(key)).collect::<Vec<_>>(),
    })
}

pub(super) fn run(command: Lease, environment: Vec<(String, String)>, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Lease::Grant { ttl, common } => common.connect.run(environment, async |open| {
            let id = open.registry.leases().grant(ttl).await?;
            match common.json {
                true => show::document(out, &json!({"lease": show::lease(id), "ttl_seconds": ttl.as_secs()}))?,
                false => writeln!(out, "{id:x}")?,
            }
            Ok(())
        }),
        Lease::Revoke { id, common } => {
            common.connect.run(environment, async |open| match open.registry.leases().revoke(id).await? {
                true => Ok(()),
                false => Err(no_such(id)),
            })
        }
        Lease::Ttl { id, common } => common.connect.run(environment, async |open| {
            let lease = open.registry.leases().time_to_live(id).await?.ok_or_else(|| no_such(id))?;
            if common.json {
                show::document(out, &status_json(&lease))?;
                return Ok(());
            }
            writeln!(out, "{} s left of {} s", lease.remaining.as_secs(), lease.granted.as_secs())?;
            for key in &lease.keys {
                writeln!(out, "{}", crate::registry::clip(&show::lossy(key)))?;
            }
            Ok(())
        }),
        Lease::KeepAlive { id, common } => common.connect.run(environment, async |open| {
            let mut stop = Stop::new().map_err(Error::from)?;
            let lease = open.registry.leases().keep_alive(id).await?;
            tokio::select! {
                () = stop.told() => Ok(()),
                loss = lease.lost() => Err(exit(4, format!("the lease {id:x} is lost: {loss}"))),
            }
        }),
    }
}

fn no_such(id: i64) -> Failure {
    exit(3, format!("there is no lease {id:x}; it has ended, or never was"))
}
