//! A host's published segment, with a reader beside it that looks at everything as it is published.
//!
//! ```text
//!   engine ── publish ──> Board ── SegmentPublisher ──> segment file ── Reader, ChangeCursor ──┐
//!                           └── what the engine said, cell by cell ─────── equal? ─────────────┘
//! ```
//!
//! The publisher, the writer, the file and the reader are the production ones. Beside them the board remembers what the
//! engine said of each cell, and after every commit compares: the reader finds exactly that, and whoever watches the
//! change ring was told.
//!
//! What found no room is remembered too: such a key shows an older value, rightly, so only what was published of it can
//! be compared.

use crate::oracle::Shown;
use crate::sabotage::Sabotage;
use lattice_crdt::Kind;
use lattice_engine::{Published, Publisher};
use lattice_segment::{CellRef, Change, ChangeCursor, Lookup, Reader, Segment, SegmentConfig};
use lattice_worker::SegmentPublisher;
use std::collections::BTreeSet;

/// Entries of the change ring: less than some bursts publish, so that overruns occur.
pub const CHANGE_RING_ENTRIES: u32 = 64;

/// What the engine last said of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Nothing,
    Word(u64),
    Bytes(Vec<u8>),
    Members(BTreeSet<Vec<u8>>),
}

struct Cell {
    kind: Kind,
    key: Box<[u8]>,
    content: Content,
    /// The last register value found no room.
    refused: bool,
    /// Elements whose last publication found no room.
    refused_elements: BTreeSet<Box<[u8]>>,
    /// It got its cell late: elements that were published before are not here, and nobody says which.
    incomplete: bool,
    /// It was published since the last comparison …
    touched: bool,
    /// … and readers see a difference.
    changed: bool,
}

/// See the module's documentation.
pub struct Board {
    publisher: SegmentPublisher,
    /// Kept for what its end does: it marks the file CLOSED.
    _segment: Segment,
    reader: Reader,
    changes: ChangeCursor,
    /// By the segment's cell numbers, which begin at 1.
    cells: Vec<Cell>,
    touched: Vec<u32>,
    announced: Vec<(CellRef, u64)>,
    /// Keys that got no cell.
    without_cell: BTreeSet<(Kind, Box<[u8]>)>,
    bytes: Vec<u8>,
    /// Some cell is.
    incomplete: bool,
    /// Nothing new finds room while this is on.
    pub no_room: bool,
    /// Publications that found no room.
    pub refusals: u64,
    /// The mistake that is made here, if any.
    pub sabotage: Option<Sabotage>,
}

impl Board {
    /// Creates a segment, in place of a former one at its path, and a reader of it.
    ///
    /// # Errors
    /// What the segment or its reader says.
    pub fn create(config: &SegmentConfig, incarnation: u64) -> anyhow::Result<Self> {
        let (segment, mut writers) = Segment::create_as(config, incarnation | 1)?;
        segment.mark_ready();
        let reader = Reader::open(&config.path)?;
        let changes = reader.changes(0).ok_or_else(|| anyhow::anyhow!("no change ring"))?;
        let mut writer = writers.pop().ok_or_else(|| anyhow::anyhow!("no writer"))?;
        // Nobody sleeps on it here, and a wake-up is a system call.
        writer.set_watchers(false);
        Ok(Self {
            publisher: SegmentPublisher::new(writer),
            _segment: segment,
            reader,
            changes,
            cells: Vec::new(),
            touched: Vec::new(),
            announced: Vec::new(),
            without_cell: BTreeSet::new(),
            bytes: Vec::new(),
            incomplete: false,
            no_room: false,
            refusals: 0,
            sabotage: None,
        })
    }

