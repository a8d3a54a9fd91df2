//! `waypost doctor`: is the configured etcd well, and is what stands in it?

mod keys;
mod versions;

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use clap::Args;
use http::Request;
use serde_json::json;
use tokio_rustls::rustls::pki_types::ServerName;

use super::connect::{Connect, Open, exit};
use super::{Failure, show};
use crate::config::parse_duration;
use crate::etcd::{self, Client, MemberStatus, Metrics};
use crate::registry::{Address, Instance, Protocol};
use crate::table::{Endpoint, EndpointId};
use crate::upstream::{self, Tls, ask};

/// Clocks that differ by more than this are worth a word; an answer tells its time in whole seconds.
const CLOCK: Duration = Duration::from_secs(2);
/// The most that is read of a member's metrics.
const MOST: usize = 4 << 20;

/// Look at the configured etcd, and say what is wrong with it.
///
/// Each member: whether it answers, its version with what is known of it, its leader, alarms, how full it is, its clock.
/// Then the keys below each prefix: in which layouts instances are written, which of them have no lease, and what cannot
/// be read. Nothing is changed.
#[derive(Args)]
#[command(after_help = "Exit codes: 0: nothing is wrong, warnings apart; 1: something is.

Examples:
  waypost doctor
  waypost doctor --etcd http://etcd-0:2379,http://etcd-1:2379 --json")]
pub(super) struct Arguments {
    /// How long a member may take to answer.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_duration)]
    wait: Duration,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    Well,
    Warning,
    Wrong,
}

impl Grade {
    fn word(self) -> &'static str {
        match self {
            Grade::Well => "ok",
            Grade::Warning => "warning",
            Grade::Wrong => "wrong",
        }
    }
}

/// What was found of one thing.
pub(super) struct Finding {
    pub(super) about: String,
    pub(super) grade: Grade,
    pub(super) text: String,
}

/// All that was found, in order.
#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub(super) fn add(&mut self, about: &str, grade: Grade, text: impl Into<String>) {
        self.0.push(Finding { about: about.to_owned(), grade, text: text.into() });
    }
}

pub(super) fn run(
    arguments: Arguments,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Arguments { wait, json, connect } = arguments;
    connect.run(environment, async |open| {
        let mut findings = Findings::default();
        let well = members(&open, wait, &mut findings).await;
        if well {
            for source in open.sources()? {
                keys::look(&source, &mut findings).await;
            }
        }
        let Findings(findings) = findings;
        if json {
            let all = findings
                .iter()
                .map(|found| json!({"about": found.about, "grade": found.grade.word(), "text": found.text}));
            show::document(out, &all.collect())?;
        } else {
            for Finding { about, grade, text } in &findings {
                writeln!(out, "{:8} {about}: {text}", grade.word())?;
            }
        }
        match findings.iter().filter(|found| found.grade == Grade::Wrong).count() {
            0 => Ok(()),
            1 => Err(exit(1, "one thing is wrong")),
            wrong => Err(exit(1, format!("{wrong} things are wrong"))),
        }
    })
}

/// Looks at each configured member; true if one of them answers.
async fn members(open: &Open, wait: Duration, findings: &mut Findings) -> bool {
    let config = open.client.config();
    let mut answers: Vec<(String, MemberStatus)> = Vec::new();
    for url in &config.endpoints {
        // A client of its own, which has nobody else to go to.
        let alone = etcd::Config { endpoints: vec![url.clone()], auto_sync: None, ..config.clone() };
        let client = Client::new("doctor", alone, Metrics::default()).within(wait);
        match client.status().await {
            Err(error) => findings.add(url, Grade::Wrong, format!("it does not answer: {error}")),
            Ok(status) => {
                member(url, &status, config, wait, findings).await;
                answers.push((url.clone(), status));
            }
        }
    }
    let Some((_, first)) = answers.first() else { return false };
    if answers.iter().any(|(_, status)| status.leader != first.leader) {
        findings.add("cluster", Grade::Wrong, "its members take different ones for their leader; it may be cut in two");
    }
    match open.client.alarms().await {
        Err(error) => findings.add("alarms", Grade::Warning, format!("they cannot be asked for: {error}")),
        Ok(alarms) if alarms.is_empty() => findings.add("alarms", Grade::Well, "none"),
        Ok(alarms) => {
            for (member, what) in alarms {
                findings.add("alarms", Grade::Wrong, format!("member {member:x}: {what}"));
            }
        }
    }
    match open.client.member_list().await {
        Err(error) => findings.add("members", Grade::Warning, format!("they cannot be asked for: {error}")),
        Ok(members) => {
            let unknown: Vec<_> =
                members.iter().filter(|member| answers.iter().all(|(_, s)| s.id != member.id)).collect();
            for member in &unknown {
                let urls = member.urls.join(", ");
                let text =
                    format!("`{}` ({urls}) is not among those that answer here; add it to etcd.endpoints", member.name);
                findings.add("members", Grade::Warning, text);
            }
            let (all, grade) = (members.len(), if members.len() == 2 { Grade::Warning } else { Grade::Well });
            let text = match all {
                1 => "one: when it is away, nothing can be registered".to_owned(),
                2 => "two: if either is away nothing can be written; take three".to_owned(),
                all => format!("{all}"),
            };
            findings.add("members", grade, text);
        }
    }
    true
}

