// One run: what it is, how it stands, its timeline and history while it grows, and what can be done to it.
import { address, get, post, useAsk, useMe, useStream } from "./api.js";
import { Details, History } from "./history.js";
import { Lanes } from "./lanes.js";
import { html, useEffect, useMemo, useRef, useState } from "./lib.js";
import { CLOSED, Copy, Dialog, Go, Live, ProblemBox, Status, Tabs, runAddress, toast, words } from "./parts.js";
import { Acts, Pending } from "./pending.js";
import { setParams, useHere } from "./router.js";
import { Talk } from "./talk.js";
import { Moment, size, span, useNow } from "./time.js";
import { Timeline } from "./timeline.js";
import { Failure, Fields, Values, failureLine, payloadText } from "./values.js";

// What has come of a run, by its stream; it is kept while other tabs are looked at.
function useRun(params) {
  const { id = "", run = "", queue = "" } = params;
  const key = JSON.stringify([id, run]);
  const store = useRef(null);
  if (store.current?.key !== key) {
    store.current = { key, events: [], lanes: new Lanes(), nextSeq: 1, description: null, topic: "", partition: -1 };
  }
  const [version, setVersion] = useState(0);
  const [problem, setProblem] = useState(null);
  const dirty = useRef(false);
  const changed = () => {
    // Many parts in a row are drawn once.
    if (dirty.current) return;
    dirty.current = true;
    requestAnimationFrame(() => ((dirty.current = false), setVersion((number) => number + 1)));
  };
  const state = useStream(id && key, () => address("/api/v1/workflow/live", { id, run, queue, from: store.current.nextSeq }), {
    description(data) {
      const now = store.current;
      if (!run && now.description && now.description.run.run_id !== data.run.run_id) {
        store.current = { key, events: [], lanes: new Lanes(), nextSeq: 1, description: null, topic: "", partition: -1 };
      }
      store.current.description = data;
      setProblem(null);
      changed();
    },
    history(part) {
      const now = store.current;
      const fresh = part.events.filter((event) => event.id >= now.nextSeq);
      for (const event of fresh) now.events.push(event);
      now.lanes.add(fresh);
      Object.assign(now, { nextSeq: Math.max(now.nextSeq, part.next_seq), topic: part.topic, partition: part.partition });
      changed();
    },
    problem: setProblem,
    fatal: setProblem,
    end() {},
    away: () => get("/api/v1/workflow", { id, run, queue }).then(
      (data) => ((store.current.description = data), setProblem(null), changed()), setProblem),
  });
  useEffect(() => setProblem(null), [key]);
  return { ...store.current, version, problem, state };
}

export function RunView() {
  const { params } = useHere();
  const run = useRun(params);
  const { description, problem } = run;
  if (!params.id) return html`<div class="empty">No workflow id is in this address.</div>`;
  if (!description) {
    return problem ? html`<section class="view"><header class="view-head"><h1>${params.id}</h1></header><${ProblemBox} problem=${problem} /></section>` : null;
  }
  return html`<section class="view run">
    <${Head} run=${run} />
    <${ProblemBox} problem=${problem} />
    <${Blocked} block=${description.run.block} isOpen=${!description.run.close_ms} />
    ${description.notices.filter((notice) => notice.code !== "blocked").map((notice) => html`<div key=${notice.message} class="box warn" role="status"><strong>${words(notice.code)}</strong><span>${notice.message}</span></div>`)}
    <${Now} run=${run} />
    <${Summary} run=${run} />
    <${Body} run=${run} params=${params} />
  </section>`;
}

