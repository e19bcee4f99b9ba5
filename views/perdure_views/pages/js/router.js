// Addresses: every view has one, and going to it never loads the document again.
import { useEffect, useState } from "./lib.js";

export function here() {
  return { path: location.pathname, params: Object.fromEntries(new URLSearchParams(location.search)) };
}

export function go(to, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", to);
  dispatchEvent(new PopStateEvent("popstate"));
}

// Change some parameters of this view's address; empty ones go away.
export function setParams(changes, { replace = true } = {}) {
  const params = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value == null) params.delete(name);
    else params.set(name, value);
  }
  const query = params.toString();
  go(query ? `${location.pathname}?${query}` : location.pathname, { replace });
}

export function useHere() {
  const [at, setAt] = useState(here);
  useEffect(() => {
    const look = () => setAt(here());
    addEventListener("popstate", look);
    return () => removeEventListener("popstate", look);
  }, []);
  return at;
}

// Every plain click on a link of ours.
export function takeClicks() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!link || !isPlain || event.defaultPrevented || link.target || link.origin !== location.origin) return;
    if (link.pathname.startsWith("/api/")) return;
    event.preventDefault();
    go(link.pathname + link.search);
    scrollTo(0, 0);
  });
}
