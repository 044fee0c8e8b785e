//! The browser: the only modules that know one exists.

pub mod env;
pub mod external;
pub mod host;
pub mod indexeddb;
pub mod js;
pub mod opfs;
pub mod storage;
