// Times and spans as people read them, in their own time or in UTC.
import { kept, useKept } from "./store.js";
import { html, useEffect, useState } from "./lib.js";

const two = (number) => String(number).padStart(2, "0");

export function useClock() {
  return useKept("clock", "local");
}

export function moment(ms, { millis = false } = {}) {
  if (!ms) return "";
  const date = new Date(ms);
  const utc = kept("clock", "local") === "utc";
  const part = (name) => (utc ? date[`getUTC${name}`]() : date[`get${name}`]());
  const day = `${part("FullYear")}-${two(part("Month") + 1)}-${two(part("Date"))}`;
  const time = `${two(part("Hours"))}:${two(part("Minutes"))}:${two(part("Seconds"))}`;
  const rest = millis ? `.${String(date.getUTCMilliseconds()).padStart(3, "0")}` : "";
  return `${day} ${time}${rest}${utc ? "Z" : ""}`;
}

export function span(ms) {
  if (ms < 0) ms = 0;
  if (ms < 1) return "0 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

export function ago(ms, now = Date.now()) {
  const seconds = Math.max(0, (now - ms) / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(1)} KiB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

// The time now, told again every so often while the page is looked at.
export function useNow(everyMs = 1000, runs = true) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!runs) return undefined;
    const timer = setInterval(() => document.hidden || setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, runs]);
  return now;
}

export function Moment({ ms, now }) {
  if (!ms) return null;
  return html`<time dateTime=${new Date(ms).toISOString()} title=${moment(ms, { millis: true })}>
    ${now === undefined ? moment(ms) : html`${moment(ms)} <span class="dim">${ago(ms, now)}</span>`}
  </time>`;
}
