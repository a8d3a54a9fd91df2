//! `bench-pingora PORT http2|http1 ADDRESS...`: carries calls to the addresses in turn, on 127.0.0.1:PORT.

use std::env;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::apps::HttpServerOptions;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Proxy {
    endpoints: Vec<SocketAddr>,
    http2: bool,
    next: AtomicUsize,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut peer = HttpPeer::new(self.endpoints[turn % self.endpoints.len()], false, String::new());
        if self.http2 {
            // Prior knowledge, and as many streams on a connection as the load has on all: the default is one.
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = 200;
        }
        Ok(Box::new(peer))
    }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [port, protocol, endpoints @ ..] = &arguments[..] else { panic!("PORT http2|http1 ADDRESS...") };
    let proxy = Proxy {
        endpoints: endpoints.iter().map(|address| address.parse().expect("an address")).collect(),
        http2: protocol == "http2",
        next: AtomicUsize::new(0),
    };
    let conf = ServerConf {
        // One thread, as Waypost has one worker; then there is nobody to steal work from.
        threads: 1,
        work_stealing: false,
        // As many idle connections as there may be endpoints: the default of 128 would close most of 10,000.
        upstream_keepalive_pool_size: 10_000,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, proxy);
    let mut options = HttpServerOptions::default();
    // HTTP/2 with prior knowledge from clients.
    options.h2c = true;
    service.app_logic_mut().expect("the service's logic").server_options = Some(options);
    service.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(service);
    server.run_forever();
}
