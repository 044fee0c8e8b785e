//! OPFS and IndexedDB in a browser when something goes wrong or is given up half-way.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/browser.rs"]
mod browser;

use browser::{OPEN_INDEXEDDB, javascript, opfs, sleep, write_number};
use js_sys::{Function, Promise};
use kvass::error::{Code, Result};
use kvass::storage::{FileNo, Storage};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

// Synchronous access handles exist in dedicated workers only.
wasm_bindgen_test_configure!(run_in_dedicated_worker);

async fn read_number<S: Storage>(storage: &S, file: FileNo) -> Result<FileNo> {
    let mut bytes = [0; 4];
    assert_eq!(storage.read(file, 0, &mut bytes).await?, 4);
    Ok(FileNo::from_le_bytes(bytes))
}

#[wasm_bindgen_test]
async fn an_opfs_file_can_be_read_though_another_reader_gave_up_while_it_was_opened() {
    // It gives up at each of the steps that opening a handle takes.
    for steps in 1..=3 {
        let name = format!("given-up-{steps}");
        let storage = opfs(&name).await.unwrap();
        storage.adopt(&[]).await.unwrap();
        let file = write_number(&storage).await;
        storage.close().await.unwrap();
        let storage = opfs(&name).await.unwrap();
        storage.adopt(&[file]).await.unwrap();
        // Its spares are made by then.
        sleep(200).await;
        {
            let mut buffer = [0; 4];
            let mut read = pin!(storage.read(file, 0, &mut buffer));
            for step in 1..=steps {
                let polled = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                if let Poll::Ready(read) = polled {
                    assert_eq!(read.unwrap(), 4);
                    break;
                }
                if step < steps {
                    sleep(50).await;
                }
            }
        }
        for _ in 0..2 {
            assert_eq!(read_number(&storage, file).await, Ok(file), "after {steps} steps");
            sleep(50).await;
        }
        storage.close().await.unwrap();
        opfs(&name).await.unwrap().close().await.unwrap();
    }
}

#[wasm_bindgen_test]
async fn an_opfs_file_made_anew_is_empty_also_where_one_could_not_be_emptied() {
    let storage = opfs("not-emptied").await.unwrap();
    storage.adopt(&[]).await.unwrap();
    let mut files = Vec::new();
    for _ in 0..6 {
        files.push(write_number(&storage).await);
    }
    storage.close().await.unwrap();
    let fail = "self.fails = true;
        const { truncate } = FileSystemSyncAccessHandle.prototype;
        FileSystemSyncAccessHandle.prototype.truncate = function (...args) {
            if (self.fails) throw new DOMException('of the disk', 'UnknownError');
            return truncate.apply(this, args);
        };";
    javascript(fail).await;
    let storage = opfs("not-emptied").await.unwrap();
    storage.adopt(&[]).await.unwrap();
    // The spares are opened in the background, which is to empty them.
    sleep(200).await;
    for round in 0..8 {
        match storage.create().await {
            Ok(file) => assert_eq!(storage.len(file).await.unwrap(), 0, "file {file}"),
            Err(error) => assert_eq!(error.code(), Code::Io, "{error}"),
        }
        if round == 3 {
            javascript("self.fails = false;").await;
        }
    }
    storage.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn an_indexeddb_owner_that_finds_another_one_on_a_new_connection_is_told() {
    // The connection is lost, the database is another's by then, and what is done next reads.
    let body = "const opened = [];
        const { open } = IDBFactory.prototype;
        IDBFactory.prototype.open = function (...args) {
            const request = open.apply(this, args);
            request.addEventListener('success', () => opened.push(request.result));
            return request;
        };
        const told = [];
        const old = await openIndexedDb('deposed', () => told.push('old'));
        await old.adopt(new Uint32Array(0));
        const file = await old.create();
        await old.write(file, 0, new Uint8Array(4), false);
        const next = await openIndexedDb('deposed', () => told.push('next'));
        IDBFactory.prototype.open = open;
        opened[0].close();
        const failure = await old.read(file, 0, 4).then(() => undefined, (error) => error);
        old.close();
        next.close();
        return JSON.stringify([failure?.code, told]);";
    let body = format!("return (async () => {{ {body} }})()");
    let function = Function::new_with_args("openIndexedDb", &body);
    let open = OPEN_INDEXEDDB.with(Function::clone);
    let promise: Promise = function.call1(&JsValue::NULL, &open).unwrap().unchecked_into();
    let found = promise.await.unwrap().as_string().unwrap();
    assert_eq!(found, format!("[{},[\"old\"]]", Code::Busy as u8));
}
