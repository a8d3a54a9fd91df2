//! What etcd answers, in our own words.

/// A key as etcd stores it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The whole key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The lease that it hangs on, 0 if none.
    pub lease: i64,
    /// The revision of its last change.
    pub mod_revision: i64,
    /// The revision at which it came to be; a lock's fencing token.
    pub create_revision: i64,
}

impl From<etcd_client::proto::PbKeyValue> for KeyValue {
    fn from(kv: etcd_client::proto::PbKeyValue) -> Self {
        KeyValue {
            key: kv.key,
            value: kv.value,
            lease: kv.lease,
            mod_revision: kv.mod_revision,
            create_revision: kv.create_revision,
        }
    }
}

/// Who answered, and when in the history of the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    /// The cluster. Another number than before means other data.
    pub cluster: u64,
    /// The member that answered.
    pub member: u64,
    /// The revision of the store.
    pub revision: i64,
    /// The raft term. It changes with the leader.
    pub term: u64,
}

impl From<etcd_client::proto::PbResponseHeader> for Header {
    fn from(header: etcd_client::proto::PbResponseHeader) -> Self {
        Header {
            cluster: header.cluster_id,
            member: header.member_id,
            revision: header.revision,
            term: header.raft_term,
        }
    }
}

/// All keys under a prefix at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T = KeyValue> {
    /// Of the first page; its revision is that of all keys.
    pub header: Header,
    /// In the order of the keys.
    pub keys: Vec<T>,
}

/// What a watch says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Who says it, and when.
    pub header: Header,
    /// It answers a request for progress. Servers before 3.4.25 and 3.5.8 let such an answer overtake events, so that
    /// it is a sign of life and nothing else.
    pub requested: bool,
    /// What happened, oldest first. None in a notice of progress.
    pub events: Vec<Event>,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It was written.
    Put(KeyValue),
    /// It was deleted, or its lease ended.
    Delete {
        /// The whole key.
        key: Vec<u8>,
        /// The revision of the deletion.
        mod_revision: i64,
    },
}

impl Event {
    /// The revision at which it happened.
    pub fn revision(&self) -> i64 {
        match self {
            Event::Put(kv) => kv.mod_revision,
            Event::Delete { mod_revision, .. } => *mod_revision,
        }
    }
}
