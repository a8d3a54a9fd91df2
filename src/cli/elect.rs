//! `waypost elect`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use serde_json::json;

use super::child::Signals;
use super::connect::{Connect, exit};
use super::{Failure, show};
use crate::config::parse_duration;
use crate::registry::{Leader, clip};

/// Stand for election, and lead until SIGTERM or Ctrl-C; or see who leads.
#[derive(Args)]
#[command(after_help = "Exit codes: 3: nobody leads (with --show); 4: the leadership was lost.

Examples:
  waypost elect scheduler host-7
  waypost elect scheduler --show
  waypost elect scheduler --listen")]
pub(super) struct Arguments {
    /// The election.
    name: String,
    /// What we say when we lead.
    #[arg(required_unless_present_any = ["show", "listen"])]
    value: Option<String>,
    /// Print what the leader says, and do not stand.
    #[arg(long, conflicts_with = "value")]
    show: bool,
    /// Print what each leader says, until Ctrl-C, and do not stand.
    #[arg(long, conflicts_with_all = ["value", "show"])]
    listen: bool,
    /// How long nobody else can lead if this process crashes, in whole seconds from 2 (registry.ttl, default 10s).
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ttl: Option<Duration>,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(super) fn run(
    arguments: Arguments,
    environment: Vec<(String, String)>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Arguments { name, value, show, listen, ttl, json, connect } = arguments;
    connect.run(environment, async |open| {
        let mut signals = Signals::new()?;
        let elections = open.registry.elections().with_ttl(ttl.unwrap_or(open.settings.registry.ttl));
        if show {
            let leader = elections.leader(&name).await?;
            return match leader {
                Some(leader) => Ok(tell(out, Some(&leader), json)?),
                None => Err(exit(3, format!("nobody leads `{name}`"))),
            };
        }
        if listen {
            let mut leaders = elections.observe(&name)?;
            loop {
                tokio::select! {
                    Some(leader) = leaders.next() => tell(out, leader.as_ref(), json)?,
                    _ = signals.stop(None) => return Ok(()),
                }
            }
        }
        let leadership = tokio::select! {
            leadership = elections.campaign(&name, value.unwrap_or_default()) => leadership?,
            _ = signals.stop(None) => return Ok(()),
        };
        writeln!(out, "leading {name} with the fencing token {}", leadership.token()?)?;
        out.flush()?;
        tokio::select! {
            loss = leadership.lost() => Err(exit(4, format!("the leadership of `{name}` is lost: {loss}"))),
            _ = signals.stop(None) => Ok(leadership.resign().await?),
        }
    })
}

fn tell(out: &mut dyn Write, leader: Option<&Leader>, json: bool) -> std::io::Result<()> {
    match (leader, json) {
        (leader, true) => {
            let value = leader.map(|leader| show::lossy(&leader.value));
            show::line(out, &json!({"value": value, "token": leader.map(|leader| leader.token)}))
        }
        (Some(leader), false) => {
            writeln!(out, "{}", clip(&show::lossy(&leader.value)))?;
            out.flush()
        }
        (None, false) => {
            writeln!(out, "(nobody leads)")?;
            out.flush()
        }
    }
}
