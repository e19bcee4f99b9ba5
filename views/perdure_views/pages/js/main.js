// The frame around every view: where one is, who one is, keys, theme and clock.
import { get, signIn, signOut, useAsk, whoAmI } from "./api.js";
import { useKeys, KeysHelp } from "./keys.js";
import { html, render, useEffect, useState } from "./lib.js";
import { ListView } from "./list.js";
import { Go, ProblemBox, Toasts } from "./parts.js";
import { go, takeClicks, useHere } from "./router.js";
import { keep, setTheme, theme } from "./store.js";
import { useClock } from "./time.js";

// Views beyond the first are fetched when they are gone to.
const LATER = {
  "/run": () => import("./run.js").then((module) => module.RunView),
  "/start": () => import("./start.js").then((module) => module.StartView),
  "/schedules": () => import("./schedules.js").then((module) => module.SchedulesView),
  "/schedule": () => import("./schedules.js").then((module) => module.ScheduleView),
  "/health": () => Promise.all([import("./health.js"), sheet("/health.css")]).then(([module]) => module.HealthView),
  "/task-queues": () => import("./queues.js").then((module) => module.QueuesView),
};

const TITLES = {
  "/workflows": "Workflows", "/run": "", "/start": "Start workflow", "/schedules": "Schedules", "/schedule": "Schedule",
  "/health": "Health", "/task-queues": "Task queues",
};

// A view's own style sheet, once.
function sheet(path) {
  if (document.querySelector(`link[href="${path}"]`)) return null;
  return new Promise((done, failed) => {
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: path, onload: done, onerror: failed });
    document.head.append(link);
  });
}

function Later({ path }) {
  const [found, setFound] = useState({});
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    if (found[path]) return;
    LATER[path]().then(
      (View) => setFound((old) => ({ ...old, [path]: View })),
      () => setProblem({ code: "unavailable", message: "a part of the page could not be loaded; is the gateway running?" }),
    );
  }, [path]);
  const View = found[path];
  if (View) return html`<${View} />`;
  return problem ? html`<${ProblemBox} problem=${problem} again=${() => location.reload()} />` : null;
}

function Frame() {
  const { path, params } = useHere();
  const [clock] = useClock();
  const [me, setMe] = useState(null);
  const [problem, setProblem] = useState(null);
  const look = () => whoAmI().then((found) => (setMe(found), setProblem(null)), setProblem);
  useEffect(() => void look(), []);
  const [helps, setHelps] = useState(false);
  useKeys({ onHelp: () => setHelps((now) => !now) });
  if (problem?.code === "unauthenticated") return html`<${SignIn} onIn=${(found) => (setMe(found), setProblem(null))} />`;
  const at = path === "/" ? "/workflows" : path;
  useEffect(() => void (document.title = [params.id, TITLES[at], "Perdure"].filter(Boolean).join(" · ")), [at, params.id]);
  return html`<div class="frame">
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), document.getElementById("main").focus())}>To the content</a>
    <header class="top">
      <${Go} to="/workflows" class="brand"><img src="/icon.svg" alt="" width="22" height="22" /><span>Perdure</span></${Go}>
      <nav aria-label="views">
        <${Go} to="/workflows" aria-current=${at === "/workflows" || at === "/run" ? "page" : undefined}>Workflows</${Go}>
        <${Go} to="/schedules" aria-current=${at === "/schedules" || at === "/schedule" ? "page" : undefined}>Schedules</${Go}>
        <${Go} to="/task-queues" aria-current=${at === "/task-queues" ? "page" : undefined}>Task queues</${Go}>
        <${Go} to="/health" aria-current=${at === "/health" ? "page" : undefined}>Health</${Go}>
      </nav>
      <span class="spring"></span>
      <${GoTo} />
      <${Preferences} clock=${clock} me=${me} onOut=${() => signOut().then(() => (setMe(null), look()))} onKeys=${() => setHelps(true)} />
    </header>
    <main id="main" tabindex="-1" key=${`${at}-${clock}`}>
      ${problem && html`<${ProblemBox} problem=${problem} again=${look} />`}
      ${at === "/workflows" ? html`<${ListView} />` : LATER[at] ? html`<${Later} path=${at} />` : html`<div class="empty">There is no such view.</div>`}
    </main>
    <footer class="foot">
      ${me && html`<span>${me.namespace} on ${me.address}</span><span>Perdure ${me.release}</span>`}
      <span class="spring"></span>
      <a href="/api/v1/openapi.json" target="_blank" rel="noreferrer">API</a>
    </footer>
    ${helps && html`<${KeysHelp} onClose=${() => setHelps(false)} />`}
    <${Toasts} />
  </div>`;
}

// A workflow id leads to its newest run.
function GoTo() {
  const [id, setId] = useState("");
  const submit = (event) => {
    event.preventDefault();
    if (id.trim()) go(`/run?${new URLSearchParams({ id: id.trim() })}`);
    setId("");
    event.target.querySelector("input").blur();
  };
  return html`<form class="goto" onSubmit=${submit}>
    <input type="search" aria-label="go to workflow id" placeholder="Workflow id  ( g )" data-key="g" value=${id} onInput=${(event) => setId(event.target.value)} spellcheck=${false} />
  </form>`;
}

function Preferences({ clock, me, onOut, onKeys }) {
  const [chosen, setChosen] = useState(theme());
  const choose = (name) => (setTheme(name), setChosen(name));
  return html`<details class="menu right">
    <summary class="button quiet" aria-label="preferences">${me?.signs_in ? me.name : "☰"}</summary>
    <div class="menu-box">
      ${me?.signs_in && html`<p><strong>${me.name}</strong> <span class="tag">${me.role}</span></p>`}
      <fieldset><legend>Theme</legend>
        ${["system", "light", "dark"].map((name) => html`<button key=${name} type="button" class="chip" aria-pressed=${chosen === name ? "true" : "false"} onClick=${() => choose(name)}>${name}</button>`)}
      </fieldset>
      <fieldset><legend>Times</legend>
        ${["local", "utc"].map((name) => html`<button key=${name} type="button" class="chip" aria-pressed=${clock === name ? "true" : "false"} onClick=${() => keep("clock", name)}>${name === "utc" ? "UTC" : "local"}</button>`)}
      </fieldset>
      <button type="button" class="link" onClick=${onKeys}>Keys  ( ? )</button>
      ${me?.signs_in && html`<button type="button" onClick=${onOut}>Sign out</button>`}
    </div>
  </details>`;
}

function SignIn({ onIn }) {
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    try {
      onIn(await signIn(token));
    } catch (found) {
      setProblem(found);
    }
  };
  return html`<main class="sign-in"><form onSubmit=${submit}>
    <img src="/icon.svg" alt="" width="44" height="44" />
    <h1>Perdure</h1>
    <label class="field">Token
      <input type="password" autocomplete="current-password" value=${token} onInput=${(event) => setToken(event.target.value)} autofocus required />
    </label>
    <${ProblemBox} problem=${problem} />
    <button type="submit" class="primary">Sign in</button>
    <p class="dim">Whoever runs this gateway gives out tokens.</p>
  </form></main>`;
}

takeClicks();
render(html`<${Frame} />`, document.getElementById("app"));
