// The workflows: blocked ones first with their cause, then the newest; live, and filtered by chips.
import { address, get, useAsk, useMe, usePolled, useStream } from "./api.js";
import { asTyped, queryOf, typedAs } from "./filters.js";
import { html, useEffect, useMemo, useState } from "./lib.js";
import { Empty, Go, Live, ProblemBox, STATUSES, Status, runAddress, words } from "./parts.js";
import { setParams, useHere } from "./router.js";
import { useKept } from "./store.js";
import { ago, moment, span, useNow } from "./time.js";

const PAGE = 50;
const PLAIN = JSON.stringify({ query: "", queue: "", limit: PAGE });

export function ListView() {
  const { params } = useHere();
  const { status = "", trouble = "", type = "", id = "", queue = "", query = "", page = "" } = params;
  const asked = { query: queryOf({ status, trouble, type, id, query }), queue, limit: PAGE };
  const [first, setFirst] = useState(null);
  const [problem, setProblem] = useState(null);
  const key = JSON.stringify(asked);
  const state = useStream(page ? "" : key, () => address("/api/v1/workflows/live", asked), {
    runs: (data) => (setFirst({ key, data }), setProblem(null)),
    problem: setProblem,
    fatal: setProblem,
    // A stream cannot say why it was refused; the same question can.
    away: () => get("/api/v1/workflows", asked).then(
      (data) => (setFirst({ key, data }), setProblem(null)), setProblem),
  });
  useEffect(() => {
    // What early.js asked for, once, when it is this very list.
    const early = window.perdureFirst;
    window.perdureFirst = null;
    if (key === PLAIN) early?.then((data) => data && setFirst((old) => old ?? { key, data }));
  }, []);
  const older = useAsk(page ? "/api/v1/workflows" : null, { ...asked, page });
  useEffect(() => setProblem(null), [key]);
  const isOld = first !== null && first.key !== key;
  const data = page ? older.data : first?.data;
  return html`<section class="view">
    <header class="view-head">
      <h1>Workflows</h1>
      ${page ? html`<span class="dim">an older page, as it was when it was asked for</span>` : html`<${Live} state=${state} />`}
      <span class="spring"></span>
      ${useMe()?.may && html`<${Go} to="/start" class="button primary">Start workflow</${Go}>`}
    </header>
    <${Filters} params=${params} />
    <${ProblemBox} problem=${asTyped(page ? older.problem : problem, params)} />
    ${data?.silent?.length > 0 && html`<div class="box warn" role="status">
      <strong>incomplete</strong>
      <span>${data.silent.length} partition${data.silent.length > 1 ? "s do" : " does"} not answer (${data.silent.slice(0, 8).join(", ")}${data.silent.length > 8 ? "…" : ""}): no worker owns them. <${Go} to="/task-queues">Task queues</${Go}> shows more.</span>
    </div>`}
    ${data ? html`<div class=${isOld ? "stale" : ""}><${Rows} runs=${data.runs} isFiltered=${Boolean(asked.query || queue)} /></div>` : !problem && html`<${Waiting} />`}
    ${data && html`<nav class="pager">
      ${page && html`<button type="button" onClick=${() => history.back()}>← Newer</button>`}
      ${page && html`<button type="button" onClick=${() => setParams({ page: "" }, { replace: false })}>Newest</button>`}
      ${data.next_page && html`<button type="button" onClick=${() => (setParams({ page: data.next_page }, { replace: false }), scrollTo(0, 0))}>Older →</button>`}
    </nav>`}
  </section>`;
}

function Waiting() {
  return html`<div class="waiting" role="status" aria-label="loading">${[...Array(8).keys()].map((key) => html`<i key=${key} />`)}</div>`;
}

const FOLDED_FROM = 4;

