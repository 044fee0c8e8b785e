/** Streams that are pulled: what they give is made when it is read. */

import type { KvStream } from "./types.ts";

/** Where the items of a stream come from. */
export interface Source<T> {
  /** The next item, or undefined if there is none yet: then `offer` is called once there is. */
  take(): T | undefined;
  /** The reader left. */
  cancel(): void;
}

/** The writing end of a stream. */
export interface Feed {
  /** Tells that there may be an item. */
  offer(): void;
  /** Ends the stream, because of an error if there is one. */
  end(error?: unknown): void;
}

/** A stream of what `source` has, and its writing end. Nothing is taken before it is read. */
export function streamOf<T>(source: Source<T>): { stream: KvStream<T>; feed: Feed } {
  let controller: ReadableStreamDefaultController<T> | undefined;
  let isWanted = false;
  const offer = () => {
    if (!isWanted || controller === undefined) return;
    try {
      const item = source.take();
      if (item === undefined) return;
      isWanted = false;
      controller.enqueue(item);
    } catch (error) {
      source.cancel();
      end(error);
    }
  };
  const end = (error?: unknown) => {
    const ended = controller;
    controller = undefined;
    if (error === undefined) ended?.close();
    else ended?.error(error);
  };
  const stream = new ReadableStream<T>(
    {
      start(its) {
        controller = its;
      },
      pull() {
        isWanted = true;
        offer();
      },
      cancel() {
        controller = undefined;
        source.cancel();
      },
    },
    { highWaterMark: 0 },
  ) as KvStream<T>;
  if (!(Symbol.asyncIterator in stream)) iterable(stream);
  return { stream, feed: { offer, end } };
}

/** Gives a stream the iterator that the streams of some browsers lack. */
function iterable<T>(stream: ReadableStream<T>): void {
  Object.defineProperty(stream, Symbol.asyncIterator, {
    value: async function* () {
      const reader = stream.getReader();
      try {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return;
          yield value;
        }
      } finally {
        await reader.cancel();
        reader.releaseLock();
      }
    },
  });
}
