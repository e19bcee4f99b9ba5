// Schedules: what each starts and when, what it has done and left out, and what can be told to it.
import { post, useMe, usePolled } from "./api.js";
import { html, useState } from "./lib.js";
import { Copy, Dialog, Empty, Go, ProblemBox, runAddress, toast, words } from "./parts.js";
import { go, setParams, useHere } from "./router.js";
import { kept } from "./store.js";
import { Moment, moment, span, useNow } from "./time.js";
import { Values } from "./values.js";

const EVERY_MS = 2000;
const LIMIT = 100;
const OVERLAPS = ["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"];

function addressOf(schedule) {
  return `/schedule?${new URLSearchParams({ id: schedule.schedule_id })}`;
}

function State({ schedule }) {
  if (schedule.paused) return html`<span class="status" data-status="canceled">paused</span>`;
  if (!schedule.next_ms.length) return html`<span class="status">over</span>`;
  return html`<span class="status" data-status="completed">active</span>`;
}

export function SchedulesView() {
  const { params } = useHere();
  const { begins = "" } = params;
  const { data, problem } = usePolled("/api/v1/schedules", { begins, limit: LIMIT }, EVERY_MS);
  const [typed, setTyped] = useState(begins);
  const search = (event) => {
    event.preventDefault();
    setParams({ begins: typed.trim() }, { replace: false });
  };
  return html`<section class="view">
    <header class="view-head"><h1>Schedules</h1></header>
    <form class="filter-line" role="search" onSubmit=${search}>
      <input class="query" data-key="/" aria-label="ids begin with" placeholder="Ids begin with  ( / )" value=${typed} onInput=${(event) => setTyped(event.target.value)} spellcheck=${false} />
      <button type="submit">Filter</button>
    </form>
    <${ProblemBox} problem=${problem} />
    ${data?.more && html`<div class="box" role="status"><span>These are ${data.schedules.length}; there are more. Filter by what their ids begin with.</span></div>`}
    ${data && !data.schedules.length && html`<${Empty}><p>No schedule ${begins ? `begins with “${begins}”` : "here yet"}.</p>
      <p class="dim">Make one from your code with Client.create_schedule, or on the command line:</p>
      <pre>perdure schedule create nightly --type TYPE --id report --task-queue QUEUE --cron '0 3 * * *'</pre></${Empty}>`}
    ${data?.schedules.length > 0 && html`<${List} schedules=${data.schedules} />`}
  </section>`;
}

function List({ schedules }) {
  const now = useNow(1000);
  return html`<div class="scroll"><table class="schedules">
    <thead><tr><th>State</th><th>Schedule</th><th class="wide">When</th><th>Next</th><th class="wide">Last</th><th class="number wide">Taken</th><th class="number">Left out</th></tr></thead>
    <tbody>${schedules.map((one) => html`<${Row} key=${one.schedule_id} schedule=${one} now=${now} />`)}</tbody>
  </table></div>`;
}

function Row({ schedule, now }) {
  const next = schedule.paused ? 0 : schedule.next_ms[0];
  const last = schedule.recent.at(-1);
  const left = schedule.skipped + schedule.missed;
  return html`<tr data-schedule=${schedule.schedule_id}>
    <td><${State} schedule=${schedule} /></td>
    <td class="id"><${Go} to=${addressOf(schedule)} class="row-link">${schedule.schedule_id}</${Go}> <span class="dim">${schedule.workflow_type}</span>
      ${schedule.paused && schedule.note && html`<div class="dim">${schedule.note}</div>`}</td>
    <td class="wide">${schedule.when.slice(0, 2).map((one) => html`<div key=${one}><code>${one}</code></div>`)}${schedule.when.length > 2 && html`<span class="dim">and ${schedule.when.length - 2} more</span>`}</td>
    <td>${next ? html`<span title=${moment(next)}>in ${span(next - now)}</span>` : html`<span class="dim">${schedule.paused ? "paused" : "never"}</span>`}</td>
    <td class="wide">${last && html`<${Outcome} action=${last} queue=${schedule.task_queue} />`}</td>
    <td class="number wide">${schedule.actions}</td>
    <td class="number">${left ? html`<span class="bad-text" title=${`${schedule.skipped} skipped, ${schedule.missed} missed`}>${left}</span>` : ""}</td>
  </tr>`;
}

