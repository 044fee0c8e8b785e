/** What the page remembers of its visitor, in localStorage; nothing where that is forbidden. */

/** The names of settings. */
export type Setting = "theme" | "storage";

export function remembered(setting: Setting): string | undefined {
  try {
    return localStorage.getItem(`kvass-playground:${setting}`) ?? undefined;
  } catch {
    return undefined;
  }
}

/** Remembers a value; undefined forgets it. */
export function remember(setting: Setting, value: string | undefined): void {
  try {
    const key = `kvass-playground:${setting}`;
    if (value === undefined) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // A browser that forbids localStorage asks for the defaults at each visit.
  }
}
