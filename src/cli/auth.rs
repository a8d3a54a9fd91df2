//! `waypost auth`: users and roles.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::connect::{Connect, Open, exit};
use super::{Failure, show};
use crate::admin::ORDERS;
use crate::etcd::Client;
use crate::registry::{Error, Role, Step};

#[derive(Subcommand)]
pub(super) enum Auth {
    /// Create roles that may do what a proxy, a registrant and an operator need, and nothing else.
    ///
    /// Roles are waypost-proxy, which reads the prefixes of `prefixes` and, for its dashboard, of `admin.locks.prefixes`;
    /// waypost-registrant-NAME, which writes the instances of the service NAME; and waypost-operator, which may change
    /// services, locks, elections and orders. What is there already stays. Users are not touched: see `waypost auth
    /// user-add`.
    #[command(after_help = "Examples:
  waypost auth init --service greeter --service web --dry-run
  waypost auth init --service greeter")]
    Init(Init),
    /// Show users with their roles, and roles with what they may do.
    Show(Show),
    /// Add a user, with a password from a file's first line.
    #[command(
        after_help = "Example:\n  waypost auth user-add greeter --password-file pw.txt --role waypost-registrant-greeter"
    )]
    UserAdd(UserAdd),
    /// Delete a user.
    UserDelete(UserDelete),
}

#[derive(Args)]
pub(super) struct Init {
    /// A service whose instances shall register; may be repeated.
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
    /// Print what would be done, as one would type it with etcdctl, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args)]
pub(super) struct Show {
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args)]
pub(super) struct UserAdd {
    /// The user.
    user: String,
    /// A file whose first line is the password.
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// A role that it gets; may be repeated.
    #[arg(long)]
    role: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args)]
pub(super) struct UserDelete {
    /// The user.
    user: String,
    #[command(flatten)]
    connect: Connect,
}

pub(super) fn run(command: Auth, environment: Vec<(String, String)>, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Auth::Init(Init { service, dry_run, connect }) => {
            connect.run(environment, async |open| init(&open, &service, dry_run, out).await)
        }
        Auth::Show(Show { json, connect }) => {
            connect.run(environment, async |open| show(&open.client, json, out).await)
        }
        Auth::UserAdd(UserAdd { user, password_file, role, connect }) => {
            let text = std::fs::read_to_string(&password_file);
            let text =
                text.map_err(|error| exit(2, format!("`{}` cannot be read: {error}", password_file.display())))?;
            let password = text.lines().next().unwrap_or_default().to_owned();
            if password.is_empty() {
                return Err(exit(2, format!("the first line of `{}` is empty", password_file.display())));
            }
            connect.run(environment, async |open| {
                open.client.user_add(&user, &password).await.map_err(Error::from)?;
                for role in &role {
                    open.client.user_grant(&user, role).await.map_err(Error::from)?;
                }
                Ok(())
            })
        }
        Auth::UserDelete(UserDelete { user, connect }) => {
            connect.run(environment, async |open| Ok(open.client.user_delete(&user).await.map_err(Error::from)?))
        }
    }
}

async fn init(open: &Open, services: &[String], dry_run: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if services.iter().any(String::is_empty) {
        return Err(Failure::Usage("--service must name a service".to_owned()));
    }
    let prefixes: Vec<_> = open.sources()?.into_iter().map(|source| source.prefix.path().to_owned()).collect();
    // Locks may be of another client, and so of another cluster.
    let admin = &open.settings.admin;
    let locks = admin.lock_prefixes.iter().filter(|_| *admin.lock_client == **open.client.name());
    let prefixes = || prefixes.iter().chain(locks.clone()).map(String::as_str);
    let config = open.registry.config();
    let mut roles = vec![Role::proxy(prefixes()), Role::operator(prefixes().chain([ORDERS]), config)];
    roles.extend(services.iter().map(|service| Role::registrant(service, config)));
    let steps = open.registry.plan(&roles).await?;
    for step in &steps {
        writeln!(out, "{step}")?;
        if !dry_run {
            open.registry.take(step).await?;
        }
    }
    let left = steps.iter().filter(|step| !matches!(step, Step::Excess(..))).count();
    match (left, dry_run) {
        (0, _) => writeln!(out, "# all roles are as they should be")?,
        (_, true) => writeln!(out, "# nothing was done")?,
        (left, false) => writeln!(out, "# done, {left} steps")?,
    }
    Ok(())
}

async fn show(client: &Client, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let (mut users, mut roles) = (Vec::new(), Vec::new());
    for user in client.users().await.map_err(Error::from)? {
        let held = client.user_roles(&user).await.map_err(Error::from)?;
        users.push((user, held));
    }
    for role in client.roles().await.map_err(Error::from)? {
        for permission in client.permissions(&role).await.map_err(Error::from)? {
            roles.push((role.clone(), Step::Grant(role.clone(), permission).to_string()));
        }
    }
    if json {
        let users: Vec<_> =
            users.iter().map(|(user, roles)| serde_json::json!({"user": user, "roles": roles})).collect();
        let roles: Vec<_> = roles.iter().map(|(role, may)| serde_json::json!({"role": role, "grant": may})).collect();
        show::document(out, &serde_json::json!({"users": users, "roles": roles}))?;
        return Ok(());
    }
    let rows: Vec<_> = users.into_iter().map(|(user, roles)| vec![user, roles.join(",")]).collect();
    show::table(out, &["USER", "ROLES"], &rows)?;
    for (_, may) in roles {
        writeln!(out, "{may}")?;
    }
    Ok(())
}