function Outcome({ action, queue }) {
  if (!action.workflow_id) return html`<span class="tag" data-kind="bad">left out</span> ${action.reason}`;
  return html`<${Go} to=${runAddress({ ...action, task_queue: queue })}>${action.workflow_id}</${Go}>`;
}

export function ScheduleView() {
  const { params } = useHere();
  const { id = "" } = params;
  const { data, problem, again } = usePolled(id ? "/api/v1/schedule" : null, { id }, EVERY_MS);
  if (!id) return html`<div class="empty">No schedule's id is in this address.</div>`;
  const isGone = problem?.code === "not_found";
  return html`<section class="view">
    <header class="view-head">
      <h1>${data && !isGone && html`<${State} schedule=${data} />`} <span class="run-id">${id}</span><${Copy} text=${id} label="copy schedule id" /></h1>
      <span class="spring"></span>
      ${data && !isGone && html`<${Acts} schedule=${data} again=${again} />`}
    </header>
    <${ProblemBox} problem=${problem} />
    ${isGone && html`<p><${Go} to="/schedules">All schedules</${Go}></p>`}
    ${data && !isGone && html`<${About} schedule=${data} />`}
  </section>`;
}

const ACTS = {
  trigger: { title: "Trigger", says: "It takes an action now, paused or not.", done: "triggered", withOverlap: true },
  pause: { title: "Pause", says: "It takes no action until it is let go on. What runs goes on.", done: "paused", withReason: true },
  unpause: { title: "Go on", says: "It takes actions again, from now on. Those of the pause are gone.", done: "goes on", withReason: true },
  backfill: { title: "Backfill", says: "It takes the actions of a span of time now, one after the other as its overlap policy says.", done: "filled back", withOverlap: true, withSpan: true },
  delete: { title: "Delete", says: "It ends. What it has started goes on. This cannot be taken back.", done: "deleted", danger: true },
};

function Acts({ schedule, again }) {
  const me = useMe();
  const [asks, setAsks] = useState("");
  const [more, setMore] = useState({});
  if (!me?.may) return null;
  const act = ACTS[asks];
  const begin = (name) => {
    setMore({});
    setAsks(name);
  };
  const run = async (reason) => {
    const body = { schedule_id: schedule.schedule_id };
    if (act.withReason) body.note = reason;
    if (act.withOverlap) body.overlap = more.overlap ?? "";
    if (act.withSpan) Object.assign(body, { from_ms: instant(more.from), to_ms: instant(more.to) });
    await post(`/api/v1/schedule/${asks}`, body);
    toast(`${schedule.schedule_id}: ${act.done}`);
    if (asks === "delete") go("/schedules");
    else again();
  };
  const names = ["trigger", schedule.paused ? "unpause" : "pause", "backfill", "delete"];
  return html`<div class="button-row apart">
    ${names.map((name) => html`<button key=${name} type="button" class=${ACTS[name].danger ? "danger" : ""} title=${ACTS[name].says} onClick=${() => begin(name)}>${ACTS[name].title}</button>`)}
  </div>
  ${act && html`<${Dialog} title=${`${act.title}: ${schedule.schedule_id}`} says=${act.says} action=${act.title} danger=${act.danger} withReason=${act.withReason} onDo=${run} onClose=${() => setAsks("")}>
    ${act.withSpan && ["from", "to"].map((edge) => html`<label key=${edge} class="field">${edge === "from" ? "From" : "To"}
      <input type="datetime-local" step="1" required value=${more[edge] ?? ""} onInput=${(event) => setMore({ ...more, [edge]: event.target.value })} /></label>`)}
    ${act.withSpan && html`<small>${kept("clock", "local") === "utc" ? "Times in UTC" : "Times of this browser's zone"}; both are in it.</small>`}
    ${act.withOverlap && html`<label class="field">When the one before still runs
      <select value=${more.overlap ?? ""} onChange=${(event) => setMore({ ...more, overlap: event.target.value })}>
        <option value="">as the schedule says: ${words(schedule.overlap)}</option>
        ${OVERLAPS.map((name) => html`<option key=${name} value=${name}>${words(name)}</option>`)}
      </select></label>`}
  </${Dialog}>`}`;
}

