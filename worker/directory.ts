/** The directory in OPFS that a database has its files in: src/wasm/opfs/ has the files. */

import { DIRECTORY, directoryOf } from "../tabs/directory.ts";
import {
  failure,
  hasName,
  notThere,
  TOO_LARGE,
  UNSUPPORTED,
  whileDoing,
  withCode,
} from "./failure.ts";

/** The longest file name, in bytes. */
const NAME_BYTES_MAX = 255;

/**
 * Opens the directory of the database `name`; one that is not there is made, or else refused.
 *
 * @throws Failure `Unsupported` where there is no OPFS, `TooLarge` for a name that makes no file
 *   name, `Io` and `QuotaExceeded` where the browser does not open it, `Io` where it is not there
 */
export async function openDirectory(
  name: string,
  create = true,
): Promise<FileSystemDirectoryHandle> {
  const directory = directoryOf(name);
  if (directory.length > NAME_BYTES_MAX) {
    throw failure(TOO_LARGE, "the name is too long");
  }
  let root: FileSystemDirectoryHandle;
  try {
    root = await navigator.storage.getDirectory();
  } catch (error) {
    throw withCode(UNSUPPORTED, "OPFS can't be used here", error);
  }
  try {
    const all = await root.getDirectoryHandle(DIRECTORY, { create });
    return await all.getDirectoryHandle(directory, { create });
  } catch (error) {
    if (hasName(error, "NotFoundError")) throw notThere();
    throw whileDoing("opening a directory", error);
  }
}
