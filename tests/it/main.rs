//! Whole rooms together, and with real servers and clients. One binary, for linking is dear.

mod etcd_table;
