//! grpc-go: its own interop client and server with the proxy between them, and our client of the test service.

use std::{net::SocketAddr, time::Duration};

use tokio::process::Command;

use crate::harness::{
    Backend, Client, Demo, Etcd, PATIENCE, Scene, Version, Waypost, eventually,
    process::{Process, run},
    tools::tool,
};

/// Every case of grpc-go's interop client that needs no cloud account, but `pick_first_unary`, which fails without a
/// proxy too: it asks for a server id that grpc-go's own server doesn't give.
const CASES: [&str; 18] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "orca_per_rpc",
    "orca_oob",
    "rpc_soak",
    "channel_soak",
];

/// The balancer that the cases about load reports read them from; `pick_first` wants its own.
const CONFIG: &str = r#"{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}"#;

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_go_s_interop_cases_pass_through_the_proxy() {
    let etcd = Etcd::start(Version::Current36).await;
    let waypost = Waypost::on(&etcd, "").await;
    let port = crate::harness::etcd::free_port();
    let mut command = Command::new(tool("bin/grpc-interop-server", "setup-interop"));
    let _server = Process::start("grpc interop server", command.arg(format!("--port={port}")));
    // The client calls the address that it connects to: that is the service's name.
    etcd.put("/services/127.0.0.1/go", &format!("127.0.0.1:{port}")).await;
    let client = Client::h2(waypost.data).await;
    eventually("the server", || async {
        let reply = client.grpc("127.0.0.1", "Unary", &[], &[b""]).await?;
        // It knows no such method, and says so itself.
        if reply.status == 12 { Ok(()) } else { Err(format!("{reply:?}")) }
    })
    .await;
    for case in CASES {
        let mut command = Command::new(tool("bin/grpc-interop-client", "setup-interop"));
        command.arg(format!("--server_port={}", waypost.data.port())).args([
            "--server_host=127.0.0.1",
            "--test_case",
            case,
        ]);
        if case.starts_with("orca") {
            command.args(["--service_config_json", CONFIG]);
        }
        // It dials by DNS, and asks the environment for proxies unless told not to.
        command.env("NO_PROXY", "127.0.0.1");
        run(case, LIMIT, &mut command).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_go_client_directly() {
    let backend = Backend::h2c("one").await;
    go_client(backend.address, "any", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_go_client_through_the_proxy() {
    let backend = Backend::h2c("one").await;
    let scene = Scene::with("greeter", &[&backend], "").await;
    go_client(scene.waypost.data, "greeter", &["--proxy"]).await;
}

async fn go_client(address: SocketAddr, service: &str, more: &[&str]) {
    let mut command = Command::new(tool("bin/go-client", "setup-interop"));
    let said = run("go-client", LIMIT, command.arg(address.to_string()).arg(service).args(more)).await;
    assert_eq!(said.lines().count(), 12 + more.len(), "{said}");
}

/// What the demo tells people to type.
#[tokio::test]
async fn grpcurl_finds_its_way_through_the_proxy_to_the_demo_s_services() {
    let demo = Demo::start().await;
    demo.says("the first call is carried", PATIENCE).await;
    let grpcurl = async |before: &[&str], after: &[&str]| {
        let mut command = Command::new(tool("bin/grpcurl", "setup-interop"));
        command.args(["-plaintext", "-authority", "greeter"]).args(before).arg(demo.proxy.to_string()).args(after);
        run("grpcurl", LIMIT, &mut command).await
    };
    let said = grpcurl(&["-d", r#"{"name": "you"}"#], &["waypost.demo.Greeter/Hello"]).await;
    assert!(said.contains("hello you, I am "), "{said}");
    let said = grpcurl(&[], &["list"]).await;
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "waypost.demo.Greeter"]
    );
    let said = grpcurl(&["-d", r#"{"service": "waypost.demo.Greeter"}"#], &["grpc.health.v1.Health/Check"]).await;
    assert!(said.contains("SERVING"), "{said}");
    demo.end().await;
}
