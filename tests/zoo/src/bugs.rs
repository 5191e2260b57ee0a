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

use Checker::{Loom, Property, Simulator};

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

    // The wire.

    /// The tag of a frame is not compared: a flipped bit becomes state.
    TagNotChecked "tag-not-checked" Simulator;
    /// A frame of another cluster is taken, its tag checked with its own cluster's seed: two clusters on one network mix.
    OtherClusterAccepted "other-cluster-accepted" Property("frames_of_another_cluster_are_refused");
    /// A frame of exactly the greatest length is refused as too long. It is sent again for ever, and everything after it is
    /// out of order.
    MtuOffByOne "mtu-off-by-one" Simulator;
    /// A varint of 128 bits drops what is above 64: a counter that passes 2^64 arrives as a small one.
    VarintLosesHighBits "varint-loses-high-bits" Property("a_record_comes_back_as_it_was");
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
