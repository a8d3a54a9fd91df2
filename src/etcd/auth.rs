//! Users, roles and permissions of a cluster.

use etcd_client::{Permission as EtcdPermission, PermissionType, RoleRevokePermissionOptions};

use super::Operation;
use super::client::{Client, prefix_end};
use super::error::Error;

/// What a role may do with the keys of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// Read and watch.
    Read,
    /// Write and delete.
    Write,
    /// Both.
    ReadWrite,
}

/// That a role may do something with the keys from `first` on and before `end`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permission {
    /// What.
    pub access: Access,
    /// The first key.
    pub first: Vec<u8>,
    /// The first key behind the range. Empty: the range is the one key.
    pub end: Vec<u8>,
}

impl Permission {
    /// For all keys that begin with a prefix.
    pub fn prefix(access: Access, prefix: &str) -> Self {
        Permission { access, first: prefix.as_bytes().to_vec(), end: prefix_end(prefix.as_bytes()) }
    }
}

impl Client {
    /// Adds a user.
    ///
    /// # Errors
    ///
    /// As any call, and so do all that follow; only a user with the role `root` may administrate.
    pub async fn user_add(&self, user: &str, password: &str) -> Result<(), Error> {
        self.auth(|mut auth| async move { auth.user_add(user, password, None).await.map(drop) }).await
    }

    /// Deletes a user.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn user_delete(&self, user: &str) -> Result<(), Error> {
        self.auth(|mut auth| async move { auth.user_delete(user).await.map(drop) }).await
    }

    /// Gives a user another password.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn user_password(&self, user: &str, password: &str) -> Result<(), Error> {
        self.auth(|mut auth| async move { auth.user_change_password(user, password).await.map(drop) }).await
    }

    /// The names of all users.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn users(&self) -> Result<Vec<String>, Error> {
        self.auth(|mut auth| async move { Ok(auth.user_list().await?.0.users) }).await
    }

    /// The roles of a user.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn user_roles(&self, user: &str) -> Result<Vec<String>, Error> {
        self.auth(|mut auth| async move { Ok(auth.user_get(user).await?.0.roles) }).await
    }

    /// Gives a user a role.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn user_grant(&self, user: &str, role: &str) -> Result<(), Error> {
        self.auth(|mut auth| async move { auth.user_grant_role(user, role).await.map(drop) }).await
    }

    /// Takes a role from a user.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn user_revoke(&self, user: &str, role: &str) -> Result<(), Error> {
        self.auth(|mut auth| async move { auth.user_revoke_role(user, role).await.map(drop) }).await
    }

    /// Adds a role that may do nothing.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn role_add(&self, role: &str) -> Result<(), Error> {
        self.auth(|mut auth| async move { auth.role_add(role).await.map(drop) }).await
    }

    /// Deletes a role.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn role_delete(&self, role: &str) -> Result<(), Error> {
        self.auth(|mut auth| async move { auth.role_delete(role).await.map(drop) }).await
    }

    /// The names of all roles.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn roles(&self) -> Result<Vec<String>, Error> {
        self.auth(|mut auth| async move { Ok(auth.role_list().await?.0.roles) }).await
    }

    /// What a role may do.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn permissions(&self, role: &str) -> Result<Vec<Permission>, Error> {
        let listed = self.auth(|mut auth| async move { Ok(auth.role_get(role).await?.permissions()) }).await?;
        let permission = |permission: EtcdPermission| {
            let access = match permission.get_type() {
                0 => Access::Read,
                1 => Access::Write,
                _ => Access::ReadWrite,
            };
            Permission { access, first: permission.key().to_vec(), end: permission.range_end().to_vec() }
        };
        Ok(listed.into_iter().map(permission).collect())
    }

    /// Lets a role do something.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn role_grant(&self, role: &str, permission: &Permission) -> Result<(), Error> {
        let kind = match permission.access {
            Access::Read => PermissionType::Read,
            Access::Write => PermissionType::Write,
            Access::ReadWrite => PermissionType::Readwrite,
        };
        let granted = EtcdPermission::new(kind, permission.first.clone()).with_range_end(permission.end.clone());
        self.auth(|mut auth| {
            let granted = granted.clone();
            async move { auth.role_grant_permission(role, granted).await.map(drop) }
        })
        .await
    }

    /// Takes from a role what it may do with exactly this range.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn role_revoke(&self, role: &str, permission: &Permission) -> Result<(), Error> {
        let options = RoleRevokePermissionOptions::new().with_range_end(permission.end.clone());
        self.auth(|mut auth| {
            let (first, options) = (permission.first.clone(), options.clone());
            async move { auth.role_revoke_permission(role, first, Some(options)).await.map(drop) }
        })
        .await
    }

    /// From now on, whoever asks for something must be a user who may. There must be a user `root` with the role `root`.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn auth_enable(&self) -> Result<(), Error> {
        self.auth(|mut auth| async move { auth.auth_enable().await.map(drop) }).await
    }

    /// From now on, everybody may do everything.
    ///
    /// # Errors
    ///
    /// As [`user_add`](Client::user_add).
    pub async fn auth_disable(&self) -> Result<(), Error> {
        self.auth(|mut auth| async move { auth.auth_disable().await.map(drop) }).await
    }

    async fn auth<T, F, Fut>(&self, act: F) -> Result<T, Error>
    where
        F: Fn(etcd_client::AuthClient) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.call(Operation::Auth, |client| act(client.auth_client())).await
    }
}
