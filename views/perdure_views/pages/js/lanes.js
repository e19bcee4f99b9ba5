// A history as lanes: one for each activity, timer, child and message, with spans of recorded time.
// No drawing here. A kind of event that this release does not know becomes a mark on the run's lane.

const END = {
  ActivityCompleted: "good", ActivityFailed: "bad", ActivityTimedOut: "bad", ActivityCanceled: "off",
  ChildWorkflowCompleted: "good", ChildWorkflowFailed: "bad", ChildWorkflowTimedOut: "bad",
  ChildWorkflowCanceled: "off", ChildWorkflowTerminated: "bad", ChildWorkflowStartFailed: "bad",
  TimerFired: "good", TimerCanceled: "off",
};
const RUN_END = {
  WorkflowCompleted: "good", WorkflowFailed: "bad", WorkflowCanceled: "off", WorkflowTerminated: "bad",
  WorkflowTimedOut: "bad", WorkflowContinuedAsNew: "next",
};

// Grows with a history: give it the events in order, in as many parts as they come.
export class Lanes {
  constructor() {
    this.all = [];
    this.byKey = new Map();
    this.run = { key: "run", kind: "run", title: "workflow", events: [], spans: [], marks: [], startMs: 0, endMs: 0, state: "open" };
    this.all.push(this.run);
    this.lastMs = 0;
    this.count = 0;
    this.blockedFromMs = 0;
  }

  add(events) {
    for (const event of events) this.take(event);
  }

  lane(key, kind, title, event) {
    let lane = this.byKey.get(key);
    if (!lane) {
      lane = {
        key, kind, title, events: [], spans: [], marks: [], startMs: event.time_ms, endMs: 0, state: "open", attempt: 1,
        waitFromMs: event.time_ms, failures: 0, callSite: "",
      };
      this.byKey.set(key, lane);
      this.all.push(lane);
    }
    return lane;
  }

  take(event) {
    this.count += 1;
    this.lastMs = Math.max(this.lastMs, event.time_ms);
    const a = event.attributes;
    const type = event.type;
    if (type.startsWith("Activity")) this.activity(event, a, type);
    else if (type.startsWith("Timer") && a.timer_id) this.timer(event, a, type);
    else if (type.startsWith("Child") && a.child_id) this.child(event, a, type);
    else if (type.startsWith("External") && a.call_id) this.call(event, a, type);
    else if (type === "WorkflowSignaled") this.signal(event, a);
    else if (type.startsWith("WorkflowUpdate") && a.update_id) this.update(event, a, type);
    else this.workflow(event, a, type);
  }

  activity(event, a, type) {
    const lane = this.lane(`activity ${a.activity_id}`, "activity", a.activity_type ?? `activity ${a.activity_id}`, event);
    put(lane, event);
    if (a.attempt) lane.attempt = a.attempt;
    if (type === "ActivityScheduled") {
      lane.title = a.activity_type;
      lane.callSite = a.call_site;
      lane.input = a.input;
    } else if (type === "ActivityStarted") {
      lane.runFromMs = a.started_ms || event.time_ms;
    } else if (type === "ActivityRetryScheduled") {
      this.attempt(lane, event, a.started_ms, "bad");
      lane.failures += 1;
      lane.failure = a.failure;
      lane.spans.push({ kind: "backoff", fromMs: event.time_ms, toMs: a.due_ms, attempt: a.attempt });
      lane.waitFromMs = a.due_ms;
      lane.state = "backoff";
    } else if (type === "ActivityAttemptScheduled") {
      const backoff = lane.spans.at(-1);
      // A retry that was asked for by hand, or came late, ends the back-off when it really ended.
      if (backoff?.kind === "backoff" && a.reason !== "lost") backoff.toMs = event.time_ms;
      lane.waitFromMs = event.time_ms;
      lane.runFromMs = 0;
      lane.state = "open";
    } else if (END[type]) {
      const waited = lane.spans.at(-1);
      if (waited?.kind === "backoff" && waited.toMs > event.time_ms) waited.toMs = event.time_ms;
      if (lane.state !== "backoff") this.attempt(lane, event, a.started_ms, END[type]);
      lane.state = END[type];
      lane.endMs = event.time_ms;
      lane.result = a.result;
      if (a.failure) lane.failure = a.failure;
    } else if (type === "ActivityPaused") {
      lane.pausedFromMs ||= event.time_ms;
      lane.marks.push({ ms: event.time_ms, kind: "cancel", event });
    } else if (type === "ActivityUnpaused" || type === "ActivityReset") {
      if (lane.pausedFromMs && !a.keep_paused) {
        lane.spans.push({ kind: "paused", fromMs: lane.pausedFromMs, toMs: event.time_ms });
        lane.pausedFromMs = 0;
      }
      lane.marks.push({ ms: event.time_ms, kind: "message", event });
    } else if (type === "ActivityHeartbeat" || type === "ActivityCancelRequested") {
      lane.marks.push({ ms: event.time_ms, kind: type === "ActivityHeartbeat" ? "beat" : "cancel", event });
    } else {
      lane.marks.push({ ms: event.time_ms, kind: "other", event });
    }
  }