// A time as it was typed, by the clock that the pages show.
function instant(typed) {
  const ms = Date.parse(kept("clock", "local") === "utc" ? `${typed}Z` : typed);
  if (Number.isNaN(ms)) throw Object.assign(new Error("give both times"), { code: "invalid" });
  return ms;
}

function About({ schedule }) {
  const now = useNow(1000);
  const runs = `/workflows?${new URLSearchParams({ id: `${schedule.workflow_id}-` })}`;
  const bounds = [schedule.start_ms && `from ${moment(schedule.start_ms)}`, schedule.end_ms && `until ${moment(schedule.end_ms)}`].filter(Boolean).join(" ");
  const facts = [
    ["Starts", html`${schedule.workflow_type} <span class="dim">as</span> <${Go} to=${runs}>${schedule.workflow_id}-…</${Go}>`],
    ["Task queue", html`<${Go} to=${`/task-queues?queue=${encodeURIComponent(schedule.task_queue)}`}>${schedule.task_queue}</${Go}>`],
    ["When", html`${schedule.when.map((one) => html`<div key=${one}><code>${one}</code></div>`)}`],
    ["Time zone", schedule.time_zone],
    bounds && ["Bounds", bounds],
    schedule.jitter_ms > 0 && ["Jitter", `up to ${span(schedule.jitter_ms)}`],
    ["When the one before still runs", words(schedule.overlap)],
    ["Catch-up window", span(schedule.catchup_window_ms)],
    ["Pauses on failure", schedule.pause_on_failure ? "yes" : "no"],
    schedule.remaining_actions >= 0 && ["Actions left", schedule.remaining_actions],
    schedule.note && ["Note", schedule.note],
    ["Made", html`<${Moment} ms=${schedule.created_ms} />`],
    schedule.updated_ms > 0 && ["Changed", html`<${Moment} ms=${schedule.updated_ms} />`],
    ["Its own history", html`<${Go} to=${`/run?${new URLSearchParams({ id: schedule.actor_id })}`}>who told it what</${Go}>`],
  ].filter(Boolean);
  const tiles = [["Taken", schedule.actions], ["Skipped", schedule.skipped, schedule.skipped && "warn"], ["Missed", schedule.missed, schedule.missed && "bad"], ["Running", schedule.running.length]];
  return html`
    ${schedule.paused && html`<div class="box warn" role="status"><strong>paused</strong><span>${schedule.note || "It takes no action until it is let go on."}</span></div>`}
    <div class="tiles">${tiles.map(([title, value, kind]) => html`<div key=${title} class="tile" data-kind=${kind || ""}><b>${value}</b><span>${title}</span></div>`)}</div>
    <dl class="summary">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    <div class="ends">
      <section aria-label="next actions"><h3>Next</h3>${schedule.paused && html`<p class="dim">Were it not paused:</p>`}
        ${schedule.next_ms.length ? html`<ol class="times">${schedule.next_ms.map((ms) => html`<li key=${ms}><${Moment} ms=${ms} /> <span class="dim">in ${span(ms - now)}</span></li>`)}</ol>` : html`<p class="dim">never</p>`}</section>
      <section aria-label="running actions"><h3>Running</h3>
        ${schedule.running.length ? schedule.running.map((one) => html`<p key=${one.workflow_id}><${Outcome} action=${one} queue=${schedule.task_queue} /></p>`) : html`<p class="dim">none</p>`}
        <h4>Input</h4><${Values} payloads=${schedule.input} empty="no arguments" /></section>
    </div>
    <h3>Newest actions</h3>
    ${schedule.recent.length ? html`<div class="scroll"><table><thead><tr><th>For</th><th>Taken</th><th>What came of it</th></tr></thead><tbody>
      ${schedule.recent.toReversed().map((one, index) => html`<tr key=${`${one.due_ms} ${index}`}><td><${Moment} ms=${one.due_ms} /></td><td><${Moment} ms=${one.taken_ms} now=${now} /></td><td class="id"><${Outcome} action=${one} queue=${schedule.task_queue} /></td></tr>`)}
    </tbody></table></div>` : html`<p class="dim">It has taken none yet.</p>`}`;
}
