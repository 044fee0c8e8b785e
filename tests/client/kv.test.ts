/** Reads, writes and commits: what is sent, what comes back, and what is refused. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { encodeKey } from "../../client/codec/key.ts";
import { type AtomicOperation, type Kv, KvU64 } from "../../client/index.ts";
import { collect, openFake } from "./support/fake-worker.ts";
import { hexOf } from "./support/wire.ts";

describe("get and getMany", () => {
  test("give entries, and nulls where there is none", async (t) => {
    const { kv } = await openFake(t);
    const result = await kv.set(["a"], "x");
    assert.deepEqual(Object.keys(result), ["ok", "versionstamp"]);
    assert.match(result.versionstamp, /^[0-9a-f]{20}$/);
    const a = { key: ["a"], value: "x", versionstamp: result.versionstamp };
    const b = { key: ["b"], value: null, versionstamp: null };
    assert.deepEqual(await kv.get(["a"]), a);
    assert.deepEqual(await kv.get(["b"]), b);
    assert.deepEqual(await kv.getMany([["b"], ["a"], ["b"]]), [b, a, b]);
    assert.deepEqual(await kv.getMany([]), []);
  });

  test("find nothing at the empty key, which cannot be written", async (t) => {
    const { kv } = await openFake(t);
    const none = { key: [], value: null, versionstamp: null };
    assert.deepEqual(await kv.get([]), none);
    await kv.set(["a"], 1);
    const [empty, a] = await kv.getMany<[unknown, number]>([[], ["a"]]);
    assert.deepEqual(empty, none);
    assert.equal(a.value, 1);
    await assert.rejects(kv.set([], 1), { name: "TypeError", message: "Key cannot be empty" });
    await assert.rejects(kv.delete([]), { name: "TypeError", message: "Key cannot be empty" });
    assert.throws(() => kv.atomic().check({ key: [], versionstamp: null }), TypeError);
  });

  test("refuse what is no key and what is no consistency", async (t) => {
    const { kv } = await openFake(t);
    const message = "expected string, number, bigint, ArrayBufferView, boolean";
    for (const part of [null, undefined, {}, new Date(), new ArrayBuffer(1), [1], Symbol("x")]) {
      await assert.rejects(kv.get([part as never]), { name: "TypeError", message });
      await assert.rejects(kv.set(["a", part as never], 1), { name: "TypeError", message });
    }
    const noKey = /a key must be an array of key parts/;
    for (const key of [undefined, null, "", "a", 1, {}]) {
      await assert.rejects(kv.get(key as never), noKey);
      await assert.rejects(kv.getMany([key as never]), noKey);
      await assert.rejects(kv.delete(key as never), noKey);
      assert.throws(() => kv.watch([key as never]), noKey);
      assert.throws(() => kv.atomic().check({ key: key as never, versionstamp: null }), noKey);
    }
    const noKeys = { name: "TypeError", message: "keys must be in an array" };
    for (const keys of [undefined, null, "a", 1, {}, new Set([["a"]])] as never[]) {
      await assert.rejects(kv.getMany(keys), noKeys);
      assert.throws(() => kv.watch(keys), noKeys);
    }
    await assert.rejects(kv.get(["a"], { consistency: "weak" as never }), TypeError);
  });

  test("refuse options that would be passed over", async (t) => {
    const { kv } = await openFake(t);
    const message = "the options must be an object: received 60000";
    const none = { name: "TypeError", message };
    const options = 60_000 as never;
    await assert.rejects(kv.set(["a"], 1, options), none);
    await assert.rejects(kv.delete(["a"], options), none);
    await assert.rejects(kv.deleteRange({ prefix: ["a"] }, options), none);
    await assert.rejects(kv.get(["a"], options), none);
    await assert.rejects(kv.get([], options), none);
    await assert.rejects(kv.getMany([["a"]], options), none);
    await assert.rejects(kv.list({ prefix: ["a"] }, options).next(), none);
    assert.throws(() => kv.changes({ prefix: [] }, options), none);
    assert.throws(() => kv.watch([["a"]], options), none);
    assert.throws(() => kv.atomic().set(["a"], 1, options), none);
    await assert.rejects(kv.atomic().set(["a"], 1).commit(options), none);
    await assert.rejects(kv.get([], { consistency: "weak" as never }), /consistency must be/);
  });

  test("tell of the key that was asked for, though its memory is another thread's", async (t) => {
    const { kv } = await openFake(t);
    await kv.set([1], "right");
    // As bytes that others write to may be different each time that they are read.
    let reads = 0;
    const key = Object.defineProperty([0], 0, { get: () => ++reads });
    assert.deepEqual(
      { ...(await kv.get(key)), versionstamp: "" },
      {
        key: [1],
        value: "right",
        versionstamp: "",
      },
    );
    const shared = new Uint8Array(new SharedArrayBuffer(1));
    const written = kv.set([shared], "shared");
    shared[0] = 1;
    await written;
    assert.equal((await kv.get([new Uint8Array(1)])).value, "shared");
  });

  test("take null for no options", async (t) => {
    const { kv } = await openFake(t);
    const none = null as never;
    await kv.set(["a"], 1, none);
    await kv.atomic().set(["b"], 1, none).commit(none);
    assert.equal((await kv.get([], none)).value, null);
    assert.equal((await kv.get(["a"], none)).value, 1);
    assert.equal((await kv.getMany([["a"]], none))[0].value, 1);
    assert.deepEqual((await kv.list({ prefix: [] }, none).next()).value?.key, ["a"]);
    await kv.changes({ prefix: [] }, none).cancel();
    await kv.watch([["a"]], none).cancel();
    await kv.delete(["a"], none);
    await kv.deleteRange({ prefix: ["a"] }, none);
  });
});

describe("expireIn", () => {
  test("is sent in milliseconds", async (t) => {
    const { kv, workers } = await openFake(t);
    await kv.set(["a"], 1, { expireIn: 0 });
    await kv.atomic().set(["a"], 1, { expireIn: 1e10 }).commit();
    await kv
      .atomic()
      .mutate({ type: "set", key: ["a"], value: 1, expireIn: 5 })
      .commit();
    const sent = workers.last.frames.map(({ requests: [request] }) => {
      return request?.type === "commit" && request.mutations[0]?.expireIn;
    });
    assert.deepEqual(sent, [0, 1e10, 5]);
  });

  test("that can't be is refused", async (t) => {
    const { kv } = await openFake(t);
    for (const expireIn of [-1, 1.5, Number.NaN, "1"]) {
      const set = kv.set(["a"], 1, { expireIn: expireIn as number });
      const message = `expireIn must be a non-negative integer: received ${expireIn}`;
      await assert.rejects(set, { name: "TypeError", message });
    }
    await assert.rejects(kv.set(["a"], 1, { expireIn: 2 ** 60 }), /expireIn is too large/);
  });
});

describe("an atomic operation", () => {
  test("says which check failed", async (t) => {
    const { kv } = await openFake(t);
    const { versionstamp } = await kv.set(["a"], 1);
    const op = kv
      .atomic()
      .check({ key: ["a"], versionstamp }, { key: ["b"], versionstamp: null })
      .check({ key: ["a"], versionstamp: null })
      .set(["c"], 1);
    assert.deepEqual(await op.commit(), { ok: false, check: 2 });
    assert.equal((await kv.get(["c"])).value, null);
    const upper = { key: ["a"], versionstamp: versionstamp.toUpperCase() };
    assert.ok((await kv.atomic().check(upper).commit()).ok);
  });

  test("computes with u64", async (t) => {
    const { kv } = await openFake(t);
    await kv.atomic().sum(["n"], 10n).max(["m"], 3n).commit();
    await kv
      .atomic()
      .sum(["n"], 2n ** 64n - 1n)
      .max(["m"], 2n)
      .min(["m"], 1n)
      .commit();
    const [n, m] = await kv.getMany<[KvU64, KvU64]>([["n"], ["m"]]);
    assert.deepEqual([n.value, m.value], [new KvU64(9n), new KvU64(1n)]);
  });

  test("takes a KvU64 of another copy of the package for what it is", async (t) => {
    const { kv } = await openFake(t);
    const u64 = import.meta.resolve("../../client/u64.ts");
    const copy: typeof import("../../client/u64.ts") = await import(`${u64}?copy`);
    assert.notEqual(copy.KvU64, KvU64);
    await kv.set(["n"], new copy.KvU64(5n));
    await kv.atomic().sum(["n"], 1n).commit();
    assert.deepEqual((await kv.get(["n"])).value, new KvU64(6n));
    await assert.rejects(kv.set(["n"], [new copy.KvU64(5n)]), /a KvU64 can only be a whole value/);
  });

  test("may be committed again", async (t) => {
    const { kv } = await openFake(t);
    const op = kv.atomic().sum(["n"], 1n);
    await Promise.all([op.commit(), op.commit()]);
    assert.equal((await kv.get<KvU64>(["n"])).value?.value, 2n);
  });

  test("is not sent or added to by a getter of what is being added", async (t) => {
    const { kv } = await openFake(t);
    const message = "a getter of an argument used the operation";
    const op = kv.atomic();
    let commit: Promise<unknown> | undefined;
    const value = {
      get x() {
        commit = op.commit();
        return 1;
      },
    };
    const key = new Proxy(["b"], {
      get(parts, name) {
        if (name === "0") assert.throws(() => op.delete(["d"]), { name: "TypeError", message });
        return Reflect.get(parts, name);
      },
    });
    op.set(["a"], value).set(key, 2);
    await assert.rejects(commit as Promise<unknown>, { name: "TypeError", message });
    assert.ok((await op.commit()).ok);
    const [a, b] = await kv.getMany<[unknown, unknown]>([["a"], ["b"]]);
    assert.deepEqual([a.value, b.value], [{ x: 1 }, 2]);
  });

  test("of nothing is a commit", async (t) => {
    const { kv } = await openFake(t);
    const first = await kv.atomic().commit();
    const second = await kv.atomic().commit();
    assert.ok(first.ok && second.ok && second.versionstamp > first.versionstamp);
  });

  test("is no promise", async (t) => {
    const { kv } = await openFake(t);
    await assert.rejects(async () => await kv.atomic(), {
      name: "TypeError",
      message: "'kvass.AtomicOperation' is not a promise: did you forget to call 'commit()'",
    });
  });

  const refused: [RegExp, (op: AtomicOperation) => unknown][] = [
    [/Invalid mutation 'delete' with value/, (op) => op.mutate(mutation("delete", 1))],
    [/Invalid mutation 'sum' without value/, (op) => op.mutate({ type: "sum", key: [1] } as never)],
    [/Invalid mutation 'set' without value/, (op) => op.mutate({ type: "set", key: [1] } as never)],
    [/Invalid mutation type/, (op) => op.mutate(mutation("append", 1))],
    [/a mutation must be an object: received null/, (op) => op.mutate(null as never)],
    [/a check must be an object: received undefined/, (op) => op.check(undefined as never)],
    [/Value must be a bigint/, (op) => op.sum(["n"], 1 as never)],
    [/Value must be a positive bigint/, (op) => op.min(["n"], -1n)],
    [/Value must fit in a 64-bit unsigned integer/, (op) => op.max(["n"], 2n ** 64n)],
    [/invalid versionstamp/, (op) => op.check({ key: ["a"], versionstamp: "" })],
    [/invalid versionstamp/, (op) => op.check({ key: ["a"], versionstamp: "0".repeat(19) })],
    [/expected string/, (op) => op.set(["a", {} as never], 1)],
    [/cannot be stored/, (op) => op.set(["a"], () => 1)],
  ];
  const mutation = (type: string, value: unknown) => ({ type, key: ["a"], value }) as never;

  for (const [message, call] of refused) {
    test(`refuses and goes on: ${message.source} ${call}`, async (t) => {
      const { kv } = await openFake(t);
      const op = kv.atomic().set(["before"], 1);
      assert.throws(() => call(op), message);
      assert.ok((await op.set(["after"], 2).commit()).ok);
      assert.deepEqual(await collect(kv.list({ prefix: [] }), ({ value }) => value), [2, 1]);
    });
  }
});

describe("commitVersionstamp", () => {
  test("stands for the commit's versionstamp at the end of a key", async (t) => {
    const { kv } = await openFake(t);
    const { versionstamp } = await kv.set(["log", kv.commitVersionstamp()], 1);
    const [entry] = await collect(kv.list({ prefix: ["log"] }));
    assert.deepEqual(entry, { key: ["log", versionstamp], value: 1, versionstamp });
  });

  test("stands nowhere else", async (t) => {
    const { kv } = await openFake(t);
    const stamp = kv.commitVersionstamp();
    await assert.rejects(kv.set([stamp, "a"], 1), TypeError);
    await assert.rejects(kv.get(["a", stamp]), TypeError);
    await assert.rejects(kv.delete(["a", stamp]), TypeError);
    assert.throws(() => kv.atomic().sum(["a", stamp], 1n), TypeError);
    assert.throws(() => kv.atomic().check({ key: [stamp], versionstamp: null }), TypeError);
  });
});

describe("the limits of Deno KV", () => {
  /** A key of `size` bytes when encoded. */
  const keyOf = (size: number) => ["x".repeat(size - 2)];
  const filled = (op: AtomicOperation, count: number, size: number, bytes: number) => {
    for (let i = 0; i < count; i++) {
      op.set([`${i}`.padStart(size - 2, "k")], new Uint8Array(bytes));
    }
    return op;
  };
  const cases: [string, (kv: Kv) => Promise<unknown>, (kv: Kv) => Promise<unknown>][] = [
    [
      "Key too large for write (max 2048 bytes)",
      (kv) => kv.set(keyOf(2048), 1),
      (kv) => kv.set(keyOf(2049), 1),
    ],
    [
      "Key too large for write (max 2048 bytes)",
      (kv) => kv.set([...keyOf(2026), kv.commitVersionstamp()], 1),
      (kv) => kv.set([...keyOf(2027), kv.commitVersionstamp()], 1),
    ],
    [
      "Key too large for read (max 2049 bytes)",
      (kv) => kv.get(keyOf(2049)),
      (kv) => kv.get(keyOf(2050)),
    ],
    [
      "Key too large for read (max 2049 bytes)",
      (kv) => kv.list({ prefix: keyOf(2048) }).next(),
      (kv) => kv.list({ prefix: keyOf(2049) }).next(),
    ],
    [
      "Value too large (max 65536 bytes)",
      (kv) => kv.set(["a"], new Uint8Array(65_536)),
      (kv) => kv.set(["a"], new Uint8Array(65_537)),
    ],
    [
      "Too many ranges (max 10)",
      (kv) => kv.getMany(Array.from({ length: 10 }, () => ["a"])),
      (kv) => kv.getMany(Array.from({ length: 11 }, () => ["a"])),
    ],
    [
      "Too many entries (max 1000)",
      (kv) => kv.list({ prefix: [] }, { batchSize: 1000 }).next(),
      (kv) => kv.list({ prefix: [] }, { batchSize: 1001 }).next(),
    ],
    [
      "Too many checks (max 100)",
      (kv) => checked(kv.atomic(), 100).commit(),
      (kv) => checked(kv.atomic(), 101).commit(),
    ],
    [
      "Too many mutations (max 1000)",
      (kv) => filled(kv.atomic(), 1000, 10, 0).commit(),
      (kv) => filled(kv.atomic(), 1001, 10, 0).commit(),
    ],
    [
      "Total mutation size too large (max 819200 bytes)",
      (kv) => filled(kv.atomic(), 12, 10, 65_536).commit(),
      (kv) => filled(kv.atomic(), 13, 10, 65_536).commit(),
    ],
    [
      "Value too large (max 65536 bytes)",
      // Three bytes before it say that it is a string, and how long.
      (kv) => kv.set(["a"], "x".repeat(65_536 - 3)),
      (kv) => kv.set(["a"], "x".repeat(65_536 - 2)),
    ],
    [
      "Total key size too large (max 81920 bytes)",
      (kv) => ranges(kv.atomic(), 20).commit(),
      (kv) => ranges(kv.atomic(), 21).commit(),
    ],
    [
      "Total key size too large (max 81920 bytes)",
      (kv) => deletes(kv.atomic(), 40).commit(),
      (kv) => deletes(kv.atomic(), 41).commit(),
    ],
    [
      "Total key size too large (max 81920 bytes)",
      (kv) => filled(kv.atomic(), 40, 2048, 0).commit(),
      (kv) => filled(kv.atomic(), 41, 2048, 0).commit(),
    ],
  ];
  const ranges = (op: AtomicOperation, count: number) => {
    for (let i = 0; i < count; i++) op.deleteRange({ start: keyOf(2048), end: keyOf(2048) });
    return op;
  };
  const deletes = (op: AtomicOperation, count: number) => {
    for (let i = 0; i < count; i++) op.delete(keyOf(2048));
    return op;
  };
  const checked = (op: AtomicOperation, count: number) =>
    op.check(...Array.from({ length: count }, () => ({ key: ["a"], versionstamp: null })));

  cases.forEach(([message, within, beyond], i) => {
    test(`${message} (${i})`, async (t) => {
      const { kv } = await openFake(t, { limits: "deno" });
      await within(kv);
      await assert.rejects(beyond(kv), (error: TypeError & { code?: string }) => {
        assert.deepEqual(
          [error.name, error.message, error.code],
          ["TypeError", message, "TooLarge"],
        );
        return true;
      });
    });
  });
});

