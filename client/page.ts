/**
 * What happens to the page: databases are flushed when it is hidden, given up when it is frozen or
 * goes into the back/forward cache, where its worker would stand still with the database in its
 * hands, and taken up again when it comes back; one that is prerendered opens them when it is
 * shown. A page that goes for good is left to the browser, so that the worker can still read what
 * it was sent.
 */

/** What follows the page. */
export interface Follower {
  hide(): void;
  leave(): void;
  suspend(): void;
  resume(): void;
}

/** Has `follower` told of the page, until the function returned is called. */
export function followPage(follower: Follower): () => void {
  // In a worker there is no page, and nothing to follow.
  if (typeof document === "undefined") return () => {};
  const off = new AbortController();
  const { signal } = off;
  const hide = () => follower.hide();
  // One that is prerendered has neither workers nor locks before it is shown, if it ever is.
  if ((document as { prerendering?: boolean }).prerendering) {
    follower.suspend();
    document.addEventListener("prerenderingchange", () => follower.resume(), { signal });
  }
  document.addEventListener("freeze", () => follower.suspend(), { signal });
  document.addEventListener("resume", () => follower.resume(), { signal });
  document.addEventListener(
    "visibilitychange",
    () => {
      if (document.visibilityState === "hidden") hide();
    },
    { signal },
  );
  addEventListener(
    "pagehide",
    (event) => (event.persisted ? follower.suspend() : follower.leave()),
    { signal },
  );
  addEventListener("pageshow", (event) => event.persisted && follower.resume(), { signal });
  return () => off.abort();
}
