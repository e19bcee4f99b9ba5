// What a run waits for: its activities with their next retry and last failure, its timers and children.
import { post, useMe } from "./api.js";
import { html, useState } from "./lib.js";
import { Dialog, Go, ProblemBox, runAddress, toast, words } from "./parts.js";
import { Moment, span, useNow } from "./time.js";
import { Failure, Values } from "./values.js";

export function Pending({ description, which }) {
  const { pending_activities: activities, pending_timers: timers } = description;
  const children = description.more?.pending_children ?? [];
  const me = useMe();
  const now = useNow(500, activities.length + timers.length > 0);
  if (!activities.length && !timers.length && !children.length) {
    return html`<div class="empty">${description.run.close_ms ? "The run has closed; it waits for nothing." : "It waits for no activity, no timer and no child."}</div>`;
  }
  return html`<div class="pending">
    ${activities.map((one) => html`<${PendingActivity} key=${one.activity_id} activity=${one} now=${now} which=${which} may=${me?.may} />`)}
    ${children.map((one) => html`<article key=${one.child_id} class="card"><h3>child <${Go} to=${runAddress(one)}>${one.workflow_id}</${Go}></h3><p>${one.workflow_type} <span class="dim">on ${one.task_queue}</span></p></article>`)}
    ${timers.map((one) => html`<article key=${one.timer_id} class="card"><h3>timer ${one.timer_id}</h3><p>fires <${Moment} ms=${one.due_ms} /> <span class="dim">in ${span(one.due_ms - now)}</span></p></article>`)}
  </div>`;
}

// What can be done to one, and when it makes sense.
const WAITS = new Set(["backing_off", "paused", "exhausted"]);
const PAUSED = new Set(["paused", "pause_requested"]);
const ACTS = [
  { name: "retry", title: "Retry now", says: "The next attempt starts at once.", when: (one) => WAITS.has(one.state) },
  { name: "pause", title: "Pause", says: "No further attempt starts until it is let go on. A running one ends as it will.", when: (one) => !PAUSED.has(one.state), withReason: true },
  { name: "unpause", title: "Go on", says: "The next attempt starts at once.", when: (one) => PAUSED.has(one.state) },
  { name: "reset", title: "Reset", says: "It starts over from attempt 1.", when: () => true },
  { name: "fail", title: "Fail", says: "It fails for good, as if its code had: the workflow goes on with that.", when: () => true, danger: true, withReason: true },
];

function Acts({ activity, which }) {
  const [asks, setAsks] = useState(null);
  const [problem, setProblem] = useState(null);
  const run = async (act, reason) => {
    const body = { ...which, activity_id: activity.activity_id };
    if (act.name === "pause") body.reason = reason;
    if (act.name === "fail") body.message = reason || "failed by hand";
    await post(`/api/v1/activity/${act.name}`, body);
    toast(`${act.title}: taken`);
  };
  const press = (act) => (act.withReason || act.name === "reset" ? setAsks(act) : run(act, "").then(() => setProblem(null), setProblem));
  return html`<div class="button-row apart acts">
    ${ACTS.filter((act) => act.when(activity)).map((act) => html`<button key=${act.name} type="button" title=${act.says} class=${act.danger ? "danger" : ""} onClick=${() => press(act)}>${act.title}</button>`)}
  </div>
  <${ProblemBox} problem=${problem} />
  ${asks && html`<${Dialog} title=${`${asks.title}: ${activity.activity_type}`} says=${asks.says} action=${asks.title} danger=${asks.danger} withReason=${asks.withReason} onDo=${(reason) => run(asks, reason)} onClose=${() => setAsks(null)} />`}`;
}

function PendingActivity({ activity, now, which, may }) {
  const of = activity.maximum_attempts ? ` of ${activity.maximum_attempts}` : "";
  const backsOff = activity.next_attempt_ms > now;
  return html`<article class="card" data-kind=${activity.last_failure ? "bad" : "open"}>
    <header class="card-head"><h3>${activity.activity_type} <span class="tag">${words(activity.state)}</span></h3><span class="spring"></span>${may && html`<${Acts} activity=${activity} which=${which} />`}</header>
    <dl class="facts-grid">
      <div><dt>attempt</dt><dd>${activity.attempt}${of}</dd></div>
      <div><dt>scheduled</dt><dd><${Moment} ms=${activity.scheduled_ms} /></dd></div>
      ${activity.started_ms > 0 && html`<div><dt>running for</dt><dd>${span(now - activity.started_ms)}</dd></div>`}
      ${activity.next_attempt_ms > 0 && html`<div><dt>next attempt</dt><dd>${backsOff ? html`in ${span(activity.next_attempt_ms - now)}` : html`<${Moment} ms=${activity.next_attempt_ms} />`}</dd></div>`}
      ${activity.heartbeat_ms > 0 && html`<div><dt>last heartbeat</dt><dd>${span(now - activity.heartbeat_ms)} ago</dd></div>`}
      ${(activity.identity || activity.worker_id) && html`<div><dt>worker</dt><dd>${activity.identity || activity.worker_id}</dd></div>`}
      ${activity.task_queue && html`<div><dt>task queue</dt><dd>${activity.task_queue}</dd></div>`}
    </dl>
    ${activity.last_failure && html`<h4>Last failure</h4><${Failure} failure=${activity.last_failure} />`}
    ${activity.heartbeat_details?.length > 0 && html`<h4>Heartbeat details</h4><${Values} payloads=${activity.heartbeat_details} />`}
  </article>`;
}