function Head({ run }) {
  const { description, state } = run;
  const about = description.run;
  const [asks, setAsks] = useState("");
  const which = { workflow_id: about.workflow_id, run_id: about.run_id, task_queue: about.task_queue };
  const isOpen = !CLOSED.has(about.status);
  const me = useMe();
  const traceId = run.lanes.run.events[0]?.attributes.trace_id;
  const act = (path, done) => async (reason) => {
    await post(path, { ...which, reason });
    toast(done);
  };
  return html`<header class="view-head">
    <h1><${Status} status=${about.status} /> <span class="run-id">${about.workflow_id}</span><${Copy} text=${about.workflow_id} label="copy workflow id" /></h1>
    <${Live} state=${isOpen ? state : "ended"} />
    <span class="spring"></span>
    ${me?.trace_url && traceId && html`<a class="button" href=${`${me.trace_url}/trace/${traceId}`} target="_blank" rel="noreferrer">Trace ↗</a>`}
    ${isOpen && me?.may && html`<div class="button-row apart">
      <button type="button" disabled=${description.cancel_requested} onClick=${() => setAsks("cancel")}>${description.cancel_requested ? "Cancel requested" : "Cancel"}</button>
      <button type="button" class="danger" onClick=${() => setAsks("terminate")}>Terminate</button>
    </div>`}
    ${!isOpen && me?.may && html`<${Go} to=${`/start?${new URLSearchParams({ type: about.workflow_type, queue: about.task_queue, input: inputText(description.input) })}`} class="button">Start one like it</${Go}>`}
    ${asks === "cancel" && html`<${Dialog} title="Cancel this run?" says="Its code is asked to stop, and may clean up first." action="Request cancel" withReason onDo=${act("/api/v1/workflow/cancel", "asked to cancel")} onClose=${() => setAsks("")} />`}
    ${asks === "terminate" && html`<${Dialog} title="Terminate this run?" says="It ends at once. Its code is not asked and cleans nothing up. This cannot be taken back." action="Terminate" danger withReason onDo=${act("/api/v1/workflow/terminate", "terminated")} onClose=${() => setAsks("")} />`}
  </header>`;
}

function inputText(input) {
  const text = `[${input.map((payload) => payloadText(payload)).join(", ")}]`;
  return text.length > 4000 ? "" : text;
}

function Blocked({ block, isOpen }) {
  if (!block || !isOpen) return null;
  return html`<div class="box blocked" role="alert">
    <strong>Blocked: ${words(block.cause)}</strong>
    <p class="pre">${block.message}</p>
    ${(block.recorded || block.produced) && html`<dl class="compare"><div><dt>recorded</dt><dd><code>${block.recorded}</code></dd></div><div><dt>produced</dt><dd><code>${block.produced}</code></dd></div></dl>`}
    ${block.stack_trace && html`<details open><summary>Stack</summary><pre class="stack" tabindex="0">${block.stack_trace.trimEnd()}</pre></details>`}
    <p class="dim">Since <${Moment} ms=${block.since_ms} />${block.code_version && html`, code ${block.code_version}`}. It goes on by itself once a worker with fixed code owns its partition.</p>
  </div>`;
}

// What an open run waits for now, since when, and what can be done: the question that one comes with.
function Now({ run }) {
  const { description } = run;
  const { run: about, pending_activities: activities, pending_timers: timers } = description;
  const isOpen = !about.close_ms;
  const now = useNow(500, isOpen);
  const me = useMe();
  if (!isOpen) {
    const { trouble } = about;
    return trouble ? html`<div class="box why" data-trouble=${trouble.kind}><strong>Why</strong><span>${trouble.message}</span></div>` : null;
  }
  if (about.block) return null;
  const children = description.more?.pending_children ?? [];
  const failing = activities.filter((one) => one.last_failure).sort((a, b) => b.attempt - a.attempt);
  const which = { workflow_id: about.workflow_id, run_id: about.run_id, task_queue: about.task_queue };
  const others = activities.length - Math.min(failing.length, NOW_MAX);
  const waits = [
    others > 0 && `${others} ${failing.length ? "other " : ""}${others > 1 ? "activities" : "activity"} (${[...new Set(activities.filter((one) => !failing.slice(0, NOW_MAX).includes(one)).map((one) => one.activity_type))].slice(0, 3).join(", ")})`,
    timers.length > 0 && `${timers.length > 1 ? `${timers.length} timers, the first` : "a timer"} in ${span(Math.min(...timers.map((one) => one.due_ms)) - now)}`,
    children.length > 0 && `${children.length > 1 ? `${children.length} children` : "child"} ${children.slice(0, 3).map((one) => one.workflow_id).join(", ")}`,
  ].filter(Boolean);
  if (!failing.length && !waits.length) waits.push("a message, or a condition of its code");
  return html`<div class="now-boxes">
    ${failing.slice(0, NOW_MAX).map((one) => html`<div key=${one.activity_id} class="box why" data-trouble="retrying" role="status">
      <strong>${words(one.state)}</strong>
      <span>${one.activity_type} failed, attempt ${one.attempt}${one.maximum_attempts ? ` of ${one.maximum_attempts}` : ""}${one.next_attempt_ms > now ? `, next in ${span(one.next_attempt_ms - now)}` : ""}: ${failureLine(one.last_failure)}</span>
      ${me?.may && html`<${Acts} activity=${one} which=${which} onAsk=${() => setParams({ tab: "pending" })} />`}
    </div>`)}
    ${waits.length > 0 && html`<p class="dim">Waits for ${waits.join("; ")}.</p>`}
  </div>`;
}

