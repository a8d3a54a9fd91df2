//! An etcd that speaks TLS only, and wants a certificate of whoever comes.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::process::Command;
use waypost::etcd::{self, Error, Tls};

use super::super::harness::eventually;
use super::super::harness::process::Process;
use super::super::harness::tools::{Folder, tool};
use super::{configured, count, put, quick, start, until};

/// Certificates, the server, and where it is.
struct Secured {
    folder: Folder,
    port: u16,
    _process: Process,
}

impl Secured {
    async fn start() -> Self {
        let folder = Folder::new("tls");
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("ca.pem"), authority.pem()).unwrap();
        // The server has a name that is not in its URL.
        for (who, name) in [("server", "etcd.test"), ("client", "waypost.test")] {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
            std::fs::write(file(&format!("{who}.pem")), certificate.pem()).unwrap();
            std::fs::write(file(&format!("{who}.key")), key.serialize_pem()).unwrap();
        }
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, peer) = (free(), format!("http://127.0.0.1:{}", free()));
        let url = format!("https://127.0.0.1:{port}");
        let mut command = Command::new(tool("etcd-debian/etcd", "setup-test"));
        command
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url, "--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("default={peer}")])
            .args(["--client-cert-auth", "--log-level", "error"]);
        for (flag, name) in [
            ("--data-dir", "data"),
            ("--cert-file", "server.pem"),
            ("--key-file", "server.key"),
            ("--trusted-ca-file", "ca.pem"),
        ] {
            command.arg(flag).arg(file(name));
        }
        let process = Process::start("etcd with TLS", &mut command);
        Secured { folder, port, _process: process }
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.path().join(name))
    }

    fn config(&self) -> etcd::Config {
        let tls = Tls {
            ca: self.file("ca.pem"),
            cert: self.file("client.pem"),
            key: self.file("client.key"),
            server_name: Some("etcd.test".to_owned()),
        };
        etcd::Config { endpoints: vec![format!("https://127.0.0.1:{}", self.port)], tls, ..etcd::Config::default() }
    }
}

#[tokio::test]
async fn certificates_are_used_both_ways() {
    let etcd = Secured::start().await;
    let client = configured(etcd.config());
    eventually("etcd", || client.list(b"/")).await;
    put(&client, "/services/a/1", "10.0.0.1:1").await;
    let (table, _tasks) = start(&client, "/services/", quick()).await;
    put(&client, "/services/a/2", "10.0.0.2:1").await;
    until(&table, |table| count(table, "a") == 2).await;

    // Each with one thing wrong: the name, the authority, no certificate, a file that is not there.
    let right = etcd.config();
    let with = |tls: Tls| etcd::Config { tls, call_timeout: Duration::from_secs(2), ..right.clone() };
    let another = Secured::start().await;
    let wrong_name = with(Tls { server_name: None, ..right.tls.clone() });
    let wrong_authority = with(Tls { ca: another.file("ca.pem"), ..right.tls.clone() });
    let no_certificate = with(Tls { cert: None, key: None, ..right.tls.clone() });
    for config in [wrong_name, wrong_authority, no_certificate] {
        let error = configured(config.clone()).list(b"/").await.unwrap_err();
        assert!(matches!(error, Error::Call { .. }), "{config:?}: {error:?}");
    }
    let no_file = with(Tls { ca: etcd.file("nowhere.pem"), ..right.tls.clone() });
    let error = configured(no_file).list(b"/").await.unwrap_err();
    assert!(matches!(error, Error::Setup { .. }), "{error:?}");
    assert!(error.to_string().contains("nowhere.pem"), "{error}");
}
