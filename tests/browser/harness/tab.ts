/** What the tests that run in several browsers need of each. */

/** The site with the package and the globals of page.ts, in a tab. */
export interface Tab {
  /** Runs a function in the page, where its scope is not, and takes its JSON. */
  evaluate<A extends unknown[], R>(run: (...args: A) => R, ...args: A): Promise<Awaited<R>>;
  reload(): Promise<void>;
  close(): Promise<void>;
}

/** A browser with a profile of its own. */
export interface Guest {
  /** A new tab on the site. */
  visit(): Promise<Tab>;
  /** Closes browser and site. */
  leave(): Promise<void>;
}

/** The TypeScript loader wraps functions in calls of this helper, those to evaluate among them. */
export const NAME_HELPER = "globalThis.__name = (named) => named;";
