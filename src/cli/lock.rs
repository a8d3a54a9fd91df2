//! `waypost lock` and `waypost locks`.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::child::{Child, Signals, with_code};
use super::connect::{Connect, exit};
use super::{Failure, show};
use crate::config::parse_duration;
use crate::registry::{self, Lock, LockStatus, Place};

/// Show who holds which lock, and who waits for it.
#[derive(Args)]
#[command(after_help = "Examples:\n  waypost locks\n  waypost locks nightly-report --json")]
pub(super) struct Locks {
    /// Only this lock.
    name: Option<String>,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Hold a lock: while a command runs, or until SIGTERM or Ctrl-C.
///
/// The command finds the lock's name, key and fencing token in LOCK_NAME, LOCK_KEY and LOCK_TOKEN. It gets our signals. If
/// the lock is lost, it is asked to end, and ended soon after.
#[derive(Args)]
#[command(after_help = "Exit codes: that of the command; 3: somebody else has the lock; 4: it was lost.

Examples:
  waypost lock nightly-report -- ./report.sh
  waypost lock nightly-report --try -- ./report.sh
  waypost lock deploy --timeout 5m --ttl 30s -- sh -c 'deploy --fence \"$LOCK_TOKEN\"'")]
pub(super) struct Arguments {
    /// The lock.
    name: String,
    /// How long the lock stays taken if this process crashes, in whole seconds from 2 (registry.ttl, default 10s).
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ttl: Option<Duration>,
    /// The name under which others see us hold it or wait for it (default: the machine's name and our process's number).
    #[arg(long = "as", value_name = "NAME")]
    holder: Option<String>,
    /// Do not wait if somebody has it.
    #[arg(long = "try")]
    only_try: bool,
    /// Wait no longer than this.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "only_try")]
    timeout: Option<Duration>,
    /// The command and its arguments.
    #[arg(last = true)]
    command: Vec<OsString>,
    #[command(flatten)]
    connect: Connect,
}

pub(super) fn run(
    arguments: Arguments,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Arguments { name, ttl, holder, only_try, timeout, command, connect } = arguments;
    connect.run(environment, async |open| {
        let mut signals = Signals::new()?;
        let ttl = ttl.unwrap_or(open.settings.registry.ttl);
        let locks = open.registry.locks().with_ttl(ttl);
        let locks = holder.iter().fold(locks, |locks, holder| locks.with_holder(holder));
        let taking = take(&locks, &name, only_try, timeout);
        let lock = tokio::select! {
            lock = taking => lock?,
            signal = signals.stop(None) => {
                return Err(exit(128 + u8::try_from(signal.as_raw()).unwrap_or_default(), "stopped before the lock was ours"));
            }
        };
        let result = if command.is_empty() {
            writeln!(out, "holding {name} with the fencing token {}, key {}", lock.token()?, lock.key())?;
            out.flush()?;
            tokio::select! {
                _ = signals.stop(None) => Ok(()),
                loss = lock.lost() => Err(exit(4, format!("the lock `{name}` is lost: {loss}"))),
            }
        } else {
            guard(&lock, ttl, &command, &mut signals).await
        };
        if lock.loss().is_none() {
            lock.unlock().await?;
        }
        result
    })
}

async fn take(locks: &registry::Locks, name: &str, only_try: bool, timeout: Option<Duration>) -> Result<Lock, Failure> {
    let lock = match (only_try, timeout) {
        (true, _) => locks.try_lock(name).await?,
        (_, Some(limit)) => locks.lock_timeout(name, limit).await?,
        (_, None) => Some(locks.lock(name).await?),
    };
    lock.ok_or_else(|| exit(3, format!("somebody else has the lock `{name}`; see `waypost locks {name}`")))
}

/// Runs a command for as long as the lock is ours.
async fn guard(lock: &Lock, ttl: Duration, command: &[OsString], signals: &mut Signals) -> Result<(), Failure> {
    let variables =
        [("LOCK_NAME", lock.name().to_owned()), ("LOCK_KEY", lock.key()), ("LOCK_TOKEN", lock.token()?.to_string())];
    let mut child = Child::start(command, &variables)?;
    loop {
        tokio::select! {
            code = child.ended() => return with_code(code?),
            signal = signals.next() => child.remote().signal(signal),
            loss = lock.lost() => {
                // As long as is left, by our clock, before the cluster gives the lock to somebody else.
                let code = child.end(ttl / 20).await?;
                let name = lock.name();
                return Err(exit(4, format!("the lock `{name}` is lost: {loss}; the command was ended (exit code {code})")));
            }
        }
    }
}

pub(super) fn list(arguments: Locks, environment: Vec<(String, String)>, out: &mut dyn Write) -> Result<(), Failure> {
    let Locks { name, json, connect } = arguments;
    connect.run(environment, async |open| {
        let locks = open.registry.locks();
        let locks = match &name {
            Some(name) => vec![locks.status(name).await?],
            None => locks.list().await?,
        };
        if json {
            show::document(out, &locks.iter().map(lock_json).collect())?;
            return Ok(());
        }
        let rows: Vec<_> = locks
            .iter()
            .flat_map(|lock| {
                lock.queue.iter().enumerate().map(|(at, place)| {
                    vec![
                        lock.name.clone(),
                        if at == 0 { "holds".to_owned() } else { format!("waits, {at}.") },
                        place.name.clone().unwrap_or_else(|| "-".to_owned()),
                        place.token.to_string(),
                        format!("{:x}", place.lease),
                        format!("{}s", place.ttl.as_secs()),
                        format!("{}s", place.remaining.as_secs()),
                    ]
                })
            })
            .collect();
        show::table(out, &["LOCK", "STATE", "WHO", "TOKEN", "LEASE", "TTL", "REMAINING"], &rows)?;
        Ok(())
    })
}

fn lock_json(lock: &LockStatus) -> Value {
    let place = |place: &Place| {
        json!({
            "name": place.name,
            "key": place.key,
            "lease": show::lease(place.lease),
            "token": place.token,
            "ttl_seconds": place.ttl.as_secs(),
            "remaining_seconds": place.remaining.as_secs(),
        })
    };
    let waiters: Vec<_> = lock.waiters().iter().map(place).collect();
    json!({"name": lock.name, "holder": lock.holder().map(place), "waiters": waiters})
}
