//! Which writes of which clients are carried out: the rules of namespaces.
//!
//! A key's namespace is what stands before its first `/`; a key without one, or with one that is not declared, is of the
//! default namespace. Rules are for local writes. What peers wrote is merged whatever it is: a host that refused it would
//! differ from the others for ever.
//!
//! ```text
//!   by key      key ──> namespace ──> its rule: undeclared? kind? who? room?          a client's first writes to a key
//!   by handle   cell ──> number (a byte that is kept) ──> bit of the client's mask     all further ones: no lookup
//!                          └── out of date, or the bit is not set ──> as by key, and the number is stored
//! ```
//!
//! [`Namespaces`] is the table of all rules, one for all workers, never changed. Another one takes its place as a whole
//! (`Command::SetNamespaces`). A number is a place in the table, and the high bit says in which of two tables: in the one before,
//! it finds no bit. Then each worker goes through its cells, some in each turn, and counts the keys of each namespace anew.
//! What can go wrong: a client that makes a key in a namespace with a limit waits until all workers have counted, which
//! takes milliseconds.
//!
//! Keys are counted by their cells. A cell outlasts its key, so a set that was emptied and dropped keeps its place here until
//! the daemon's restart. A limit is exact for what local clients make, over all workers: a place is reserved before a key is
//! made, and given back when its cell is counted.

use lattice_crdt::Kind;
use lattice_segment::layout::MAX_KEY_BYTES;
use lattice_segment::{Writer, codes};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

/// Bytes of a namespace's name, at most.
pub const MAX_NAMESPACE_BYTES: usize = 63;

/// Namespaces that can be declared: with the default one, each has a bit in a word, and two numbers are for other uses.
pub const MAX_NAMESPACES: usize = 61;

/// The number of keys whose kind is not that of their namespace: no mask has its bit.
const OTHER_KIND: u8 = 62;
/// The bit of a number that tells tables apart.
const OTHER_TABLE: u8 = 0x80;
/// The number of a cell that nobody has looked at: no mask of either table has its bit.
const UNKNOWN: u8 = 0x7F;

/// Who a client is: what the kernel said of the process when it connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Its effective user.
    pub uid: u32,
    /// Its groups, the first of them the effective one.
    pub gids: Vec<u32>,
}

/// A list of users and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers {
    /// Users.
    pub uids: Vec<u32>,
    /// Groups.
    pub gids: Vec<u32>,
}

impl Writers {
    /// Whether somebody is on it.
    fn holds(&self, who: &Credentials) -> bool {
        self.uids.contains(&who.uid) || who.gids.iter().any(|gid| self.gids.contains(gid))
    }
}

/// What holds for local writes to the keys of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The namespace; of the default one, nothing.
    pub name: String,
    /// The only kind that its keys have; `None`: any.
    pub kind: Option<Kind>,
    /// Keys that there may be when a local write makes another; `None`: as many as there is room for.
    pub max_keys: Option<u64>,
    /// Who may write; `None`: whoever can connect.
    pub writers: Option<Writers>,
}

/// Why a write was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The client is not on the list.
    Access,
    /// The namespace is for another kind.
    Kind,
    /// The key's namespace is not declared.
    Undeclared,
    /// The namespace has as many keys as it may have.
    Full,
}

impl Denied {
    /// Every reason, in the order of their counters.
    pub(crate) const ALL: [Denied; 4] = [Denied::Access, Denied::Kind, Denied::Undeclared, Denied::Full];

    /// The code under which the client's library finds it again.
    pub(crate) const fn code(self) -> u16 {
        match self {
            Denied::Access => codes::ACCESS_DENIED,
            Denied::Kind => codes::OTHER_KIND_DECLARED,
            Denied::Undeclared => codes::UNDECLARED,
            Denied::Full => codes::NAMESPACE_FULL,
        }
    }
}

/// Keys of a namespace on this host.
#[derive(Debug, Default)]
struct Usage {
    /// Counted.
    keys: AtomicU64,
    /// About to be made.
    reserved: AtomicU64,
}

/// All rules, and how many keys there are under each of them. One for all workers.
#[derive(Debug)]
pub struct Namespaces {
    /// The default's first.
    rules: Vec<Rule>,
    by_name: HashMap<Box<[u8]>, u8>,
    refuses_undeclared: bool,
    /// There is nothing to check.
    is_free: bool,
    usage: Vec<Usage>,
    /// Workers that have not counted their keys.
    uncounted: AtomicU64,
}

