//! The animals. The first line of each says what the code does wrong; then, which rule of ARCHITECTURE.md that breaks and
//! what somebody must notice.

use crate::Checker;

macro_rules! bugs {
    ($($(#[doc = $about:literal])+ $bug:ident $name:literal $checker:expr;)+) => {
        /// A mistake that the production code can be told to make.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Bug {
            $($(#[doc = $about])+ $bug,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Bug] = &[$(Bug::$bug),+];

            /// Its name, in kebab case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Bug::$bug => $name,)+
                }
            }

            /// What is wrong, and who suffers: its documentation.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Bug::$bug => concat!($($about),+),)+
                }
            }

            /// Who has to find it.
            pub const fn checker(self) -> Checker {
                match self {
                    $(Bug::$bug => $checker,)+
                }
            }
        }
    };
}

use Checker::{Loom, Simulator, Test};

bugs! {
    // The data types.

    /// Covering a dot beyond a gap raises the contiguous part to it: "the highest seq seen". The vector then covers what
    /// never came, and repair, which believes the vector, never brings it.
    MaxOverGap "max-over-gap" Simulator;
    /// A register compares the clocks of two writes and not their actors: of two that were stamped alike, each host keeps the
    /// one that arrived last. Hosts that have seen the same operations differ.
    RegisterTieByArrival "register-tie-by-arrival" Simulator;
    /// A counter's entry is replaced by what came, instead of joined with it: an older record that arrives late takes the
    /// increments since back.
    CounterTakesLatest "counter-takes-latest" Simulator;
    /// A disable-wins flag is on as soon as somebody enabled it, whoever disabled it concurrently: the rule of the other kind.
    DisableLoses "disable-loses" Simulator;
    /// In a sync of one element, local dots that the sender has seen go stay (rule 5): whoever comes back with an older copy
    /// shows removed elements for ever.
    SyncKeepsRemoved "sync-keeps-removed" Simulator;
    /// The table of pre-removed dots makes room for a new one by forgetting another (against rule 4): the forgotten one's add
    /// comes, and stays.
    PreRemovedEvicted "pre-removed-evicted" Simulator;

    // The wire.

    /// The tag of a frame is not compared: a flipped bit becomes state.
    TagNotChecked "tag-not-checked" Simulator;
    /// A frame of another cluster is taken, its tag checked with its own cluster's seed: two clusters on one network mix.
    OtherClusterAccepted "other-cluster-accepted" Simulator;
    /// A frame of exactly the greatest length is refused as too long. It is sent again for ever, and everything after it is
    /// out of order.
    MtuOffByOne "mtu-off-by-one" Simulator;
    /// A varint of 128 bits drops what is above 64: a counter that passes 2^64 arrives as a small one.
    VarintLosesHighBits "varint-loses-high-bits" Test("lattice-wire", "a_record_comes_back_as_it_was");
    /// The ranges of an acknowledgement are read one seq too low: the last record before each range counts as received and
    /// is not sent again.
    AckRangesShifted "ack-ranges-shifted" Simulator;

    // Sending and acknowledging.

    /// The count of a data frame includes the record that found no room in it: the last record of each full frame goes
    /// missing, and the receiver finds a frame that ends too early.
    RecordCutAtMtu "record-cut-at-mtu" Simulator;
    /// Where an acknowledgement names a range, everything below it counts as received, as if acknowledgements were cumulative:
    /// lost frames are not sent again.
    AckRangesAsContiguous "ack-ranges-as-contiguous" Simulator;
    /// What a peer acknowledged in its former session still counts in the new one: a peer that came back with less never gets
    /// the difference.
    AckOutlivesSession "ack-outlives-session" Simulator;
    /// A peer's aliases are kept when it begins a new session, in which it numbers its keys anew: an operation on one key is
    /// merged into another.
    AliasOutlivesSession "alias-outlives-session" Test("lattice-engine", "an_alias_of_another_session_is_unknown");
    /// An alias goes on meaning a position after the key there was dropped, and then means whatever key took its place.
    AliasOutlivesKey "alias-outlives-key" Test("lattice-engine", "an_alias_of_a_dropped_key_is_unknown");
    /// What is sent again names its keys by alias again: whoever refused it for that refuses it for ever.
    AliasSentAgain "alias-sent-again" Test("lattice-engine", "what_is_sent_again_has_its_keys");
    /// The retransmission timeout fires and marks nothing as lost: what is lost at the end of a burst never comes.
    LostNeverResent "lost-never-resent" Simulator;

    // Merging records.

    /// Rule 1 is left out: a record whose dot is covered takes effect again. What was removed meanwhile comes back.
    DuplicateApplied "duplicate-applied" Simulator;
    /// Rule 2 is half kept: a removed dot goes from the store, but one that has not come yet is not remembered. When it comes,
    /// it stays.
    RemovalForgetsUncovered "removal-forgets-uncovered" Simulator;
    /// A pre-removed dot counts as received (against rule 2): what its own record superseded is never taken out.
    PreRemovedReceived "pre-removed-received" Simulator;
    /// An add is inserted although its dot is pre-removed (against rule 3).
    PreRemovedInserted "pre-removed-inserted" Simulator;
    /// An add leaves the dots that it supersedes in the store: whoever removes the element later names the new dot only, and
    /// on hosts that kept the old ones the element stays.
    SupersededStays "superseded-stays" Simulator;
    /// Rule 6 is left out: a record inside C is merged while the sync runs. Its key may have been walked before it, and its
    /// dot is then one that the sender has and did not name.
    RecordsDuringSync "records-during-sync" Simulator;
    /// A merged record does not leave its dot among the touches of its key: a state sync passes the key over, and its C covers
    /// what it did not bring.
    MergeLeavesNoTouch "merge-leaves-no-touch" Simulator;
    /// The clock does not observe the stamps of merged writes: on a host whose clock is behind, a write that has seen another
    /// loses to it.
    ClockNotObserved "clock-not-observed" Simulator;

    // Local operations.

    /// A second increment of a counter in one burst is taken for part of the first and not added: the client was told that it
    /// was done.
    CoalescingLosesIncrement "coalescing-loses-increment" Simulator;
    /// A second write of a register in one burst shares the record of the first, and the record keeps the first value: peers
    /// show what the host itself has replaced.
    CoalescingKeepsFirst "coalescing-keeps-first" Simulator;
    /// Writes are stamped with the plain wall clock: after a step back, or on a host that is behind, they lose to older ones.
    WallClockStamps "wall-clock-stamps" Simulator;
    /// An enable supersedes what it saw of its own side only: a disable-wins flag that was once disabled never goes on again.
    FlagSeesOneSide "flag-sees-one-side" Simulator;
    /// A removal names one dot of an element, and leaves those that concurrent adds gave it: what was removed is still there.
    RemovalTakesOneDot "removal-takes-one-dot" Simulator;
    /// A clear stops before the last element: a set that its own host has just cleared has one member.
    ClearMissesLast "clear-misses-last" Simulator;

    // The log.

    /// The log's ring believes that it still holds the record which the newest one has just begun to overwrite: a peer that is
    /// behind gets garbage, again and again.
    LogKeepsOverwritten "log-keeps-overwritten" Simulator;
    /// A receiver does not notice that the sender's log no longer has what it lacks, and waits for it for ever.
    LogGapNotNoticed "log-gap-not-noticed" Simulator;

    // State syncs.

    /// C is covered when its last range has come, before the walk (against rule 5): what the keys then bring counts as known.
    VectorBeforeSyncEnd "vector-before-sync-end" Simulator;
    /// C is covered when the sync is abandoned: the keys that were not walked are never asked for again.
    AbandonedSyncCovers "abandoned-sync-covers" Simulator;
    /// A sync that is asked for while one runs replaces it and inherits its C: two walks, none of them whole, and both covered.
    SecondSyncInherits "second-sync-inherits" Simulator;
    /// A walk does not carry the sender's pre-removed dots (against rule 5): the receiver covers their removals with C and
    /// inserts them when their records come.
    SyncWithoutPreRemoved "sync-without-pre-removed" Simulator;
    /// A sync inserts dots that are pre-removed here (against rule 5).
    SyncIgnoresPreRemoved "sync-ignores-pre-removed" Simulator;
    /// A host asks for a sync with the highest seq that it has of each actor, not the contiguous one: the filter passes over keys
    /// of which it lacks an older operation, and C covers that.
    HighestForContiguous "highest-for-contiguous" Simulator;
    /// A walk drops the elements of a set that no longer fit the frame: the receiver takes them for removed.
    WalkCutsSets "walk-cuts-sets" Simulator;
    /// Local elements that the sender passes over in a key are not settled: what it saw removed stays.
    UnnamedElementsStay "unnamed-elements-stay" Simulator;
    /// Local elements after the last one that the sender names are not settled: what it saw removed stays.
    LastElementsStay "last-elements-stay" Simulator;
    /// What a sync brings of a key does not leave the sender's touches there: the next sync, to a third host, passes the key over.
    SyncLeavesNoTouch "sync-leaves-no-touch" Simulator;
    /// The end of a full walk leaves the keys alone that it did not name: what was dropped elsewhere comes back from an old copy.
    UnnamedKeysStay "unnamed-keys-stay" Simulator;
    /// A host that dropped keys gives a peer that came back from an old copy no full walk: the peer's removed elements stay.
    NoFullWalk "no-full-walk" Simulator;
    /// What was dropped is not passed on with a walk: whoever caught up from it serves a third host as if it could name every key.
    DroppedNotPassedOn "dropped-not-passed-on" Simulator;

    // Anti-entropy, epochs, recovery.

    /// Nobody asks for operations of others: what a host told only some before it died stays with them.
    NoAntiEntropy "no-anti-entropy" Simulator;
    /// A host that was forgotten is heard in its old epoch, once it is back: what the others have given up comes after all, and is
    /// skipped, while the host itself shows it.
    ForgottenHostIsHeard "forgotten-host-is-heard" Simulator;
    /// A host that was forgotten goes on with the state of before: it shows operations that all others have given up.
    ForgottenKeepsState "forgotten-keeps-state" Simulator;
    /// What is missing of a forgotten node is given up without asking: another member has it.
    NobodyIsAsked "nobody-is-asked" Simulator;
    /// A member that begins another session does not end the round of questions about a forgotten node: it may have given away,
    /// and then lost, what another member that has answered is about to learn.
    RoundOutlivesSession "round-outlives-session" Test("lattice-engine", "a_round_ends_when_a_session_begins");
    /// A member that is in the middle of a sync answers what it has so far: what it is about to learn is given up.
    AnswersDuringSync "answers-during-sync" Test("lattice-engine", "who_is_in_a_sync_gives_no_answer");

    // Folding.

    /// The live epoch of a node folds its dead ones without waiting for the others: one of them has operations that it never
    /// heard of, and they are not taken any more.
    FoldBeforeAgreed "fold-before-agreed" Simulator;
    /// A member agrees that an epoch ends where the asker says, although it has more of it, or less.
    FoldsWhatItLacks "folds-what-it-lacks"
        Test("lattice-engine", "a_member_agrees_to_what_it_knows_itself_and_heeds_only_what_it_agreed_to");
    /// What comes from an epoch that was folded, late or from a restored machine, is taken as if it were alive.
    FoldedEpochIsHeard "folded-epoch-is-heard"
        Test("lattice-engine", "who_goes_on_in_a_folded_epoch_is_told_that_it_is_over");
    /// Where a slot comes, the entries stay that are in it: counted twice.
    FoldedEntriesStay "folded-entries-stay" Simulator;
    /// An entry that is in a slot is taken again from whoever has not folded it: counted twice.
    FoldedEntryComesBack "folded-entry-comes-back"
        Test("lattice-engine", "an_entry_that_is_in_a_slot_is_not_taken_again");
    /// A slot is made without what the entries said that it stands for: increments are lost.
    SlotForgetsEntries "slot-forgets-entries" Simulator;
    /// Who has not folded what the sender has gets a filtered walk: keys whose touches were folded away are left out.
    FilteredWalkDespiteFolds "filtered-walk-despite-folds" Simulator;
    /// Counters are folded while a walk is under way that has not told the names: a snapshot that can't be read.
    FoldsUnderWalks "folds-under-walks"
        Test("lattice-engine", "a_walk_that_has_not_told_the_names_shows_no_slot");

    /// Two hosts with equal vectors and different states take no notice: what a sync showed beyond its C, and whose origin died
    /// before its records came, one of them has and the other never gets.
    DigestsNotCompared "digests-not-compared"
        Test("lattice-engine", "what_only_a_sync_showed_before_its_origin_died_is_the_same_everywhere");
    /// A start goes on with the epoch of the last run though its log ends before what was given out: dots are used twice.
    EpochNotBumped "epoch-not-bumped" Simulator;
    /// A host that hears of operations of its own epoch that it never made goes on in it: it is an old image of itself, and uses
    /// their dots again.
    OldImageGoesOn "old-image-goes-on" Simulator;
    /// Recovery does not replay the last record of the log: an operation that was durable is gone, and its dot is skipped.
    ReplaySkipsLast "replay-skips-last" Simulator;

    // Publication.

    /// What found no room in a full segment is never tried again: readers do not see it when there is room.
    DeferredNeverRetried "deferred-never-retried" Simulator;
    /// Of a set that found no room, the key is tried again and its elements are not.
    DeferredElementsForgotten "deferred-elements-forgotten" Simulator;
    /// An element whose last dot goes is not published as gone: readers keep it, the engine does not have it.
    RemovalNotPublished "removal-not-published" Simulator;
    /// What a sync changes of a set or a flag is not published until something else changes it.
    SyncNotPublished "sync-not-published" Simulator;

    // The segment.

    /// The words of a register's inactive slot are written without a release fence after the flip away from it: a reader may
    /// copy a new word and still see the old version, and believes a torn value.
    RegisterFenceMissing "register-fence-missing" Loom("a_register_is_never_torn");
    /// A register's version is flipped before the inactive slot is written: readers, and whoever comes after a writer that
    /// died there, get what is half written.
    RegisterFlipsFirst "register-flips-first" Loom("a_writer_may_die_anywhere");
    /// A reader of a register does not look at the version again after its copy, so that a copy that is torn passes for a
    /// value.
    RegisterNotRechecked "register-not-rechecked" Loom("a_register_is_never_torn");
    /// A slot that is written again keeps the length of the value before: a shorter value is read with the other's end, a
    /// longer one cut.
    RegisterKeepsLength "register-keeps-length" Simulator;
    /// The change ring's head is moved before the entry is written: a watcher reads what the entry held a lap ago.
    ChangeHeadFirst "change-head-first" Loom("a_change_is_whole_or_an_overrun");
    /// An entry of the change ring is overwritten without a release fence after raising `reserved`: a watcher that is lapped
    /// takes the new entry for the old one.
    ChangeFenceMissing "change-fence-missing" Loom("a_change_is_whole_or_an_overrun");
    /// Space that is handed out again gets its new tag without a release fence before the new payload: a reader takes the new
    /// tenant's words for those of the old one.
    ExtentFenceMissing "extent-fence-missing" Loom("a_reused_extent_is_noticed");
    /// The tail of the submission ring is stored relaxed: the daemon may take a submission whose words have not arrived.
    SubmissionTailRelaxed "submission-tail-relaxed" Loom("submissions_arrive_once_and_whole");
    /// Slots go back to the client before they are copied: it writes the next submission into one that is being taken, which
    /// is then taken twice and the other never.
    SlotsReleasedEarly "slots-released-early" Loom("submissions_arrive_once_and_whole");
    /// The daemon shows how many submissions are done before it shows which of them failed: a client takes a refusal for a
    /// success.
    AppliedBeforeFailures "applied-before-failures" Loom("applied_means_visible_or_failed");
    /// A worker that goes to sleep looks at the ring without a fence after it said so: it and the client miss each other, and
    /// the submission sleeps in.
    SleepFenceMissing "sleep-fence-missing" Loom("no_submission_sleeps_in");
    /// The owner of a biased lock does not look again whether it still is the owner: two threads write into one ring.
    BiasedOwnerNotAskedAgain "biased-owner-not-asked-again" Loom("nobody_is_inside_beside_the_owner");
    /// The owner of a biased lock leaves it with a relaxed store: the next one may not see what it did.
    BiasedReleaseRelaxed "biased-release-relaxed" Loom("nobody_is_inside_beside_the_owner");
    /// The entry of the index is stored relaxed: who finds the key may not find its cell.
    IndexRelaxed "index-relaxed" Loom("a_key_is_found_whole_and_its_value_is_not_older_than_its_version");
    /// A cell's version is counted up before its value is stored: a watcher that waits for the version reads the value before.
    VersionBeforeValue "version-before-value" Loom("a_key_is_found_whole_and_its_value_is_not_older_than_its_version");
    /// A bucket's length covers a new entry before that is written: readers of the set meet what lay there.
    ElementShownEarly "element-shown-early" Loom("an_appended_element_is_whole");
    /// A set's entry that was marked dead is not marked live again when its element comes back: the engine has it and readers
    /// do not.
    ReaddedNotShown "readded-not-shown" Simulator;
}
