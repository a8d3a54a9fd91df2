//! The formats in which instances are registered, one file each, behind one seam.

use super::Instance;
pub use crate::etcd::KeyValue;

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
