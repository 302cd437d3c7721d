//! How bytes in Redis are read and written. Values are MessagePack maps with named fields, or JSON for fleets that mix
//! in clients of the plain protocol. Both are always read.
//!
//! The first byte tells them apart: JSON objects start with `{`, MessagePack maps never do (`0x7b` is a
//! small integer there).

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::word_enum::word_enum;

/// Values above this many bytes are not decoded. Our own beats and events are far smaller, and a huge value that
/// somebody else wrote must not be able to use up a reader's memory.
pub const MAX_DECODED_LEN: usize = 64 * 1024;

word_enum! {
    /// How values are written. Reading accepts both.
    Wire, "wire format" {
        /// MessagePack maps with named fields.
        MsgPack = "msgpack",
        /// JSON objects with the same fields.
        Json = "json",
    }
}

#[allow(clippy::derivable_impls)] // The macro knows of no default.
impl Default for Wire {
    fn default() -> Self {
        Self::MsgPack
    }
}

impl Wire {
    /// Encodes a value with named fields.
    ///
    /// # Errors
    /// [`Malformed`] when the value has no representation (a map with composite keys, say).
    pub fn encode<T: Serialize>(self, value: &T) -> Result<Vec<u8>, Malformed> {
        match self {
            Self::MsgPack => rmp_serde::to_vec_named(value).map_err(|e| Malformed(e.to_string())),
            Self::Json => serde_json::to_vec(value).map_err(|e| Malformed(e.to_string())),
        }
    }
}

/// Bytes that are neither format, lack a field, or are too long; the text says which.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Decodes MessagePack or JSON, told apart by the first byte. Unknown fields are ignored.
///
/// # Errors
/// [`Malformed`] when the bytes are over [`MAX_DECODED_LEN`], are neither format, or lack a field.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    if bytes.len() > MAX_DECODED_LEN {
        return Err(Malformed(format!("{} bytes, over the limit of {MAX_DECODED_LEN}", bytes.len())));
    }
    match bytes.first() {
        None => Err(Malformed("empty".into())),
        Some(b'{') => serde_json::from_slice(bytes).map_err(|e| Malformed(format!("not valid JSON: {e}"))),
        Some(_) => rmp_serde::from_slice(bytes).map_err(|e| Malformed(format!("not valid MessagePack: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn both_formats_are_read_whatever_is_written() {
        let value = BTreeMap::from([("agentId".to_string(), "coder-1".to_string())]);
        for wire in [Wire::MsgPack, Wire::Json] {
            let bytes = wire.encode(&value).unwrap();
            assert_eq!(decode::<BTreeMap<String, String>>(&bytes).unwrap(), value);
        }
        assert_eq!(Wire::MsgPack.encode(&value).unwrap()[0] & 0xf0, 0x80, "a map with named fields");
    }

    #[test]
    fn rubbish_is_an_error_and_never_a_panic() {
        for bytes in [&b""[..], b"{", b"\xc1", b"{\"a\":", b"\xdf\xff\xff\xff\xff", b"\x93\x01"] {
            assert!(decode::<BTreeMap<String, String>>(bytes).is_err(), "{bytes:?}");
        }
        assert!(
            decode::<BTreeMap<String, String>>(&vec![b'{'; 10 << 20])
                .unwrap_err()
                .0
                .contains("over the limit")
        );
    }
}
