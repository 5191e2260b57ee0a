//! Which frames of a lane have come: each is let in once, in any order within a window (as RFC 6479 has it).
//!
//! ```text
//!   counters   1 … h-1984 | h-1983 ……………………… h | h+1 …
//!              too old    | a bit each: came?    | new: the window moves up, in whole words
//! ```
//!
//! Words are a ring over the counters: the word of counter c is c / 64 modulo their number. One more word than the window needs
//! lets it move by whole words.

/// Frames that may be overtaken by later ones and are still let in.
pub const WINDOW_FRAMES: u64 = (WORDS as u64 - 1) * WORD_BITS;

const WORD_BITS: u64 = u64::BITS as u64;
const WORDS: usize = 32;
const _: () = assert!(WORDS.is_power_of_two() && WINDOW_FRAMES == 1984);

/// The window of one lane under one key.
#[derive(Clone, Debug)]
pub struct Window {
    highest: u64,
    words: [u64; WORDS],
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

impl Window {
    /// Before the first frame.
    #[must_use]
    pub const fn new() -> Self {
        Self { highest: 0, words: [0; WORDS] }
    }

    /// Lets a frame in whose tag has been verified. False: it has come before, or is too old to tell. Counters begin with 1.
    pub fn admit(&mut self, counter: u64) -> bool {
        if counter == 0 || counter.saturating_add(WINDOW_FRAMES) <= self.highest {
            return false;
        }
        let word = counter / WORD_BITS;
        if counter > self.highest {
            // The words between are of counters that are too old from now on.
            let steps = (word - self.highest / WORD_BITS).min(WORDS as u64);
            for step in 0..steps {
                self.words[Self::place(word - step)] = 0;
            }
            self.highest = counter;
        }
        let (word, bit) = (&mut self.words[Self::place(word)], 1 << (counter % WORD_BITS));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    const fn place(word: u64) -> usize {
        (word % WORDS as u64) as usize
    }
}
