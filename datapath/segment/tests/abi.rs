//! `ABI.md` says what the code does: its tables are compared with the layout structs.
#![cfg(not(loom))]

use lattice_segment::layout::*;
use lattice_segment::ring::layout::*;
use std::collections::BTreeMap;
use std::mem::offset_of;

const ABI: &str = include_str!("../ABI.md");

/// Table name -> its rows: offset, bytes, field.
fn tables() -> BTreeMap<String, Vec<(usize, usize, String)>> {
    let mut tables: BTreeMap<String, Vec<(usize, usize, String)>> = BTreeMap::new();
    let mut current = None;
    for line in ABI.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match cells[..] {
            ["offset", "bytes", name, "meaning"] => current = Some(name.to_owned()),
            [offset, bytes, field, _] => {
                if let (Some(table), Ok(offset), Ok(bytes)) = (&current, offset.parse(), bytes.parse()) {
                    tables.entry(table.clone()).or_default().push((offset, bytes, field.to_owned()));
                }
            }
            _ if !line.starts_with('|') => current = None,
            _ => {}
        }
    }
    tables
}

macro_rules! check {
    ($tables:ident, $layout:ident, $size:expr, [$($field:ident),*]) => {
        let rows = $tables.remove(stringify!($layout)).expect(stringify!($layout));
        let expected = [$((offset_of!($layout, $field), stringify!($field))),*];
        let found: Vec<(usize, &str)> = rows.iter().map(|row| (row.0, row.2.as_str())).collect();
        assert_eq!(found, expected, stringify!($layout));
        let mut end = 0;
        for (offset, bytes, field) in &rows {
            assert_eq!(*offset, end, "a gap before {field} of {}", stringify!($layout));
            end = offset + bytes;
        }
        assert_eq!(end, $size, stringify!($layout));
    };
}

#[test]
fn the_document_has_every_field_where_the_code_has_it() {
    let mut tables = tables();
    check!(
        tables,
        HeaderLayout,
        size_of::<HeaderLayout>(),
        [
            magic,
            version,
            total_bytes,
            state,
            incarnation,
            actor,
            topology,
            pid,
            pid_start_ticks,
            start_unix_ns,
            heartbeat_timeout_ns,
            cells_per_worker,
            index_entries_per_worker,
            extent_bytes_per_worker,
            change_ring_entries,
            counters_per_worker,
            node_name,
            cluster,
            socket_path,
            sections,
            reserved
        ]
    );
    check!(tables, SectionLayout, size_of::<SectionLayout>(), [id, offset_bytes, length_bytes, stride_bytes]);
    check!(tables, HeartbeatLayout, HEARTBEAT_BYTES, [monotonic_ns, reserved]);
    check!(tables, CellsHeaderLayout, size_of::<CellsHeaderLayout>(), [used, reserved]);
    check!(tables, CellLayout, CELL_BYTES, [meta, key_hash, version, value, second, key]);
    check!(tables, ChangesHeaderLayout, CHANGES_HEADER_BYTES, [head, reserved, padding]);
    check!(tables, ChangeLayout, CHANGE_BYTES, [cell, version]);
    check!(tables, CountersHeaderLayout, size_of::<CountersHeaderLayout>(), [count, reserved]);
    check!(tables, CounterLayout, COUNTER_BYTES, [name, value, reserved]);
    check!(
        tables,
        RingHeaderLayout,
        size_of::<RingHeaderLayout>(),
        [magic, version, total_bytes, workers, submission_slots, completion_slots, stride_bytes]
    );
    check!(
        tables,
        RingLinesLayout,
        size_of::<RingLinesLayout>(),
        [
            submission_tail,
            completion_head,
            client_reserved,
            awaiting,
            awaiting_reserved,
            submission_head,
            applied,
            completion_tail,
            daemon_reserved,
            sleeping,
            sleeping_reserved,
            told,
            terms,
            durable,
            majority,
            all,
            levels_reserved,
            merged,
            durable_on
        ]
    );
    check!(tables, SubmissionLayout, size_of::<SubmissionLayout>(), [header, amount, cell]);
    check!(tables, CompletionLayout, size_of::<CompletionLayout>(), [ticket, code]);
    assert!(tables.is_empty(), "tables that no layout stands behind: {tables:?}");
}

#[test]
fn the_document_has_the_numbers_of_the_code() {
    let numbers = [
        format!("version {VERSION_MAJOR}.{VERSION_MINOR}"),
        format!("header length = {HEADER_BYTES}"),
        format!("after {MAX_PROBES} entries"),
        format!("at most {INLINE_KEY_BYTES} bytes, zero-padded"),
        format!("in units of {GRANULE_BYTES} bytes"),
        format!("size class (0..{EXTENT_CLASSES})"),
        format!("depth at most {MAX_SET_DEPTH}"),
        format!("key length (1..={MAX_KEY_BYTES})"),
        format!("elements of at most {MAX_ELEMENT_BYTES} bytes"),
        format!("at most {MAX_REGISTER_BYTES} bytes"),
        format!("counters_per_worker | {COUNTERS_PER_WORKER} |"),
        format!("bit {} live", SET_ENTRY_LIVE.trailing_zeros()),
        format!("takes 1..={MAX_SUBMISSION_SLOTS} consecutive slots"),
        format!("the lines ({} bytes)", LINES_WORDS * 8),
        format!("`k` from 1 to {MAX_COUNTED_PEERS}"),
        format!(
            "{SECTION_HEARTBEATS} heartbeats, {SECTION_INDEX} index, {SECTION_CELLS} cells, {SECTION_EXTENTS} extents, \
             {SECTION_CHANGES} changes, {SECTION_COUNTERS} counters"
        ),
        format!("{STATE_INIT} INIT, {STATE_READY} READY, {STATE_CLOSED} CLOSED"),
        format!("| {KIND_COUNTER} | counter |"),
        format!("| {KIND_FLAG_ENABLE_WINS} | flag, enable wins |"),
        format!("| {KIND_FLAG_DISABLE_WINS} | flag, disable wins |"),
        format!("| {KIND_REGISTER} | register |"),
        format!("| {KIND_SET} | set |"),
    ];
    for number in numbers {
        assert!(ABI.contains(&number), "ABI.md lacks: {number}");
    }
    assert_eq!((MAGIC.to_le_bytes(), RING_MAGIC.to_le_bytes()), (*b"LATTICED", *b"LATTRING"));
}
