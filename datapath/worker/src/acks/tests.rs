use super::*;
use proptest::prelude::*;

const SHARDS: usize = 3;
const PEERS: usize = 3;
const CLIENTS: usize = 2;

/// What everybody really has.
#[derive(Clone, Debug)]
struct World {
    epoch: u64,
    last_seq: [u64; SHARDS],
    durable: Option<[u64; SHARDS]>,
    never_synced: bool,
    merged: [Option<[u64; SHARDS]>; PEERS],
    durable_on: [[u64; SHARDS]; PEERS],
}

impl World {
    fn new(log_is_file: bool) -> Self {
        Self {
            epoch: 1,
            last_seq: [0; SHARDS],
            durable: log_is_file.then_some([0; SHARDS]),
            never_synced: false,
            merged: [Some([0; SHARDS]); PEERS],
            durable_on: [[0; SHARDS]; PEERS],
        }
    }
}

impl Whereabouts for World {
    fn shards(&self) -> usize {
        SHARDS
    }
    fn slots(&self) -> usize {
        PEERS
    }
    fn actor(&self, shard: usize) -> ActorId {
        ActorId::new(1, if shard == 0 { self.epoch } else { 1 })
    }
    fn last_seq(&self, shard: usize) -> u64 {
        self.last_seq[shard]
    }
    fn durable(&self, shard: usize) -> Option<u64> {
        self.durable.map(|seqs| seqs[shard])
    }
    fn is_never_synced(&self) -> bool {
        self.never_synced
    }
    fn merged_by(&self, shard: usize, slot: usize) -> Option<u64> {
        self.merged[slot].map(|seqs| seqs[shard])
    }
    fn durable_on(&self, shard: usize, slot: usize) -> Option<u64> {
        self.merged[slot].map(|_| self.durable_on[slot][shard])
    }
}

/// A client: where each of its submissions is, and what it was told.
#[derive(Default)]
struct Writer {
    submitted: Vec<(usize, u64)>,
    told: Levels,
}

struct Rig {
    world: World,
    acks: Acks,
    columns: Vec<Column>,
    writers: Vec<Writer>,
}

/// What can happen; numbers are taken modulo whatever there is.
#[derive(Clone, Debug)]
enum Step {
    Submit {
        client: usize,
        shard: usize,
    },
    Mark {
        client: usize,
    },
    Merge {
        peer: usize,
        shard: usize,
        more: u64,
    },
    Keep {
        peer: usize,
        shard: usize,
    },
    Sync {
        shard: usize,
    },
    /// A peer comes back with an older copy.
    GoBack {
        peer: usize,
        to_percent: u64,
    },
    Tell,
}

fn step() -> impl Strategy<Value = Step> {
    let (client, peer, shard) = (0..CLIENTS, 0..PEERS, 0..SHARDS);
    prop_oneof![
        4 => (client.clone(), shard.clone()).prop_map(|(client, shard)| Step::Submit { client, shard }),
        3 => client.prop_map(|client| Step::Mark { client }),
        6 => (peer.clone(), shard.clone(), 1..6u64).prop_map(|(peer, shard, more)| Step::Merge { peer, shard, more }),
        2 => (peer.clone(), shard.clone()).prop_map(|(peer, shard)| Step::Keep { peer, shard }),
        2 => shard.prop_map(|shard| Step::Sync { shard }),
        1 => (peer, 0..100u64).prop_map(|(peer, to_percent)| Step::GoBack { peer, to_percent }),
        6 => Just(Step::Tell),
    ]
}

impl Rig {
    fn new(log_is_file: bool) -> Self {
        let world = World::new(log_is_file);
        let mut acks = Acks::new(CLIENTS, &world);
        let columns = (0..CLIENTS).map(|_| acks.open(&world).unwrap()).collect();
        Self { world, acks, columns, writers: (0..CLIENTS).map(|_| Writer::default()).collect() }
    }

    fn submit(&mut self, client: usize, shard: usize) {
        self.world.last_seq[shard] += 1;
        self.writers[client].submitted.push((shard, self.world.last_seq[shard]));
    }

