//! OPFS and IndexedDB in a browser: the suite of all back ends, and what is special about each.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/storage_suite.rs"]
mod storage_suite;

use kvass::wasm::indexeddb::IndexedDb;
use kvass::wasm::opfs::Opfs;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

// Synchronous access handles exist in dedicated workers only.
wasm_bindgen_test_configure!(run_in_dedicated_worker);

struct OpfsOpener(String);

impl storage_suite::Opener for OpfsOpener {
    type Storage = Opfs;

    async fn open(&self) -> Opfs {
        Opfs::open(&self.0).await.unwrap()
    }

    fn persists(&self) -> bool {
        true
    }
}

struct IndexedDbOpener(String);

impl storage_suite::Opener for IndexedDbOpener {
    type Storage = IndexedDb;

    async fn open(&self) -> IndexedDb {
        IndexedDb::open(&self.0).await.unwrap()
    }

    fn persists(&self) -> bool {
        true
    }
}

#[wasm_bindgen_test]
async fn opfs_does_what_every_storage_has_to_do() {
    storage_suite::run(|name| OpfsOpener(name.into())).await;
}

#[wasm_bindgen_test]
async fn indexeddb_does_what_every_storage_has_to_do() {
    storage_suite::run(|name| IndexedDbOpener(name.into())).await;
}
