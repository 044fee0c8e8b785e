/** Posts every message back. */

const worker = self as unknown as Pick<Worker, "onmessage" | "postMessage">;

worker.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => worker.postMessage(data, [data]);
