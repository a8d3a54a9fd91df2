//! What happens in the demo: who registers, who leaves, who holds which lock. A line for each change.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::greeter;
use super::server::{Application, Server};
use super::traffic::{self, Traffic};
use super::{Problem, Say};
use crate::etcd::{Client, Event};
use crate::registry::{self, Lock, Locks, Registration, Registry, clip};

/// Between two changes.
const PAUSE: Duration = Duration::from_secs(8);
/// How long the calls after a change are counted.
const COUNT: Duration = Duration::from_secs(4);
/// The longest that the first call may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The leases' time to live.
const TTL: Duration = Duration::from_secs(5);

const REPORT: &str = "nightly-report";
const BACKUP: &str = "backup";

/// An instance of a service: a server, and its registration.
struct Instance {
    server: Server,
    registration: Registration,
}

pub(super) struct Story {
    registry: Registry,
    proxy: SocketAddr,
    say: Say,
    traffic: Traffic,
    instances: RefCell<BTreeMap<&'static str, Instance>>,
}

impl Story {
    pub(super) fn new(client: Client, proxy: SocketAddr, say: Say) -> Self {
        let registry = Registry::new(client, registry::Config { ttl: TTL, ..registry::Config::default() });
        Story { registry, proxy, say, traffic: Traffic::default(), instances: RefCell::default() }
    }

    /// Everything, for ever.
    pub(super) async fn tell(&self) -> Result<(), Problem> {
        let watching = self.watch();
        let telling = async {
            for name in ["greeter/one", "greeter/two", "greeter/three", "clock/a", "clock/b"] {
                self.start(name).await?;
            }
            self.first_call().await?;
            tokio::select! {
                () = self.traffic.run(self.proxy) => Ok(()),
                outcome = self.chapters() => outcome,
            }
        };
        tokio::try_join!(watching, telling).map(drop)
    }

    async fn chapters(&self) -> Result<(), Problem> {
        let locks = self.registry.locks();
        let mut backup = JoinSet::new();
        backup.spawn(hold(locks.clone().with_holder("worker-3"), BACKUP));
        let mut holder = ("worker-1", Some(locks.clone().with_holder("worker-1").lock(REPORT).await?));
        let mut waiter = ("worker-2", contend(&locks, "worker-2"));
        self.say.line(format!("worker-1 holds /locks/{REPORT}, worker-2 waits for it, worker-3 holds /locks/{BACKUP}"));
        self.count().await;
        for weight in [4, 1].into_iter().cycle() {
            self.say.line("greeter two stops in good order: it takes back its registration, then ends its calls");
            self.stop("greeter/two").await;
            self.count().await;

            self.say.line("greeter two starts again, on another port");
            self.start("greeter/two").await?;
            self.count().await;

            self.say.line(format!("{} releases /locks/{REPORT}; {} has waited for it", holder.0, waiter.0));
            if let Some(lock) = holder.1.take()
                && let Err(error) = lock.unlock().await
            {
                self.say.line(format!("{} had it no longer: {error}", holder.0));
            }
            let next = (holder.0, contend(&locks, holder.0));
            let (name, mut waiting) = std::mem::replace(&mut waiter, next);
            holder = match timeout(PAUSE, waiting.join_next()).await {
                Ok(Some(Ok(lock))) => {
                    let token = lock.token();
                    self.say.line(match &token {
                        Ok(token) => format!("{name} holds /locks/{REPORT}, with the fencing token {token}"),
                        Err(error) => format!("{name} had it for a moment: {error}"),
                    });
                    (name, Some(lock))
                }
                _ => {
                    self.say.line(format!("{name} does not get it: somebody else is before it"));
                    (name, None)
                }
            };
            sleep(PAUSE).await;

            self.say
                .line(format!("clock b crashes: its registration stays until its lease of {} s ends", TTL.as_secs()));
            let crashed = self.instances.borrow_mut().remove("clock/b");
            if let Some(Instance { server, registration }) = crashed {
                drop(server);
                registration.abandon().await;
            }
            self.count().await;

            self.say.line("clock b starts again");
            self.start("clock/b").await?;
            self.count().await;

            self.say.line(format!("greeter one gets weight {weight}"));
            self.reweigh("greeter/one", weight).await;
            self.count().await;
        }
        Ok(())
    }

