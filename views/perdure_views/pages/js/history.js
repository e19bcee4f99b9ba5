// The history: every event on a line, or each step as one; the chosen one opened beside it.
import { eventKind, eventLine, eventTitle } from "./events.js";
import { classes, html, useLayoutEffect, useMemo, useRef, useState } from "./lib.js";
import { Copy, spoken } from "./parts.js";
import { moment, span } from "./time.js";
import { Failure, Fields, Values, failureLine, short } from "./values.js";

const ROW = 34;
const SHOWN = 18;

// Rows of one height, of which only those that are looked at exist.
export function Rows({ rows, chosen, onChoose, label }) {
  const box = useRef(null);
  const [top, setTop] = useState(0);
  const first = Math.max(0, Math.floor(top / ROW) - 6);
  const seen = rows.slice(first, first + SHOWN + 14);
  const at = rows.findIndex((row) => row.key === chosen);
  useLayoutEffect(() => {
    const node = box.current;
    if (at < 0 || !node) return;
    if (at * ROW < node.scrollTop) node.scrollTop = at * ROW;
    else if ((at + 1) * ROW > node.scrollTop + node.clientHeight) node.scrollTop = (at + 1) * ROW - node.clientHeight;
  }, [at]);
  const press = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: SHOWN, PageUp: -SHOWN, Home: -rows.length, End: rows.length }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = rows[Math.min(Math.max(at + step, 0), rows.length - 1)];
    if (next) onChoose(next.key);
  };
  return html`<div class="rows" ref=${box} tabindex="0" role="listbox" aria-label=${label} onScroll=${(event) => setTop(event.target.scrollTop)} onKeyDown=${press}>
    <div class="rows-all" style=${{ height: `${rows.length * ROW}px` }}>
      ${seen.map((row, index) => html`<div key=${row.key} class=${classes("event", row.key === chosen && "chosen")} data-kind=${row.kind} role="option" aria-selected=${row.key === chosen ? "true" : "false"}
        style=${{ top: `${(first + index) * ROW}px` }} onClick=${() => onChoose(row.key)}>
        <span class="event-id">${row.number}</span><span class="event-since">${row.since}</span>
        <span class="event-title">${row.title}</span><span class="event-line">${row.line}</span><span class="event-end">${row.end}</span>
      </div>`)}
    </div>
  </div>`;
}

export function History({ events, lanes, version, topic, partition, chosen, onChoose }) {
  const [isFull, setFull] = useState(false);
  const [wanted, setWanted] = useState("");
  const startMs = lanes.run.startMs || events[0]?.time_ms || 0;
  const rows = useMemo(
    () => (isFull ? fullRows(events, startMs) : stepRows(lanes, startMs)).filter((row) => !wanted || `${row.title} ${row.line}`.toLowerCase().includes(wanted.toLowerCase())),
    [version, isFull, wanted, startMs],
  );
  const key = isFull && !String(chosen).startsWith("event ") ? (lanes.byKey.get(chosen)?.events[0] ? `event ${lanes.byKey.get(chosen).events[0].id}` : chosen) : chosen;
  return html`<div class="history">
    <div class="timeline-tools">
      <span class="button-row" role="group" aria-label="how much">
        <button type="button" aria-pressed=${isFull ? "false" : "true"} onClick=${() => setFull(false)}>steps</button>
        <button type="button" aria-pressed=${isFull ? "true" : "false"} onClick=${() => setFull(true)}>all ${events.length} events</button>
      </span>
      <input type="search" aria-label="find in history" placeholder="Find" value=${wanted} onInput=${(event) => setWanted(event.target.value)} />
      <span class="spring"></span>
      <span class="dim wide">${topic}, partition ${partition}</span>
    </div>
    <div class="split">
      <${Rows} rows=${rows} chosen=${key} onChoose=${onChoose} label="history" />
      <${Details} chosen=${key} events=${events} lanes=${lanes} topic=${topic} partition=${partition} />
    </div>
  </div>`;
}

function fullRows(events, startMs) {
  return events.map((event) => ({
    key: `event ${event.id}`, number: event.id, since: `+${span(event.time_ms - startMs)}`, kind: eventKind(event),
    title: eventTitle(event), line: eventLine(event), end: "",
  }));
}

