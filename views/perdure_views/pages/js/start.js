// A form that starts a workflow.
import { post, useAsk } from "./api.js";
import { html, useState } from "./lib.js";
import { ProblemBox, runAddress, toast } from "./parts.js";
import { go, useHere } from "./router.js";

const REUSE = ["allow_duplicate", "allow_duplicate_failed_only", "reject_duplicate"];
const CONFLICT = ["fail", "use_existing", "terminate_existing"];

export function StartView() {
  const { params } = useHere();
  const queues = useAsk("/api/v1/task-queues");
  const [form, setForm] = useState({
    workflow_id: params.id ?? "", workflow_type: params.type ?? "", task_queue: params.queue ?? "", input: params.input ?? "[]",
    id_reuse_policy: REUSE[0], id_conflict_policy: CONFLICT[0], run_timeout_s: "",
  });
  const [problem, setProblem] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const set = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const queue = form.task_queue || queues.data?.task_queues[0] || "";
  const submit = async (event) => {
    event.preventDefault();
    let input = form.input.trim() || "[]";
    try {
      // One value that is no list is the one argument.
      if (!Array.isArray(JSON.parse(input))) input = `[${input}]`;
    } catch (error) {
      return setProblem({ code: "invalid", message: `the input is no JSON: ${error.message}` });
    }
    setBusy(true);
    try {
      const { run_timeout_s: seconds, input: _, ...rest } = form;
      const body = JSON.stringify({ ...rest, task_queue: queue, run_timeout_ms: Math.round(Number(seconds || 0) * 1000) });
      const taken = await post("/api/v1/workflows", `${body.slice(0, -1)},"input":${input}}`);
      toast(taken.started ? "started" : "it was running already");
      go(runAddress({ ...taken, task_queue: queue }));
    } catch (found) {
      setProblem(found);
      setBusy(false);
    }
  };
  return html`<section class="view form-view">
    <header class="view-head"><h1>Start workflow</h1></header>
    <form onSubmit=${submit} class="form">
      <label class="field">Workflow id<input value=${form.workflow_id} onInput=${set("workflow_id")} required autofocus spellcheck=${false} /><small>What it is about, as order-1042. Only one run of an id is open at a time.</small></label>
      <label class="field">Type<input value=${form.workflow_type} onInput=${set("workflow_type")} required spellcheck=${false} /></label>
      <label class="field">Task queue<input list="queues" value=${queue} onInput=${set("task_queue")} required spellcheck=${false} />
        <datalist id="queues">${queues.data?.task_queues.map((name) => html`<option key=${name} value=${name} />`)}</datalist></label>
      <label class="field whole">Arguments<textarea rows="8" value=${form.input} onInput=${set("input")} spellcheck=${false}></textarea><small>A JSON list, one item an argument; a single value is the one argument.</small></label>
      <label class="field">If the id was used before<select value=${form.id_reuse_policy} onChange=${set("id_reuse_policy")}>${REUSE.map((name) => html`<option key=${name} value=${name}>${name.replaceAll("_", " ")}</option>`)}</select></label>
      <label class="field">If a run is open<select value=${form.id_conflict_policy} onChange=${set("id_conflict_policy")}>${CONFLICT.map((name) => html`<option key=${name} value=${name}>${name.replaceAll("_", " ")}</option>`)}</select></label>
      <label class="field">Run timeout, seconds<input type="number" min="0" step="any" value=${form.run_timeout_s} onInput=${set("run_timeout_s")} placeholder="none" /></label>
      <${ProblemBox} problem=${problem} />
      <div class="buttons whole"><button type="submit" class="primary" disabled=${isBusy}>Start</button></div>
    </form>
  </section>`;
}
