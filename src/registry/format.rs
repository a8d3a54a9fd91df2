//! The formats in which instances are registered, one file each, behind one seam.

use super::Instance;

/// A key of the registry as etcd stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// What a format makes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// It registers these instances.
    Instances(Vec<Instance>),
    /// It is a known thing that registers nothing, such as a lock or a directory marker.
    NotAnInstance(&'static str),
    /// It should be an instance but cannot be read, for this reason.
    Unreadable(String),
}