// One line a lane, and one for each event of the run itself.
function stepRows(lanes, startMs) {
  const rows = [];
  for (const event of lanes.run.events) {
    rows.push({ ms: event.id, key: `event ${event.id}`, number: event.id, since: `+${span(event.time_ms - startMs)}`, kind: eventKind(event), title: eventTitle(event), line: eventLine(event), end: "" });
  }
  for (const lane of lanes.all) {
    if (lane.kind === "run") continue;
    const kind = { good: "good", bad: "bad", off: "off", backoff: "warn" }[lane.state] ?? "open";
    const end = lane.endMs ? span(lane.endMs - lane.startMs) : "open";
    rows.push({ ms: lane.events[0].id, key: lane.key, number: lane.events[0].id, since: `+${span(lane.startMs - startMs)}`, kind, title: lane.title, line: laneLine(lane), end: lane.failures ? `×${lane.failures}  ${end}` : end });
  }
  return rows.sort((a, b) => a.ms - b.ms);
}

function laneLine(lane) {
  if (lane.failure && lane.state !== "good") return failureLine(lane.failure);
  const input = lane.input?.length ? short(lane.input, 60) : "";
  if (lane.result) return `${input} → ${short([lane.result], 80)}`;
  return input || (lane.kind === "timer" ? eventLine(lane.events[0]) : "");
}

export function Details({ chosen, events, lanes, topic, partition, onClose }) {
  if (!chosen) return html`<aside class="details empty">Choose a line to see all of it.</aside>`;
  const lane = lanes.byKey.get(chosen) ?? (chosen === "run" ? lanes.run : null);
  const event = String(chosen).startsWith("event ") ? events[Number(String(chosen).slice(6)) - 1] : null;
  const close = onClose && html`<button type="button" class="link close" aria-label="close details" onClick=${onClose}>✕</button>`;
  if (event) return html`<aside class="details" aria-label="details">${close}<${EventDetails} event=${event} topic=${topic} partition=${partition} isOpen=${true} /></aside>`;
  if (!lane) return html`<aside class="details empty">It is not in the history.</aside>`;
  const attempts = lane.spans.filter((one) => one.kind === "work");
  return html`<aside class="details" aria-label="details">${close}
    <h3>${lane.title}</h3>
    <p class="facts">
      <span class="tag" data-kind=${lane.state}>${{ good: "done", bad: "failed", off: "cancelled", backoff: "backing off", next: "continued", open: "open" }[lane.state] ?? lane.state}</span>
      ${lane.endMs ? html`<span>took ${span(lane.endMs - lane.startMs)}</span>` : null}
      ${lane.failures > 0 && html`<span>${lane.failures} failed attempt${lane.failures > 1 ? "s" : ""}</span>`}
      ${lane.callSite && html`<code title="the line that asked for it">${lane.callSite}</code>`}
    </p>
    ${lane.input?.length > 0 && html`<h4>Input</h4><${Values} payloads=${lane.input} />`}
    ${lane.result && html`<h4>Result</h4><${Values} payloads=${[lane.result]} />`}
    ${lane.failure && html`<h4>${lane.state === "good" ? "Last failure before it succeeded" : "Failure"}</h4><${Failure} failure=${lane.failure} />`}
    ${attempts.length > 0 && html`<h4>Attempts</h4><table class="attempts"><thead><tr><th>#</th><th>ended</th><th class="number">ran</th><th>how</th></tr></thead><tbody>
      ${attempts.slice(-100).map((one) => html`<tr key=${one.event.id}><td>${one.attempt}</td><td>${moment(one.toMs, { millis: true })}</td><td class="number">${span(one.toMs - one.fromMs)}</td>
        <td class="how" data-how=${one.how}>${one.event.attributes.failure ? failureLine(one.event.attributes.failure) : spoken(one.event.type)}</td></tr>`)}
    </tbody></table>`}
    <h4>Events</h4>
    ${lane.events.slice(-200).map((one) => html`<${EventDetails} key=${one.id} event=${one} topic=${topic} partition=${partition} />`)}
  </aside>`;
}

function EventDetails({ event, topic, partition, isOpen }) {
  const at = `${topic}-${partition}-${event.offset}`;
  return html`<details class="event-details" open=${isOpen}>
    <summary><span class="event-id">${event.id}</span> <strong data-kind=${eventKind(event)}>${eventTitle(event)}</strong> <span class="dim">${moment(event.time_ms, { millis: true })}</span></summary>
    <p class="place"><code>${at}</code><${Copy} text=${at} label="copy topic, partition and offset" />${event.code_version && html` <span class="dim">code ${event.code_version}</span>`}</p>
    <${Fields} record=${event.attributes} />
  </details>`;
}
