/** Where OPFS has the files of a database: docs/FORMAT.md. */

/** The directory that has one for each database. */
export const DIRECTORY = "kvass";

/**
 * The name of the directory of a database. Any string makes a file name, on file systems that take
 * `A` for `a` too.
 */
export function directoryOf(name: string): string {
  if (name === "") return "%";
  return Array.from(new TextEncoder().encode(name), (byte) => {
    const char = String.fromCharCode(byte);
    return /[a-z0-9_-]/.test(char) ? char : `%${byte.toString(16).padStart(2, "0")}`;
  }).join("");
}