test("status and stats have the fields of their types", async (t) => {
  const { kv } = await openFake(t);
  await kv.set(["a"], 1);
  const { entries, levels } = await kv.stats();
  assert.deepEqual([entries, levels], [1, []]);
  const { quota, usage, persisted, ...status } = await kv.status();
  assert.deepEqual(status, {
    storage: "opfs",
    durability: "relaxed",
    role: "host",
    epoch: 1,
    format: 1,
    reason: null,
    failure: null,
  });
});

test("status has the failure of a flush that nobody waited for", async (t) => {
  const { kv, workers } = await openFake(t);
  workers.behaviour.request = (worker, sequence, request, out) => {
    if (request.type !== "status") return worker.host.answer(sequence, request, out);
    const w = out.reply(sequence, 8);
    w.text("opfs");
    w.u8(0);
    for (const figure of [1, 2]) w.varint(figure);
    w.u8(0);
    w.u8(1);
    w.u8(5);
    w.text("the disk is gone");
  };
  const { failure, format, reason } = await kv.status();
  assert.deepEqual(failure, { code: "Io", message: "the disk is gone" });
  assert.deepEqual([format, reason], [2, null]);
});

test("a key is sent as the bytes that the engine orders by", async (t) => {
  const { kv, workers } = await openFake(t);
  const key = [new Uint8Array([0, 1]), "ü\0", 5n, -1.5, false, true];
  await kv.set(key, 1);
  assert.deepEqual([...workers.files.entries.keys()], [hexOf(encodeKey(key))]);
});
