//! What needs Go: h2spec, grpc-go's interop client and server, current etcd servers. `make interop` runs it.
fn main() {}
