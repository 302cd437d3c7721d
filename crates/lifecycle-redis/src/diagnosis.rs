//! Finds the cause of a refusal: the server names neither the key of another type nor what kind of store it is.
//!
//! It asks only after a refusal, so it costs no round trip while all is well.

use fred::interfaces::KeysInterface;
use lifecycle_core::wire::keys::KeyType;

use crate::deployment::Deployment;
use crate::error::StoreError;
use crate::refusal::Refusal;
use crate::store::Store;

impl Store {
    /// The error of a command or script on these keys, with its cause as far as that can be found out.
    pub(crate) async fn diagnose(&self, error: fred::error::Error, keys: &[String]) -> StoreError {
        let error = StoreError::from(error);
        let found = match error.refusal() {
            Some(Refusal::WrongType) => self.mistyped(keys).await,
            // A node of a cluster closes the connection when it is asked for slots that no node serves.
            Some(Refusal::ReadOnly | Refusal::NotHere | Refusal::ClusterDown | Refusal::PrimaryDown) => {
                match self.check_deployment().await {
                    Err(unsupported @ StoreError::Unsupported { .. }) => Some(unsupported),
                    _ => None,
                }
            }
            _ => None,
        };
        found.unwrap_or(error)
    }

    /// The reply to a command on one key. If the key holds another type, the error names it.
    pub(crate) async fn of_key<T>(
        &self,
        key: &str,
        reply: Result<T, fred::error::Error>,
    ) -> Result<T, StoreError> {
        match reply {
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.diagnose(error, &[key.to_string()]).await),
        }
    }

    /// Asks whether the store is of a supported kind. Commands that only read need this, because nothing refuses them.
    /// A store that does not allow this user to ask counts as supported.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] when it is not; another [`StoreError`] when the store does not answer.
    pub async fn check_deployment(&self) -> Result<(), StoreError> {
        let asked = tokio::try_join!(self.server_info("replication"), self.server_info("cluster"));
        let (mut info, cluster) = match asked {
            Ok(sections) => sections,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "the store does not say of what kind it is");
                return Ok(());
            }
        };
        info.extend(cluster);
        match Deployment::read(&info) {
            Some(deployment) => Err(StoreError::Unsupported { url: self.url(), deployment }),
            None => Ok(()),
        }
    }

    /// The first of these keys that holds another type than it should.
    async fn mistyped(&self, keys: &[String]) -> Option<StoreError> {
        for key in keys {
            let Some(wanted) = self.keys().holds(key) else { continue };
            // Errors of this look are ignored: the caller still has the refusal itself.
            let holds: String = self.client.r#type(key.as_str()).await.ok()?;
            if let Ok(holds) = holds.parse::<KeyType>()
                && holds != wanted
            {
                return Some(StoreError::WrongType { key: key.clone(), holds, wanted });
            }
        }
        None
    }
}