    fn mark(&mut self, client: usize) {
        let taken = self.columns.iter().zip(&self.writers).enumerate();
        let taken =
            taken.map(|(at, (column, writer))| (*column, writer.submitted.len() as u64, at == client));
        self.acks.cut(&self.world, taken);
    }

    fn take(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Submit { client, shard } => self.submit(client, shard),
            Step::Mark { client } => self.mark(client),
            Step::Merge { peer, shard, more } => {
                if let Some(seqs) = &mut world.merged[peer] {
                    seqs[shard] = (seqs[shard] + more).min(world.last_seq[shard]);
                }
            }
            Step::Keep { peer, shard } => {
                world.durable_on[peer][shard] = world.merged[peer].map_or(0, |seqs| seqs[shard]);
            }
            Step::Sync { shard } => {
                if let Some(durable) = &mut world.durable {
                    durable[shard] = world.last_seq[shard];
                }
            }
            Step::GoBack { peer, to_percent } => {
                let back = |seqs: [u64; SHARDS]| seqs.map(|seq| seq * to_percent / 100);
                world.merged[peer] = world.merged[peer].map(back);
                world.durable_on[peer] = back(world.durable_on[peer]);
            }
            Step::Tell => self.tell(),
        }
    }

    /// Whether the submissions up to a ticket are where `has` says.
    fn all_there(writer: &Writer, ticket: u64, has: impl Fn(usize) -> u64) -> bool {
        writer.submitted[..ticket as usize].iter().all(|(shard, seq)| has(*shard) >= *seq)
    }

    fn tell(&mut self) {
        if !self.acks.is_pending() || !self.acks.advance(&self.world) {
            return;
        }
        let world = &self.world;
        for (column, writer) in self.columns.iter().zip(&mut self.writers) {
            if !self.acks.is_waiting(*column) {
                continue;
            }
            let now = self.acks.levels(world, *column);
            let before = writer.told;
            let members = 1 + world.merged.iter().flatten().count();
            let merged_by = |ticket| {
                let has_all = |seqs: &&[u64; SHARDS]| Self::all_there(writer, ticket, |shard| seqs[shard]);
                world.merged.iter().flatten().filter(has_all).count()
            };
            let kept_by = |ticket| {
                let has_all = |seqs: &&[u64; SHARDS]| Self::all_there(writer, ticket, |shard| seqs[shard]);
                world.durable_on.iter().filter(has_all).count()
            };
            let news = |before: u64, now: u64| (now > before).then_some(now);
            for k in 1..=PEERS {
                let ticket = news(before.merged[k - 1], now.merged[k - 1]);
                assert!(ticket.is_none_or(|ticket| merged_by(ticket) >= k), "merged by {k}, too early");
                let ticket = news(before.durable_on[k - 1], now.durable_on[k - 1]);
                assert!(ticket.is_none_or(|ticket| kept_by(ticket) >= k), "durable on {k}, too early");
            }
            assert!(
                news(before.majority, now.majority).is_none_or(|ticket| merged_by(ticket) >= members / 2)
            );
            assert!(news(before.all, now.all).is_none_or(|ticket| merged_by(ticket) >= members - 1));
            let durable = |shard| world.durable.map_or(0, |seqs| seqs[shard]);
            assert!(
                news(before.durable, now.durable)
                    .is_none_or(|ticket| Self::all_there(writer, ticket, durable))
            );
            writer.told.durable = before.durable.max(now.durable);
            writer.told.majority = before.majority.max(now.majority);
            writer.told.all = before.all.max(now.all);
            for k in 0..PEERS {
                writer.told.merged[k] = before.merged[k].max(now.merged[k]);
                writer.told.durable_on[k] = before.durable_on[k].max(now.durable_on[k]);
            }
        }
    }

    /// Everybody gets everything.
    fn settle(&mut self) {
        let last = self.world.last_seq;
        self.world.merged.iter_mut().flatten().for_each(|seqs| *seqs = last);
        self.world.durable_on = [last; PEERS];
        self.world.durable = self.world.durable.map(|_| last);
        self.tell();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_told_before_it_is_so_and_everything_in_the_end(
        log_is_file in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut rig = Rig::new(log_is_file);
        for step in steps {
            rig.take(step);
        }
        (0..CLIENTS).for_each(|client| rig.mark(client));
        rig.settle();
        for writer in &rig.writers {
            let all = writer.submitted.len() as u64;
            let Levels { durable, majority, all: by_all, merged, durable_on } = writer.told;
            prop_assert_eq!((majority, by_all), (all, all));
            prop_assert_eq!(durable, if log_is_file { all } else { 0 });
            prop_assert_eq!((&merged[..PEERS], &durable_on[..PEERS]), (&[all; PEERS][..], &[all; PEERS][..]));
            prop_assert_eq!((merged[PEERS], durable_on[PEERS]), (0, 0));
        }
        // One more look finds that nobody waits.
        rig.tell();
        prop_assert!(!rig.acks.is_pending());
    }
}

