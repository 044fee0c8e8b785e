/**
 * Gives the locals of a module's functions other numbers: those under which its code is most like
 * that of the other functions, which is what gzip lives on. What the code does, and how fast, is
 * the same. 2 KB of a download.
 *
 * Which number is likely is learned from all other functions: how often an instruction that reads
 * or writes a local has it, given the instructions beside it. Each function in turn has its locals
 * of one type swapped for as long as that makes the whole of its code more likely.
 */
import {
  CALL,
  eachInstruction,
  functionsOf,
  isOfLocal,
  Reader,
  unsigned,
  withCode,
} from "./module.mjs";

/** So often every function gets its turn: more changes next to nothing. */
const ROUNDS = 4;

/** A number that was never seen counts as if it had been seen so often. */
const UNSEEN = 0.2;

/** The neighbours, by their distance, that a guess is made from. */
const CONTEXTS = [[1], [-1], [1, 2], [-1, -2], [-1, 1]];

/**
 * @typedef {object} Use an instruction that is about a local
 * @property {number} at its place among the instructions
 * @property {number} op
 * @property {number} local the local as it is numbered in `code`
 */

/**
 * @typedef {object} Body
 * @property {Uint8Array} code
 * @property {number} params
 * @property {number} begin where the instructions begin
 * @property {number[]} types of the locals that are no parameters
 * @property {number[]} order the locals that are no parameters, in their new order
 * @property {number[]} tokens a hash of each instruction, where it is about no local
 * @property {Use[]} uses
 */

/**
 * @param {Uint8Array} module
 * @returns {Uint8Array}
 */
export function numberLocals(module) {
  const bodies = functionsOf(module).map(read);
  const seen = new Seen();
  for (const body of bodies) seen.count(body, 1);
  for (let round = 0; round < ROUNDS; round++) {
    for (const body of bodies) {
      if (body.types.length < 2) continue;
      seen.count(body, -1);
      swap(body, seen.rate(body));
      seen.count(body, 1);
    }
  }
  return withCode(module, bodies.map(write));
}

/** What was seen in the functions: how often which local, in which context. */
class Seen {
  /** @type {Map<number, Map<number, number>>} */
  #counts = new Map();

  /**
   * Counts a function in, or out.
   * @param {Body} body
   * @param {1 | -1} change
   */
  count(body, change) {
    const numbers = numbersOf(body);
    for (const { context, local } of contextsOf(body, numbers)) {
      const number = numbers[local] ?? 0;
      const counts = this.#counts.get(context) ?? new Map();
      this.#counts.set(context, counts);
      counts.set(number, (counts.get(number) ?? 0) + change);
    }
  }

  /**
   * How much more likely each number makes a local that is no parameter, than one that was never
   * seen: logarithms, by local and by number, both without the parameters.
   * @param {Body} body
   */
  rate(body) {
    const { params, types } = body;
    const rates = types.map(() => new Float64Array(types.length));
    for (const { context, local } of contextsOf(body, numbersOf(body))) {
      const rate = rates[local - params];
      if (rate === undefined) continue;
      for (const [number, count] of this.#counts.get(context) ?? []) {
        const place = number - params;
        const before = rate[place];
        if (before !== undefined) rate[place] = before + Math.log((count + UNSEEN) / UNSEEN);
      }
    }
    return rates;
  }
}

/**
 * @param {Body} body
 * @param {Float64Array[]} rates
 */
function swap({ types, order }, rates) {
  const rate = (/** @type {number} */ local, /** @type {number} */ place) =>
    rates[local]?.[place] ?? 0;
  for (let better = true; better; ) {
    better = false;
    for (let i = 0; i < order.length; i++) {
      for (let j = i + 1; j < order.length; j++) {
        const [a, b] = [order[i] ?? 0, order[j] ?? 0];
        // A margin, so that rounding can't swap two for ever.
        const gain = rate(a, j) + rate(b, i) - rate(a, i) - rate(b, j) - 1e-6;
        if (types[a] !== types[b] || gain <= 0) continue;
        [order[i], order[j]] = [b, a];
        better = true;
      }
    }
  }
}

/**
 * The contexts that each use of a local is in.
 * @param {Body} body
 * @param {number[]} numbers
 */
function* contextsOf({ tokens, uses }, numbers) {
  const named = tokens.slice();
  for (const { at, op, local } of uses) named[at] = mix(op, (numbers[local] ?? 0) + 1);
  for (const { at, op, local } of uses) {
    for (const [kind, distances] of CONTEXTS.entries()) {
      let context = mix(op, kind);
      for (const distance of distances) context = mix(context, named[at + distance] ?? 0);
      yield { context, local };
    }
  }
}

/**
 * The new numbers of a function's locals.
 * @param {Body} body
 */
function numbersOf({ params, order }) {
  const numbers = Array.from({ length: params + order.length }, (_, local) => local);
  for (const [place, local] of order.entries()) numbers[params + local] = params + place;
  return numbers;
}

/**
 * @param {import("./module.mjs").Func} func
 * @returns {Body}
 */
function read({ code, params }) {
  const reader = new Reader(code);
  const types = Array.from({ length: reader.unsigned() }, () => {
    const count = reader.unsigned();
    return new Array(count).fill(reader.byte());
  }).flat();
  const begin = reader.at;
  const frequency = new Array(types.length).fill(0);
  /** @type {number[]} */
  const tokens = [];
  /** @type {Use[]} */
  const uses = [];
  eachInstruction(code, begin, (op, start, end) => {
    let token = op;
    if (isOfLocal(op)) {
      const local = new Reader(code, start + 1).unsigned();
      if (local >= params) frequency[local - params]++;
      uses.push({ at: tokens.length, op, local });
    } else if (op !== CALL) {
      // Which function is called says little, and changes with their order.
      for (let at = start + 1; at < end; at++) token = mix(token, code[at] ?? 0);
    }
    tokens.push(token);
  });
  const order = [...types.keys()].sort(
    (a, b) => types[b] - types[a] || frequency[b] - frequency[a],
  );
  return { code, params, begin, types, order, tokens, uses };
}

/**
 * The code of a function with its locals in the new order.
 * @param {Body} body
 */
function write(body) {
  const { code, begin, types, order } = body;
  /** @type {[count: number, type: number][]} */
  const runs = [];
  for (const local of order) {
    const [type, last] = [types[local] ?? 0, runs.at(-1)];
    if (last?.[1] === type) last[0]++;
    else runs.push([1, type]);
  }
  const numbers = numbersOf(body);
  const bytes = [...unsigned(runs.length), ...runs.flatMap(([n, type]) => [...unsigned(n), type])];
  eachInstruction(code, begin, (op, start, end) => {
    if (isOfLocal(op)) {
      bytes.push(op, ...unsigned(numbers[new Reader(code, start + 1).unsigned()] ?? 0));
    } else bytes.push(...code.subarray(start, end));
  });
  return Uint8Array.from(bytes);
}

/**
 * A hash of two numbers.
 * @param {number} a
 * @param {number} b
 */
function mix(a, b) {
  return Math.imul(a ^ b, 0x9e3779b1) ^ (a >>> 13);
}
