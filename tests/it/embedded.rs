//! The embedded etcd: what people and programs do with it, and its faults.

mod clients;
mod etcdctl;
mod faults;