impl Namespaces {
    /// A table for so many workers. Of more than [`MAX_NAMESPACES`] rules, the further ones are left out, and of two for one name
    /// the first: whoever reads a configuration refuses it.
    pub fn new(default: Rule, declared: Vec<Rule>, refuses_undeclared: bool, workers: u16) -> Self {
        let rules: Vec<Rule> = std::iter::once(Rule { name: String::new(), ..default })
            .chain(declared)
            .take(1 + MAX_NAMESPACES)
            .collect();
        let names = (0..).zip(&rules).skip(1);
        let by_name = names.map(|(index, rule)| (rule.name.as_bytes().into(), index)).collect();
        let usage = rules.iter().map(|_| Usage::default()).collect();
        let is_free =
            rules.len() == 1 && !refuses_undeclared && rules.iter().all(|rule| *rule == Rule::default());
        let uncounted = AtomicU64::new(u64::from(workers));
        Self { rules, by_name, refuses_undeclared, is_free, usage, uncounted }
    }

    /// The table in which everything is allowed.
    pub fn free() -> Self {
        Self::new(Rule::default(), Vec::new(), false, 0)
    }

    /// Each rule, the default's first, with the keys that there are under it: about, while some worker counts.
    pub fn usage(&self) -> impl Iterator<Item = (&Rule, u64)> {
        self.rules.iter().zip(&self.usage).map(|(rule, usage)| (rule, usage.keys.load(SeqCst)))
    }

    /// Whether all workers have counted their keys.
    pub fn is_counted(&self) -> bool {
        self.uncounted.load(SeqCst) == 0
    }

    /// Whether a key of no declared namespace is refused.
    pub fn refuses_undeclared(&self) -> bool {
        self.refuses_undeclared
    }

    /// The place of a key's rule.
    fn index_of(&self, key: &[u8]) -> u8 {
        let front = key.iter().take(MAX_NAMESPACE_BYTES + 1).position(|byte| *byte == b'/');
        front.and_then(|end| self.by_name.get(key.get(..end)?)).copied().unwrap_or(0)
    }

    fn rule(&self, index: u8) -> Option<&Rule> {
        self.rules.get(usize::from(index))
    }

    /// The number of a key's cell.
    fn number_of(&self, index: u8, kind: u8) -> u8 {
        let is_other = |rule: &Rule| rule.kind.is_some_and(|only| only as u8 != kind);
        if self.rule(index).is_some_and(is_other) { OTHER_KIND } else { index }
    }

    /// A bit for each rule under which somebody may write.
    fn mask_of(&self, who: &Credentials) -> u64 {
        if self.is_free {
            return u64::MAX;
        }
        let may = |rule: &Rule| rule.writers.as_ref().is_none_or(|writers| writers.holds(who));
        let bits = self.rules.iter().enumerate().filter(|(_, rule)| may(rule)).map(|(index, _)| 1 << index);
        let mask = bits.fold(0, |mask: u64, bit: u64| mask | bit);
        if self.refuses_undeclared { mask & !1 } else { mask }
    }

    /// Takes a place for a key that is about to be made.
    fn reserve(&self, index: u8) -> Result<(), Denied> {
        let (Some(rule), Some(usage)) = (self.rule(index), self.usage.get(usize::from(index))) else {
            return Ok(());
        };
        let Some(max_keys) = rule.max_keys else { return Ok(()) };
        // Reserved first, then looked: a worker that makes keys counts them before it gives their places back, so whoever does not
        // see them reserved any more sees them counted.
        let reserved = usage.reserved.fetch_add(1, SeqCst);
        if usage.keys.load(SeqCst).saturating_add(reserved) < max_keys {
            return Ok(());
        }
        usage.reserved.fetch_sub(1, SeqCst);
        Err(Denied::Full)
    }
}

/// What a client may, in the terms of one table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rights {
    mask: u64,
    table: u8,
}

impl Rights {
    /// Everything: there are no rules.
    #[inline]
    pub(crate) fn is_free(self) -> bool {
        self.mask == u64::MAX
    }

    #[inline]
    fn has(self, number: u8) -> bool {
        self.mask.checked_shr(u32::from(number ^ self.table)).is_some_and(|bits| bits & 1 == 1)
    }
}

/// What came of asking for a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is room; nothing to give back.
    Free,
    /// A place is reserved: to be given back if nothing comes of it.
    Reserved(u8),
    /// Not known before all workers have counted.
    Unknown,
}

