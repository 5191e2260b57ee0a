//! What two nodes tell each other after their hellos, over the same stream: keys of sealed frames.
//!
//! ```text
//!   offset  bytes
//!   0       1      what it is
//!   1       1      length of what follows
//!   2       ...    1 key: number (4, big-endian), sixteen bytes      "I seal with this one when you have said that you took it"
//!                  2 taken: number (4)                                "what is sealed with it is opened here"
//!                  3 again: nothing                                   "I do not know the key that you use: make another"
//! ```
//!
//! A letter that is not known is passed over, so that later versions may say more.

use lattice_seal::{SECRET_BYTES, Secret};

use crate::refusal::Refusal;

const KEY: u8 = 1;
const TAKEN: u8 = 2;
const AGAIN: u8 = 3;
const NUMBER_BYTES: usize = 4;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Letter {
    /// What the writer is about to seal with.
    Key(Secret),
    /// All workers of the writer open with the key of this number.
    Taken(u32),
    /// The writer does not know the reader's key.
    Again,
}

impl Letter {
    /// The bytes on the stream.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Letter::Key(secret) => (KEY, [&secret.id().to_be_bytes()[..], secret.bytes()].concat()),
            Letter::Taken(id) => (TAKEN, id.to_be_bytes().to_vec()),
            Letter::Again => (AGAIN, Vec::new()),
        };
        let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
        [&[kind, length][..], &body].concat()
    }

    /// What a body says. `None`: something of a later version.
    fn decode(kind: u8, body: &[u8]) -> Result<Option<Self>, Refusal> {
        let malformed = || Refusal::Malformed(format!("a letter {kind} of {} bytes", body.len()));
        let number = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).map_err(|_| malformed());
        Ok(Some(match kind {
            KEY => {
                let (id, bytes) = body.split_at_checked(NUMBER_BYTES).ok_or_else(malformed)?;
                let bytes: [u8; SECRET_BYTES] = bytes.try_into().map_err(|_| malformed())?;
                Letter::Key(Secret::of_parts(number(id)?, bytes).ok_or_else(malformed)?)
            }
            TAKEN => Letter::Taken(number(body)?),
            AGAIN => Letter::Again,
            _ => return Ok(None),
        }))
    }
}

/// Reads the next letter. `Ok(None)`: the stream has ended, which the connection's end explains.
pub(crate) async fn read(stream: &mut quinn::RecvStream) -> Result<Option<Letter>, Refusal> {
    loop {
        let mut head = [0; 2];
        if stream.read_exact(&mut head).await.is_err() {
            return Ok(None);
        }
        let [kind, length] = head;
        let mut body = vec![0; usize::from(length)];
        if stream.read_exact(&mut body).await.is_err() {
            return Ok(None);
        }
        if let Some(letter) = Letter::decode(kind, &body)? {
            return Ok(Some(letter));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Option<Letter>, Refusal> {
        let [kind, length, body @ ..] = bytes else { panic!("no letter") };
        assert_eq!(body.len(), usize::from(*length));
        Letter::decode(*kind, body)
    }

    #[test]
    fn what_is_written_is_read() {
        let secret = Secret::of_parts(7, [9; SECRET_BYTES]).expect("a key");
        for letter in [Letter::Key(secret), Letter::Taken(u32::MAX), Letter::Again] {
            assert_eq!(parse(&letter.encode()), Ok(Some(letter)));
        }
        assert_eq!(Letter::Taken(0x0102_0304).encode(), [2, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn what_is_malformed_is_refused_and_what_is_not_known_is_passed_over() {
        assert_eq!(parse(&[9, 3, 1, 2, 3]), Ok(None));
        let key = [&[KEY, 20, 0, 0, 0, 7][..], &[1; 16]].concat();
        assert!(matches!(parse(&key), Ok(Some(Letter::Key(_)))));
        let zero = [&[KEY, 20, 0, 0, 0, 0][..], &[1; 16]].concat();
        for bad in [&zero[..], &[TAKEN, 3, 0, 0, 1], &[KEY, 2, 0, 0], &[KEY, 5, 0, 0, 0, 1, 1]] {
            assert!(matches!(parse(bad), Err(Refusal::Malformed(_))), "{bad:?}");
        }
    }
}
