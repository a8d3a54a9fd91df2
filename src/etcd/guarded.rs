//! Changes that happen only if nothing changed before.

use etcd_client::{Compare, CompareOp, Txn, TxnOp};

use super::Operation;
use super::client::Client;
use super::error::Error;

impl Client {
    /// Deletes a key if its last change was at this revision. False if it was changed since, or is gone.
    ///
    /// # Errors
    ///
    /// As any call. If an answer got lost, the key may be gone although the next member says false.
    pub async fn delete_at(&self, key: &[u8], revision: i64) -> Result<bool, Error> {
        let response = self
            .call(Operation::Txn, |client| {
                let mut kv = client.kv_client();
                let is_same = Compare::mod_revision(key, CompareOp::Equal, revision);
                let txn = Txn::new().when(vec![is_same]).and_then(vec![TxnOp::delete(key, None)]);
                async move { kv.txn(txn).await }
            })
            .await?;
        Ok(response.0.succeeded)
    }
}