/// The table as one worker uses it: with the numbers of its cells.
#[derive(Debug)]
pub(crate) struct CellRules {
    namespaces: Arc<Namespaces>,
    /// 0 or [`OTHER_TABLE`], in turn.
    table: u8,
    /// By cell.
    numbers: Vec<u8>,
    /// Cells up to this one are counted, of those up to the other one; the rest was counted when it was made.
    counted: u32,
    to_count: u32,
    /// By rule: places reserved since the last commit.
    reserved: Vec<u64>,
    any_reserved: bool,
}

impl CellRules {
    /// Without rules, for so many cells; they are numbered from 1.
    pub(crate) fn new(cells: usize) -> Self {
        Self {
            namespaces: Arc::new(Namespaces::free()),
            table: 0,
            numbers: vec![UNKNOWN; cells + 1],
            counted: 0,
            to_count: 0,
            reserved: vec![0],
            any_reserved: false,
        }
    }

    /// Takes another table. Numbers of the one before find no bit from here on; those before it were gone by then, because the
    /// count is finished first.
    pub(crate) fn set(&mut self, namespaces: Arc<Namespaces>, writer: &Writer) {
        self.count(u32::MAX, writer);
        self.settle();
        self.switch(namespaces);
        (self.counted, self.to_count) = (0, writer.cells_used());
        if self.to_count == 0 || self.namespaces.is_free {
            self.end_count();
        }
    }

    fn switch(&mut self, namespaces: Arc<Namespaces>) {
        // While there were no rules no numbers were kept: those that are there may be of the table before, which had the same bit.
        if self.namespaces.is_free {
            self.numbers.fill(UNKNOWN);
        }
        self.reserved = vec![0; namespaces.rules.len()];
        self.namespaces = namespaces;
        self.table ^= OTHER_TABLE;
    }

    fn end_count(&mut self) {
        self.counted = self.to_count;
        // A table without workers was never to be counted.
        let _ = self.namespaces.uncounted.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
    }

    /// Counts some cells. Returns how many.
    #[inline]
    pub(crate) fn count(&mut self, at_most: u32, writer: &Writer) -> usize {
        if self.counted == self.to_count { 0 } else { self.count_some(at_most, writer) }
    }

    #[cold]
    fn count_some(&mut self, at_most: u32, writer: &Writer) -> usize {
        let last = self.counted.saturating_add(at_most).min(self.to_count);
        let mut key = [0; MAX_KEY_BYTES];
        for cell in self.counted + 1..=last {
            if let Some(found) = writer.describe(cell, writer.generation(), &mut key) {
                self.enter(cell, found.kind, key.get(..found.key_len).unwrap_or_default());
            }
        }
        let counted = last - self.counted;
        self.counted = last;
        if last == self.to_count {
            self.end_count();
        }
        counted as usize
    }

    /// A cell was made.
    #[inline]
    pub(crate) fn made(&mut self, cell: u32, kind: u8, key: &[u8]) {
        if !self.namespaces.is_free {
            self.enter(cell, kind, key);
        }
    }

    fn enter(&mut self, cell: u32, kind: u8, key: &[u8]) {
        let index = self.number(cell, kind, key);
        if let Some(usage) = self.namespaces.usage.get(usize::from(index)) {
            usage.keys.fetch_add(1, SeqCst);
        }
    }

    /// Stores the number of a cell. Returns the place of its rule.
    fn number(&mut self, cell: u32, kind: u8, key: &[u8]) -> u8 {
        let index = self.namespaces.index_of(key);
        if let Some(number) = self.numbers.get_mut(cell as usize) {
            *number = self.namespaces.number_of(index, kind) ^ self.table;
        }
        index
    }

    /// What somebody may.
    pub(crate) fn rights_of(&self, who: &Credentials) -> Rights {
        Rights { mask: self.namespaces.mask_of(who), table: self.table }
    }

    /// Whether a client may write to a cell, as far as its number says.
    #[inline]
    pub(crate) fn permits(&self, rights: Rights, cell: u32) -> bool {
        rights.is_free() || self.numbers.get(cell as usize).is_some_and(|number| rights.has(*number))
    }

    /// Whether a client may write to the key of a cell. Its number is right afterwards.
    #[cold]
    pub(crate) fn judge_cell(
        &mut self,
        rights: Rights,
        cell: u32,
        kind: u8,
        key: &[u8],
    ) -> Result<(), Denied> {
        let index = self.number(cell, kind, key);
        self.judge(rights, index, kind)
    }

