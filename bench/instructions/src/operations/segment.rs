//! Publications: the segment's writer alone.

use anyhow::{Context, ensure};
use lattice_segment::{CellId, Lookup, Reader, Segment, SegmentConfig, Writer, key_hash, layout};
use tempfile::TempDir;

use super::{BURST, KEYS, Operation, element, key};

/// A segment with its writer and a reader.
pub struct World {
    /// Its only writer.
    pub writer: Writer,
    /// A reader.
    pub reader: Reader,
    /// Whoever drops it closes the segment.
    pub segment: Segment,
    /// The directory of the segment: `segment` is its file's name.
    pub directory: TempDir,
}

/// A segment for as many keys as the operations use.
pub fn world() -> anyhow::Result<World> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("segment");
    let config = SegmentConfig {
        path: path.clone(),
        node: 1,
        node_name: "node".into(),
        cluster: "instructions".into(),
        actor: 1,
        workers: 1,
        shards: 1,
        cells_per_worker: 2 * KEYS as u32,
        extent_bytes_per_worker: 4 << 20,
        change_ring_entries: 4096,
        heartbeat_timeout_ns: u64::MAX,
        socket_path: None,
    };
    // The incarnation is the seed of the hashes of elements.
    let (segment, mut writers) = Segment::create_as(&config, 0x1234_5678_9abc_def1)?;
    segment.mark_ready();
    let reader = Reader::open(&path)?;
    Ok(World { writer: writers.pop().context("no writer")?, reader, segment, directory })
}

impl World {
    /// Makes the cell of a key.
    pub fn open(&mut self, kind: u8, key: &str) -> anyhow::Result<CellId> {
        Ok(self.writer.open_cell(kind, key_hash(key.as_bytes()), key.as_bytes())?)
    }
}

/// How many cells the publications of one round go to, one after the other.
struct Publication {
    world: World,
    cells: Vec<CellId>,
    elements: Vec<String>,
    round: u64,
    publish: fn(&mut Publication, usize),
    /// What a reader must see of the first cell after so many rounds.
    seen: fn(&Publication) -> anyhow::Result<bool>,
}

impl Operation for Publication {
    fn prepare(&mut self) -> anyhow::Result<()> {
        ensure!(self.round == 0 || (self.seen)(self)?, "a reader does not see what was published");
        self.world.writer.end_burst();
        self.round += 1;
        Ok(())
    }

    fn round(&mut self) {
        for at in 0..BURST as usize {
            (self.publish)(self, at);
        }
    }
}

fn publication(
    kind: u8,
    publish: fn(&mut Publication, usize),
    seen: fn(&Publication) -> anyhow::Result<bool>,
) -> anyhow::Result<Box<dyn Operation>> {
    let mut world = world()?;
    world.writer.set_watchers(false);
    let cells = (0..KEYS).map(|number| world.open(kind, &key(number))).collect::<Result<_, _>>()?;
    let elements = (0..1000).map(element).collect();
    Ok(Box::new(Publication { world, cells, elements, round: 0, publish, seen }))
}

/// A counter's value.
pub fn publish_counter() -> anyhow::Result<Box<dyn Operation>> {
    publication(
        layout::KIND_COUNTER,
        |p, at| p.world.writer.publish_word(p.cells[at], p.round),
        |p| match p.world.reader.lookup(layout::KIND_COUNTER, key(0).as_bytes()) {
            Lookup::Found(cell) => Ok(p.world.reader.word(cell)? == p.round),
            _ => Ok(false),
        },
    )
}

/// A register's bytes.
pub fn publish_register() -> anyhow::Result<Box<dyn Operation>> {
    publication(
        layout::KIND_REGISTER,
        |p, at| {
            // Refused only for want of room, which `seen` notices.
            let _ = p.world.writer.publish_bytes(p.cells[at], &[p.round as u8; 64]);
        },
        |p| match p.world.reader.lookup(layout::KIND_REGISTER, key(0).as_bytes()) {
            Lookup::Found(cell) => {
                let mut bytes = Vec::new();
                p.world.reader.bytes(cell, &mut bytes)?;
                Ok(bytes == [p.round as u8; 64])
            }
            _ => Ok(false),
        },
    )
}

/// A set's member that comes in one round and goes in the next.
pub fn publish_member() -> anyhow::Result<Box<dyn Operation>> {
    let mut world = world()?;
    world.writer.set_watchers(false);
    let cells = vec![world.open(layout::KIND_SET, "set")?];
    let elements: Vec<String> = (0..1000).map(element).collect();
    for element in &elements {
        world.writer.set_insert(cells[0], element.as_bytes())?;
    }
    Ok(Box::new(Publication {
        world,
        cells,
        elements,
        round: 0,
        publish: |p, at| {
            let element = p.elements[at * 15].as_bytes();
            // Refused only for want of room, which `seen` notices.
            let _ = match p.round % 2 {
                0 => p.world.writer.set_insert(p.cells[0], element),
                _ => p.world.writer.set_remove(p.cells[0], element),
            };
        },
        seen: |p| match p.world.reader.lookup(layout::KIND_SET, b"set") {
            Lookup::Found(cell) => {
                let gone = if p.round % 2 == 0 { 0 } else { u64::from(BURST) };
                Ok(p.world.reader.set_len(cell)? == 1000 - gone)
            }
            _ => Ok(false),
        },
    }))
}
