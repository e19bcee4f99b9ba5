// Keys: one letter where nothing is typed, arrows through rows.
import { html, useEffect, useRef } from "./lib.js";
import { go } from "./router.js";

const KEYS = [
  ["/", "filter the list"], ["g", "go to a workflow id"], ["w", "workflows"], ["c", "schedules"], ["t", "task queues"], ["h", "health"], ["s", "start a workflow"],
  ["j  k", "next, previous row"], ["Enter", "open the row"], ["1 … 5", "a run's tabs"], ["+  −  0", "zoom the timeline"],
  ["?", "these keys"], ["Esc", "close, leave a field"],
];

function isTyping(target) {
  return target.closest?.("input, textarea, select, [contenteditable]") != null;
}

export function useKeys({ onHelp }) {
  const help = useRef(onHelp);
  help.current = onHelp;
  useEffect(() => {
    const press = (event) => {
      if (event.key === "Escape") {
        for (const open of document.querySelectorAll("details.menu[open]")) open.open = false;
        if (isTyping(event.target)) event.target.blur();
        return;
      }
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
      const views = { w: "/workflows", c: "/schedules", t: "/task-queues", h: "/health", s: "/start" };
      if (views[event.key]) return void go(views[event.key]);
      if (event.key === "?") return void help.current();
      const field = event.key.length === 1 && document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
      if (field) {
        event.preventDefault();
        if (field.matches("input")) field.focus();
        else field.click();
        return;
      }
      if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
    };
    const outside = (event) => {
      for (const open of document.querySelectorAll("details.menu[open]")) if (!open.contains(event.target)) open.open = false;
    };
    document.addEventListener("keydown", press);
    document.addEventListener("click", outside);
    return () => (document.removeEventListener("keydown", press), document.removeEventListener("click", outside));
  }, []);
}

function step(by) {
  const rows = [...document.querySelectorAll(".row-link")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  rows[Math.min(Math.max(at + by, 0), rows.length - 1)].focus();
}

export function KeysHelp({ onClose }) {
  const box = useRef(null);
  useEffect(() => box.current.showModal(), []);
  return html`<dialog ref=${box} onClose=${onClose} aria-label="keys"><form method="dialog">
    <h2>Keys</h2>
    <dl class="keys">${KEYS.map(([key, says]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${says}</dd></div>`)}</dl>
    <div class="buttons"><button class="primary" value="close">Close</button></div>
  </form></dialog>`;
}