    /// Whether a client may write to a key; the place of its rule.
    pub(crate) fn judge_key(&self, rights: Rights, kind: u8, key: &[u8]) -> Result<u8, Denied> {
        let index = self.namespaces.index_of(key);
        self.judge(rights, index, kind).map(|()| index)
    }

    fn judge(&self, rights: Rights, index: u8, kind: u8) -> Result<(), Denied> {
        if index == 0 && self.namespaces.refuses_undeclared {
            return Err(Denied::Undeclared);
        }
        if !rights.has(index ^ self.table) {
            return Err(Denied::Access);
        }
        if self.namespaces.number_of(index, kind) == OTHER_KIND { Err(Denied::Kind) } else { Ok(()) }
    }

    /// Whether there is a limit to the keys under a rule.
    pub(crate) fn is_limited(&self, index: u8) -> bool {
        self.namespaces.rule(index).is_some_and(|rule| rule.max_keys.is_some())
    }

    /// Takes a place for a key that is about to be made.
    pub(crate) fn reserve(&mut self, index: u8) -> Result<Room, Denied> {
        if !self.is_limited(index) {
            return Ok(Room::Free);
        }
        if !self.namespaces.is_counted() {
            return Ok(Room::Unknown);
        }
        self.namespaces.reserve(index)?;
        self.any_reserved = true;
        if let Some(reserved) = self.reserved.get_mut(usize::from(index)) {
            *reserved += 1;
        }
        Ok(Room::Reserved(index))
    }

    /// Gives a place back for which nothing was made.
    pub(crate) fn release(&mut self, index: u8) {
        let place = usize::from(index);
        if let (Some(reserved), Some(usage)) =
            (self.reserved.get_mut(place), self.namespaces.usage.get(place))
        {
            *reserved = reserved.saturating_sub(1);
            usage.reserved.fetch_sub(1, SeqCst);
        }
    }

