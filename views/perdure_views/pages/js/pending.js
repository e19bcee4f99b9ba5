// What a run waits for: its activities with their next retry and last failure, and its timers.
import { html } from "./lib.js";
import { words } from "./parts.js";
import { Moment, span, useNow } from "./time.js";
import { Failure, Values } from "./values.js";

export function Pending({ description }) {
  const { pending_activities: activities, pending_timers: timers } = description;
  const now = useNow(500, activities.length + timers.length > 0);
  if (!activities.length && !timers.length) {
    return html`<div class="empty">${description.run.close_ms ? "The run has closed; it waits for nothing." : "It waits for no activity and no timer."}</div>`;
  }
  return html`<div class="pending">
    ${activities.map((one) => html`<${PendingActivity} key=${one.activity_id} activity=${one} now=${now} />`)}
    ${timers.map((one) => html`<article key=${one.timer_id} class="card"><h3>timer ${one.timer_id}</h3><p>fires <${Moment} ms=${one.due_ms} /> <span class="dim">in ${span(one.due_ms - now)}</span></p></article>`)}
  </div>`;
}

function PendingActivity({ activity, now }) {
  const of = activity.maximum_attempts ? ` of ${activity.maximum_attempts}` : "";
  const backsOff = activity.next_attempt_ms > now;
  return html`<article class="card" data-kind=${activity.last_failure ? "bad" : "open"}>
    <h3>${activity.activity_type} <span class="tag">${words(activity.state)}</span></h3>
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
