//! What is behind a refusal: the server names neither the key of another type nor the kind of store it is.
//!
//! Asked only once something was refused, so that nothing costs a round trip while all is well.

use fred::interfaces::KeysInterface;
use lifecycle_core::keys::KeyType;

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
