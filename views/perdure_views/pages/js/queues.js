// Task queues: who owns their partitions, how far behind they are, and who works for them.
import { useAsk, usePolled } from "./api.js";
import { classes, html } from "./lib.js";
import { Empty, Go, ProblemBox } from "./parts.js";
import { useHere } from "./router.js";
import { ago, useNow } from "./time.js";

const EVERY_MS = 3000;

export function QueuesView() {
  const { params } = useHere();
  const { data, problem, again } = useAsk("/api/v1/task-queues");
  const queues = data?.task_queues ?? [];
  const chosen = params.queue ?? queues[0] ?? "";
  return html`<section class="view">
    <header class="view-head"><h1>Task queues</h1></header>
    <${ProblemBox} problem=${problem} again=${again} />
    ${data && !queues.length && html`<${Empty}>This namespace has no task queue. <pre>perdure topics create --task-queue QUEUE</pre></${Empty}>`}
    ${queues.length > 1 && html`<nav class="chips" aria-label="task queue">${queues.map((name) => html`<${Go} key=${name} to=${`/task-queues?queue=${encodeURIComponent(name)}`} class="chip" aria-current=${name === chosen ? "true" : undefined}>${name}</${Go}>`)}</nav>`}
    ${chosen && html`<${Queue} key=${chosen} name=${chosen} />`}
  </section>`;
}

function Queue({ name }) {
  const { data, problem } = usePolled("/api/v1/task-queue", { queue: name }, EVERY_MS);
  const now = useNow(1000);
  if (!data) return html`<${ProblemBox} problem=${problem} />`;
  const slots = data.workers.reduce((sum, worker) => sum + worker.slots, 0);
  const used = data.workers.reduce((sum, worker) => sum + worker.slots_used, 0);
  const tiles = [
    ["Open runs", data.open_runs], ["Blocked", data.blocked_runs, data.blocked_runs && "bad"], ["Pending activities", data.pending_activities],
    ["Unread commands", data.lag, data.lag > 1000 && "warn"], ["Slots in use", `${used} of ${slots}`], ["Without owner", data.silent, data.silent && "bad"],
  ];
  return html`<${ProblemBox} problem=${problem} />
    <h2>${name}</h2>
    <div class="tiles">${tiles.map(([title, value, kind]) => html`<div key=${title} class="tile" data-kind=${kind || ""}><b>${value}</b><span>${title}</span></div>`)}</div>
    <h3>Workers</h3>
    ${data.workers.length ? html`<table><thead><tr><th>Worker</th><th>Slots</th><th>Last seen</th><th class="wide">Release</th></tr></thead><tbody>
      ${data.workers.map((worker) => html`<tr key=${worker.worker_id}><td class="id">${worker.identity}</td><td><span class="meter"><i style=${{ width: `${worker.slots ? (100 * worker.slots_used) / worker.slots : 0}%` }}></i></span> ${worker.slots_used} of ${worker.slots}</td><td>${ago(worker.last_seen_ms, now)}</td><td class="wide">${worker.version}</td></tr>`)}
    </tbody></table>` : html`<div class="box warn" role="status"><strong>no worker</strong><span>Nobody listens here for activities. <code>perdure worker MODULE --task-queue ${name}</code></span></div>`}
    <h3>Partitions</h3>
    <table class="partitions"><thead><tr><th class="number">#</th><th>Owner</th><th class="number">Open</th><th class="number">Blocked</th><th class="number">Activities</th><th class="number">Lag</th><th class="number wide">Transitions</th><th class="number wide">Events end</th><th class="number wide">Epoch</th></tr></thead><tbody>
      ${data.partitions.map((one) => html`<tr key=${one.partition} class=${classes(!one.answers && "silent")}><td class="number">${one.partition}</td>
        <td>${one.answers ? one.owner : html`<span class="bad-text">nobody answers</span>`}</td><td class="number">${one.open_runs}</td><td class="number">${one.blocked_runs || ""}</td><td class="number">${one.pending_activities || ""}</td>
        <td class="number">${one.lag < 0 ? "" : one.lag}</td><td class="number wide">${one.transitions}</td><td class="number wide">${one.events_end}</td><td class="number wide">${one.epoch || ""}</td></tr>`)}
    </tbody></table>`;
}
