/**
 * Reading a JSON array of objects while it downloads: each call to `push` gives the objects
 * that are complete by then, so that storing them need not wait for the rest, and neither the
 * text nor the objects are ever in memory as a whole.
 */
export class JsonArrayReader<T> {
  #rest = "";
  #depth = 0;
  #inString = false;
  #escaped = false;

  /**
   * Takes the next piece of text.
   * @throws SyntaxError where an object is not JSON
   */
  push(text: string): T[] {
    const from = this.#rest.length;
    const all = this.#rest + text;
    let end = 0;
    for (let i = from; i < all.length; i++) {
      const code = all.charCodeAt(i);
      if (this.#inString) this.#step(code);
      else if (code === 0x22) this.#inString = true;
      else if (code === 0x7b || code === 0x5b) this.#depth += 1;
      else if (code === 0x7d || code === 0x5d) {
        this.#depth -= 1;
        if (this.#depth === 1 && code === 0x7d) end = i + 1;
      }
    }
    if (end === 0) {
      this.#rest = all;
      return [];
    }
    const start = all.indexOf("{");
    this.#rest = all.slice(end);
    return JSON.parse(`[${all.slice(start, end)}]`) as T[];
  }

  /**
   * Checks that the array has been closed.
   * @throws SyntaxError where the text ended early
   */
  end(): void {
    if (this.#depth !== 0 || this.#inString) throw new SyntaxError("the file is cut short");
  }

  /** One character inside a string. */
  #step(code: number): void {
    if (this.#escaped) this.#escaped = false;
    else if (code === 0x5c) this.#escaped = true;
    else if (code === 0x22) this.#inString = false;
  }
}
