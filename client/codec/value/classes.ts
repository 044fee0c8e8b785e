/**
 * What an object is by its internal slots. `Symbol.toStringTag` says what an object calls itself,
 * which any class may say of its own; a member of a built-in class takes only what is of it.
 */

/** What an object calls itself; where it does not, it is what its slots make it. */
export function typeName(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}

/** The getter or method that a prototype has itself. */
function memberOf(prototype: object, member: PropertyKey): () => unknown {
  const { get, value: method } = Object.getOwnPropertyDescriptor(prototype, member) ?? {};
  return get ?? method;
}

const typedArrayName = /* @__PURE__ */ memberOf(
  /* @__PURE__ */ Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
);

/** The class of a view: that of a typed array, or "DataView". */
export function viewName(view: ArrayBufferView): string {
  return (typedArrayName.call(view) as string | undefined) ?? "DataView";
}

/** A member of each class whose objects call themselves by its name. */
const MEMBERS: Record<string, string> = {
  Map: "size",
  Set: "size",
  ArrayBuffer: "byteLength",
  BigInt: "valueOf",
  DOMException: "code",
};

/** Objects of these call themselves nothing: what is called so is not of them. */
const SILENT = /^(Date|RegExp|Error|Boolean|Number|String)$/;

/** The class that structured clone sees in an object, or what the object calls itself. */
export function className(value: object): string {
  const name = typeName(value);
  const { [Symbol.toStringTag]: tag } = value as { [Symbol.toStringTag]?: unknown };
  if (typeof tag !== "string") return name;
  try {
    const member = MEMBERS[name];
    const { prototype } = (globalThis as never)[name] ?? {};
    if (member) memberOf(prototype, member).call(value);
    if (!SILENT.test(name)) return name;
  } catch {
    // It is no such object.
  }
  return `an object that is no ${name}`;
}
