// Small parts that every view is made of.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";

export const STATUSES = [
  "blocked", "running", "completed", "failed", "canceled", "terminated", "timed_out", "continued_as_new",
];
export const CLOSED = new Set(STATUSES.slice(2));

export function words(name) {
  return name.replaceAll("_", " ");
}

// "ActivityTaskThing" as "Activity task thing".
export function spoken(name) {
  const parts = name.match(/[A-Z]+(?![a-z])|[A-Z][a-z0-9]*|[a-z0-9]+/g) ?? [name];
  return parts.map((part, index) => (index ? part.toLowerCase() : part)).join(" ");
}

export function Status({ status }) {
  return html`<span class="status" data-status=${status}>${words(status)}</span>`;
}

// A link that the router takes; a click with a key held opens a tab as everywhere.
export function Go({ to, children, ...rest }) {
  return html`<a href=${to} ...${rest}>${children}</a>`;
}

export function runAddress(run, more = {}) {
  const params = new URLSearchParams({ id: run.workflow_id, run: run.run_id ?? "" });
  if (run.task_queue) params.set("queue", run.task_queue);
  for (const [name, value] of Object.entries(more)) params.set(name, value);
  return `/run?${params}`;
}

export function Copy({ text, label = "copy" }) {
  const [isDone, setDone] = useState(false);
  const copy = async (event) => {
    event.preventDefault();
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      setTimeout(() => setDone(false), 1200);
    } catch {
      // Without leave to copy, the text is still there to be marked.
    }
  };
  return html`<button type="button" class="copy" onClick=${copy} title=${label} aria-label=${label}>
    <svg viewBox="0 0 16 16" width="13" height="13" aria-hidden="true">${isDone
      ? html`<path d="M3 8.5l3.5 3.5L13 4.5" />`
      : html`<path d="M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z" />`}</svg>
  </button>`;
}

export function ProblemBox({ problem, again }) {
  if (!problem) return null;
  return html`<div class="box problem" role="alert">
    <strong>${words(problem.code ?? "problem")}</strong>
    <span>${problem.message}</span>
    ${again && html`<button type="button" onClick=${again}>Try again</button>`}
  </div>`;
}

export function Live({ state }) {
  const says = { live: "live", connecting: "connecting", away: "not connected", ended: "closed" };
  return html`<span class="live" data-state=${state} role="status">${says[state] ?? state}</span>`;
}

// How wide an element is, now and whenever that changes.
export function useWidth(ref) {
  const [width, setWidth] = useState(900);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    watch.observe(ref.current);
    setWidth(Math.floor(ref.current.clientWidth));
    return () => watch.disconnect();
  }, []);
  return width;
}

export function Empty({ children }) {
  return html`<div class="empty">${children}</div>`;
}

export function Tabs({ tabs, chosen, onChoose }) {
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = tabs.findIndex((tab) => tab.name === chosen);
    const next = tabs[(at + step + tabs.length) % tabs.length];
    onChoose(next.name);
    event.currentTarget.querySelector(`[data-tab="${next.name}"]`)?.focus();
  };
  return html`<div class="tabs" role="tablist" onKeyDown=${move}>
    ${tabs.map(
      (tab) => html`<button key=${tab.name} type="button" role="tab" data-tab=${tab.name}
        aria-selected=${tab.name === chosen ? "true" : "false"} tabindex=${tab.name === chosen ? 0 : -1}
        onClick=${() => onChoose(tab.name)}>${tab.title}${tab.count != null && html`<b>${tab.count}</b>`}</button>`,
    )}
  </div>`;
}

// A question before something that cannot be taken back, with a reason that goes into the history.
export function Dialog({ title, says, action, danger, withReason, onDo, onClose, children }) {
  const box = useRef(null);
  const [reason, setReason] = useState("");
  const [problem, setProblem] = useState(null);
  const [isBusy, setBusy] = useState(false);
  useEffect(() => {
    box.current.showModal();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      await onDo(reason);
      onClose();
    } catch (found) {
      setProblem(found);
      setBusy(false);
    }
  };
  return html`<dialog ref=${box} onClose=${onClose} aria-label=${title}>
    <form onSubmit=${submit}>
      <h2>${title}</h2>
      ${says && html`<p>${says}</p>`}
      ${children}
      ${withReason &&
      html`<label class="field">Reason
        <input value=${reason} onInput=${(event) => setReason(event.target.value)} maxlength="1000" autofocus />
        <small>It stands in the history, with your name.</small>
      </label>`}
      <${ProblemBox} problem=${problem} />
      <div class="buttons">
        <button type="button" onClick=${onClose}>Leave it</button>
        <button type="submit" class=${danger ? "danger" : "primary"} disabled=${isBusy}>${action}</button>
      </div>
    </form>
  </dialog>`;
}

const TOASTS = new Set();

export function toast(text, kind = "good") {
  for (const show of TOASTS) show({ text, kind, key: Math.random() });
}

export function Toasts() {
  const [shown, setShown] = useState([]);
  useEffect(() => {
    const show = (one) => {
      setShown((old) => [...old.slice(-3), one]);
      setTimeout(() => setShown((old) => old.filter((other) => other !== one)), 5000);
    };
    TOASTS.add(show);
    return () => TOASTS.delete(show);
  }, []);
  return html`<div class="toasts" aria-live="polite">
    ${shown.map((one) => html`<div key=${one.key} class="toast" data-kind=${one.kind}>${one.text}</div>`)}
  </div>`;
}
