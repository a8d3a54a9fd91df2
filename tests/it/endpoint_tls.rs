//! Endpoints that are spoken to by TLS: each is a plain backend behind an end of TLS in this process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::harness::{
    Backend, Scene,
    client::{self, full},
    eventually,
    tools::Folder,
};

/// A certificate for `name`, its own authority, in a file that a configuration can name.
struct Certificate {
    folder: Folder,
    key: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Certificate {
    fn new(name: &str) -> Self {
        let folder = Folder::new("endpoint-tls");
        let key = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(folder.path().join("ca.pem"), key.cert.pem()).unwrap();
        Certificate { folder, key }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Ends TLS in front of `backend`, and agrees to `protocol`.
    async fn before(&self, backend: &Backend, protocol: &str) -> SocketAddr {
        let key = PrivateKeyDer::try_from(self.key.signing_key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.key.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![protocol.into()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, backend) = (listener.local_addr().unwrap(), backend.address);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not trust us ends the handshake.
                    let Ok(mut outside) = acceptor.accept(stream).await else { return };
                    let mut inside = TcpStream::connect(backend).await.unwrap();
                    copy_bidirectional(&mut outside, &mut inside).await.ok();
                });
            }
        });
        address
    }
}

#[tokio::test]
async fn endpoints_are_spoken_to_by_tls_where_their_registration_asks_for_it() {
    let (new, web) = (Backend::h2c("new").await, Backend::http1("web").await);
    let certificate = Certificate::new("127.0.0.1");
    let (new_at, web_at) = (certificate.before(&new, "h2").await, certificate.before(&web, "http/1.1").await);
    let ca = certificate.path();
    let services = format!("services: {{named: {{new: &tls {{tls: {{ca: {}}}}}, web: *tls}}}}\n", ca.display());
    let scene = Scene::new(&services).await;
    scene.etcd.put("/services/new/1", &format!("grpcs://{new_at}")).await;
    // What this one speaks it only says in the handshake.
    scene.etcd.put("/services/web/1", &web_at.to_string()).await;
    scene.knows(2).await;

    scene.reaches("new", "new").await;
    let client = scene.client().await;
    for (service, version) in [("new", "HTTP/2.0"), ("web", "HTTP/1.1")] {
        let seen = client.http("GET", &format!("http://{service}/"), &[], full("")).await;
        assert_eq!((seen.status, &seen.json()["version"]), (200, &version.into()), "{service}: {}", seen.text());
    }
}

#[tokio::test]
async fn probes_speak_tls_as_calls_do() {
    let (new, web) = (Backend::h2c("new").await, Backend::http1("web").await);
    let (certificate, other) = (Certificate::new("127.0.0.1"), Certificate::new("127.0.0.1"));
    let (new_at, web_at) = (certificate.before(&new, "h2").await, certificate.before(&web, "http/1.1").await);
    let untrusted_at = other.before(&new, "h2").await;
    let health = |kind: &str| format!("health: {{probe: {{kind: {kind}, interval: 200ms}}}}");
    let services = format!(
        "services: {{default: {{tls: {{ca: {}}}}}, named: {{new: {{{}}}, web: {{{}}}}}}}\n",
        certificate.path().display(),
        health("grpc"),
        health("http"),
    );
    let scene = Scene::new(&services).await;
    for (key, address) in [("new/1", new_at), ("web/1", web_at), ("new/2", untrusted_at)] {
        scene.etcd.put(&format!("/services/{key}"), &address.to_string()).await;
    }
    for (address, says) in [
        (new_at, " healthy for "),
        (web_at, "its probes succeed"),
        (new_at, "its probes succeed"),
        (untrusted_at, "its probes fail: TLS handshake failed"),
    ] {
        eventually("its health", || async {
            let text = client::get(scene.waypost.admin, "/health").await.expect("an answer").1;
            let line = text.lines().find(|line| line.contains(&address.to_string())).unwrap_or_default().to_owned();
            if line.contains(says) { Ok(()) } else { Err(text) }
        })
        .await;
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_trusted_gets_no_call() {
    let backend = Backend::h2c("one").await;
    for (name, trusted) in [("somewhere.else", None), ("127.0.0.1", Some(Certificate::new("127.0.0.1")))] {
        let certificate = Certificate::new(name);
        let address = certificate.before(&backend, "h2").await;
        let ca = trusted.as_ref().unwrap_or(&certificate).path();
        let reveal = "proxy: {reveal_addresses: true}\n";
        let services = format!("{reveal}services: {{default: {{tls: {{ca: {}}}}}}}\n", ca.display());
        let scene = Scene::new(&services).await;
        scene.etcd.put("/services/one/1", &address.to_string()).await;
        scene.knows(1).await;
        let reply = scene.client().await.unary("one").await.unwrap();
        assert_eq!(reply.status, 14, "{reply:?}");
        assert!(format!("{reply:?}").contains("TLS handshake failed"), "{reply:?}");
    }
    assert_eq!(backend.seen.calls(), 0);
}
