//! Reads the replies of scripts: arrays whose first element is a word.

use std::collections::HashMap;

use fred::types::Value;
use lifecycle_core::wire::time::ServerTime;

use crate::error::StoreError;

/// A script's reply, which is read element by element.
pub(crate) struct Reply {
    word: String,
    rest: std::vec::IntoIter<Value>,
}

impl Reply {
    pub(crate) fn read(value: Value) -> Result<Self, StoreError> {
        let mut rest = value.into_array().into_iter();
        let word = rest.next().and_then(|first| first.as_string()).ok_or_else(|| unexpected("no word"))?;
        Ok(Self { word, rest })
    }

    pub(crate) fn word(&self) -> &str {
        &self.word
    }

    pub(crate) fn text(&mut self) -> String {
        self.rest.next().as_ref().map(text).unwrap_or_default()
    }

    pub(crate) fn number(&mut self) -> Result<u64, StoreError> {
        self.rest.next().as_ref().and_then(number).ok_or_else(|| unexpected("no number"))
    }

    pub(crate) fn time(&mut self) -> Result<ServerTime, StoreError> {
        self.number().map(ServerTime::from_store_ms)
    }

    /// A list of encoded values; those that cannot be read are left out.
    pub(crate) fn list<T: serde::de::DeserializeOwned>(&mut self) -> Vec<T> {
        let values = self.rest.next().map(Value::into_array).unwrap_or_default().into_iter();
        let bytes = values.filter_map(Value::into_owned_bytes);
        bytes.filter_map(|bytes| lifecycle_core::wire::codec::decode(&bytes).ok()).collect()
    }

    /// Names and values in turn.
    pub(crate) fn fields(&mut self) -> HashMap<String, String> {
        self.rest.next().map(fields).unwrap_or_default()
    }

    pub(crate) fn texts(self) -> Vec<String> {
        self.rest.map(|value| text(&value)).collect()
    }

    pub(crate) fn unexpected(&self) -> StoreError {
        unexpected(&self.word)
    }
}

fn unexpected(what: &str) -> StoreError {
    StoreError::Unexpected(format!("a script replied {what:?}"))
}

/// The value as text. Bytes that are no UTF-8 are replaced; such names are only ever reported.
pub(crate) fn text(value: &Value) -> String {
    value.as_str_lossy().map(std::borrow::Cow::into_owned).unwrap_or_default()
}

/// A whole number. Scores come as text and may have a fraction, which is dropped.
pub(crate) fn number(value: &Value) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked to be in range.
    let whole = |real: f64| (0.0..1.8e19).contains(&real).then_some(real as u64);
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Double(real) => whole(*real),
        other => {
            let text = other.as_str()?;
            text.parse::<u64>().ok().or_else(|| text.parse::<f64>().ok().and_then(whole))
        }
    }
}

/// A moment by the store's clock, in whole ms: what a script wrote, the end of a lease, or when a key expires.
pub(crate) fn time(value: &Value) -> Option<ServerTime> {
    number(value).map(ServerTime::from_store_ms)
}

/// Reads a list of names and values in turn.
pub(crate) fn fields(value: Value) -> HashMap<String, String> {
    if let Value::Map(map) = value {
        return map.inner().into_iter().map(|(k, v)| (k.as_str_lossy().into_owned(), text(&v))).collect();
    }
    let mut flat = value.into_array().into_iter();
    let mut fields = HashMap::new();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        fields.insert(text(&name), text(&value));
    }
    fields
}

/// Reads a list of ids and scores in turn.
pub(crate) fn scores(value: Value) -> Vec<(String, ServerTime)> {
    let mut flat = value.into_array().into_iter();
    let mut scores = Vec::new();
    while let (Some(id), Some(score)) = (flat.next(), flat.next()) {
        scores.push((text(&id), time(&score).unwrap_or_default()));
    }
    scores
}

/// A number as an argument of a script.
pub(crate) fn argument(number: u64) -> Value {
    number.to_string().into()
}
