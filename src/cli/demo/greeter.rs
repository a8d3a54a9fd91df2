//! The gRPC service `greeter`, with health and reflection as real ones have.

use tonic::service::Routes;
use tonic::{Request, Response, Status};

use generated::greeter_server::{Greeter, GreeterServer};
pub(super) use generated::{HelloReply, HelloRequest, greeter_client::GreeterClient};

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    reason = "generated from greeter.proto"
)]
mod generated {
    tonic::include_proto!("waypost.demo");
}

const DESCRIPTION: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/greeter.bin"));

/// One instance: it says its name.
struct Instance(String);

#[tonic::async_trait]
impl Greeter for Instance {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let instance = self.0.clone();
        let message = format!("hello {}, I am {instance}", request.get_ref().name);
        Ok(Response::new(HelloReply { message, instance }))
    }
}

/// All services of an instance.
pub(super) async fn routes(name: &str) -> Result<Routes, tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<GreeterServer<Instance>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTION)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::new(GreeterServer::new(Instance(name.to_owned())))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        // What tools asked for before reflection was stable, and many still do.
        .add_service(reflection().build_v1alpha()?)
        .prepare())
}