    /// Starts an instance and registers it.
    async fn start(&self, name: &'static str) -> Result<(), Problem> {
        let application = match name.split_once('/') {
            Some(("greeter", instance)) => Application::Grpc(greeter::routes(instance).await?),
            _ => Application::Clock(name.rsplit('/').next().unwrap_or(name).to_owned()),
        };
        let server = Server::start(application).await?;
        let value = value(name, server.address, weight(name));
        let registration = self.registry.register_at(&format!("/services/{name}"), value).await?;
        self.instances.borrow_mut().insert(name, Instance { server, registration });
        Ok(())
    }

    /// Takes an instance away so that nobody notices.
    async fn stop(&self, name: &str) {
        let gone = self.instances.borrow_mut().remove(name);
        if let Some(Instance { server, registration }) = gone {
            if let Err(error) = registration.deregister().await {
                // Its lease ends all the same.
                tracing::debug!(name, %error, "a registration could not be taken back");
            }
            server.stop().await;
        }
    }

    async fn reweigh(&self, name: &str, weight: u32) {
        let instance = self.instances.borrow_mut().remove_entry(name);
        if let Some((name, mut instance)) = instance {
            let (key, value) = (format!("/services/{name}"), value(name, instance.server.address, weight));
            if let Err(error) = instance.registration.update_value(&key, value).await {
                // It is written as soon as that is possible.
                tracing::debug!(name, %error, "a weight could not be written yet");
            }
            self.instances.borrow_mut().insert(name, instance);
        }
    }

    /// Counts the calls after a change, and says who got them.
    async fn count(&self) {
        sleep(PAUSE - COUNT).await;
        self.traffic.report();
        sleep(COUNT).await;
        self.say.line(format!("  calls in {} s: {}", COUNT.as_secs(), self.traffic.report()));
    }

    /// Waits until a call is carried.
    async fn first_call(&self) -> Result<(), Problem> {
        let mut client = traffic::greeter(self.proxy)?;
        let calling = async {
            loop {
                let request = greeter::HelloRequest { name: "you".to_owned() };
                match client.hello(request).await {
                    Ok(reply) => return reply.into_inner(),
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let greeter::HelloReply { message, .. } =
            timeout(PATIENCE, calling).await.map_err(|_| format!("no call was carried within {PATIENCE:?}"))?;
        let took = self.say.start.elapsed().as_millis();
        self.say.line(format!("the first call is carried, {took} ms after the start: \"{message}\""));
        Ok(())
    }

    /// Whether an instance that runs is registered under this key.
    fn is_registered(&self, key: &[u8]) -> bool {
        let instances = self.instances.borrow();
        instances.values().any(|instance| instance.registration.keys().iter().any(|own| own.as_bytes() == key))
    }

    /// Says what changes in the registry, whoever changes it.
    async fn watch(&self) -> Result<(), Problem> {
        let mut watch = self.registry.client().watch(b"/", 1).await?;
        loop {
            for event in watch.next().await?.events {
                let shown = |bytes: &[u8]| clip(&String::from_utf8_lossy(bytes));
                let line = match &event {
                    Event::Put(kv) => format!("  put {} {}", shown(&kv.key), shown(&kv.value)),
                    Event::Delete { key, .. } => format!("  delete {}", shown(key)),
                };
                self.say.line(line.trim_end());
                if let Event::Delete { key, .. } = event
                    && self.is_registered(&key)
                {
                    self.say.line(format!("{} is gone: it is registered again", shown(&key)));
                }
            }
        }
    }
}

/// Waits for the nightly report's lock, for as long as it is kept; whoever throws it out of the queue sees it come back.
fn contend(locks: &Locks, name: &str) -> JoinSet<Lock> {
    let mut waiting = JoinSet::new();
    waiting.spawn(lock(locks.clone().with_holder(name), REPORT));
    waiting
}

async fn lock(locks: Locks, name: &'static str) -> Lock {
    loop {
        match locks.lock(name).await {
            Ok(lock) => return lock,
            Err(error) => tracing::debug!(name, %error, "a place in a queue was lost"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Holds a lock for ever, again and again if it is taken away.
async fn hold(locks: Locks, name: &'static str) {
    loop {
        lock(locks.clone(), name).await.lost().await;
    }
}

/// The weights that instances start with.
fn weight(name: &str) -> u32 {
    match name {
        "greeter/two" => 2,
        "greeter/three" => 5,
        _ => 1,
    }
}

fn value(name: &str, address: SocketAddr, weight: u32) -> String {
    // One instance of each service is in another zone than the rest.
    let zone = if matches!(name, "greeter/one" | "clock/a") { "a" } else { "b" };
    serde_json::json!({ "address": address, "weight": weight, "zone": zone }).to_string()
}
