//! Who may do what: roles that may do what their holders need, and nothing else.

use std::collections::BTreeSet;
use std::fmt;

use super::config::with_slash;
use super::{Config, Error, Registry};
use crate::etcd::{Access, Permission};

/// A role and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub permissions: Vec<Permission>,
}

impl Role {
    /// A proxy, which reads what is below these prefixes: services, and the locks that its dashboard shows.
    pub fn proxy<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> Self {
        let permissions = each(prefixes).into_iter().map(|prefix| Permission::prefix(Access::Read, prefix)).collect();
        Role { name: "waypost-proxy".to_owned(), permissions }
    }

    /// A registrant, which writes the instances of one service, and sees what becomes of them.
    pub fn registrant(service: &str, config: &Config) -> Self {
        let own = format!("{}{service}/", with_slash(config.prefix.clone()));
        let permissions = vec![Permission::prefix(Access::ReadWrite, &own)];
        Role { name: format!("waypost-registrant-{service}"), permissions }
    }

    /// An operator, who may see and change services, locks and elections, and what else is below these prefixes.
    pub fn operator<'a>(prefixes: impl IntoIterator<Item = &'a str>, config: &'a Config) -> Self {
        let own = [config.prefix.as_str(), &config.lock_prefix, &config.election_prefix];
        let all = each(prefixes.into_iter().chain(own)).into_iter();
        let permissions = all.map(|prefix| Permission::prefix(Access::ReadWrite, prefix)).collect();
        Role { name: "waypost-operator".to_owned(), permissions }
    }
}

/// Each once, in their order.
fn each<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    prefixes.into_iter().collect()
}

/// Something that is to be done to make roles as they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Add the role.
    Add(String),
    /// Let the role do this.
    Grant(String, Permission),
    /// The role may do more than it should. To be looked at: it is not taken away.
    Excess(String, Permission),
}

impl fmt::Display for Step {
    /// As one would type it with etcdctl.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Add(role) => write!(f, "role add {role}"),
            Step::Grant(role, permission) => write!(f, "role grant-permission {role} {}", Shown(permission)),
            Step::Excess(role, permission) => {
                write!(f, "# {role} may do more than is planned, which is left as it is: {}", Shown(permission))
            }
        }
    }
}

struct Shown<'a>(&'a Permission);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Permission { access, first, end } = self.0;
        let access = match access {
            Access::Read => "read",
            Access::Write => "write",
            Access::ReadWrite => "readwrite",
        };
        let first = String::from_utf8_lossy(first);
        if *self.0 == Permission::prefix(self.0.access, &first) {
            write!(f, "{access} {first} --prefix")
        } else {
            write!(f, "{access} {first} {}", String::from_utf8_lossy(end))
        }
    }
}

impl Registry {
    /// What is to be done so that there are these roles.
    ///
    /// # Errors
    ///
    /// Those of etcd; only a user with the role `root` may ask, once users are asked for at all. Cancel-safe.
    pub async fn plan(&self, roles: &[Role]) -> Result<Vec<Step>, Error> {
        let known = self.client().roles().await?;
        let mut steps = Vec::new();
        for Role { name, permissions } in roles {
            let held = match known.contains(name) {
                true => self.client().permissions(name).await?,
                false => {
                    steps.push(Step::Add(name.clone()));
                    Vec::new()
                }
            };
            let missing = permissions.iter().filter(|permission| !held.contains(permission));
            steps.extend(missing.map(|permission| Step::Grant(name.clone(), permission.clone())));
            let more = held.into_iter().filter(|permission| !permissions.contains(permission));
            steps.extend(more.map(|permission| Step::Excess(name.clone(), permission)));
        }
        Ok(steps)
    }

    /// Does a step.
    ///
    /// # Errors
    ///
    /// Those of etcd. Cancelled, it may or may not be done; planned anew, nothing is done twice.
    pub async fn take(&self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Add(role) => self.client().role_add(role).await?,
            Step::Grant(role, permission) => self.client().role_grant(role, permission).await?,
            Step::Excess(..) => {}
        }
        Ok(())
    }
}
