//! Locks and elections as they stand in etcd: who holds, who waits, in the layouts of the usual clients. Pure decoding of
//! keys; how they are taken and let go is not known here.
//!
//! A contender of etcd's own recipes is a key `<name>/<lease>`, and of all keys below the name the one that was created
//! first holds it. *All* keys below it: those of a lock `a/b` count for the lock `a` too, so that the two can block each
//! other. Other clients keep a lock in one key, which is there while it is held, and their waiters are not to be seen.

use std::collections::BTreeMap;

use super::format::{Decoded, Decoder, FormatName};
use super::holder;
use crate::etcd::KeyValue;

/// What a queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One holds it, the others wait.
    Lock,
    /// One leads; what it proposed is its value.
    Election,
}

/// Whose keys they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// `<name>/<lease in hex>`: etcd's Go client, etcdctl, and what goes through etcd's own Lock and Election services, as
    /// jetcd does.
    Go,
    /// `<name>/<lease in decimal>` below `election/`: elections of Node's etcd3.
    NodeElection,
    /// One key with the 16 bytes of a UUID: python-etcd3 and aetcd.
    Python,
    /// One empty key with a lease: locks of Node's etcd3, and whatever else looks so.
    Single,
}

impl Layout {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Layout::Go => "etcd's recipe",
            Layout::NodeElection => "Node's election",
            Layout::Python => "Python's lock; who waits leaves no key",
            Layout::Single => "a lock of one key; who waits leaves no key",
        }
    }
}

/// Somebody in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// The whole key.
    pub key: Vec<u8>,
    /// The lease that it hangs on, 0 if none: then it stays until somebody deletes it.
    pub lease: i64,
    /// The revision at which it stood in line: the fencing token, once it holds.
    pub token: i64,
    /// The revision of its last change.
    pub revision: i64,
    /// What it proposed, or how it calls itself, or the UUID of a Python lock; empty if nothing.
    pub value: Vec<u8>,
}

/// A lock or an election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name: the key without what tells contenders apart. What is no UTF-8 is replaced.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Whose keys they are.
    pub layout: Layout,
    /// Who holds it, then who waits, in order. Never empty.
    pub contenders: Vec<Contender>,
    /// The name of a queue further in whose key came before all of these: by the rule of the recipe nobody here holds.
    pub blocked_by: Option<String>,
}

impl Contender {
    /// How it calls itself, if it is of one of our own locks.
    pub fn name(&self) -> Option<String> {
        holder::read(&self.value)
    }
}

impl Queue {
    /// What somebody in it proposed, as text.
    pub fn proposal(&self, contender: &Contender) -> Option<String> {
        let proposes = self.layout != Layout::Python && !contender.value.is_empty() && contender.name().is_none();
        proposes.then(|| String::from_utf8_lossy(&contender.value).into_owned())
    }
}

/// The queues among these keys, by name. Keys that are neither locks nor elections are passed over.
pub fn queues<'a>(keys: impl IntoIterator<Item = &'a KeyValue>) -> Vec<Queue> {
    let mut queues: BTreeMap<String, Queue> = BTreeMap::new();
    for kv in keys {
        let Some((name, kind, layout)) = recognise(kv) else { continue };
        let contender = Contender {
            key: kv.key.clone(),
            lease: kv.lease,
            token: kv.create_revision,
            revision: kv.mod_revision,
            value: kv.value.clone(),
        };
        let queue = queues.entry(name).or_insert_with_key(|name| Queue {
            name: name.clone(),
            kind,
            layout,
            contenders: Vec::new(),
            blocked_by: None,
        });
        // A proposal makes an election of it, also if another candidate proposed nothing.
        queue.kind = queue.kind.max(kind);
        queue.contenders.push(contender);
    }
    for queue in queues.values_mut() {
        queue.contenders.sort_by_key(|contender| contender.token);
    }
    let blocked: Vec<_> =
        queues.values().filter_map(|queue| Some((queue.name.clone(), blocker(queue, &queues)?))).collect();
    for (name, by) in blocked {
        if let Some(queue) = queues.get_mut(&name) {
            queue.blocked_by = Some(by);
        }
    }
    queues.into_values().collect()
}

/// The queue below this one whose first key is older than all of its own.
fn blocker(queue: &Queue, queues: &BTreeMap<String, Queue>) -> Option<String> {
    if !matches!(queue.layout, Layout::Go | Layout::NodeElection) {
        return None;
    }
    let below = format!("{}/", queue.name);
    let first = queue.contenders.first()?.token;
    let deeper = queues.range(below.clone()..).take_while(|(name, _)| name.starts_with(&below));
    let older = deeper.filter_map(|(name, queue)| Some((queue.contenders.first()?.token, name)));
    older.filter(|(token, _)| *token < first).min().map(|(_, name)| name.clone())
}

