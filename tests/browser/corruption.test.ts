/**
 * Damaged files, files of a newer version and messages that make no sense: a typed error each,
 * nothing deleted, and the rest of the database works on.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { DURABLE, Visitor } from "./harness/browser.ts";
import type { Place } from "./harness/files.ts";

/** Enough for a table: the memtable is written to one at 4 MiB. */
const ENTRIES = 800;
const VALUE_BYTES = 8000;

/** A manifest of format 65535, with a valid checksum, and nothing in it that this build knows. */
const MANIFEST_OF_THE_FUTURE = "6b766173736d616effff00000000000040420f0000000000f35dc5d0ac96926d";

let visitor: Visitor;
let page: Page;
before(async () => {
  visitor = await Visitor.arrive();
  page = await visitor.visit();
});
after(() => visitor.leave());

/** Fills a database and closes it. */
const fill = (place: Place) =>
  page.evaluate(
    async ([{ name, storage }, entries, bytes]) => {
      const kv = await kvass.openKv(name, { storage });
      for (let i = 0; i < entries; i += 100) {
        const operation = kv.atomic();
        for (let n = i; n < i + 100; n++) {
          // Nothing that compression could make small.
          const value = new Uint8Array(bytes).map((_, at) => Math.imul(n + 7, at + 13) >> 5);
          operation.set(["n", n], value);
        }
        await operation.commit();
      }
      await kv.close();
    },
    [place, ENTRIES, VALUE_BYTES] as const,
  );

/** What becomes of reading every entry: how many were right, and each error once. */
const readAll = (place: Place) =>
  page.evaluate(
    async ([{ name, storage }, entries, bytes]) => {
      const describe = (error: { name: string; code?: string; message: string }) =>
        `${error.name} ${error.code}: ${error.message}`;
      const errors = new Set<string>();
      let right = 0;
      try {
        const kv = await kvass.openKv(name, { storage });
        const read = async (n: number) => {
          const { value } = await kv.get<Uint8Array>(["n", n]);
          const isRight =
            value?.length === bytes &&
            value.every((byte, at) => byte === ((Math.imul(n + 7, at + 13) >> 5) & 0xff));
          if (isRight) right += 1;
          else errors.add(`${n} has another value`);
        };
        // Each is caught from the beginning: one may fail while another is still under way.
        const reads = Array.from({ length: entries }, (_, n) =>
          read(n).catch((error) => errors.add(describe(error))),
        );
        await Promise.all(reads);
        await kv.close();
      } catch (error) {
        errors.add(describe(error as Error));
      }
      return { right, errors: [...errors] };
    },
    [place, ENTRIES, VALUE_BYTES] as const,
  );

/** The files of a database with their lengths and the eight letters they begin with. */
const filesOf = (place: Place) =>
  page.evaluate(async (place) => {
    const found: { file: number; bytes: number; magic: string }[] = [];
    for (const file of await files.numbers(place)) {
      const bytes = await files.read(place, file);
      const magic = String.fromCharCode(...bytes.subarray(0, 8));
      found.push({ file, bytes: bytes.length, magic });
    }
    return found;
  }, place);

const flipBit = (place: Place, file: number, offset: number) =>
  page.evaluate(
    ([place, file, offset]) =>
      files.change(place, file, (bytes) => {
        bytes[offset] = (bytes[offset] ?? 0) ^ 0x10;
        return bytes;
      }),
    [place, file, offset] as const,
  );

const truncate = (place: Place, file: number, length: number) =>
  page.evaluate(
    ([place, file, length]) => files.change(place, file, (bytes) => bytes.slice(0, length)),
    [place, file, length] as const,
  );

const isManifestOrLog = ({ magic }: { magic: string }) => /^kvass(man|log)$/.test(magic);

/** The largest table of a database that `fill` wrote. */
async function largestTable(place: Place) {
  const tables = (await filesOf(place)).filter((file) => !isManifestOrLog(file));
  const [table] = tables.sort((a, b) => b.bytes - a.bytes);
  assert.ok(table && table.bytes > 1 << 20, "there is a table");
  return table;
}

