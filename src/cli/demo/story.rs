//! What happens in the demo: who registers, who leaves, who holds which lock. A line for each change.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::greeter;
use super::lock::Contender;
use super::registration::{Registration, TTL};
use super::server::{Application, Server};
use super::traffic::{self, Traffic};
use super::{Problem, Say};
use crate::etcd::{Client, Event};
use crate::registry::clip;

/// Between two changes.
const PAUSE: Duration = Duration::from_secs(8);
/// How long the calls after a change are counted.
const COUNT: Duration = Duration::from_secs(4);
/// The longest that the first call may take.
const PATIENCE: Duration = Duration::from_secs(30);

const REPORT: &str = "/locks/nightly-report";
const BACKUP: &str = "/locks/backup";

/// An instance of a service: a server, and its registration.
struct Instance {
    server: Server,
    registration: Registration,
}

pub(super) struct Story {
    client: Client,
    proxy: SocketAddr,
    say: Say,
    traffic: Traffic,
    instances: RefCell<BTreeMap<&'static str, Instance>>,
}

impl Story {
    pub(super) fn new(client: Client, proxy: SocketAddr, say: Say) -> Self {
        Story { client, proxy, say, traffic: Traffic::default(), instances: RefCell::default() }
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
        let _backup = Contender::queue(&self.client, &self.say, BACKUP).await?;
        let (mut holder, mut waiter) = (("worker-1", self.contend().await?), ("worker-2", self.contend().await?));
        self.say.line(format!("worker-1 holds {REPORT}, worker-2 waits for it, worker-3 holds {BACKUP}"));
        self.count().await;
        for weight in [4, 1].into_iter().cycle() {
            self.say.line("greeter two stops in good order: it takes back its registration, then ends its calls");
            self.stop("greeter/two").await;
            self.count().await;

            self.say.line("greeter two starts again, on another port");
            self.start("greeter/two").await?;
            self.count().await;

            self.say.line(format!("{} releases {REPORT}; {} has waited for it", holder.0, waiter.0));
            let next = (holder.0, {
                holder.1.release().await;
                self.contend().await?
            });
            (holder, waiter) = (waiter, next);
            match timeout(PAUSE, holder.1.holds()).await {
                Ok(token) => self.say.line(format!("{} holds {REPORT}, with the fencing token {}", holder.0, token?)),
                Err(_) => self.say.line(format!("{} does not get it: it has lost its place in the queue", holder.0)),
            }
            sleep(PAUSE).await;

            self.say
                .line(format!("clock b crashes: its registration stays until its lease of {} s ends", TTL.as_secs()));
            drop(self.instances.borrow_mut().remove("clock/b"));
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

    async fn contend(&self) -> Result<Contender, Problem> {
        Ok(Contender::queue(&self.client, &self.say, REPORT).await?)
    }

    /// Starts an instance and registers it.
    async fn start(&self, name: &'static str) -> Result<(), Problem> {
        let application = match name.split_once('/') {
            Some(("greeter", instance)) => Application::Grpc(greeter::routes(instance).await?),
            _ => Application::Clock(name.rsplit('/').next().unwrap_or(name).to_owned()),
        };
        let server = Server::start(application).await?;
        let value = value(name, server.address, weight(name));
        let registration =
            Registration::write(&self.client, &self.say, move |_| format!("/services/{name}"), &value).await?;
        self.instances.borrow_mut().insert(name, Instance { server, registration });
        Ok(())
    }

    /// Takes an instance away so that nobody notices.
    async fn stop(&self, name: &str) {
        let gone = self.instances.borrow_mut().remove(name);
        if let Some(Instance { server, registration }) = gone {
            registration.end().await;
            server.stop().await;
        }
    }

    async fn reweigh(&self, name: &str, weight: u32) {
        let instance = self.instances.borrow_mut().remove_entry(name);
        if let Some((name, instance)) = instance {
            instance.registration.update(&value(name, instance.server.address, weight)).await;
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

    /// Says what changes in the registry, whoever changes it.
    async fn watch(&self) -> Result<(), Problem> {
        let mut watch = self.client.watch(b"/", 1).await?;
        loop {
            for event in watch.next().await?.events {
                let shown = |bytes: &[u8]| clip(&String::from_utf8_lossy(bytes));
                let line = match event {
                    Event::Put(kv) => format!("  put {} {}", shown(&kv.key), shown(&kv.value)),
                    Event::Delete { key, .. } => format!("  delete {}", shown(&key)),
                };
                self.say.line(line.trim_end());
            }
        }
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