async fn member(url: &str, status: &MemberStatus, config: &etcd::Config, wait: Duration, findings: &mut Findings) {
    let known = versions::judge(&status.version);
    let role = match (status.leader, status.learner) {
        (0, _) => "it knows no leader",
        (leader, _) if leader == status.id => "it leads",
        (_, true) => "a learner",
        (_, false) => "it follows",
    };
    let grade = if status.leader == 0 { Grade::Wrong } else { Grade::Well };
    findings.add(url, grade, format!("etcd {}, {role}, revision {}", status.version, status.revision));
    for error in &status.errors {
        findings.add(url, Grade::Wrong, format!("it says: {error}"));
    }
    for text in known {
        findings.add(url, Grade::Warning, text);
    }
    let asked = match Asked::new(url, config, wait) {
        Ok(asked) => asked,
        Err(why) => return findings.add(url, Grade::Warning, format!("its clock and quota were not looked at: {why}")),
    };
    quota(url, status, &asked, findings).await;
    clock(url, &asked, findings).await;
}

/// How full the database is.
async fn quota(url: &str, status: &MemberStatus, asked: &Asked, findings: &mut Findings) {
    const MIB: u64 = 1 << 20;
    let (size, used) = status.size;
    let quota = asked.get("/metrics").await.ok().and_then(|(_, text)| metric(&text, "etcd_server_quota_backend_bytes"));
    let Some(quota) = quota.filter(|quota| *quota > 0.0) else {
        let text = format!("{} MiB of data, {} MiB in use; its quota is not known", size / MIB, used / MIB);
        return findings.add(url, Grade::Well, text);
    };
    let part = size as f64 / quota;
    let grade = if part > 0.8 {
        Grade::Wrong
    } else if part > 0.5 {
        Grade::Warning
    } else {
        Grade::Well
    };
    let hint = if part > 0.5 { "; compact and defragment it, or raise --quota-backend-bytes" } else { "" };
    let text = format!("{} MiB of {} MiB, {} MiB in use{hint}", size / MIB, quota as u64 / MIB, used / MIB);
    findings.add(url, grade, text);
}

/// Whether its clock says what ours does. etcd counts leases by no clock of the wall, but whoever reads logs does.
async fn clock(url: &str, asked: &Asked, findings: &mut Findings) {
    let before = SystemTime::now();
    let date = match asked.get("/version").await {
        Ok((date, _)) => date.and_then(|date| httpdate::parse_http_date(&date).ok()),
        Err(why) => return findings.add(url, Grade::Warning, format!("its clock cannot be read: {why}")),
    };
    let Some(date) = date else { return findings.add(url, Grade::Warning, "its answers bear no date") };
    let difference = match date.duration_since(before) {
        Ok(ahead) => ahead,
        Err(behind) => behind.duration().saturating_sub(Duration::from_secs(1)),
    };
    let (grade, text) = match difference > CLOCK {
        true => (Grade::Warning, format!("its clock differs from ours by {} s", difference.as_secs())),
        false => (Grade::Well, "its clock agrees with ours".to_owned()),
    };
    findings.add(url, grade, text);
}

/// The first sample of a metric without labels.
fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// A member as a web server, which it is beside gRPC.
struct Asked {
    endpoint: Endpoint,
    config: upstream::Config,
    wait: Duration,
}

impl Asked {
    fn new(url: &str, config: &etcd::Config, wait: Duration) -> Result<Self, String> {
        let (scheme, address) = url.split_once("://").unwrap_or(("http", url));
        let address: Address = address.trim_end_matches('/').parse().map_err(|error| format!("{error}"))?;
        let instance = Instance {
            service: address.host().to_owned(),
            id: String::new(),
            address,
            weight: 1,
            version: String::new(),
            zone: String::new(),
            tags: Vec::new(),
            protocol: Some(Protocol::Http1),
            tls: Some(scheme == "https"),
            metadata: Default::default(),
        };
        let tls = match scheme {
            "https" => Some(tls(config)?),
            _ => None,
        };
        let endpoint = Endpoint {
            id: EndpointId(0),
            label: instance.address.to_string().into(),
            instance: Arc::new(instance),
            lease: 0,
            revision: 0,
            doubted: false,
            state: Arc::default(),
        };
        Ok(Asked { endpoint, config: upstream::Config { tls, connect_timeout: wait, ..Default::default() }, wait })
    }

    /// The date of an answer, and the answer.
    async fn get(&self, path: &str) -> Result<(Option<String>, String), String> {
        let scheme = if self.config.tls.is_some() { "https" } else { "http" };
        let request = Request::get(format!("{scheme}://{}{path}", self.endpoint.label)).body(Bytes::new());
        let request = request.map_err(|error| error.to_string())?;
        let asking = ask(&self.endpoint, Protocol::Http1, &self.config, request, MOST);
        let answer = tokio::time::timeout(self.wait, asking).await;
        let answer =
            answer.map_err(|_| format!("no answer within {:?}", self.wait))?.map_err(|error| error.to_string())?;
        let date = answer.headers().get(http::header::DATE).and_then(|date| Some(date.to_str().ok()?.to_owned()));
        Ok((date, String::from_utf8_lossy(&answer.body().0).into_owned()))
    }
}

/// The certificates of the etcd client, for the same server.
fn tls(config: &etcd::Config) -> Result<Tls, String> {
    let read = |path: &Option<std::path::PathBuf>| {
        let read =
            |path: &std::path::PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        path.as_ref().map(read).transpose()
    };
    let (ca, cert, key) = (read(&config.tls.ca)?, read(&config.tls.cert)?, read(&config.tls.key)?);
    let name =
        config.tls.server_name.clone().map(ServerName::try_from).transpose().map_err(|error| error.to_string())?;
    Tls::new(ca, cert, key, name).map_err(|error| error.to_string())
}
