//! Seeds that have failed once: each with what it found in the engine.

/// They are run by every `npm test`. A seed means what it did for as long as [`super::plan`] draws
/// as it does; one that no longer reaches what it found costs nothing.
pub const SEEDS: [(u64, &str); 6] = [
    (786, "a damaged manifest fell back to an older one, and lost what a newer log held"),
    (100639, "a commit that waited for its pace joined a group that had failed meanwhile"),
    (107570, "an expiry that was undone was not tried again"),
    (107712, "a failed look at the next expiry left it at never"),
    (781238, "a sum took what the same commit had set to expire at once for still there"),
    (841951000011, "upkeep compacted on a full disk without end, with a repair still to be done"),
];
