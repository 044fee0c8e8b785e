/** Names of databases. */

/** In UTF-8 all of them would be U+FFFD, and databases of two names one. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/** @throws TypeError for what is no name of a database */
export function checkName(name: unknown): void {
  if (typeof name !== "string") {
    throw new TypeError(`the name of a database must be a string: received ${typeof name}`);
  }
  if (LONE_SURROGATE.test(name)) {
    throw new TypeError("the name of a database must be well-formed Unicode: no lone surrogates");
  }
}
