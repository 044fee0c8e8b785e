/**
 * The page's own small way with the DOM. Text only ever goes in as text: nothing here, and nothing
 * on the page, parses a string as markup.
 */

/** A child of {@link el}: text, a node, or nothing. */
export type Child = string | Node | undefined;

/**
 * The element of the page with this id.
 * @throws where the page has no such element of that type
 */
export function byId<T extends Element = HTMLElement>(
  id: string,
  type: new () => T = HTMLElement as unknown as new () => T,
): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return found;
}

/** Makes an element; properties in `data` become data-* attributes. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: { class?: string; title?: string; data?: Record<string, string> } = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (properties.class !== undefined) element.className = properties.class;
  if (properties.title !== undefined) element.title = properties.title;
  Object.assign(element.dataset, properties.data);
  for (const child of children) if (child !== undefined) element.append(child);
  return element;
}

/** A button that does something; it never submits a form. */
export function button(label: string, action: () => void, className = "button"): HTMLButtonElement {
  const element = el("button", { class: className }, label);
  element.type = "button";
  element.addEventListener("click", action);
  return element;
}

/** Changes an element's text, and the DOM only where it differs. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Runs `work` once in the next frame, however often it is asked for until then. */
export function onceAFrame(work: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}
