//! The settings of a client.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{self, Secret, Section};

/// Where etcd is, and how to talk to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// URLs of members, as `http://host:2379`; one without a scheme is https if `tls.ca` is set, else http. Default:
    /// the local one. They are tried in this order, from a random one on.
    pub endpoints: Vec<String>,
    /// Who to log in as. Default: nobody.
    pub user: Option<String>,
    /// The password of `user`, from `password`, or from the first line of the file `password_file`.
    pub password: Option<Secret>,
    /// Certificates.
    pub tls: Tls,
    /// How long a connection may take to be made. Default 2 s, from 10 ms to 1 min.
    pub dial_timeout: Duration,
    /// How long a call may take, with making the connection if there is none. Default 5 s, from 10 ms to 5 min.
    pub call_timeout: Duration,
    /// How often a connection in use is probed while nothing comes. etcd's servers end connections that are probed
    /// more often than every 5 s. Default 10 s, from 5 s to 1 h.
    pub keep_alive: Duration,
    /// How long the answer to a probe may take. Default 5 s, from 100 ms to 5 min.
    pub keep_alive_timeout: Duration,
    /// The largest message taken from etcd, in bytes. Default 64 MiB, from 64 KiB to 1 GiB.
    pub max_decoding: usize,
    /// The largest message sent to etcd, in bytes; etcd itself refuses more than 1.5 MiB unless told otherwise. Default
    /// 2 MiB, from 64 KiB to 1 GiB.
    pub max_encoding: usize,
    /// How many calls may be under way at a time; more wait. Default 1,000, from 1 to 100,000.
    pub max_active: usize,
    /// The age at which a connection is replaced by a new one, give or take a tenth: names are resolved anew then.
    /// Default `off`, from 1 s to 7 d.
    pub lifetime: Option<Duration>,
    /// How often etcd is asked for members that are not configured; those that can be reached are used as well.
    /// Default `off`, from 1 s to 1 d. Members advertise addresses that may be out of reach from here.
    pub auto_sync: Option<Duration>,
}

/// The name of the client that the `etcd` section itself describes.
pub const DEFAULT_CLIENT: &str = "default";

/// Reads the `etcd` section: the default client, and those below `clients` under their names.
pub fn read_clients(section: &mut Section<'_>) -> BTreeMap<String, Config> {
    let default = Config::read(section);
    let mut clients = section.map("clients", |name, section| {
        if name == DEFAULT_CLIENT {
            section.error("", "is the client that the etcd section itself describes; name this one otherwise");
        }
        Config::read(section)
    });
    clients.insert(DEFAULT_CLIENT.to_owned(), default);
    clients
}

/// The certificates of a client. They are read again with each connection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tls {
    /// A PEM file with what the server's certificate is signed by. Required for https.
    pub ca: Option<PathBuf>,
    /// A PEM file with our own certificate, if etcd asks for one.
    pub cert: Option<PathBuf>,
    /// A PEM file with its key.
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must have. Default: the host in the URL.
    pub server_name: Option<String>,
}

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_mins(1);
const MIB: u64 = 1 << 20;

impl Config {
    /// Reads the section of one client.
    pub fn read(section: &mut Section<'_>) -> Self {
        let tls = section.section("tls", Tls::read);
        let endpoints = section.strings("endpoints", &["http://127.0.0.1:2379"]);
        if endpoints.is_empty() {
            section.error("endpoints", "needs one URL at least, as http://127.0.0.1:2379");
        }
        let endpoints = endpoints.into_iter().map(|url| endpoint(section, &url, &tls)).collect();

        let user = section.optional("user");
        let password = password(section);
        if user.is_some() && password.is_none() {
            section.error("user", "needs a password: set password, or password_file");
        }
        if user.is_none() && password.is_some() {
            section.error("password", "needs a user");
        }

        let size = |section: &mut Section<'_>, key, default| {
            let bytes = section.bytes(key, default, 64 << 10..=1 << 30);
            usize::try_from(bytes).unwrap_or(usize::MAX)
        };
        Config {
            endpoints,
            user,
            password,
            tls,
            dial_timeout: section.duration("dial_timeout", 2 * SECOND, 10 * MILLISECOND..=MINUTE),
            call_timeout: section.duration("call_timeout", 5 * SECOND, 10 * MILLISECOND..=5 * MINUTE),
            keep_alive: section.duration("keep_alive", 10 * SECOND, 5 * SECOND..=60 * MINUTE),
            keep_alive_timeout: section.duration("keep_alive_timeout", 5 * SECOND, 100 * MILLISECOND..=5 * MINUTE),
            max_decoding: size(section, "max_decoding", 64 * MIB),
            max_encoding: size(section, "max_encoding", 2 * MIB),
            max_active: section.integer("max_active", 1000, 1..=100_000),
            lifetime: section.optional_duration("lifetime", None, SECOND..=7 * 24 * 60 * MINUTE),
            auto_sync: section.optional_duration("auto_sync", None, SECOND..=24 * 60 * MINUTE),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        config::defaults(Config::read)
    }
}