function Summary({ run }) {
  const { description, partition } = run;
  const about = description.run;
  const now = useNow(1000, !about.close_ms);
  const took = span((about.close_ms || now) - about.start_ms);
  const facts = [
    ["Type", about.workflow_type],
    ["Started", html`<${Moment} ms=${about.start_ms} />`],
    about.close_ms ? ["Closed", html`<${Moment} ms=${about.close_ms} />`] : null,
    [about.close_ms ? "Took" : "Open for", took],
    ["Run", html`<code>${about.run_id}</code><${Copy} text=${about.run_id} label="copy run id" />`],
    ["Task queue", html`<${Go} to=${`/task-queues?queue=${encodeURIComponent(about.task_queue)}`}>${about.task_queue}</${Go}><span class="dim">, partition ${about.partition >= 0 ? about.partition : partition}</span>`],
    ["History", `${about.history_length} events, ${size(description.history_size)}`],
    ["Started by", description.identity || "somebody"],
    about.attempt > 1 ? ["Attempt", about.attempt] : null,
    description.cron_schedule ? ["Cron", html`<code>${description.cron_schedule}</code>`] : null,
  ].filter(Boolean);
  return html`<dl class="summary">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Body({ run, params }) {
  const { description, lanes, events, version, topic, partition } = run;
  const about = description.run;
  // Known before the first event has come.
  lanes.run.startMs ||= about.start_ms;
  if (lanes.run.title === "workflow") lanes.run.title = about.workflow_type;
  const isOpen = !CLOSED.has(about.status);
  const chosen = params.at ?? "";
  const choose = (key) => setParams({ at: key });
  const pending = useMemo(() => new Map(description.pending_activities.map((one) => [`activity ${one.activity_id}`, one])), [description]);
  const waits = description.pending_activities.length + description.pending_timers.length;
  const tabs = [
    { name: "timeline", title: "Timeline" }, { name: "history", title: "History", count: about.history_length },
    { name: "pending", title: "Pending", count: waits || null }, { name: "values", title: "Input and result" }, { name: "relations", title: "Relationships" },
    { name: "talk", title: "Signal, query, update" },
  ];
  // An address of another release may name a tab that this one has not.
  const tab = tabs.some((one) => one.name === params.tab) ? params.tab : "timeline";
  return html`<${Tabs} tabs=${tabs.map((one, index) => ({ ...one, title: html`<span data-key=${index + 1} onClick=${() => setParams({ tab: one.name })}>${one.title}</span>` }))} chosen=${tab} onChoose=${(name) => setParams({ tab: name })} />
    <div class="tab-body" role="tabpanel">
    ${tab === "timeline" && html`<${Timeline} lanes=${lanes} version=${version} isOpen=${isOpen} pending=${pending} chosen=${chosen} onChoose=${choose} />
      ${chosen && html`<${Details} chosen=${chosen} events=${events} lanes=${lanes} topic=${topic} partition=${partition} onClose=${() => choose("")} />`}
      ${!chosen && html`<${Ends} run=${run} />`}`}
    ${tab === "history" && html`<${History} events=${events} lanes=${lanes} version=${version} topic=${topic} partition=${partition} chosen=${chosen} onChoose=${choose} />`}
    ${tab === "pending" && html`<${Pending} description=${description} which=${{ workflow_id: about.workflow_id, run_id: about.run_id, task_queue: about.task_queue }} />`}
    ${tab === "values" && html`<${Ends} run=${run} isWhole />`}
    ${tab === "talk" && html`<${Talk} run=${about} isOpen=${isOpen} />`}
    ${tab === "relations" && html`<${Relations} run=${run} />`}
    </div>`;
}

function Ends({ run, isWhole }) {
  const { description, lanes } = run;
  const { result, failure } = lanes.run;
  return html`<div class="ends">
    <section><h3>Input</h3><${Values} payloads=${description.input} empty="no arguments" /></section>
    <section><h3>${failure ? "Failure" : "Result"}</h3>
      ${failure ? html`<${Failure} failure=${failure} />` : result ? html`<${Values} payloads=${[result]} />` : html`<span class="dim">${description.run.close_ms ? "none" : "not yet"}</span>`}
    </section>
    ${isWhole && html`<section><h3>Options</h3><${Fields} record=${{ ...description.timeouts, retry_policy: description.retry_policy, summary: description.summary, details: description.details, ...description.more }} /></section>
      <section><h3>Memo and search attributes</h3><${Fields} record=${{ ...description.run.memo, ...description.run.search_attributes }} /></section>`}
  </div>`;
}

const ASKED_MAX = 50;
const NOW_MAX = 3;
const OUTCOMES = { good: "completed", bad: "failed", off: "cancelled", open: "running" };
const LATER = { WorkflowCompleted: 1, WorkflowFailed: 1, WorkflowTimedOut: 1, WorkflowContinuedAsNew: 1 };

function Child({ lane, isAsked }) {
  const other = lane.other ?? { workflow_id: lane.title };
  const { data } = useAsk(isAsked ? "/api/v1/workflow" : null, { id: other.workflow_id, run: other.run_id ?? "", queue: other.task_queue ?? "" });
  const now = useNow(1000, isAsked);
  const of = data?.run;
  const took = lane.endMs ? lane.endMs - lane.startMs : of && (of.close_ms || now) - of.start_ms;
  return html`<div class="relation child"><span class="relation-name">Child</span><${Go} to=${runAddress(other)}>${other.workflow_id}</${Go}> <span class="dim">${other.workflow_type ?? ""}</span>
    ${of ? html`<${Status} status=${of.status} />` : html`<span class="tag" data-kind=${lane.state}>${lane.endMs ? OUTCOMES[lane.state] ?? lane.state : "not known here"}</span>`}
    ${took > 0 && html`<span class="dim">${span(took)}</span>`}
    ${lane.failure && html`<span class="bad-text">${failureLine(lane.failure)}</span>`}
    ${of?.block && html`<span class="bad-text">${of.block.message.split("\n", 1)[0]}</span>`}</div>`;
}

function Relations({ run }) {
  const { description, lanes } = run;
  const about = description.run;
  const started = lanes.run.events.find((event) => event.type === "WorkflowStarted")?.attributes ?? {};
  const closing = lanes.run.events.find((event) => LATER[event.type])?.attributes ?? {};
  const self = (runId) => ({ workflow_id: about.workflow_id, run_id: runId, task_queue: about.task_queue });
  const rows = [
    about.parent && ["Parent", about.parent],
    description.root && description.root.run_id !== about.run_id && ["Root", description.root],
    started.continued_run_id && ["Run before", self(started.continued_run_id)],
    about.first_run_id && about.first_run_id !== about.run_id && ["First run", self(about.first_run_id)],
    (closing.next_run_id || closing.new_run_id) && ["Run after", self(closing.next_run_id || closing.new_run_id)],
  ].filter(Boolean);
  const children = lanes.all.filter((lane) => lane.kind === "child");
  // A parent that closed first was never told how they ended: they are asked themselves, so many.
  const asked = new Set(children.filter((lane) => !lane.endMs && lane.other?.run_id).slice(0, ASKED_MAX).map((lane) => lane.key));
  return html`<div class="relations">
    ${rows.map(([name, other]) => html`<div key=${name} class="relation"><span class="relation-name">${name}</span><${Go} to=${runAddress(other)}>${other.workflow_id}</${Go}> <code class="dim">${other.run_id}</code></div>`)}
    <div class="relation self"><span class="relation-name">This run</span><strong>${about.workflow_id}</strong> <code class="dim">${about.run_id}</code> <${Status} status=${about.status} /></div>
    ${children.map((lane) => html`<${Child} key=${lane.key} lane=${lane} isAsked=${asked.has(lane.key)} />`)}
    ${!rows.length && !children.length && html`<p class="dim">No parent, no child, no run before or after it.</p>`}
  </div>`;
}
