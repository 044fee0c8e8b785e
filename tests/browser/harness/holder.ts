/** A worker that holds the files of a database in OPFS and is no part of kvass. */

addEventListener("message", async ({ data: name }: MessageEvent<string>) => {
  const root = await navigator.storage.getDirectory();
  const files = await (await root.getDirectoryHandle("kvass")).getDirectoryHandle(name);
  const slot = (await files.getFileHandle("0")) as FileSystemFileHandle & {
    createSyncAccessHandle(): Promise<object>;
  };
  // Kept, or it could be collected as garbage.
  Object.assign(globalThis, { held: await slot.createSyncAccessHandle() });
  postMessage("held");
});
