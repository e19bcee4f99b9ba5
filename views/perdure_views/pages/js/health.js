// Health: what a person should know, with cause and remedy, and what happened over windows of time.
import { usePolled } from "./api.js";
import { Chart, wholeSpan } from "./charts.js";
import { html, useMemo } from "./lib.js";
import { Empty, Go, ProblemBox, STATUSES, runAddress, words } from "./parts.js";
import { setParams, useHere } from "./router.js";
import { Moment, span, useNow } from "./time.js";

const EVERY_MS = 4000;
const LASTS_MS = 3_600_000;
const TYPES_SHOWN = 5;
const KIND_SHOWN = 2;
const HOURS = ["1", "6", "24"];

export function HealthView() {
  const { params } = useHere();
  const { queue = "", type = "", hours = "1" } = params;
  const { data, problem } = usePolled("/api/v1/health", { queue, type, hours }, EVERY_MS);
  const set = (changes) => setParams(changes, { replace: false });
  const types = [...new Set([type, ...(data?.workflow_types ?? [])])].filter(Boolean);
  return html`<section class="view health">
    <header class="view-head"><h1>Health</h1><span class="spring"></span>
      ${types.length > 0 && html`<select aria-label="workflow type" value=${type} onChange=${(event) => set({ type: event.target.value })}>
        <option value="">all types</option>${types.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select>`}
      <span class="button-row" role="group" aria-label="span">${HOURS.map((one) => html`<button key=${one} type="button" aria-pressed=${one === hours ? "true" : "false"} onClick=${() => set({ hours: one === "1" ? "" : one })}>${one} h</button>`)}</span>
    </header>
    ${(queue || data?.task_queues.length > 1) && html`<nav class="chips" aria-label="task queue">${["", ...(queue ? [queue] : data.task_queues)].map((name) => html`<button key=${name} type="button" class="chip" aria-pressed=${name === queue ? "true" : "false"} onClick=${() => set({ queue: name })}>${name || "all task queues"}</button>`)}</nav>`}
    <${ProblemBox} problem=${problem} />
    ${data?.problems.map((message) => html`<div key=${message} class="box warn" role="status"><strong>incomplete</strong><span>${message}</span></div>`)}
    ${data && data.read < 1 && html`<div class="box" role="status"><span>The events are being read: ${Math.floor(data.read * 100)} %. Figures and findings are as of there.</span></div>`}
    ${data && html`<${Findings} findings=${data.findings} /><${Figures} health=${data} />`}
  </section>`;
}

const isNow = (finding, now) => (finding.holds === null ? now - finding.time_ms < LASTS_MS : finding.holds);

function byKind(findings) {
  const found = new Map();
  for (const one of findings) found.set(one.kind, [...(found.get(one.kind) ?? []), one]);
  return found;
}

function Findings({ findings }) {
  const now = useNow(5000);
  const open = findings.filter((one) => isNow(one, now));
  const past = findings.filter((one) => !isNow(one, now));
  return html`<section class="findings" aria-label="findings">
    <h2>Findings ${open.length > 0 && html`<span class="tag" data-kind="bad">${open.length}</span>`}</h2>
    ${!open.length && html`<${Empty}><p>Nothing here needs a person.</p></${Empty}>`}
    ${[...byKind(open)].map(([kind, all]) => html`<div key=${kind} class="findings">
      ${all.slice(0, KIND_SHOWN).map((one) => html`<${Finding} key=${one.finding_id} finding=${one} now=${now} />`)}
      ${all.length > KIND_SHOWN && html`<details><summary>${all.length - KIND_SHOWN} more: ${KINDS[kind] ?? words(kind)}</summary>${all.slice(KIND_SHOWN).map((one) => html`<${Finding} key=${one.finding_id} finding=${one} now=${now} />`)}</details>`}
    </div>`)}
    ${past.length > 0 && html`<details><summary>${past.length} from before</summary>${past.map((one) => html`<${Finding} key=${one.finding_id} finding=${one} now=${now} isPast />`)}</details>`}
  </section>`;
}

const KINDS = {
  poison: "poison command", blocked: "blocked", retrying: "keeps failing", history_large: "large history",
  timer_late: "late timer", exhausted: "no attempt left", stuck: "stuck", no_worker: "no worker",
};

function Finding({ finding, now, isPast }) {
  const run = finding.workflow_id && { workflow_id: finding.workflow_id, run_id: finding.run_id, task_queue: finding.task_queue };
  return html`<article class="card finding" data-kind=${isPast ? "past" : ["blocked", "exhausted"].includes(finding.kind) ? "bad" : "warn"}>
    <header class="card-head"><span class="tag" data-kind=${isPast ? "" : "bad"}>${KINDS[finding.kind] ?? words(finding.kind)}</span>
      ${run ? html`<${Go} to=${runAddress(run)}>${finding.workflow_id}</${Go}>` : html`<${Go} to=${`/task-queues?queue=${encodeURIComponent(finding.task_queue)}`}>task queue ${finding.task_queue}</${Go}>`}
      <span class="spring"></span><span class="dim"><${Moment} ms=${finding.time_ms} now=${now} /></span></header>
    <p class="finding-says">${finding.message}</p>
    <dl class="compare">${[["Cause", finding.cause], ["Remedy", finding.remedy]].map(([name, text]) => text && html`<div key=${name}><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>
  </article>`;
}

const KIND_OF = { completed: "good", failed: "bad", timed_out: "worse", canceled: "off", terminated: "ended", continued_as_new: "next" };
const ODD = ["one", "two", "three", "four", "five", "others"];

// The most frequent names by themselves, the rest together.
function byFrequency(windows, field) {
  const sums = {};
  for (const window of windows) for (const [name, count] of Object.entries(window[field] ?? {})) sums[name] = (sums[name] ?? 0) + count;
  const names = Object.keys(sums).sort((a, b) => sums[b] - sums[a]);
  const own = names.slice(0, TYPES_SHOWN);
  const rest = new Set(names.slice(TYPES_SHOWN));
  const series = own.map((name, index) => ({ name, kind: ODD[index], of: (window) => window[field]?.[name] }));
  if (rest.size) series.push({ name: `${rest.size} more`, kind: "others", of: (window) => Object.entries(window[field] ?? {}).reduce((sum, [name, count]) => sum + (rest.has(name) ? count : 0), 0) });
  return series;
}

function Figures({ health }) {
  const windows = useMemo(() => wholeSpan(health), [health]);
  const count = (of) => windows.reduce((sum, window) => sum + (of(window) ?? 0), 0);
  const closed = STATUSES.slice(2).map((name) => ({ name: words(name), kind: KIND_OF[name], of: (window) => window.closed?.[name] }));
  const common = { windows, windowS: health.window_s };
  const tiles = [
    ["Started", count((one) => one.started)], ["Closed", closed.reduce((sum, one) => sum + count(one.of), 0)],
    ["Failed or timed out", count((one) => (one.closed?.failed ?? 0) + (one.closed?.timed_out ?? 0)), "bad"],
    ["Blocked by their code", count((one) => one.blocked), "bad"], ["Activities done", count((one) => one.activities)], ["Failed attempts", count((one) => one.attempts_failed), "warn"],
  ];
  return html`<h2>Figures</h2>
    <div class="tiles">${tiles.map(([title, value, kind]) => html`<div key=${title} class="tile" data-kind=${(value && kind) || ""}><b>${value}</b><span>${title}</span></div>`)}</div>
    <div class="charts">
      <${Chart} ...${common} title="Started" series=${[{ name: "started", kind: "open", of: (one) => one.started }]} empty="no run was started" />
      <${Chart} ...${common} title="Closed by outcome" series=${closed} empty="no run closed" />
      <${Chart} ...${common} title="Time from start to close" isLines shows=${span} series=${[50, 90, 99].map((share) => ({ name: `p${share}`, kind: `p${share}`, of: (one) => one[`p${share}_ms`] }))} empty="no run closed" />
      <${Chart} ...${common} title="Failed attempts by type" series=${byFrequency(windows, "failures")} empty="no attempt failed" />
    </div>
    <p class="dim">By ${health.window_s === 60 ? "the minute" : "five minutes"}. Times are upper bounds: the next power of two of a millisecond.</p>`;
}