  // One attempt: how long it waited for a worker, and how long it ran.
  attempt(lane, event, startedMs, how) {
    const from = Math.min(Math.max(startedMs || lane.runFromMs || lane.waitFromMs, lane.waitFromMs), event.time_ms);
    if (from > lane.waitFromMs) lane.spans.push({ kind: "wait", fromMs: lane.waitFromMs, toMs: from, attempt: lane.attempt });
    lane.spans.push({ kind: "work", fromMs: from, toMs: event.time_ms, how, attempt: lane.attempt, event });
    lane.runFromMs = 0;
  }

  timer(event, a, type) {
    const lane = this.lane(`timer ${a.timer_id}`, "timer", `timer ${a.timer_id}`, event);
    put(lane, event);
    if (type === "TimerStarted") {
      lane.dueMs = event.time_ms + a.duration_ms;
      lane.callSite = a.call_site;
    } else if (END[type]) {
      lane.endMs = event.time_ms;
      lane.state = END[type];
      lane.spans.push({ kind: "timer", fromMs: lane.startMs, toMs: event.time_ms, how: END[type], event });
    }
  }

  child(event, a, type) {
    const lane = this.lane(`child ${a.child_id}`, "child", a.workflow_id ?? `child ${a.child_id}`, event);
    put(lane, event);
    if (type === "ChildWorkflowInitiated") {
      Object.assign(lane, { title: a.workflow_id, callSite: a.call_site, input: a.input, other: { workflow_id: a.workflow_id, task_queue: a.task_queue, workflow_type: a.workflow_type } });
    } else if (type === "ChildWorkflowStarted") {
      lane.spans.push({ kind: "wait", fromMs: lane.startMs, toMs: event.time_ms });
      lane.runFromMs = event.time_ms;
      lane.other = { ...lane.other, run_id: a.run_id };
    } else if (END[type]) {
      this.end(lane, event, a, END[type]);
      lane.spans.push({ kind: "child", fromMs: lane.runFromMs || lane.startMs, toMs: event.time_ms, how: END[type], event });
    } else {
      lane.marks.push({ ms: event.time_ms, kind: type.includes("Cancel") ? "cancel" : "other", event });
    }
  }

  // A call of another workflow: asked for, and taken or not.
  call(event, a, type) {
    const name = { ExternalSignalInitiated: "signal to", ExternalCancelInitiated: "cancel of", ExternalStartInitiated: "start of" }[type] ?? "call";
    const lane = this.lane(`call ${a.call_id}`, "call", `${name} ${a.target?.workflow_id ?? "another"}`, event);
    put(lane, event);
    if (type.endsWith("Initiated")) {
      Object.assign(lane, { callSite: a.call_site, input: a.input, other: a.target });
    } else {
      const how = type.endsWith("Failed") ? "bad" : "good";
      this.end(lane, event, a, how);
      lane.spans.push({ kind: "child", fromMs: lane.startMs, toMs: event.time_ms, how, event });
    }
  }

