// The gateway as the pages ask it: JSON with errors that say something, and live streams.
import { useEffect, useRef, useState } from "./lib.js";

export class Problem extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

let me = null;
let asking = null;

// Who we are, and the token that changes must carry; asked once, and again after a restart.
export async function whoAmI({ again = false } = {}) {
  if (again) me = asking = null;
  if (me) return me;
  asking ??= call("/api/v1/me").then(
    (found) => (me = found),
    (problem) => {
      asking = null;
      throw problem;
    },
  );
  return asking;
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch {
    throw new Problem("unavailable", "the gateway does not answer; is perdure ui running?", 0);
  }
  if (response.status === 204) return null;
  let body = null;
  try {
    body = await response.json();
  } catch {
    throw new Problem("internal", `the gateway answered ${response.status} without JSON`, response.status);
  }
  if (!response.ok) throw new Problem(body.code ?? "internal", body.message ?? "", response.status);
  return body;
}

export function address(path, params) {
  const filled = Object.entries(params ?? {}).filter(([, value]) => value !== "" && value != null);
  const query = new URLSearchParams(filled).toString();
  return query ? `${path}?${query}` : path;
}

export function get(path, params, { signal } = {}) {
  return call(address(path, params), { signal });
}

export async function post(path, body) {
  const send = async () =>
    call(path, {
      method: "POST",
      headers: { "content-type": "application/json", "x-perdure-csrf": (await whoAmI()).csrf },
      // A string is JSON already: numbers that JavaScript would round stay as they were typed.
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
  try {
    return await send();
  } catch (problem) {
    if (problem.code !== "foreign") throw problem;
    // The gateway was restarted under this page: its tokens are new.
    await whoAmI({ again: true });
    return send();
  }
}

// Who we are, for parts that show or hide what one may do.
export function useMe() {
  const [found, setFound] = useState(me);
  useEffect(() => void whoAmI().then(setFound, () => {}), []);
  return found && { ...found, may: found.role !== "read" };
}

export async function signIn(token) {
  await call("/api/v1/session", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
  });
  return whoAmI({ again: true });
}

export async function signOut() {
  await call("/api/v1/session/end", { method: "POST" });
  me = asking = null;
}

// A question and its answer as state; asked again when `path` or a parameter changes.
export function useAsk(path, params) {
  const [state, setState] = useState({ data: null, problem: null, isLoading: true });
  const [turn, setTurn] = useState(0);
  const where = path ? address(path, params) : null;
  useEffect(() => {
    if (!where) return undefined;
    const aborter = new AbortController();
    setState((old) => ({ ...old, isLoading: true }));
    call(where, { signal: aborter.signal }).then(
      (data) => aborter.signal.aborted || setState({ data, problem: null, isLoading: false }),
      (problem) => aborter.signal.aborted || setState((old) => ({ ...old, problem, isLoading: false })),
    );
    return () => aborter.abort();
  }, [where, turn]);
  return { ...state, again: () => setTurn((number) => number + 1) };
}

// A question that is asked again every so often while the page is looked at.
export function usePolled(path, params, everyMs) {
  const [state, setState] = useState({ data: null, problem: null });
  const [turn, setTurn] = useState(0);
  const where = path ? address(path, params) : null;
  useEffect(() => setState({ data: null, problem: null }), [where]);
  useEffect(() => {
    if (!where) return undefined;
    let timer = null;
    const aborter = new AbortController();
    const look = async () => {
      if (!document.hidden) {
        await call(where, { signal: aborter.signal }).then(
          (data) => aborter.signal.aborted || setState({ data, problem: null }),
          (problem) => aborter.signal.aborted || setState((old) => ({ ...old, problem })),
        );
      }
      if (!aborter.signal.aborted) timer = setTimeout(look, everyMs);
    };
    look();
    return () => (aborter.abort(), clearTimeout(timer));
  }, [where, turn]);
  return { ...state, again: () => setTurn((number) => number + 1) };
}

// A stream while the page is looked at: a browser has few connections, hidden pages hold none.
// `on` maps event names to functions; it begins anew where `where()` says.
export function useStream(key, where, on) {
  const [state, setState] = useState("connecting");
  const handlers = useRef(on);
  handlers.current = on;
  useEffect(() => {
    if (!key) return undefined;
    let source = null;
    let timer = null;
    let failures = 0;
    let isOver = false;
    const open = () => {
      if (source || isOver || document.hidden) return;
      source = new EventSource(where());
      source.onopen = () => {
        failures = 0;
        setState("live");
      };
      for (const name of Object.keys(handlers.current)) {
        source.addEventListener(name, (event) => {
          setState("live");
          handlers.current[name]?.(JSON.parse(event.data));
          if (name === "end" || name === "fatal") {
            isOver = true;
            close();
            setState("ended");
          }
        });
      }
      source.onerror = () => {
        // Begin again by ourselves: a browser gives up for ever on an answer that is no stream.
        close();
        failures += 1;
        setState("away");
        handlers.current.away?.();
        timer = setTimeout(open, Math.min(500 * 2 ** failures, 15_000));
      };
    };
    const close = () => {
      clearTimeout(timer);
      source?.close();
      source = null;
    };
    const look = () => (document.hidden ? close() : open());
    document.addEventListener("visibilitychange", look);
    open();
    return () => {
      document.removeEventListener("visibilitychange", look);
      close();
    };
  }, [key]);
  return state;
}
