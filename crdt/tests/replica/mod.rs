//! A replica of one add-wins object that follows the architecture's merge rules 1 to 5, and nothing else: what the engine
//! does, without its storage, log and sessions.

use lattice_crdt::{ActorId, Dot, DotStore, PreRemoved, SeqRange, VectorLimits, VersionVector};

/// What an operation did, as it travels.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    pub dot: Dot,
    pub element: Vec<u8>,
    /// The dot becomes live under the element; else it only takes others away.
    pub adds: bool,
    pub superseded: Vec<Dot>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Replica<S> {
    pub store: S,
    pub vector: VersionVector,
    pub pre_removed: PreRemoved<()>,
}

impl<S: DotStore + Default> Replica<S> {
    pub fn new() -> Self {
        let limits = VectorLimits { max_actors: 8, max_ranges_per_actor: 1000 };
        Self { store: S::default(), vector: VersionVector::new(limits), pre_removed: PreRemoved::new(1000) }
    }

    /// A local operation of `actor` that supersedes all dots it sees under `seen`.
    pub fn operate(&mut self, actor: ActorId, element: &[u8], adds: bool, seen: &[&[u8]]) -> Record {
        let dot = Dot::new(actor, self.vector.contiguous(actor) + 1);
        let superseded = seen.iter().flat_map(|element| self.store.dots(element)).copied().collect();
        let record = Record { dot, element: element.to_vec(), adds, superseded };
        self.merge(&record);
        record
    }

    pub fn merge(&mut self, record: &Record) {
        // Rule 1.
        if self.vector.contains(record.dot) {
            return;
        }
        // Rule 3 before rule 2: the same state, without the element leaving the store in between.
        if record.adds && !self.pre_removed.contains(record.dot) {
            self.store.insert(&record.element, record.dot);
        }
        for &dot in &record.superseded {
            self.take_out(&record.element, dot);
        }
        assert_eq!(self.vector.cover(record.dot), Ok(true));
        self.pre_removed.remove(record.dot);
    }

    fn take_out(&mut self, element: &[u8], dot: Dot) {
        self.store.remove(element, dot);
        if !self.vector.contains(dot) {
            assert_eq!(self.pre_removed.insert(dot, ()), Ok(()));
        }
    }

    /// A whole state sync from `sender`, rule 5.
    pub fn sync_from(&mut self, sender: &Self, elements: &[&[u8]]) {
        for (dot, ()) in sender.pre_removed.iter() {
            for element in elements {
                self.take_out(element, dot);
            }
        }
        for element in elements {
            self.store.join_element(
                element,
                sender.store.dots(element),
                &mut |dot| sender.vector.contains(dot),
                &mut |dot| !self.vector.contains(dot) && !self.pre_removed.contains(dot),
                &mut |_, _| {},
            );
        }
        for (actor, clock) in sender.vector.iter() {
            self.vector.cover_range(actor, SeqRange { first: 1, last: clock.contiguous() });
            for &range in clock.ranges() {
                self.vector.cover_range(actor, range);
            }
        }
        self.pre_removed.retain(|dot, ()| !self.vector.contains(dot));
    }
}
