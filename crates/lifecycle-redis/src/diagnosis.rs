//! What is behind a refusal: the server names neither the key of another type nor the kind of store it is.
//!
//! Asked only once something was refused, so that nothing costs a round trip while all is well.

use fred::interfaces::KeysInterface;
use lifecycle_core::wire::keys::KeyType;

use crate::deployment::Deployment;
use crate::error::StoreError;
use crate::refusal::Refusal;
use crate::store::Store;

impl Store {
    /// The error of a command or script on these keys, with what is behind it as far as that can be found out.
    pub(crate) async fn diagnose(&self, error: fred::error::Error, keys: &[String]) -> StoreError {
        let error = StoreError::from(error);
        let found = match error.refusal() {
            Some(Refusal::WrongType) => self.mistyped(keys).await,
            // A cluster's node closes the connection of who asks for slots that nobody serves.
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

    /// The reply to a command on one key, which is named where it holds another type.
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

    /// Asks whether the store is of a supported kind: for commands that read, which nothing would refuse. A store that
    /// does not let this user ask is taken for one.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] when it is not; else as the store says.
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
            // Whatever goes wrong here, the caller still has the refusal itself.
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