/// Name, kind and layout of the queue that a key stands in.
fn recognise(kv: &KeyValue) -> Option<(String, Kind, Layout)> {
    let key = String::from_utf8_lossy(&kv.key);
    // At the last slash: a name may end in one, and then there are two.
    let parts = key.rsplit_once('/').filter(|(name, _)| !name.is_empty());
    let last = parts.map(|(_, last)| last).unwrap_or_default();
    if let Some((name, _)) = parts
        && kv.lease != 0
        && u64::from_str_radix(last, 16).is_ok_and(|lease| lease == kv.lease as u64)
    {
        let name = name.to_owned();
        return match kv.value.is_empty() || holder::read(&kv.value).is_some() {
            true => Some((name, Kind::Lock, Layout::Go)),
            false if is_instance(kv) => None,
            false => Some((name, Kind::Election, Layout::Go)),
        };
    }
    if let Some((name, _)) = parts
        && kv.lease != 0
        && last.parse() == Ok(kv.lease)
        && name.split('/').rev().nth(1) == Some("election")
    {
        return Some((name.to_owned(), Kind::Election, Layout::NodeElection));
    }
    if let [_, _, _, _, _, _, seventh, ..] = kv.value[..]
        && kv.value.len() == 16
        && seventh >> 4 == 1
    {
        return Some((key.into_owned(), Kind::Lock, Layout::Python));
    }
    (kv.lease != 0 && kv.value.is_empty()).then(|| (key.into_owned(), Kind::Lock, Layout::Single))
}

/// Whether a value is a registration: some systems name instances by their leases too. A bare address is what candidates
/// propose, so that only values that say more count.
fn is_instance(kv: &KeyValue) -> bool {
    let decoder = |format| Decoder::new("", format, Some("any".to_owned()));
    [FormatName::Go, FormatName::Json]
        .into_iter()
        .any(|format| matches!(decoder(format).decode(kv), Decoded::Instances(_) | Decoded::Flawed(..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str, value: &[u8], lease: i64, created: i64) -> KeyValue {
        let (key, value) = (key.as_bytes().to_vec(), value.to_vec());
        KeyValue { key, value, lease, mod_revision: created + 100, create_revision: created }
    }

    /// A queue as text: name, kind, layout, tokens in order, and who blocks it.
    #[track_caller]
    fn check(keys: &[KeyValue], expected: &[&str]) {
        let text = |queue: Queue| {
            let tokens: Vec<_> = queue.contenders.iter().map(|c| c.token.to_string()).collect();
            let blocked = queue.blocked_by.map(|by| format!(" behind {by}")).unwrap_or_default();
            format!("{} {:?} {:?} {}{blocked}", queue.name, queue.kind, queue.layout, tokens.join(","))
        };
        assert_eq!(queues(keys).into_iter().map(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_client_s_layout_is_recognised() {
        let lease = 0x694d_a1fb_ad56_9109;
        let hex = "694da1fbad569109";
        let uuid = [0, 1, 2, 3, 4, 5, 0x11, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        check(&[key(&format!("/locks/a/{hex}"), b"", lease, 5)], &["/locks/a Lock Go 5"]);
        check(&[key(&format!("lead/{hex}"), b"10.0.0.1:80", lease, 5)], &["lead Election Go 5"]);
        check(&[key(&format!("a/{:x}", -2_i64), b"", -2, 5)], &["a Lock Go 5"]);
        check(&[key("ns/election/boss/17", b"me", 17, 5)], &["ns/election/boss Election NodeElection 5"]);
        check(&[key("/locks/b", &uuid, 7, 5)], &["/locks/b Lock Python 5"]);
        check(&[key("/locks/c", b"", 7, 5)], &["/locks/c Lock Single 5"]);
        // Ours says whose it is, and stands in one queue with those of Go.
        let ours = key(&format!("/locks/a/{hex}"), b"{\"holder\":\"worker-2\"}", lease, 5);
        check(&[ours.clone(), key("/locks/a/1", b"", 1, 6)], &["/locks/a Lock Go 5,6"]);
        let queue = &queues([&ours])[0];
        let holder = &queue.contenders[0];
        assert_eq!((holder.name().as_deref(), queue.proposal(holder)), (Some("worker-2"), None));
        // A name that ends in a slash keeps it.
        check(&[key(&format!("a//{hex}"), b"", lease, 5)], &["a/ Lock Go 5"]);
    }

    #[test]
    fn what_is_no_lock_is_passed_over() {
        let hex = "694da1fbad569109";
        let lease = 0x694d_a1fb_ad56_9109;
        check(
            &[
                key("/locks/a", b"some text", 7, 5),
                key("/locks/dir/", b"", 0, 5),
                key("/s/a/17", b"10.0.0.1:80", 17, 5),
                key(&format!("/s/a/{hex}"), b"{\"Addr\":\"10.0.0.1:80\",\"Op\":0}", lease, 5),
                key("/locks/v4", &[0x44; 16], 7, 5),
            ],
            &[],
        );
    }

    #[test]
    fn the_order_is_that_of_creation_whatever_the_keys_say() {
        let (a, b, c) = (0xaa, 0xbb, 0xcc);
        let mut late = key("q/aa", b"", a, 9);
        late.mod_revision = 9;
        check(&[late, key("q/bb", b"x", b, 7), key("q/cc", b"", c, 8)], &["q Election Go 7,8,9"]);
    }

    #[test]
    fn a_deeper_name_that_came_first_blocks() {
        let outer = key("a/aa", b"", 0xaa, 9);
        check(&[outer.clone(), key("a/b/bb", b"", 0xbb, 7)], &["a Lock Go 9 behind a/b", "a/b Lock Go 7"]);
        check(&[outer.clone(), key("a/b/bb", b"", 0xbb, 11)], &["a Lock Go 9", "a/b Lock Go 11"]);
        check(&[outer, key("ab/bb", b"", 0xbb, 7)], &["a Lock Go 9", "ab Lock Go 7"]);
    }
}
