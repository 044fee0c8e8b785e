//! Seeds that have failed once: each with what it found in the engine.

use super::plan::Drawn;
use Drawn::{Basic, Large, Pages, Reserve, Rows};

/// They are run by every `npm test`. A seed means what it did for as long as [`super::plan`] draws
/// as it did up to that addition; one that no longer reaches what it found costs nothing.
pub const SEEDS: [(u64, Drawn, &str); 21] = [
    (786, Basic, "a damaged manifest fell back to an older one, and lost what a newer log held"),
    (100639, Basic, "a commit that waited for its pace joined a group that had failed meanwhile"),
    (107570, Basic, "an expiry that was undone was not tried again"),
    (107712, Basic, "a failed look at the next expiry left it at never"),
    (781238, Basic, "a sum took what the same commit had set to expire at once for still there"),
    (1010314, Basic, "none: a check that failed was judged by an expiry that came after it"),
    (2, Pages, "upkeep went on for ever on a full disk, once a write had failed and was repaired"),
    (1543, Pages, "a reader of changes missed a log that was let go of once it had its commits"),
    (
        5481,
        Large,
        "what a repair on a full disk had left was taken for a newer state, after a power cut",
    ),
    (5034781, Large, "the same, over frames"),
    (817, Large, "a blob file was to be flushed that went with the commit that wrote to it"),
    (23986, Large, "a repeat heard of a failed write, and not that its commit was published"),
    (5012937, Large, "nothing held a list's snapshot while the large values of a page were read"),
    (5006412, Large, "what a short flush undid was unknown when sent again after a later commit"),
    (5038099, Large, "what a failed write undid was unknown when sent again after a later commit"),
    (5067560, Large, "what a full disk undid was unknown when sent again after a later commit"),
    (5098533, Large, "what a failed flush undid was unknown when sent again after a later commit"),
    (20044056, Large, "a reader of changes met the log that a repair had just removed"),
    (
        20099173,
        Large,
        "what a repair that was abandoned had frozen was flushed as if a log held it",
    ),
    (
        291848562,
        Rows,
        "what a failed flush undid was applied after a later commit, when sent again",
    ),
    (122372, Reserve, "none: of sums that came back only the last was judged by what it had met"),
];
