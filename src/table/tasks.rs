//! Starting and stopping what keeps the table.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::status::Shared;
use super::watcher::Watcher;
use super::writer::{Message, SourceId, Writer};
use super::{Config, Prefix, Table};
use crate::etcd::Client;

/// Messages that may wait for the writer. A watcher waits when it is full, and with it etcd.
const QUEUE: usize = 64;

/// A prefix, and the client of the name that it gives.
#[derive(Debug, Clone)]
pub struct Source {
    /// The prefix as configured.
    pub prefix: Prefix,
    /// Whom to ask for it.
    pub client: Client,
}

/// Starts to fill a table from these sources, on the runtime that it is called on. Does not wait for etcd;
/// [`Table::ready`] tells when the first lists are in.
pub async fn start(sources: Vec<Source>, config: Config) -> (Table, Tasks) {
    let table = Table::new();
    let (messages, received) = mpsc::channel(QUEUE);
    let (sender, settings) = watch::channel(config.clone());
    let writer = Guard(tokio::spawn(Writer::new(table.clone()).run(received, settings)));
    let mut tasks =
        Tasks { table: table.clone(), config: sender, messages, watchers: Vec::new(), count: 0, _writer: writer };
    tasks.reconfigure(sources, config).await;
    (table, tasks)
}

/// Keeps the table current. Dropping it ends that; the table stays as it is then.
#[derive(Debug)]
pub struct Tasks {
    table: Table,
    config: watch::Sender<Config>,
    messages: mpsc::Sender<Message>,
    watchers: Vec<Watching>,
    count: u64,
    _writer: Guard,
}

#[derive(Debug)]
struct Watching {
    id: SourceId,
    prefix: Prefix,
    client: Client,
    status: Arc<Shared>,
    _task: Guard,
}

/// Ends its task when dropped.
#[derive(Debug)]
struct Guard(JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tasks {
    /// Takes over other sources and settings. A prefix that is configured as before is not disturbed; one that is read
    /// or reached in another way keeps its instances until it has been listed that way; one that is no longer there
    /// leaves the table. Not cancel-safe: dropped half-way, some sources may be missing until it is called again.
    pub async fn reconfigure(&mut self, sources: Vec<Source>, config: Config) {
        self.config.send_if_modified(|old| {
            let differs = *old != config;
            *old = config;
            differs
        });
        let mut old = std::mem::take(&mut self.watchers);
        for source in sources {
            let same = |w: &Watching| w.prefix == source.prefix && w.client.is(&source.client);
            if let Some(place) = old.iter().position(same) {
                self.watchers.push(old.remove(place));
            } else {
                let place = old.iter().position(|w| w.prefix.is_at(&source.prefix));
                let replaced = place.map(|place| old.remove(place).id);
                self.watch(source, replaced).await;
            }
        }
        for Watching { id, .. } in old {
            self.tell(Message::Remove(id)).await;
        }
        self.table.set_prefixes(self.watchers.iter().map(|watching| watching.status.clone()).collect());
    }

    async fn watch(&mut self, Source { prefix, client }: Source, replaces: Option<SourceId>) {
        self.count += 1;
        let id = SourceId(self.count);
        let path: Arc<str> = prefix.path().into();
        let status = Arc::new(Shared::new(client.name().clone(), path.clone()));
        let decoder = prefix.decoder();
        self.tell(Message::Add { id, decoder: decoder.clone(), status: status.clone(), replaces }).await;
        let (config, writer) = (self.config.subscribe(), self.messages.clone());
        let watcher = Watcher::new(id, client.clone(), path, decoder, config, status.clone(), writer);
        self.watchers.push(Watching { id, prefix, client, status, _task: Guard(tokio::spawn(watcher.run())) });
    }

    async fn tell(&self, message: Message) {
        if self.messages.send(message).await.is_err() {
            tracing::error!("the table's writer has ended; the table no longer changes");
        }
    }
}