for (const storage of DURABLE) {
  test(`${storage}: a flipped bit is Corruption at its place, the rest is readable`, async () => {
    const place = { storage, name: "flipped" };
    await fill(place);
    const before = await filesOf(place);
    const table = await largestTable(place);
    await flipBit(place, table.file, table.bytes >> 1);
    const { right, errors } = await readAll(place);
    assert.ok(errors.length > 0 && errors.length < 5, errors.join("\n"));
    for (const error of errors) {
      const pattern = new RegExp(
        `^KvassError Corruption: .*salvage: true.* \\(file ${table.file}, offset \\d+\\)$`,
      );
      assert.match(error, pattern);
      const offset = Number(/offset (\d+)/.exec(error)?.[1]);
      assert.ok(offset <= table.bytes >> 1 && offset > (table.bytes >> 1) - 65_536, error);
    }
    assert.ok(right > ENTRIES - 10, `${right} of ${ENTRIES} readable`);
    const files = (await filesOf(place)).map(({ file }) => file);
    const lost = before.filter(({ file, magic }) => magic !== "kvasslog" && !files.includes(file));
    assert.deepEqual(lost, []);
  });

  test(`${storage}: verify tells of the file and the place of a flipped bit`, async () => {
    const place = { storage, name: "flipped" };
    const table = await largestTable(place);
    const { files, bytes, damaged, damage } = await page.evaluate(async ({ name, storage }) => {
      const kv = await kvass.openKv(name, { storage });
      const found = await kv.verify();
      await kv.close();
      return found;
    }, place);
    const [{ kind, file, offset, message } = assert.fail("it is found")] = damage;
    assert.deepEqual([damaged, damage.length, kind, file], [1, 1, "table", table.file]);
    assert.ok(offset <= table.bytes >> 1 && offset > (table.bytes >> 1) - 65_536, `${offset}`);
    assert.match(message, /damaged/);
    assert.ok(files > 3 && bytes > table.bytes, `${bytes} bytes of ${files} files`);
  });

  test(`${storage}: a database with a damaged table can be written to`, async () => {
    const place = { storage, name: "flipped" };
    const found = await page.evaluate(async ({ name, storage }) => {
      const kv = await kvass.openKv(name, { storage });
      await kv.set(["new"], "written");
      const { value } = await kv.get(["new"]);
      await kv.close();
      const again = await kvass.openKv(name, { storage });
      const after = (await again.get(["new"])).value;
      await again.close();
      return [value, after];
    }, place);
    assert.deepEqual(found, ["written", "written"]);
  });

  test(`${storage}: a truncated table is Corruption, the rest is readable`, async () => {
    const place = { storage, name: "truncated" };
    await fill(place);
    const table = await largestTable(place);
    await truncate(place, table.file, table.bytes >> 1);
    const { right, errors } = await readAll(place);
    assert.ok(errors.length > 0 && right > 0, `${right} readable, ${errors.length} errors`);
    for (const error of errors) {
      assert.match(error, new RegExp(`^KvassError Corruption: .*\\(file ${table.file}, offset`));
    }
    const after = (await filesOf(place)).find(({ file }) => file === table.file);
    assert.equal(after?.bytes, table.bytes >> 1);
  });

  test(`${storage}: a flipped bit in the flushed log is Corruption, nothing is cut`, async () => {
    const place = { storage, name: "log" };
    await fill(place);
    const before = await filesOf(place);
    // Those of the history too: one of them is to be replayed.
    const logs = before.filter(({ magic }) => magic === "kvasslog");
    const flip = async () => {
      for (const { file, bytes } of logs) await flipBit(place, file, bytes >> 1);
    };
    await flip();
    const { right, errors } = await readAll(place);
    assert.equal(right, 0);
    const files = logs.map(({ file }) => file).join("|");
    const pattern = new RegExp(`^KvassError Corruption: .*\\(file (${files}), offset \\d+\\)$`);
    assert.match(errors.join("\n"), pattern);
    await flip();
    assert.deepEqual(await filesOf(place), before);
    assert.deepEqual(await readAll(place), { right: ENTRIES, errors: [] });
  });

  test(`${storage}: two damaged manifests are Corruption, no new database`, async () => {
    const place = { storage, name: "manifests" };
    await fill(place);
    const before = await filesOf(place);
    for (const file of [0, 1]) await flipBit(place, file, 30);
    for (const _ of [1, 2]) {
      const { right, errors } = await readAll(place);
      assert.equal(right, 0);
      assert.match(errors.join("\n"), /^KvassError Corruption: both manifest slots are damaged/);
      assert.deepEqual(await filesOf(place), before);
    }
    for (const file of [0, 1]) await flipBit(place, file, 30);
    assert.deepEqual(await readAll(place), { right: ENTRIES, errors: [] });
  });

  test(`${storage}: salvage reads what is left of a database and changes nothing`, async () => {
    const place = { storage, name: "salvaged" };
    await fill(place);
    const table = await largestTable(place);
    await flipBit(place, table.file, table.bytes >> 1);
    for (const file of [0, 1]) await flipBit(place, file, 30);
    const before = await filesOf(place);
    const found = await page.evaluate(async ({ name, storage }) => {
      const refused = await kvass.openKv(name, { storage }).then(
        () => "opened",
        (error) => error.message as string,
      );
      const kv = await kvass.openKv(name, { storage, salvage: true });
      let count = 0;
      for await (const _ of kv.list({ prefix: ["n"] })) count++;
      const { failure } = await kv.status();
      const written = await kv.set(["n", 0], 1).then(
        () => "written",
        (error) => error.code as string,
      );
      await kv.close();
      return { refused, count, failure: String(failure?.message), written };
    }, place);
    assert.match(found.refused, /salvage: true/);
    // Of what the damaged block held, the history may have a part.
    assert.ok(found.count > ENTRIES - 10 && found.count <= ENTRIES, `${found.count} readable`);
    assert.match(found.failure, /damaged places/);
    assert.equal(found.written, "Unsupported");
    assert.deepEqual(await filesOf(place), before);
  });

  test(`${storage}: salvage of a database that is not there is Io and makes nothing`, async () => {
    const found = await page.evaluate(async (storage) => {
      const open = (options: object) =>
        kvass.openKv("no such database", options).then(
          () => "opened",
          ({ code, message }) => `${code}: ${message}`,
        );
      const chosen = await open({ storage, salvage: true });
      const auto = await open({ salvage: true });
      const names = (await kvass.listKv()).map(({ name }) => name);
      return { chosen, auto, isListed: names.includes("no such database") };
    }, storage);
    assert.match(found.chosen, /^Io: the database is not there/);
    assert.match(found.auto, /^Io: the database is not there/);
    assert.equal(found.isListed, false);
  });

  test(`${storage}: files of a newer format are NewerFormat and stay as they are`, async () => {
    const place = { storage, name: "newer" };
    await fill(place);
    await page.evaluate(
      ([place, hex]) => {
        const bytes = hex.match(/../g)?.map((digits) => Number.parseInt(digits, 16)) ?? [];
        return files.write(place, 0, new Uint8Array(bytes));
      },
      [place, MANIFEST_OF_THE_FUTURE] as const,
    );
    const before = await filesOf(place);
    const { errors } = await readAll(place);
    assert.match(errors.join("\n"), /^KvassError NewerFormat: .*format 65535/);
    assert.deepEqual(await filesOf(place), before);
  });
}