    /// What was made has cells now, and is counted with them.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.any_reserved) {
            for (reserved, usage) in self.reserved.iter_mut().zip(&self.namespaces.usage) {
                usage.reserved.fetch_sub(std::mem::take(reserved), SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> Rule {
        Rule { name: name.to_owned(), ..Rule::default() }
    }

    fn rules(namespaces: Namespaces) -> CellRules {
        let mut rules = CellRules::new(8);
        rules.reserved = vec![0; namespaces.rules.len()];
        rules.namespaces = Arc::new(namespaces);
        rules
    }

    fn who(uid: u32, gids: &[u32]) -> Credentials {
        Credentials { uid, gids: gids.to_vec() }
    }

    const COUNTER: u8 = Kind::Counter as u8;
    const SET: u8 = Kind::Set as u8;

    #[test]
    fn a_namespace_is_what_stands_before_the_first_slash() {
        let namespaces = Namespaces::new(Rule::default(), vec![rule("a"), rule("b.c")], false, 1);
        let long = "x".repeat(MAX_NAMESPACE_BYTES);
        let cases = [
            ("a/1", 1),
            ("a/", 1),
            ("a/b/c", 1),
            ("b.c/a/", 2),
            ("a", 0),
            ("/a", 0),
            ("ab/1", 0),
            ("", 0),
            (&long, 0),
        ];
        for (key, index) in cases {
            assert_eq!(namespaces.index_of(key.as_bytes()), index, "{key}");
        }
        let namespaces = Namespaces::new(Rule::default(), vec![rule(&long)], false, 1);
        assert_eq!(namespaces.index_of(format!("{long}/k").as_bytes()), 1);
        assert_eq!(namespaces.index_of(format!("{long}x/k").as_bytes()), 0);
    }

    #[test]
    fn users_and_groups_may_write_where_they_are_listed() {
        let writers = |uids: &[u32], gids: &[u32]| Some(Writers { uids: uids.to_vec(), gids: gids.to_vec() });
        let declared = vec![
            Rule { writers: writers(&[7], &[20]), ..rule("a") },
            Rule { writers: writers(&[], &[]), ..rule("none") },
            rule("all"),
        ];
        let rules = rules(Namespaces::new(Rule::default(), declared, false, 1));
        let may =
            |who: &Credentials, key: &str| rules.judge_key(rules.rights_of(who), COUNTER, key.as_bytes());
        for (who, a) in [
            (who(7, &[1]), Ok(1)),
            (who(0, &[0]), Err(Denied::Access)),
            (who(8, &[3, 20]), Ok(1)),
            (who(20, &[7]), Err(Denied::Access)),
        ] {
            assert_eq!(may(&who, "a/k"), a, "{who:?}");
            assert_eq!(may(&who, "none/k"), Err(Denied::Access));
            assert_eq!((may(&who, "all/k"), may(&who, "k")), (Ok(3), Ok(0)));
        }
    }

    #[test]
    fn other_kinds_and_undeclared_keys_are_told_apart() {
        let declared = vec![Rule { kind: Some(Kind::Counter), ..rule("a") }];
        let rules = rules(Namespaces::new(Rule::default(), declared, true, 1));
        let rights = rules.rights_of(&who(0, &[]));
        assert!(!rights.is_free());
        assert_eq!(rules.judge_key(rights, COUNTER, b"a/k"), Ok(1));
        assert_eq!(rules.judge_key(rights, SET, b"a/k"), Err(Denied::Kind));
        assert_eq!(rules.judge_key(rights, SET, b"k"), Err(Denied::Undeclared));
        assert!(CellRules::new(1).rights_of(&who(0, &[])).is_free());
    }

    #[test]
    fn a_number_is_worth_nothing_in_another_table() {
        let declared = vec![Rule { kind: Some(Kind::Counter), ..rule("a") }];
        let mut rules = rules(Namespaces::new(Rule::default(), declared, false, 1));
        let before = rules.rights_of(&who(0, &[]));
        rules.made(1, COUNTER, b"a/k");
        rules.made(2, SET, b"a/k");
        assert!(rules.permits(before, 1));
        assert!(!rules.permits(before, 2), "a cell of another kind");
        assert!(!rules.permits(before, 3_000), "no cell");
        rules.table ^= OTHER_TABLE;
        let after = rules.rights_of(&who(0, &[]));
        assert!(!rules.permits(after, 1) && !rules.permits(before, 3));
        assert_eq!(rules.judge_cell(after, 1, COUNTER, b"a/k"), Ok(()));
        assert!(rules.permits(after, 1) && !rules.permits(before, 1));
    }

    #[test]
    fn numbers_from_before_a_time_without_rules_are_worth_nothing() {
        let nobody = Some(Writers::default());
        let table = |declared| Arc::new(Namespaces::new(Rule::default(), declared, false, 1));
        let mut rules = CellRules::new(8);
        rules.switch(table(vec![rule("open")]));
        rules.made(1, COUNTER, b"open/k");
        assert!(rules.permits(rules.rights_of(&who(0, &[])), 1));
        rules.switch(Arc::new(Namespaces::free()));
        rules.switch(table(vec![rule("a"), Rule { writers: nobody, ..rule("open") }]));
        let rights = rules.rights_of(&who(0, &[]));
        assert!(!rules.permits(rights, 1));
        assert_eq!(rules.judge_cell(rights, 1, COUNTER, b"open/k"), Err(Denied::Access));
    }

    #[test]
    fn a_limit_counts_what_is_made_and_what_is_about_to_be() {
        let declared = vec![Rule { max_keys: Some(2), ..rule("a") }];
        let mut rules = rules(Namespaces::new(Rule::default(), declared, false, 1));
        assert_eq!(rules.reserve(1), Ok(Room::Unknown), "a worker has not counted");
        rules.end_count();
        assert_eq!((rules.reserve(0), rules.reserve(1)), (Ok(Room::Free), Ok(Room::Reserved(1))));
        rules.release(1);
        rules.reserve(1).expect("given back");
        rules.made(1, COUNTER, b"a/1");
        assert_eq!(rules.reserve(1), Err(Denied::Full), "made, and not given back yet");
        rules.settle();
        rules.reserve(1).expect("one of two");
        assert_eq!(rules.reserve(1), Err(Denied::Full));
        rules.made(2, COUNTER, b"a/2");
        // What peers made is beyond it.
        rules.made(3, COUNTER, b"a/3");
        rules.settle();
        assert_eq!(rules.reserve(1), Err(Denied::Full));
        assert_eq!(rules.namespaces.usage().map(|(_, keys)| keys).collect::<Vec<_>>(), [0, 3]);
        assert_eq!(rules.namespaces.usage[1].reserved.load(SeqCst), 0);
    }
}
