// Words with a running workflow: signals, queries and updates, and what came back.
import { post, useMe } from "./api.js";
import { html, useState } from "./lib.js";
import { ProblemBox, toast } from "./parts.js";
import { Failure, Value } from "./values.js";

const KINDS = [
  { name: "signal", title: "Signal", says: "Tells the run something; nothing comes back.", field: "signal_name", needsOpen: true, changes: true },
  { name: "query", title: "Query", says: "Asks its code; nothing is written.", field: "query_name", needsOpen: false },
  { name: "update", title: "Update", says: "Asks it to do something, and waits for the outcome.", field: "update_name", needsOpen: true, changes: true },
];

export function Talk({ run, isOpen }) {
  const me = useMe();
  const kinds = KINDS.filter((kind) => (isOpen || !kind.needsOpen) && (!kind.changes || me?.may));
  return html`<div class="ends">
    ${kinds.map((kind) => html`<${Form} key=${kind.name} kind=${kind} run=${run} />`)}
    ${!isOpen && html`<p class="dim">The run has closed: it can still be queried.</p>`}
  </div>`;
}

function Form({ kind, run }) {
  const [name, setName] = useState("");
  const [input, setInput] = useState("");
  const [answer, setAnswer] = useState(null);
  const [problem, setProblem] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setProblem(null);
    setAnswer(null);
    let values = input.trim() || "[]";
    try {
      if (!Array.isArray(JSON.parse(values))) values = `[${values}]`;
    } catch (error) {
      return setProblem({ code: "invalid", message: `the arguments are no JSON: ${error.message}` });
    }
    setBusy(true);
    try {
      const body = JSON.stringify({ workflow_id: run.workflow_id, run_id: run.run_id, task_queue: run.task_queue, [kind.field]: name });
      const found = await post(`/api/v1/workflow/${kind.name}`, `${body.slice(0, -1)},"input":${values}}`);
      if (kind.name === "signal") toast("signal taken");
      setAnswer(found);
    } catch (found) {
      setProblem(found);
    }
    setBusy(false);
  };
  return html`<section><form class="talk" onSubmit=${submit}>
    <h3>${kind.title}</h3><p class="dim">${kind.says}</p>
    <label class="field">Name<input value=${name} onInput=${(event) => setName(event.target.value)} required spellcheck=${false} list=${kind.name === "query" ? "queries" : undefined} /></label>
    ${kind.name === "query" && html`<datalist id="queries"><option value="__stack_trace" /></datalist>`}
    <label class="field">Arguments<textarea rows="3" value=${input} onInput=${(event) => setInput(event.target.value)} spellcheck=${false} placeholder="JSON: a list, or the one argument"></textarea></label>
    <div class="buttons"><button type="submit" class="primary" disabled=${isBusy}>${kind.title}</button></div>
    <${ProblemBox} problem=${problem} />
    ${answer && kind.name !== "signal" && html`<${Answer} answer=${answer} />`}
  </form></section>`;
}

function Answer({ answer }) {
  if (answer.rejected_status) return html`<div class="box warn"><strong>rejected</strong><span>The run is ${answer.rejected_status}.</span></div>`;
  if (answer.failure) return html`<${Failure} failure=${answer.failure} />`;
  if (answer.result) return html`<${Value} payload=${answer.result} />`;
  return html`<p class="dim">${answer.stage ? `It is ${answer.stage}; it goes on.` : "Nothing came back."}</p>`;
}