test("indexeddb: a log without one of its pieces is damaged there, the rest is read", async () => {
  const place = { storage: "indexeddb", name: "pieces" } as const;
  const commits = 40;
  await page.evaluate(
    async ([{ name, storage }, commits, bytes]) => {
      const kv = await kvass.openKv(name, { storage });
      for (let n = 0; n < commits; n++) await kv.set(["n", n], new Uint8Array(bytes).fill(n + 1));
      await kv.close();
    },
    [place, commits, VALUE_BYTES] as const,
  );
  const [log] = (await filesOf(place)).filter(({ magic }) => magic === "kvasslog");
  assert.ok(log && log.bytes > commits * VALUE_BYTES, "all is in one log");
  for (const piece of [30, 11, 0]) {
    await page.evaluate(([place, file, piece]) => files.losePiece(place, file, piece), [
      place,
      log.file,
      piece,
    ] as const);
    const found = await page.evaluate(async ({ name, storage }) => {
      const refused = await kvass.openKv(name, { storage }).then(
        () => "opened",
        ({ code, message }) => `${code}: ${message}`,
      );
      const kv = await kvass.openKv(name, { storage, salvage: true });
      let count = 0;
      for await (const { value } of kv.list<Uint8Array>({ prefix: ["n"] })) {
        count += value.every((byte) => byte === value[0]) ? 1 : 100;
      }
      const { damage } = await kv.verify();
      const { failure } = await kv.status();
      await kv.close();
      return { refused, count, damage, failure: String(failure?.message) };
    }, place);
    const [{ kind, file, offset } = assert.fail("it is found")] = found.damage;
    assert.deepEqual([kind, file], ["log", log.file]);
    const where = new RegExp(`^Corruption: .*salvage: true.*file ${file}, offset ${offset}\\)$`);
    assert.match(found.refused, where);
    assert.match(found.failure, /damaged places/);
    assert.ok(found.count >= commits - 6 && found.count < commits, `${piece}: ${found.count}`);
  }
});

/** Frames that no host understands, by what is wrong with them. */
const MALFORMED: Record<string, number[]> = {
  "no bytes": [],
  "only zeros": new Array(100).fill(0),
  "counts past the end": new Array(100).fill(255),
  "an unknown request": [...new Array(20).fill(0), 1, 99],
};

for (const [what, bytes] of Object.entries(MALFORMED)) {
  test(`a frame of ${what} is MalformedFrame, and the database works on`, async () => {
    const found = await page.evaluate(async (bytes) => {
      const workers: Worker[] = [];
      const worker = () => {
        const started = new Worker("/pkg/worker.js", { type: "module" });
        workers.push(started);
        return started;
      };
      const kv = await kvass.openKv("malformed", { storage: "opfs", worker });
      await kv.set(["a"], "before");
      const { buffer } = new Uint8Array(bytes);
      workers[0]?.postMessage(buffer, [buffer]);
      const code = await kv.get(["a"]).then(
        () => "answered",
        (error) => error.code as string,
      );
      await kv.set(["b"], "after");
      const values = await kv.getMany([["a"], ["b"]]);
      await kv.close();
      return { code, values: values.map((entry) => entry.value) };
    }, bytes);
    assert.deepEqual(found, { code: "MalformedFrame", values: ["before", "after"] });
  });
}

test("no page threw what nobody caught", () => assert.deepEqual(visitor.complaints, []));
