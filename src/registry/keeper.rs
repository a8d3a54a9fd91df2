//! Keeps keys where they were put: renews their lease, watches them, and writes them again when they are gone.
//!
//! ```text
//! start: overwrite ──> loop: renew │ something happened to a key │ a command ──> heal ──> status
//! ```
//!
//! A start overwrites what stands there, for it may be what this instance left behind when it crashed. Later a key is
//! written only where there is none, or one of our own: what somebody else has put there is a conflict, which is told
//! and left alone until it is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::closing::Closing;
use super::session::revoke;
use super::{Heard, Registry, Retry, clip, follow};
use crate::etcd::{Action, Client, Condition, Error, Event, KeyValue, MAX_TXN_OPS, Txn};
use crate::telemetry::Rarely;

/// Renewed so many times within its time to live, as etcd's own clients do.
const RENEWALS: u32 = 3;
/// Trouble that lasts is logged no more often than this.
const COMPLAIN: Duration = Duration::from_mins(1);

/// How a registration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// All keys stand in the registry, under this lease.
    Registered {
        /// The lease that keeps them there.
        lease: i64,
    },
    /// Somebody else has put something under these keys. It is left alone; when it is gone they are written again.
    Conflict {
        /// The keys, in order.
        keys: Vec<String>,
    },
    /// It is not known whether the keys stand, or known that they do not; they are written as soon as that is possible.
    Away {
        /// Why.
        reason: String,
    },
    /// It is over.
    Ended,
}

pub(super) type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a keeper is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Write these values for these keys from now on.
    Write(Values, oneshot::Sender<Result<(), Error>>),
    /// Take everything back.
    End(oneshot::Sender<Result<(), Error>>),
    /// Do no more. The lease runs out.
    Abandon,
}

pub(super) struct Keeper {
    client: Client,
    retry: Retry,
    ttl: Duration,
    wanted: Values,
    /// Every lease that we were granted, the current one last: an old one may still hold a key.
    leases: Vec<i64>,
    /// Whether the current one lives, as far as is known.
    lives: bool,
    renewed: Instant,
    /// Something may have happened to the keys.
    look: bool,
    failures: u32,
    status: watch::Sender<Status>,
    complaint: Rarely,
}

/// Writes the keys, whatever stands there, and keeps them from then on.
pub(super) async fn start(
    registry: &Registry,
    ttl: Duration,
    wanted: Values,
) -> Result<(mpsc::Sender<Command>, watch::Receiver<Status>), Error> {
    let retry = registry.config().retry.clone();
    let mut keeper = Keeper {
        client: registry.client().within(ttl / RENEWALS),
        retry,
        ttl,
        wanted,
        leases: Vec::new(),
        lives: false,
        renewed: Instant::now(),
        look: false,
        failures: 0,
        status: watch::Sender::new(Status::Away { reason: "it is being registered".to_owned() }),
        complaint: Rarely::new(COMPLAIN),
    };
    let revision = loop {
        match keeper.overwrite().await {
            Ok(revision) => break revision,
            Err(error) if error.is_retryable() && keeper.failures < keeper.retry.max => {
                keeper.failures += 1;
                sleep(keeper.retry.wait(keeper.failures, fastrand::f64())).await;
            }
            Err(error) => return Err(error),
        }
    };
    keeper.failures = 0;
    keeper.tell(Vec::new());
    let status = keeper.status.subscribe();
    // Who gives orders waits for each to be done.
    let (commands, received) = mpsc::channel(1);
    tokio::spawn(keeper.run(received, registry.closing(), revision));
    Ok((commands, status))
}

