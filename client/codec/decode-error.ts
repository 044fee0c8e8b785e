/** Bytes that are not what their format says: cut short, out of range or of an unknown kind. */
export class DecodeError extends Error {
  override name = "DecodeError";
}