#[test]
fn a_peer_that_is_away_keeps_nobody_else_waiting() {
    let mut rig = Rig::new(false);
    for ticket in 1..=100 {
        rig.submit(0, 0);
        rig.mark(0);
        rig.world.merged[0] = Some(rig.world.last_seq);
        rig.tell();
        let told = rig.writers[0].told;
        assert_eq!(
            (told.majority, told.merged[0]),
            (ticket - 1, ticket),
            "four members: three are a majority"
        );
        rig.world.merged[1] = Some(rig.world.last_seq);
        rig.tell();
        let told = rig.writers[0].told;
        assert_eq!((told.majority, told.merged[1], told.all), (ticket, ticket, 0));
    }
    assert!(rig.acks.is_pending());
}

/// With every turn's mark, and a follower that is a hundred turns behind, there is always something to reach.
#[test]
fn a_steady_stream_of_marks_starves_nobody() {
    let mut rig = Rig::new(false);
    let mut longest = 0;
    for turn in 1..=2000u64 {
        rig.submit(0, 1);
        rig.mark(0);
        let merged = rig.world.last_seq.map(|seq| seq.saturating_sub(100));
        rig.world.merged = [Some(merged); PEERS];
        rig.tell();
        if turn > 200 {
            longest = longest.max(turn - rig.writers[0].told.all);
        }
    }
    assert!((100..=200).contains(&longest), "told {longest} turns after it was written");
}

/// A worker that is about to sleep looks whether what it is woken for has come already.
#[test]
fn what_the_disk_has_is_seen_as_long_as_it_is_not_told() {
    let mut rig = Rig::new(true);
    rig.submit(0, 0);
    rig.submit(0, 2);
    rig.mark(0);
    rig.tell();
    assert!(rig.acks.awaits_disk() && !rig.acks.disk_has_come(&rig.world));
    rig.take(Step::Sync { shard: 0 });
    assert!(!rig.acks.disk_has_come(&rig.world), "half of it");
    rig.take(Step::Sync { shard: 2 });
    assert!(rig.acks.disk_has_come(&rig.world));
    rig.tell();
    assert_eq!(rig.writers[0].told.durable, 2);
    assert!(!rig.acks.awaits_disk() && !rig.acks.disk_has_come(&rig.world));
}

#[test]
fn where_nothing_is_synced_that_is_among_the_terms() {
    let mut rig = Rig::new(true);
    assert!(!Acks::terms(&rig.world).never_synced);
    rig.world.never_synced = true;
    let terms = Acks::terms(&rig.world);
    assert!(terms.never_synced && terms.log_is_file);
}

