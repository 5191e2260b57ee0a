//! Any file as a segment: a reader answers or refuses, and never reads where it should not.
//!
//! ```text
//!   segment          length, (place, words) (place, words) ...   a whole file of zeros with pieces in it
//!   segment_mutated  (place, change) (place, change) ...         a real segment, words changed before and while it is read
//! ```
//!
//! A file lies in memory only (memfd) and is opened by its path in `/proc`, as any path is. With ASan, a load beyond the
//! mapping is caught by the processor, one within it that was not meant by the assertions here.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::time::Duration;

use lattice_segment::layout::{
    COUNTERS_PER_WORKER, KIND_FLAG_DISABLE_WINS, KIND_REGISTER, KIND_SET, MAX_ELEMENT_BYTES, MAX_KEY_BYTES,
    MAX_REGISTER_BYTES, MAX_WORKERS,
};
use lattice_segment::{CellRef, Change, Lookup, OpenError, Reader};
use rustix::fs::MemfdFlags;

use crate::input::Input;

/// Longest file that is made.
const MAX_FILE_WORDS: usize = 1 << 16;
/// Cells of a damaged segment that are looked at.
const MAX_CELLS: usize = 64;

/// The real segment that `segment_mutated` begins with, as an input of `segment`.
const FURNISHED: &[u8] = include_bytes!("../corpus/segment/seed-furnished");

/// A file of zeros with pieces in it, as bytes for [`segment`]: only what is not zero takes room.
pub fn pack(file: &[u8]) -> Vec<u8> {
    let words: Vec<&[u8]> = file.chunks(8).collect();
    assert!(words.len() <= MAX_FILE_WORDS && file.len().is_multiple_of(8));
    let mut packed = (words.len() as u32).to_le_bytes().to_vec();
    let mut at = 0;
    while at < words.len() {
        let run: Vec<&[u8]> = words[at..].iter().copied().take(255).take_while(|w| *w != [0; 8]).collect();
        if run.is_empty() {
            at += 1;
            continue;
        }
        packed.extend((at as u16).to_le_bytes());
        packed.push(run.len() as u8);
        packed.extend(run.concat());
        at += run.len();
    }
    packed
}

/// The file that [`pack`] packed, or any other.
fn unpack(data: &[u8]) -> Vec<u8> {
    let mut input = Input::new(data);
    let words = input.u32() as usize % (MAX_FILE_WORDS + 1);
    let mut file = vec![0; words * 8];
    while !input.is_empty() {
        let at = usize::from(input.u16()) * 8;
        let len = usize::from(input.u8()) * 8;
        let run = input.bytes(len);
        if let Some(place) = file.get_mut(at..at + run.len()) {
            place.copy_from_slice(run);
        }
    }
    file
}

/// A file that has no name and no other user.
struct MemoryFile(File);

impl MemoryFile {
    fn new(contents: &[u8]) -> Self {
        let fd = rustix::fs::memfd_create("fuzzed", MemfdFlags::CLOEXEC).expect("a file in memory");
        let file = File::from(fd);
        file.write_all_at(contents, 0).expect("room for a small file");
        Self(file)
    }