impl Tls {
    fn read(section: &mut Section<'_>) -> Self {
        let mut path = |key| section.optional(key).map(PathBuf::from);
        let (ca, cert, key) = (path("ca"), path("cert"), path("key"));
        if cert.is_some() != key.is_some() {
            section.error("cert", "cert and key belong together: set both, or neither");
        }
        Tls { ca, cert, key, server_name: section.optional("server_name") }
    }
}

/// Checks a URL and adds its scheme if it lacks one.
fn endpoint(section: &mut Section<'_>, text: &str, tls: &Tls) -> String {
    let scheme = if tls.ca.is_some() { "https" } else { "http" };
    let url = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
    let wrong = match url.parse::<http::Uri>() {
        Err(_) => Some("is no URL; write http://host:2379".to_owned()),
        Ok(uri) if uri.authority().is_some_and(|a| a.as_str().contains('@')) => {
            return {
                section.error("endpoints", "a URL holds a user or password; set user and password instead");
                url
            };
        }
        Ok(uri) => match (uri.scheme_str(), uri.host()) {
            (_, None | Some("")) => Some("has no host; write http://host:2379".to_owned()),
            (Some("http"), _) => None,
            (Some("https"), _) if tls.ca.is_some() => None,
            (Some("https"), _) => Some("needs tls.ca, the certificate that etcd's own is signed by".to_owned()),
            (scheme, _) => Some(format!("has the scheme {}; it must be http or https", scheme.unwrap_or("none"))),
        },
    };
    if let Some(wrong) = wrong {
        section.error("endpoints", format!("`{text}` {wrong}"));
    }
    url
}

fn password(section: &mut Section<'_>) -> Option<Secret> {
    let value = section.secret("password");
    let Some(file) = section.optional("password_file") else { return value };
    if value.is_some() {
        section.error("password_file", "password is set as well; set one of them");
        return value;
    }
    match std::fs::read_to_string(&file) {
        Ok(text) => Some(Secret::new(text.lines().next().unwrap_or_default())),
        Err(error) => {
            section.error("password_file", format!("`{file}` cannot be read: {error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        config::parse(text, Config::read).map_err(|errors| errors.to_string())
    }

    #[test]
    fn an_empty_section_reads_as_the_local_etcd() {
        let config = read("").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.endpoints, ["http://127.0.0.1:2379"]);
        assert_eq!(config.auto_sync, None);
    }

    #[test]
    fn a_url_gets_the_scheme_that_it_lacks() {
        let config = read("endpoints: [a:2379, 'http://b:2379']\ntls: {ca: ca.pem}").unwrap();
        assert_eq!(config.endpoints, ["https://a:2379", "http://b:2379"]);
        assert_eq!(read("endpoints: a:1").unwrap().endpoints, ["http://a:1"]);
    }

    #[test]
    fn named_clients_stand_beside_the_default_one() {
        let clients = config::parse("{endpoints: a:1, clients: {other: {endpoints: b:1}}}", read_clients).unwrap();
        let endpoints: Vec<_> = clients.iter().map(|(name, config)| (&**name, &*config.endpoints[0])).collect();
        assert_eq!(endpoints, [("default", "http://a:1"), ("other", "http://b:1")]);
        let error = config::parse("clients: {default: {}}", read_clients).unwrap_err().to_string();
        assert!(error.contains("name this one otherwise"), "{error}");
    }

    #[test]
    fn what_cannot_work_says_why() {
        for (text, why) in [
            ("endpoints: []", "needs one URL"),
            ("endpoints: ['https://a:1']", "tls.ca"),
            ("endpoints: ['ftp://a:1']", "scheme ftp"),
            ("endpoints: ['http://']", "URL"),
            ("endpoints: ['http://me:secret@a:1']", "set user and password"),
            ("user: me", "needs a password"),
            ("password: secret", "needs a user"),
            ("{user: me, password_file: /nowhere/at/all}", "cannot be read"),
            ("{user: me, password: secret, password_file: x}", "one of them"),
            ("tls: {cert: a.pem}", "belong together"),
            ("keep_alive: 1s", "keep_alive"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