impl Keeper {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut closing: Closing, revision: i64) {
        let mut events = follow(self.client.clone(), range(&self.wanted), self.retry.clone(), revision + 1);
        let mut due = self.renewed + self.ttl / RENEWALS;
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Write(values, done)) => {
                        self.wanted.extend(values);
                        self.look = true;
                        // Whoever asked may have stopped to wait.
                        let _ = done.send(self.tend().await);
                    }
                    Some(Command::End(done)) => {
                        let _ = done.send(self.end().await);
                        return;
                    }
                    Some(Command::Abandon) => {
                        self.status.send_replace(Status::Ended);
                        return;
                    }
                    None => {
                        // Nobody is left to be told; `end` logs what goes wrong.
                        let _ = self.end().await;
                        return;
                    }
                },
                () = closing.closed() => {
                    let _ = self.end().await;
                    return;
                }
                heard = events.next() => {
                    self.look |= heard.is_none_or(|heard| self.concerns(&heard));
                    if self.look {
                        due = self.go_on().await;
                    }
                }
                () = sleep_until(due) => due = self.go_on().await,
            }
        }
    }

    /// Does what is due; gives back when to come again.
    async fn go_on(&mut self) -> Instant {
        match self.tend().await {
            Ok(()) => {
                self.failures = 0;
                self.renewed + self.ttl / RENEWALS
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let reason = error.to_string();
                if self.complaint.due(Instant::now()).is_some() {
                    let key = self.first_key();
                    tracing::warn!(key, "a registration cannot be kept up now and will be made good: {reason}");
                }
                self.status.send_replace(Status::Away { reason });
                Instant::now() + self.retry.wait(self.failures, fastrand::f64()).min(self.ttl / RENEWALS)
            }
        }
    }

    /// Renews the lease if that is due, grants another if it has ended, and sees to the keys if something is with them.
    async fn tend(&mut self) -> Result<(), Error> {
        if self.lives && (self.renewed.elapsed() >= self.ttl / RENEWALS || self.failures > 0) {
            let sent = Instant::now();
            self.lives = self.client.keep_alive(self.lease()).await?;
            self.renewed = sent;
            self.look |= self.failures > 0;
        }
        loop {
            if !self.lives {
                self.grant().await?;
                self.look = true;
            }
            if !self.look {
                return Ok(());
            }
            match self.heal().await {
                Ok(taken) => {
                    self.look = false;
                    self.tell(taken);
                    return Ok(());
                }
                Err(error) if error.is_no_lease() => self.lives = false,
                Err(error) => return Err(error),
            }
        }
    }

    async fn grant(&mut self) -> Result<(), Error> {
        let sent = Instant::now();
        let lease = self.client.grant(self.ttl).await?;
        self.leases.push(lease);
        // What is older than this many outages has long ended.
        if self.leases.len() > 16 {
            self.leases.remove(0);
        }
        (self.renewed, self.lives) = (sent, true);
        Ok(())
    }

    fn lease(&self) -> i64 {
        self.leases.last().copied().unwrap_or_default()
    }

    /// Writes all keys under the current lease, whatever stands there. Gives back the revision.
    async fn overwrite(&mut self) -> Result<i64, Error> {
        if !self.lives {
            self.grant().await?;
        }
        let lease = self.lease();
        let puts: Vec<_> =
            self.wanted.iter().map(|(key, value)| Action::Put(key.clone(), value.clone(), lease)).collect();
        let mut first = None;
        for batch in puts.chunks(MAX_TXN_OPS) {
            let done = self.client.txn(Txn { then: batch.to_vec(), ..Txn::default() }).await?;
            first.get_or_insert(done.header.revision);
        }
        Ok(first.unwrap_or_default())
    }

    /// Writes the keys that are not as they should be, but for those that are somebody else's, which it gives back.
    async fn heal(&mut self) -> Result<Vec<KeyValue>, Error> {
        let keys: Vec<_> = self.wanted.keys().cloned().collect();
        let mut taken = Vec::new();
        for batch in keys.chunks(MAX_TXN_OPS) {
            taken.extend(self.heal_batch(batch).await?);
        }
        Ok(taken)
    }

    async fn heal_batch(&self, keys: &[Vec<u8>]) -> Result<Vec<KeyValue>, Error> {
        let lease = self.lease();
        loop {
            let read = Txn { then: keys.iter().cloned().map(Action::Get).collect(), ..Txn::default() };
            let found = self.client.txn(read).await?.found;
            let (mut write, mut taken) = (Txn::default(), Vec::new());
            for (key, found) in keys.iter().zip(found) {
                let wanted = &self.wanted[key];
                match found {
                    Some(kv) if kv.lease == lease && kv.value == *wanted => {}
                    Some(kv) if !self.leases.contains(&kv.lease) => taken.push(kv),
                    found => {
                        write.when.push(Condition::Modified(key.clone(), found.map_or(0, |kv| kv.mod_revision)));
                        write.then.push(Action::Put(key.clone(), wanted.clone(), lease));
                    }
                }
            }
            // If the condition does not hold, somebody was quicker: look again at what he wrote.
            if write.then.is_empty() || self.client.txn(write).await?.held {
                return Ok(taken);
            }
        }
    }

    /// Says how things stand when all has been looked at.
    fn tell(&mut self, taken: Vec<KeyValue>) {
        let status = if taken.is_empty() {
            Status::Registered { lease: self.lease() }
        } else {
            let keys = taken.into_iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect();
            Status::Conflict { keys }
        };
        let was = self.status.send_replace(status.clone());
        match (&was, &status) {
            (was, Status::Conflict { keys }) if *was != status => {
                let key = clip(&keys[0]);
                tracing::error!(
                    key,
                    keys = keys.len(),
                    "somebody else has put something under our key; two instances may have the same name. It is left \
                     alone, and ours is written when it is gone"
                );
            }
            (Status::Away { .. } | Status::Conflict { .. }, Status::Registered { .. }) => {
                tracing::info!(key = self.first_key(), "registered");
            }
            _ => {}
        }
    }

    /// Whether that may have changed one of our keys. What we wrote ourselves has not.
    fn concerns(&self, heard: &Heard) -> bool {
        let lease = self.lease();
        match heard {
            Heard::Gap => true,
            Heard::Events(events) => events.iter().any(|event| match event {
                Event::Put(kv) => {
                    self.wanted.get(&kv.key).is_some_and(|wanted| kv.lease != lease || kv.value != *wanted)
                }
                Event::Delete { key, .. } => self.wanted.contains_key(key),
            }),
        }
    }

    /// Ends the lease and with it what is ours; a key that somebody else has overwritten no longer hangs on it.
    async fn end(&mut self) -> Result<(), Error> {
        self.status.send_replace(Status::Ended);
        let mut result = Ok(());
        for lease in self.leases.split_off(self.leases.len().saturating_sub(2)).into_iter().rev() {
            result = result.and(revoke(&self.client, lease).await);
        }
        if let Err(error) = &result {
            tracing::warn!(key = self.first_key(), "a registration could not be taken back and runs out: {error}");
        }
        result
    }

    fn first_key(&self) -> String {
        let first = self.wanted.keys().next().map(|key| String::from_utf8_lossy(key));
        clip(&first.unwrap_or_default())
    }
}

/// The smallest range that holds all keys.
fn range(wanted: &Values) -> (Vec<u8>, Vec<u8>) {
    let first = wanted.keys().next().cloned().unwrap_or_default();
    let mut end = wanted.keys().next_back().cloned().unwrap_or_default();
    end.push(0);
    (first, end)
}