    /// The reader.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Ends a burst of publications and compares what a reader sees with what the engine said. `changed` gets the cells
    /// that were published.
    ///
    /// # Errors
    /// What differs.
    pub fn compare(&mut self, changed: &mut Vec<u32>) -> Result<(), String> {
        self.publisher.writer().end_burst();
        changed.clear();
        std::mem::swap(changed, &mut self.touched);
        let overrun = self.take_announcements();
        for &number in changed.iter() {
            let cell = &mut self.cells[number as usize - 1];
            let must_be_announced = std::mem::take(&mut cell.changed);
            cell.touched = false;
            let reference = self.compare_cell(number)?;
            let announced = self.announced.iter().rev().find(|(of, _)| *of == reference);
            let version = self.reader.version(reference).map_err(|error| self.told(number, &error))?;
            if must_be_announced && !overrun && announced.map(|(_, version)| *version) != Some(version) {
                let what = format!("version {version} was not announced to watchers");
                return Err(self.told(number, &what));
            }
        }
        Ok(())
    }

    /// Fills `announced`; returns whether the cursor was overrun.
    fn take_announcements(&mut self) -> bool {
        self.announced.clear();
        loop {
            match self.changes.next() {
                Change::Item { cell, version } => self.announced.push((cell, version)),
                Change::None => return false,
                Change::Overrun => return true,
            }
        }
    }

    fn told(&self, number: u32, what: &dyn std::fmt::Display) -> String {
        let cell = &self.cells[number as usize - 1];
        format!("segment, {} `{}`: {what}", cell.kind, cell.key.escape_ascii())
    }

    fn compare_cell(&mut self, number: u32) -> Result<CellRef, String> {
        let cell = &self.cells[number as usize - 1];
        let reference = match self.reader.lookup(cell.kind as u8, &cell.key) {
            Lookup::Found(reference) if reference.cell() == number => reference,
            other => return Err(self.told(number, &format!("a reader finds {other:?}"))),
        };
        let (seen, expected): (String, String) = match &cell.content {
            Content::Nothing => return Ok(reference),
            Content::Word(word) => match self.reader.word(reference) {
                Ok(seen) if seen == *word => return Ok(reference),
                seen => (format!("{seen:?}"), format!("{word}")),
            },
            Content::Bytes(bytes) => match self.reader.bytes(reference, &mut self.bytes) {
                Ok(()) if self.bytes == *bytes => return Ok(reference),
                seen => {
                    (format!("{seen:?} {}", self.bytes.escape_ascii()), format!("{}", bytes.escape_ascii()))
                }
            },
            Content::Members(members) => {
                // A member that is met twice counts twice, so the sets are equal if the numbers are.
                let (mut met, mut strangers) = (0, Vec::new());
                let result =
                    self.reader.set_members(reference, &mut |element| match members.contains(element) {
                        true => met += 1,
                        false => strangers.push(element.to_vec()),
                    });
                let counted = self.reader.set_len(reference).unwrap_or(u64::MAX);
                if result.is_ok() && strangers.is_empty() && met == members.len() && counted == met as u64 {
                    return Ok(reference);
                }
                (
                    format!("{result:?}, {met} members, {counted} counted, besides {strangers:?}"),
                    format!("{members:?}"),
                )
            }
        };
        Err(self.told(number, &format!("a reader sees {seen}, the engine said {expected}")))
    }

    /// Whether something that found no room has not been published since.
    pub fn waits(&self) -> bool {
        let waits = |cell: &Cell| cell.refused || !cell.refused_elements.is_empty();
        !self.without_cell.is_empty() || self.cells.iter().any(waits)
    }