#[test]
fn who_is_forgotten_is_not_waited_for() {
    let mut rig = Rig::new(false);
    rig.submit(0, 2);
    rig.mark(0);
    rig.world.merged[0] = Some(rig.world.last_seq);
    rig.world.merged[1] = Some(rig.world.last_seq);
    rig.tell();
    assert_eq!((rig.writers[0].told.majority, rig.writers[0].told.all), (1, 0));
    assert_eq!(Acks::terms(&rig.world).members, 4);
    rig.world.merged[2] = None;
    rig.submit(0, 2);
    rig.mark(0);
    rig.world.merged[0] = Some(rig.world.last_seq);
    rig.world.merged[1] = Some(rig.world.last_seq);
    rig.tell();
    assert_eq!((rig.writers[0].told.all, Acks::terms(&rig.world).members), (2, 3));
}

#[test]
fn a_member_that_comes_while_somebody_waits_for_all_is_waited_for_too() {
    let mut rig = Rig::new(false);
    rig.world.merged[2] = None;
    rig.submit(0, 2);
    rig.mark(0);
    rig.tell();
    rig.world.merged[0] = Some(rig.world.last_seq);
    rig.world.merged[2] = Some([0; SHARDS]);
    rig.tell();
    rig.world.merged[1] = Some(rig.world.last_seq);
    rig.tell();
    assert_eq!(
        (rig.writers[0].told.majority, rig.writers[0].told.all),
        (1, 0),
        "the one that came has nothing yet"
    );
    rig.world.merged[2] = Some(rig.world.last_seq);
    rig.tell();
    assert_eq!(rig.writers[0].told.all, 1, "without another mark");
    // One that was gone and is back is a member like any other.
    rig.submit(0, 0);
    rig.mark(0);
    rig.world.merged[1] = None;
    rig.tell();
    rig.world.merged = [Some(rig.world.last_seq); PEERS];
    rig.tell();
    assert_eq!(rig.writers[0].told.all, 2);
}

#[test]
fn alone_a_node_is_its_own_majority() {
    let mut rig = Rig::new(false);
    rig.world.merged = [None; PEERS];
    rig.submit(1, 0);
    rig.mark(1);
    rig.tell();
    let told = rig.writers[1].told;
    assert_eq!((told.majority, told.all, told.merged[0]), (1, 1, 0));
    rig.tell();
    assert!(!rig.acks.is_pending() && !rig.acks.is_waiting(rig.columns[1]));
}

#[test]
fn of_writes_of_an_epoch_that_is_over_nothing_is_told() {
    let mut rig = Rig::new(true);
    rig.submit(0, 0);
    rig.mark(0);
    // The new epoch counts from 1 again: what is acknowledged of it says nothing of what was before.
    rig.world.epoch = 2;
    rig.world.last_seq[0] = 5;
    rig.world.merged = [Some([5; SHARDS]); PEERS];
    rig.world.durable = Some([5; SHARDS]);
    rig.tell();
    assert_eq!(rig.writers[0].told, Levels::default());
    assert!(rig.acks.has_lost_track(rig.columns[0]), "it has asked");
    assert!(!rig.acks.has_lost_track(rig.columns[1]), "it has not");
    rig.submit(1, 1);
    rig.mark(1);
    assert!(rig.acks.has_lost_track(rig.columns[1]), "now it has");
    // Who comes later is told again.
    rig.acks.close(rig.columns[0]);
    rig.columns[0] = rig.acks.open(&rig.world).unwrap();
    rig.writers[0] = Writer::default();
    rig.submit(0, 1);
    rig.mark(0);
    rig.settle();
    assert_eq!((rig.writers[0].told.all, rig.acks.has_lost_track(rig.columns[0])), (1, false));
}

#[test]
fn a_place_that_was_anothers_begins_with_nothing_reached() {
    let mut rig = Rig::new(false);
    (0..5).for_each(|_| rig.submit(0, 0));
    rig.mark(0);
    rig.tell();
    rig.acks.close(rig.columns[0]);
    assert!(rig.acks.open(&rig.world).is_some_and(|column| column == rig.columns[0]));
    assert!(rig.acks.open(&rig.world).is_none(), "there are as many as there may be clients");
    rig.writers[0] = Writer::default();
    rig.settle();
    assert_eq!(rig.acks.levels(&rig.world, rig.columns[0]), Levels::default());
}