  end(lane, event, a, how) {
    lane.endMs = event.time_ms;
    lane.state = how;
    lane.result = a.result;
    lane.failure = a.failure ?? null;
  }

  signal(event, a) {
    const lane = this.lane(`signal ${a.signal_name}`, "signal", `signal ${a.signal_name}`, event);
    put(lane, event);
    lane.state = "good";
    lane.endMs = event.time_ms;
    lane.input = a.input;
    lane.marks.push({ ms: event.time_ms, kind: "message", event });
  }

  update(event, a, type) {
    const lane = this.lane(`update ${a.update_id}`, "update", `update ${a.update_name}`, event);
    put(lane, event);
    if (type === "WorkflowUpdateAccepted") {
      lane.input = a.input;
    } else {
      const how = a.failure ? "bad" : "good";
      this.end(lane, event, a, how);
      lane.callSite = a.call_site;
      lane.spans.push({ kind: "child", fromMs: lane.startMs, toMs: event.time_ms, how, event });
    }
  }

  workflow(event, a, type) {
    const run = this.run;
    put(run, event);
    if (type === "WorkflowStarted") {
      run.startMs = event.time_ms;
      run.title = a.workflow_type;
      run.input = a.input;
    } else if (type === "WorkflowBlocked") {
      this.blockedFromMs ||= event.time_ms;
      run.marks.push({ ms: event.time_ms, kind: "bad", event });
    } else if (type === "WorkflowResumed") {
      this.unblock(event.time_ms);
      run.marks.push({ ms: event.time_ms, kind: "other", event });
    } else if (RUN_END[type]) {
      this.unblock(event.time_ms);
      run.endMs = event.time_ms;
      run.state = RUN_END[type];
      run.result = a.result;
      run.failure = a.failure;
    } else {
      run.marks.push({ ms: event.time_ms, kind: type.includes("Cancel") ? "cancel" : "other", event });
    }
  }

  unblock(ms) {
    if (!this.blockedFromMs) return;
    this.run.spans.push({ kind: "blocked", fromMs: this.blockedFromMs, toMs: ms });
    this.blockedFromMs = 0;
  }
}

function put(lane, event) {
  lane.events.push(event);
  event.lane = lane.key;
}

// What is still going on, drawn up to now: spans that no event has ended yet.
export function openSpans(lane, lanes, nowMs, pending) {
  if (lane.endMs) return [];
  const to = lanes.run.endMs || nowMs;
  if (lane.kind === "run") {
    return lanes.blockedFromMs ? [{ kind: "blocked", fromMs: lanes.blockedFromMs, toMs: to, isOpen: true }] : [];
  }
  if (lane.kind === "activity") {
    if (lane.pausedFromMs) return [{ kind: "paused", fromMs: lane.pausedFromMs, toMs: to, isOpen: true }];
    if (lane.state === "backoff" && lane.waitFromMs > to) return [];
    const running = lane.runFromMs || (pending?.state === "started" && pending.started_ms) || 0;
    const from = Math.max(lane.waitFromMs, 0);
    if (!running) return [{ kind: "wait", fromMs: Math.min(from, to), toMs: to, isOpen: true, attempt: lane.attempt }];
    return [
      ...(running > from ? [{ kind: "wait", fromMs: from, toMs: running, attempt: lane.attempt }] : []),
      { kind: "work", fromMs: running, toMs: to, how: "open", isOpen: true, attempt: lane.attempt },
    ];
  }
  if (lane.kind === "timer") return [{ kind: "timer", fromMs: lane.startMs, toMs: to, how: "open", isOpen: true, dueMs: lane.dueMs }];
  if (["child", "call", "update"].includes(lane.kind)) return [{ kind: "child", fromMs: lane.runFromMs || lane.startMs, toMs: to, how: "open", isOpen: true }];
  return [];
}