// What makes runs one trouble: their type, and what is said of them but for numbers and ids.
function causeOf(run) {
  const says = run.block ? `${run.block.cause} ${run.block.message.split("\n", 1)[0]}` : run.close_ms && run.trouble?.message;
  return says ? JSON.stringify([run.status, run.workflow_type, says.replace(/\d+|'[^']*'/g, "#")]) : "";
}

// A bad deploy blocks hundreds alike: the first stands for them, until they are asked for.
function folded(runs, opened) {
  const counts = new Map();
  for (const run of runs) counts.set(causeOf(run), (counts.get(causeOf(run)) ?? 0) + 1);
  const seen = new Set();
  return runs.flatMap((run) => {
    const key = causeOf(run);
    if (!key || counts.get(key) < FOLDED_FROM || opened.has(key)) return [run];
    if (seen.has(key)) return [];
    seen.add(key);
    return [run, { key, run, more: counts.get(key) - 1 }];
  });
}

function Rows({ runs, isFiltered }) {
  const anyOpen = runs.some((run) => !run.close_ms);
  const [opened, setOpened] = useState(new Set());
  const now = useNow(1000, anyOpen || runs.length > 0);
  if (!runs.length && isFiltered) return html`<${Empty}><p>No workflow fits.</p><p class="dim">Take a part of the filter away to see more.</p></${Empty}>`;
  if (!runs.length) {
    return html`<${Empty}><p>No workflow here yet.</p>
      <p class="dim">Start one with the button above, from your code, or on the command line:</p>
      <pre>perdure workflow start TYPE --id my-first --task-queue QUEUE --input '{}'</pre></${Empty}>`;
  }
  return html`<table class="runs">
    <thead><tr><th>Status</th><th>Workflow</th><th class="wide">Type</th><th>Started</th><th class="number">Duration</th><th class="wide">Task queue</th></tr></thead>
    <tbody>${folded(runs, opened).map((one) => one.more
      ? html`<tr key=${one.key} class="more"><td></td><td colspan="5"><button type="button" class="link" onClick=${() => setOpened((old) => new Set([...old, one.key]))}>${one.more} more ${words(one.run.status)} for the same cause</button></td></tr>`
      : html`<${Row} key=${one.run_id} run=${one} now=${now} />`)}</tbody>
  </table>`;
}

// What is wrong with a run that is not blocked: what fails and when it is tried again, or why it ended.
export function troubleLine(trouble, now) {
  const { kind, message, attempt, maximum_attempts: most, next_ms: nextMs, activity_type: activity } = trouble;
  if (!activity) return message;
  if (kind.startsWith("no_")) return `${activity}: ${message}, for ${span(now - trouble.since_ms)}`;
  const next = kind === "paused" ? "paused" : nextMs > now ? `next in ${span(nextMs - now)}` : "";
  const others = trouble.activities > 1 ? `${trouble.activities - 1} more fail` : "";
  return [`${activity}: ${message}`, `attempt ${attempt}${most ? ` of ${most}` : ""}`, next, others].filter(Boolean).join(", ");
}

function Row({ run, now }) {
  const took = (run.close_ms || now) - run.start_ms;
  const cause = run.block && `${words(run.block.cause)}: ${run.block.message.split("\n", 1)[0]}`;
  return html`<tr data-status=${run.status}>
    <td><${Status} status=${run.status} /></td>
    <td class="id"><${Go} to=${runAddress(run)} class="row-link">${run.workflow_id}</${Go}>
      ${run.attempt > 1 && html`<span class="tag" title="this run was started again by its retry policy">attempt ${run.attempt}</span>`}
      <span class="narrow dim">${run.workflow_type}</span>
      ${cause && html`<div class="cause" title=${run.block.message}>${cause}</div>`}
      ${!cause && run.trouble && html`<div class="cause" data-trouble=${run.trouble.kind} title=${run.trouble.message}>${troubleLine(run.trouble, now)}</div>`}</td>
    <td class="wide">${run.workflow_type}</td>
    <td title=${moment(run.start_ms, { millis: true })}><span class="wide">${moment(run.start_ms)} </span><span class="dim">${ago(run.start_ms, now)}</span></td>
    <td class="number" data-open=${!run.close_ms}>${span(took)}</td>
    <td class="wide">${run.task_queue}<span class="dim">/${run.partition}</span></td>
  </tr>`;
}

function Number_({ count }) {
  return count ? html` <b>${count.toLocaleString("en")}</b>` : null;
}

const COUNT_EVERY_MS = 5000;
// No count is kept by ids: each run is read for it, so it is asked for seldom.
const COUNT_READ_EVERY_MS = 30_000;
const STATUS_OF = Object.fromEntries(STATUSES.map((name) => [name.replaceAll("_", ""), name]));

// How many there are behind each chip, by what else narrows the list; kept counts, so that they are cheap.
function useCounts({ type = "", id = "", queue = "" }) {
  const narrowed = (trouble) => queryOf({ type, id, trouble });
  const all = usePolled("/api/v1/workflows/count", { query: `${narrowed("")} GROUP BY ExecutionStatus`.trim(), queue }, id ? COUNT_READ_EVERY_MS : COUNT_EVERY_MS);
  const retrying = usePolled("/api/v1/workflows/count", { query: narrowed("retrying"), queue }, COUNT_EVERY_MS);
  const counts = { "": all.data?.count, retrying: retrying.data?.count };
  for (const group of all.data?.groups ?? []) counts[STATUS_OF[String(group.values[0]?.value ?? group.values[0]).toLowerCase()]] = group.count;
  return counts;
}

function Filters({ params }) {
  const [typed, setTyped] = useState(params.query ?? "");
  const [type, setType] = useState(params.type ?? "");
  useEffect(() => setTyped(params.query ?? ""), [params.query]);
  useEffect(() => setType(params.type ?? ""), [params.type]);
  const change = (changes) => setParams({ ...changes, page: "" }, { replace: false });
  const chosen = params.status ?? "";
  const counts = useCounts(params);
  return html`<form class="filters" role="search" onSubmit=${(event) => (event.preventDefault(), change({ id: params.id ?? "", ...typedAs(typed), type: type.trim() }))}>
    <div class="chips" role="group" aria-label="status">
      ${["", ...STATUSES].map((status) => html`<button key=${status} type="button" class="chip" data-status=${status}
        aria-pressed=${status === chosen && !params.trouble ? "true" : "false"} onClick=${() => change({ status, trouble: "" })}>${status ? words(status) : "all"}<${Number_} count=${counts[status]} /></button>`)}
      ${["retrying", "no_worker"].map((trouble) => html`<button key=${trouble} type="button" class="chip" data-trouble=${trouble}
        aria-pressed=${trouble === params.trouble ? "true" : "false"} onClick=${() => change({ trouble: trouble === params.trouble ? "" : trouble, status: "" })}>${words(trouble)}<${Number_} count=${counts[trouble]} /></button>`)}
    </div>
    <div class="filter-line">
      <input class="type" aria-label="workflow type" placeholder="Type" value=${type} onInput=${(event) => setType(event.target.value)} />
      <input class="query" aria-label="query" data-key="/" placeholder="Beginning of an id, or a filter as  WorkflowId STARTS_WITH 'order-' AND StartTime > '2026-01-01'   ( / )"
        value=${typed} onInput=${(event) => setTyped(event.target.value)} spellcheck=${false} />
      <button type="submit">Filter</button>
      <${SavedViews} params=${params} />
    </div>
    <${Chosen} params=${params} change=${change} />
  </form>`;
}

// What narrows the list besides its status, each to be taken away by itself.
const NARROWS = { type: "type", id: "ids that begin with", queue: "task queue", query: "filter" };

function Chosen({ params, change }) {
  const names = Object.keys(NARROWS).filter((name) => params[name]);
  if (!names.length) return null;
  return html`<div class="chips" role="group" aria-label="chosen">
    ${names.map((name) => html`<button key=${name} type="button" class="chip own-case" aria-pressed="true" title="take it away" onClick=${() => change({ [name]: "" })}>${NARROWS[name]} <code>${params[name]}</code> ✕</button>`)}
    ${names.length > 1 && html`<button type="button" class="link" onClick=${() => change(Object.fromEntries(names.map((name) => [name, ""])))}>all away</button>`}
  </div>`;
}

// Views that were saved: names for addresses, kept by this browser.
function SavedViews({ params }) {
  const [views, setViews] = useKept("views", []);
  const { page: _, ...wanted } = params;
  const search = useMemo(() => new URLSearchParams(wanted).toString(), [JSON.stringify(wanted)]);
  const known = views.find((view) => view.search === search);
  const save = () => {
    const name = prompt("Name of this view", "");
    if (name?.trim()) setViews([...views.filter((view) => view.name !== name.trim()), { name: name.trim().slice(0, 60), search }].slice(-50));
  };
  return html`<details class="menu">
    <summary class="button">Views${views.length > 0 && html` <b>${views.length}</b>`}</summary>
    <div class="menu-box">
      ${!views.length && html`<p class="dim">No saved view yet.</p>`}
      ${views.map((view) => html`<div key=${view.name} class="menu-row">
        <${Go} to=${`/workflows?${view.search}`} onClick=${(event) => (event.currentTarget.closest("details").open = false)} aria-current=${view === known ? "true" : undefined}>${view.name}</${Go}>
        <button type="button" class="link" aria-label=${`forget ${view.name}`} onClick=${() => setViews(views.filter((other) => other !== view))}>✕</button>
      </div>`)}
      <button type="button" onClick=${save}>Save this view</button>
    </div>
  </details>`;
}
