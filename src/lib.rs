//! kvass: an embedded, ordered, transactional key-value store for the web platform.
