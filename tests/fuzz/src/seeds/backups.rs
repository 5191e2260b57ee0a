//! Seeds of the backup target: edits of a real backup.

use super::Seed;

pub(super) fn seeds() -> Vec<Seed> {
    let seed = |name, data: &[u8]| Seed::new("backup", name, data);
    vec![
        seed("whole", &[0, 0]),
        seed("whole-sealed", &[1, 0]),
        seed("cut", &[0, 3, 0, 3]),
        seed("longer", &[0, 3, 0xFF, 0xFF]),
        // A byte of the header, of a section, of a snapshot.
        seed("header", &[0, 0, 0, 9, 0, 0, 1]),
        seed("section", &[0, 0, 1, 0, 8, 0, 1]),
        seed("snapshot", &[0, 0, 2, 0, 3, 0, 0x40]),
        // Behind seals that fit: shards, the length of a snapshot, the number of records and their length, the end.
        seed("sealed-shards", &[1, 0, 0, 8, 0, 1, 250, 3, 0, 0, 0, 0, 0, 3, 0]),
        seed("sealed-snapshot-length", &[1, 0, 1, 0, 8, 1, 224, 0]),
        seed("sealed-records", &[1, 0, 1, 1, 16, 1, 77]),
        seed("sealed-records-length", &[1, 0, 1, 1, 24, 1, 232, 4]),
    ]
}
