//! Many commands in one round trip.

use fred::types::Value;

use crate::error::{StoreError, is_wrong_type};

/// How many script calls may be under way at once.
pub(crate) const IN_FLIGHT: usize = 256;
/// How many agents are asked for in one pipeline.
pub(crate) const PIPELINED: usize = 500;

/// All replies of a pipeline. A pipeline that failed as a whole gives a single error, which must not pass for a
/// short list of replies.
pub(crate) fn all(
    replies: Vec<Result<Value, fred::error::Error>>,
    expected: usize,
) -> Result<Vec<Result<Value, fred::error::Error>>, StoreError> {
    if replies.len() == expected {
        return Ok(replies);
    }
    let given = replies.len();
    Err(match replies.into_iter().find_map(Result::err) {
        Some(error) => error.into(),
        None => StoreError::Unexpected(format!("{given} replies to {expected} commands")),
    })
}

/// One reply of a pipeline; `None` where the key holds another type.
pub(crate) fn value(reply: &Result<Value, fred::error::Error>) -> Result<Option<Value>, StoreError> {
    match reply {
        Ok(value) => Ok(Some(value.clone())),
        Err(error) if is_wrong_type(error) => Ok(None),
        Err(error) => Err(error.clone().into()),
    }
}

/// Flattens a list of pairs: RESP3 has pairs where RESP2 has a flat list.
pub(crate) fn flat(value: Value) -> Value {
    Value::Array(
        value
            .into_array()
            .into_iter()
            .flat_map(|item| if item.is_array() { item.into_array() } else { vec![item] })
            .collect(),
    )
}