    /// Whether something is not shown for want of room when it was begun.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete || !self.without_cell.is_empty()
    }

    /// The engines say that nothing waits for room any more. A key that is empty again has stopped waiting without a word.
    pub fn is_complete_now(&mut self) {
        self.incomplete = false;
        self.without_cell.clear();
        self.cells.iter_mut().for_each(|cell| cell.incomplete = false);
    }

    /// Kind and name of a cell.
    pub fn name(&self, number: u32) -> (Kind, &[u8]) {
        let cell = &self.cells[number as usize - 1];
        (cell.kind, &cell.key)
    }

    /// What readers see of a key; `None` while a publication of it waits for room.
    pub fn shown(&self, kind: Kind, key: &[u8]) -> Option<Shown<'_>> {
        let number = match self.reader.lookup(kind as u8, key) {
            Lookup::Found(reference) => reference.cell(),
            _ if self.without_cell.contains(&(kind, Box::from(key))) => return None,
            _ => return Some(Shown::Nothing),
        };
        let cell = &self.cells[number as usize - 1];
        if cell.refused || cell.incomplete || !cell.refused_elements.is_empty() {
            return None;
        }
        Some(match &cell.content {
            Content::Nothing => Shown::Nothing,
            Content::Word(word) => Shown::Word(*word),
            Content::Bytes(bytes) => Shown::Bytes(bytes),
            Content::Members(members) => Shown::Members(members),
        })
    }

    /// All cells.
    pub fn numbers(&self) -> std::ops::RangeInclusive<u32> {
        1..=self.cells.len() as u32
    }

    /// Compares every cell, published lately or not, and that readers walk over exactly these.
    ///
    /// # Errors
    /// What differs.
    pub fn compare_all(&mut self) -> Result<(), String> {
        for number in self.numbers() {
            self.compare_cell(number)?;
        }
        let mut walked = 0;
        self.reader.keys(&mut |_, _, _| walked += 1);
        if walked != self.cells.len() {
            return Err(format!("segment: a reader walks over {walked} keys of {}", self.cells.len()));
        }
        Ok(())
    }

    fn touch(&mut self, number: u32, changed: bool) -> &mut Cell {
        let cell = &mut self.cells[number as usize - 1];
        cell.changed |= changed;
        if !std::mem::replace(&mut cell.touched, true) {
            self.touched.push(number);
        }
        cell
    }

    fn refuse(&mut self) -> Published {
        self.refusals += 1;
        Published::Full
    }
}

impl Publisher for Board {
    fn open(&mut self, kind: Kind, key_hash: u64, key: &[u8]) -> Option<u32> {
        // A key that was dropped and comes again finds its cell, room or not.
        let needs_room = || !matches!(self.reader.lookup(kind as u8, key), Lookup::Found(_));
        let opened = match self.no_room && needs_room() {
            true => None,
            false => self.publisher.open(kind, key_hash, key),
        };
        let Some(number) = opened else {
            self.refusals += 1;
            self.without_cell.insert((kind, key.into()));
            return None;
        };
        let late = !self.without_cell.is_empty() && self.without_cell.remove(&(kind, Box::from(key)));
        self.incomplete |= late && kind == Kind::Set;
        if number as usize > self.cells.len() {
            self.cells.push(Cell {
                kind,
                key: key.into(),
                content: Content::Nothing,
                refused: false,
                refused_elements: BTreeSet::new(),
                incomplete: late && kind == Kind::Set,
                touched: false,
                changed: false,
            });
        }
        Some(number)
    }

    fn word(&mut self, number: u32, mut value: u64) -> Published {
        match self.sabotage {
            Some(Sabotage::WrongValue) => value = value.wrapping_add(1),
            Some(Sabotage::LostPublication) => return Published::Visible,
            _ => {}
        }
        let wrong = u64::from(self.sabotage == Some(Sabotage::WrongWord));
        let published = self.publisher.word(number, value ^ wrong);
        self.touch(number, true).content = Content::Word(value);
        published
    }

    fn bytes(&mut self, number: u32, value: &[u8]) -> Published {
        if self.no_room || self.publisher.bytes(number, value) == Published::Full {
            self.touch(number, false).refused = true;
            return self.refuse();
        }
        let cell = self.touch(number, true);
        cell.content = Content::Bytes(value.to_vec());
        cell.refused = false;
        Published::Visible
    }

    fn element(&mut self, number: u32, element: &[u8], present: bool) -> Published {
        if (self.no_room && present) || self.publisher.element(number, element, present) == Published::Full {
            self.touch(number, false).refused_elements.insert(element.into());
            return self.refuse();
        }
        let cell = self.touch(number, false);
        cell.refused_elements.remove(element);
        if cell.content == Content::Nothing {
            cell.content = Content::Members(BTreeSet::new());
        }
        if let Content::Members(members) = &mut cell.content {
            cell.changed |= if present { members.insert(element.to_vec()) } else { members.remove(element) };
        }
        Published::Visible
    }
}