    fn open(&self) -> Result<Reader, OpenError> {
        Reader::open(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    fn store(&self, word: usize, value: u64) {
        self.0.write_all_at(&value.to_le_bytes(), word as u64 * 8).expect("a store");
    }
}

/// Any file.
pub fn segment(data: &[u8]) {
    let file = unpack(data);
    let memory = MemoryFile::new(&file);
    match memory.open() {
        Ok(reader) => {
            header_says(&reader);
            read_still(&reader);
            read_all(&reader, &mut || {});
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A change of one word of the furnished segment.
struct Stroke {
    word: usize,
    how: u8,
    operand: u64,
}

impl Stroke {
    fn read(input: &mut Input<'_>, words: usize) -> Self {
        Self { word: usize::from(input.u16()) % words, how: input.u8(), operand: input.number() }
    }

    /// What the word becomes.
    fn apply(&self, word: u64, file: &[u8]) -> u64 {
        match self.how % 8 {
            0 => self.operand,
            1 => word ^ 1 << (self.operand % 64),
            2 => word.wrapping_add(self.operand),
            3 => word.wrapping_sub(self.operand),
            4 => word & !0xFF_FFFF | self.operand & 0xFF_FFFF,
            5 => word & 0xFFFF_FFFF | self.operand << 32,
            // Another word of the file: references and headers that are real, in the wrong place.
            6 => word_at(file, self.operand as usize % (file.len() / 8)),
            _ => word & !0xFFFF | self.operand & 0xFFFF,
        }
    }
}

fn word_at(file: &[u8], word: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&file[word * 8..][..8]);
    u64::from_le_bytes(bytes)
}

fn furnished() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| unpack(FURNISHED))
}

/// A real segment with words changed: some before it is opened, the others while it is read, as a hostile writer could.
pub fn segment_mutated(data: &[u8]) {
    let mut input = Input::new(data);
    let before = input.below(16);
    let mut file = furnished().to_vec();
    let words = file.len() / 8;
    for _ in 0..before {
        if input.is_empty() {
            break;
        }
        let stroke = Stroke::read(&mut input, words);
        let value = stroke.apply(word_at(&file, stroke.word), &file);
        file[stroke.word * 8..][..8].copy_from_slice(&value.to_le_bytes());
    }
    let memory = MemoryFile::new(&file);
    let reader = match memory.open() {
        Ok(reader) => reader,
        Err(error) => return assert_ne!(before, 0, "a real segment is refused: {error}"),
    };
    if before == 0 {
        is_whole(&reader);
    }
    header_says(&reader);
    read_still(&reader);
    read_all(&reader, &mut || {
        if !input.is_empty() {
            let stroke = Stroke::read(&mut input, words);
            let value = stroke.apply(word_at(&file, stroke.word), &file);
            memory.store(stroke.word, value);
        }
    });
}

/// The real segment as `seeds::segments` made it.
fn is_whole(reader: &Reader) {
    let (mut cells, mut members) = (0, 0);
    reader.keys(&mut |kind, key, cell| {
        cells += 1;
        assert_eq!(reader.lookup(kind, key), Lookup::Found(cell));
        if kind == KIND_SET {
            let mut walked = 0;
            let walk = reader.set_members(cell, &mut |element| {
                walked += 1;
                assert_eq!(reader.set_contains(cell, element), Ok(true));
            });
            assert_eq!((walk, reader.set_len(cell)), (Ok(()), Ok(walked)));
            members += walked;
        }
    });
    assert_eq!((cells, members), (12, 57), "the furnished segment");
}

fn header_says(reader: &Reader) {
    assert!((1..=MAX_WORKERS).contains(&reader.workers()) && reader.shards().is_power_of_two());
    assert!(reader.node_name().len() <= 64 && reader.cluster().len() <= 64 && reader.incarnation() != 0);
    let _ = (reader.node(), reader.actor(), reader.pid(), reader.pid_start_ticks(), reader.start_unix_ns());
    assert!(reader.socket_path().is_none_or(|path| path.as_os_str().len() <= 256));
    assert_eq!(reader.heartbeat_age_ns(reader.workers(), 5), u64::MAX, "no such worker");
    assert!(reader.changes(reader.workers()).is_none());
}

/// What must agree as long as nobody writes.
fn read_still(reader: &Reader) {
    let mut cells = Vec::new();
    reader.keys(&mut |kind, key, cell| {
        if cells.len() < MAX_CELLS {
            cells.push((kind, key.to_vec(), cell));
        }
    });
    let (mut out, mut again) = (Vec::new(), Vec::new());
    for (kind, key, cell) in cells {
        assert!((1..=MAX_KEY_BYTES).contains(&key.len()) && cell.worker() < reader.workers());
        assert_eq!(reader.key_of(cell).as_ref(), Ok(&(kind, key.clone())));
        if let Lookup::Found(found) = reader.lookup(kind, &key)
            && let Ok(of_found) = reader.key_of(found)
        {
            assert_eq!(of_found, (kind, key), "what was asked for");
        }
        assert_eq!(reader.word(cell), reader.word(cell));
        assert!(reader.word(cell).is_err() || kind <= KIND_FLAG_DISABLE_WINS);
        let (first, second) = (reader.bytes(cell, &mut out), reader.bytes(cell, &mut again));
        assert_eq!((first, &out), (second, &again));
        assert!(first.is_err() || kind == KIND_REGISTER);
        let mut members = Vec::new();
        let walked = reader.set_members(cell, &mut |element| members.push(element.to_vec()));
        let mut count = 0;
        assert_eq!(reader.set_members(cell, &mut |_| count += 1), walked);
        assert_eq!(count, members.len());
        assert!(walked.is_err() || kind == KIND_SET);
    }
}

/// Calls every read function; `meanwhile` runs between two of them, and between two elements of a set.
fn read_all(reader: &Reader, meanwhile: &mut dyn FnMut()) {
    let mut cells: Vec<(Vec<u8>, CellRef)> = Vec::new();
    reader.keys(&mut |_, key, cell| {
        meanwhile();
        if cells.len() < MAX_CELLS {
            cells.push((key.to_vec(), cell));
        }
    });
    for (key, cell) in &cells {
        meanwhile();
        read_cell(reader, key, *cell, meanwhile);
    }
    for worker in 0..reader.workers() {
        meanwhile();
        let _ = (reader.heartbeat_age_ns(worker, 5), reader.state(), reader.is_closed());
        let mut cursor = reader.changes(worker).expect("a worker's changes");
        assert_eq!(cursor.worker(), worker);
        for _ in 0..100 {
            meanwhile();
            if let Change::Item { cell, .. } = cursor.next() {
                let _ = (reader.key_of(cell), reader.version(cell));
            }
        }
        let _ = cursor.wait(Duration::ZERO);
    }
    assert!(reader.counters().len() <= usize::from(reader.workers()) * COUNTERS_PER_WORKER as usize);
}

fn read_cell(reader: &Reader, key: &[u8], cell: CellRef, meanwhile: &mut dyn FnMut()) {
    for kind in 0..7 {
        let _ = reader.lookup(kind, key);
    }
    meanwhile();
    let _ = (reader.word(cell), reader.version(cell), reader.set_len(cell));
    if let Ok((_, key)) = reader.key_of(cell) {
        assert!((1..=MAX_KEY_BYTES).contains(&key.len()));
    }
    meanwhile();
    let mut out = vec![7; 3];
    match reader.bytes(cell, &mut out) {
        Ok(()) => assert!(out.len() <= MAX_REGISTER_BYTES),
        Err(_) => assert!(out.is_empty(), "nothing of a value that was not read"),
    }
    for element in [&b""[..], b"element 0", b"element 1", &[7; MAX_ELEMENT_BYTES + 1]] {
        meanwhile();
        let _ = reader.set_contains(cell, element);
    }
    let mut members = 0;
    let _ = reader.set_members(cell, &mut |element| {
        assert!(element.len() <= MAX_ELEMENT_BYTES);
        members += 1;
        meanwhile();
    });
    assert!(members <= 1 << 20, "{members} members of a small file");
}
