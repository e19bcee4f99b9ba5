// What a run waits for: its activities with their next retry and last failure, its timers and children.
import { post, useMe } from "./api.js";
import { html, useState } from "./lib.js";
import { CLOSED, Dialog, Go, ProblemBox, runAddress, toast, words } from "./parts.js";
import { Moment, span, useNow } from "./time.js";
import { Failure, Values } from "./values.js";

export function Pending({ description, which }) {
  const { pending_activities: activities, pending_timers: timers } = description;
  const children = description.more?.pending_children ?? [];
  const me = useMe();
  const now = useNow(500, activities.length + timers.length > 0);
  // What was asked of which activity: it stays to be read when somebody else was faster.
  const [asks, setAsks] = useState(null);
  const isEmpty = !activities.length && !timers.length && !children.length;
  return html`<div class="pending">
    ${isEmpty && html`<div class="empty">${description.run.close_ms ? "The run has closed; it waits for nothing." : "It waits for no activity, no timer and no child."}</div>`}
    ${activities.map((one) => html`<${PendingActivity} key=${one.activity_id} activity=${one} now=${now} which=${which} may=${me?.may} onAsk=${(act) => setAsks({ act, activity: one })} />`)}
    ${children.map((one) => html`<article key=${one.child_id} class="card"><h3>child <${Go} to=${runAddress(one)}>${one.workflow_id}</${Go}></h3><p>${one.workflow_type} <span class="dim">on ${one.task_queue}</span></p></article>`)}
    ${timers.map((one) => html`<article key=${one.timer_id} class="card"><h3>timer ${one.timer_id}</h3><p>fires <${Moment} ms=${one.due_ms} /> <span class="dim">in ${span(one.due_ms - now)}</span></p></article>`)}
    ${asks && html`<${Asking} ...${asks} now=${activities.find((one) => one.activity_id === asks.activity.activity_id)} status=${description.run.status} which=${which} onClose=${() => setAsks(null)} />`}
  </div>`;
}

// What can be done to one, and when it makes sense.
const WAITS = new Set(["backing_off", "exhausted"]);
const PAUSED = new Set(["paused", "pause_requested"]);
const ACTS = [
  { name: "retry", title: "Retry now", says: "The next attempt starts at once.", when: (one) => WAITS.has(one.state) },
  { name: "pause", title: "Pause", says: "No further attempt starts until it is let go on. A running one ends as it will.", when: (one) => !PAUSED.has(one.state), withReason: true },
  { name: "unpause", title: "Go on", says: "The next attempt starts at once.", when: (one) => PAUSED.has(one.state) },
  { name: "reset", title: "Reset", says: "It starts over from attempt 1.", when: () => true, asks: true },
  { name: "fail", title: "Fail", says: "It fails for good, as if its code had: the workflow goes on with that.", when: () => true, danger: true, withReason: true },
];

async function send(act, activity, which, reason) {
  const body = { ...which, activity_id: activity.activity_id };
  if (act.name === "pause") body.reason = reason;
  if (act.name === "fail") body.message = reason || "failed by hand";
  await post(`/api/v1/activity/${act.name}`, body);
  toast(`${act.title}: taken`);
}

export function Acts({ activity, which, onAsk }) {
  const [problem, setProblem] = useState(null);
  const press = (act) => (act.withReason || act.asks ? onAsk(act) : send(act, activity, which, "").then(() => setProblem(null), setProblem));
  return html`<div class="button-row apart acts">
    ${ACTS.filter((act) => act.when(activity)).map((act) => html`<button key=${act.name} type="button" title=${act.says} class=${act.danger ? "danger" : ""} onClick=${() => press(act)}>${act.title}</button>`)}
  </div>
  <${ProblemBox} problem=${problem} />`;
}

// The dialog of an act, with what has happened since it was opened.
function Asking({ act, activity, now, status, which, onClose }) {
  const news = meanwhile(activity, now, status);
  return html`<${Dialog} title=${`${act.title}: ${activity.activity_type}`} says=${act.says} action=${act.title} danger=${act.danger} withReason=${act.withReason} onDo=${(reason) => send(act, activity, which, reason)} onClose=${onClose}>
    ${news && html`<div class="box warn" role="status"><strong>Meanwhile</strong><span>${news}</span></div>`}
  </${Dialog}>`;
}

function meanwhile(before, now, status) {
  if (!now) return CLOSED.has(status) ? `the workflow is ${words(status)}` : "the activity has ended";
  if (PAUSED.has(now.state) && !PAUSED.has(before.state)) return `${now.pause_identity || "somebody"} paused it${now.pause_reason ? `: ${now.pause_reason}` : ""}`;
  if (PAUSED.has(before.state) && !PAUSED.has(now.state)) return "it goes on again";
  if (now.attempt !== before.attempt) return `it is at attempt ${now.attempt}`;
  return "";
}

function PendingActivity({ activity, now, which, may, onAsk }) {
  const of = activity.maximum_attempts ? ` of ${activity.maximum_attempts}` : "";
  const backsOff = activity.next_attempt_ms > now;
  return html`<article class="card" data-kind=${activity.last_failure ? "bad" : "open"}>
    <header class="card-head"><h3>${activity.activity_type} <span class="tag">${words(activity.state)}</span></h3><span class="spring"></span>${may && html`<${Acts} activity=${activity} which=${which} onAsk=${onAsk} />`}</header>
    <dl class="facts-grid">
      <div><dt>attempt</dt><dd>${activity.attempt}${of}</dd></div>
      <div><dt>scheduled</dt><dd><${Moment} ms=${activity.scheduled_ms} /></dd></div>
      ${activity.started_ms > 0 && html`<div><dt>running for</dt><dd>${span(now - activity.started_ms)}</dd></div>`}
      ${activity.paused_ms > 0 && html`<div><dt>paused</dt><dd><${Moment} ms=${activity.paused_ms} />${activity.pause_identity && ` by ${activity.pause_identity}`}${activity.pause_reason && html`<div>${activity.pause_reason}</div>`}</dd></div>`}
      ${activity.next_attempt_ms > 0 && !PAUSED.has(activity.state) && html`<div><dt>next attempt</dt><dd>${backsOff ? html`in ${span(activity.next_attempt_ms - now)}` : html`<${Moment} ms=${activity.next_attempt_ms} />`}</dd></div>`}
      ${activity.heartbeat_ms > 0 && html`<div><dt>last heartbeat</dt><dd>${span(now - activity.heartbeat_ms)} ago</dd></div>`}
      ${(activity.identity || activity.worker_id) && html`<div><dt>worker</dt><dd>${activity.identity || activity.worker_id}</dd></div>`}
      ${activity.task_queue && html`<div><dt>task queue</dt><dd>${activity.task_queue}</dd></div>`}
    </dl>
    ${activity.last_failure && html`<h4>Last failure</h4><${Failure} failure=${activity.last_failure} />`}
    ${activity.heartbeat_details?.length > 0 && html`<h4>Heartbeat details</h4><${Values} payloads=${activity.heartbeat_details} />`}
  </article>`;
}
