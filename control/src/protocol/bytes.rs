//! Bytes in JSON: text where they are UTF-8, else `{"hex":"…"}`.

use std::fmt::Write as _;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key, an element or a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// None.
    #[must_use]
    pub fn empty() -> Self {
        Self(Vec::new())
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Spelled {
    Text(String),
    Hex { hex: String },
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut hex = String::with_capacity(self.0.len() * 2);
                for byte in &self.0 {
                    // Writing to a string does not fail.
                    let _ = write!(hex, "{byte:02x}");
                }
                Spelled::Hex { hex }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Spelled::deserialize(deserializer)? {
            Spelled::Text(text) => Ok(Self(text.into_bytes())),
            Spelled::Hex { hex } => {
                from_hex(&hex).map(Self).ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
            }
        }
    }
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_whatever_they_are() {
        for (bytes, text) in
            [(&b"a\x1b"[..], r#""a\u001b""#), (b"\xff\x0a", r#"{"hex":"ff0a"}"#), (b"", r#""""#)]
        {
            let spelled = serde_json::to_string(&Bytes::from(bytes)).expect("JSON");
            assert_eq!(spelled, text);
            assert_eq!(serde_json::from_str::<Bytes>(&spelled).expect("bytes"), Bytes::from(bytes));
        }
        for bad in [r#"{"hex":"f"}"#, r#"{"hex":"zz"}"#, "7", r#"{"hex":"+f"}"#] {
            assert!(serde_json::from_str::<Bytes>(bad).is_err(), "{bad}");
        }
    }
}
