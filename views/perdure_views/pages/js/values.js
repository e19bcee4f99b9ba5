// Users' values, failures and records, as text that can be read, folded and copied.
import { html, useState } from "./lib.js";
import { size } from "./time.js";
import { Copy, words } from "./parts.js";

const SHORT_MAX = 160;
const LINES_MAX = 400;

export function isPayload(value) {
  return value !== null && typeof value === "object" && "encoding" in value && "size" in value;
}

// The text of a payload: the exact digits where the gateway sent them.
export function payloadText(payload, { pretty = true } = {}) {
  if (!payload) return "";
  if (payload.text !== undefined && !pretty) return payload.text;
  if ("value" in payload) {
    if (payload.text !== undefined) return payload.text;
    return JSON.stringify(payload.value, null, pretty ? 2 : undefined) ?? "null";
  }
  if (payload.text !== undefined) return payload.text;
  return `${payload.encoding}, ${size(payload.size)}`;
}

// Characters that are not seen, or that turn round what stands beside them, written as JSON writes them.
// A joiner within a picture stays: it is part of it.
const UNSEEN = /(?<!\p{Extended_Pictographic}\uFE0F?)\u200D|(?![\n\t\u200D])[\p{Cf}\p{Cc}]/gu;

export function visible(text) {
  return text.replace(UNSEEN, (one) => [...Array(one.length).keys()].map((at) => `\\u${one.charCodeAt(at).toString(16).padStart(4, "0")}`).join(""));
}

export function short(payload, most = SHORT_MAX) {
  const text = Array.isArray(payload)
    ? payload.map((one) => payloadText(one, { pretty: false })).join(", ")
    : payloadText(payload, { pretty: false });
  return visible(text.length > most ? `${text.slice(0, most)}…` : text);
}

export function Value({ payload }) {
  const [isWhole, setWhole] = useState(false);
  const text = payloadText(payload);
  const lines = text.split("\n");
  const isLong = lines.length > LINES_MAX && !isWhole;
  const isJson = "value" in payload && payload.text === undefined;
  const seen = visible(isLong ? lines.slice(0, LINES_MAX).join("\n") : text);
  return html`<div class="value">
    <pre tabindex="0">${isJson ? html`<${Json} text=${seen} />` : seen}</pre>
    <div class="value-tools"><${Copy} text=${text} label="copy value" /></div>
    ${payload.cut && html`<small>The first part of ${size(payload.size)} (${payload.encoding}).</small>`}
    ${isLong && html`<button type="button" class="link" onClick=${() => setWhole(true)}>all ${lines.length} lines</button>`}
  </div>`;
}

const TOKENS = /("(?:\\.|[^"\\])*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

// JSON in colours; every piece is a text node.
function Json({ text }) {
  const out = [];
  let at = 0;
  for (const match of text.matchAll(TOKENS)) {
    if (match.index > at) out.push(text.slice(at, match.index));
    const kind = match[1] ? (match[2] ? "key" : "string") : match[3] ? "word" : "number";
    out.push(html`<span class="j-${kind}">${match[1] ?? match[0]}</span>`);
    if (match[2]) out.push(match[2]);
    at = match.index + match[0].length;
  }
  out.push(text.slice(at));
  return out;
}

export function Values({ payloads, empty = "nothing" }) {
  if (!payloads?.length) return html`<span class="dim">${empty}</span>`;
  return payloads.map((payload, index) => html`<${Value} key=${index} payload=${payload} />`);
}

export function failureLine(failure) {
  const chain = failure?.chain ?? [];
  // That a step failed says nothing: its cause does.
  const link = chain.find((one) => one.kind !== "activity" && one.kind !== "child_workflow") ?? chain.at(-1);
  if (!link) return "";
  return link.type && !link.message.startsWith(link.type) ? `${link.type}: ${link.message}` : link.message;
}

// A failure and what caused it, the outermost first, each with its stack.
export function Failure({ failure }) {
  if (!failure?.chain?.length) return null;
  return html`<ol class="failure">
    ${failure.chain.map(
      (link, index) => html`<li key=${index}>
        <div class="failure-head">
          ${index > 0 && html`<span class="dim">caused by </span>`}
          <strong>${link.type || link.activity_type || words(link.kind)}</strong>${" "}${link.message}${" "}
          ${link.non_retryable && html`<span class="tag">not retried</span>`}
          ${link.retry_state && html`<span class="tag">${link.retry_state.replaceAll("_", " ")}</span>`}
        </div>
        ${link.stack_trace && html`<div class="value"><pre tabindex="0" class="stack">${link.stack_trace.trimEnd()}</pre>
          <div class="value-tools"><${Copy} text=${link.stack_trace} label="copy stack" /></div></div>`}
        ${link.details?.length > 0 && html`<${Values} payloads=${link.details} />`}
      </li>`,
    )}
  </ol>`;
}

function isNothing(value) {
  return value === null || value === "" || (Array.isArray(value) && !value.length) ||
    (typeof value === "object" && !Object.keys(value).length);
}

// Any record: each field that says something, payloads opened. New kinds of events need nothing here.
export function Fields({ record, leaveOut = [] }) {
  const rows = Object.entries(record ?? {}).filter(([name, value]) => !isNothing(value) && !leaveOut.includes(name));
  if (!rows.length) return html`<span class="dim">no fields</span>`;
  return html`<dl class="fields">
    ${rows.map(([name, value]) => html`<div key=${name}><dt>${name.replaceAll("_", " ")}</dt><dd><${Field} value=${value} /></dd></div>`)}
  </dl>`;
}

function Field({ value }) {
  if (isPayload(value)) return html`<${Value} payload=${value} />`;
  if (value !== null && typeof value === "object" && Array.isArray(value.chain)) return html`<${Failure} failure=${value} />`;
  if (Array.isArray(value)) {
    return value.every((one) => one === null || typeof one !== "object")
      ? value.join(", ")
      : value.map((one, index) => html`<${Field} key=${index} value=${one} />`);
  }
  if (value !== null && typeof value === "object") return html`<${Fields} record=${value} />`;
  return html`<span class="plain">${String(value)}</span>`;
}
