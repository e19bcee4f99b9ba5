// Figures over windows of time: stacked bars and lines, with the numbers of the window under the pointer.
import { html, useRef, useState } from "./lib.js";
import { useWidth } from "./parts.js";
import { moment } from "./time.js";

const HEIGHT = 150;
const LEFT = 52;
const BOTTOM = 20;
const TOP = 8;
const STEPS_MIN = [5, 10, 15, 30, 60, 120, 180, 360];

// Every window of the span, also those in which nothing happened.
export function wholeSpan(health) {
  const by = new Map(health.windows.map((one) => [one.start_s, one]));
  const out = [];
  for (let at = health.from_s; at <= health.to_s; at += health.window_s) out.push(by.get(at) ?? { start_s: at });
  return out;
}

// A round number at or above the highest, and the steps below it.
function ticksTo(most) {
  const rough = Math.max(most, 1) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max([1, 2, 5, 10].find((one) => one * power >= rough) * power, 1);
  const top = Math.ceil(Math.max(most, 1) / step) * step;
  return [...Array(Math.round(top / step) + 1).keys()].map((index) => index * step);
}

// `series` are [{ name, kind, of(window) }]; kind is the colour; `shows` writes a value.
export function Chart({ title, windows, windowS, series, isLines, shows = String, empty }) {
  const box = useRef(null);
  const width = Math.max(useWidth(box), 160);
  const [over, setOver] = useState(-1);
  const values = series.map((one) => windows.map((window) => one.of(window) ?? null));
  const sums = windows.map((_, index) => values.reduce((sum, row) => (isLines ? Math.max(sum, row[index] ?? 0) : sum + (row[index] ?? 0)), 0));
  const most = Math.max(0, ...sums);
  const ticks = ticksTo(most);
  const top = ticks.at(-1);
  const slot = (width - LEFT) / windows.length;
  const y = (value) => TOP + (HEIGHT - TOP) * (1 - value / top);
  const totals = series.map((one, at) => [one, isLines ? (values[at].findLast((value) => value !== null) ?? null) : values[at].reduce((sum, value) => sum + (value ?? 0), 0)]);
  const point = (event) => {
    const at = Math.floor((event.clientX - event.currentTarget.getBoundingClientRect().left - LEFT) / slot);
    setOver(at >= 0 && at < windows.length ? at : -1);
  };
  const shown = totals.filter(([, value]) => value);
  return html`<figure class="chart" aria-label=${title}>
    <figcaption><h3>${title}</h3>
      <span class="chart-keys">${shown.map(([one, value]) => html`<span key=${one.name} data-series=${one.kind}><i class="key"></i>${one.name} <b>${shows(value)}</b></span>`)}</span>
    </figcaption>
    <div class="plot" ref=${box}>
      <svg width=${width} height=${HEIGHT + BOTTOM} role="img" aria-label=${`${title}: ${shown.map(([one, value]) => `${one.name} ${shows(value)}`).join(", ") || "nothing"}`} onPointerMove=${point} onPointerLeave=${() => setOver(-1)}>
        ${ticks.map((tick) => html`<g key=${tick}><line class="grid" x1=${LEFT} x2=${width} y1=${y(tick)} y2=${y(tick)} /><text class="tick" x=${LEFT - 8} y=${y(tick) + 4} text-anchor="end">${shows(tick)}</text></g>`)}
        ${over >= 0 && html`<rect class="under" x=${LEFT + over * slot} y=${TOP} width=${slot} height=${HEIGHT - TOP} />`}
        ${isLines ? lines(series, values, slot, y) : bars(series, values, slot, y)}
        ${times(windows, windowS, slot, width)}
      </svg>
      ${over >= 0 && html`<${Tip} window=${windows[over]} windowS=${windowS} series=${series} values=${values} at=${over} shows=${shows} isRight=${over > windows.length / 2} />`}
      ${!most && html`<p class="chart-empty dim">${empty}</p>`}
    </div>
  </figure>`;
}

function bars(series, values, slot, y) {
  const gap = slot > 4 ? 1 : 0;
  const out = [];
  const floors = values[0]?.map(() => 0) ?? [];
  series.forEach((one, row) => values[row].forEach((value, at) => {
    if (!value) return;
    const base = floors[at];
    floors[at] += value;
    const high = y(base) - y(floors[at]);
    out.push(html`<rect key=${`${one.name} ${at}`} class="figure" data-series=${one.kind} x=${LEFT + at * slot} y=${y(floors[at])} width=${Math.max(slot - gap, 0.5)} height=${Math.max(high, 0.5)} />`);
  }));
  return out;
}

function lines(series, values, slot, y) {
  return series.map((one, row) => {
    const points = values[row].map((value, at) => (value === null ? null : [LEFT + (at + 0.5) * slot, y(value)])).filter(Boolean);
    return html`<g key=${one.name} class="line" data-series=${one.kind}>
      <polyline points=${points.map(([x, high]) => `${x},${high}`).join(" ")} />
      ${points.length < 60 && points.map(([x, high]) => html`<circle key=${x} cx=${x} cy=${high} r="2.5" />`)}
    </g>`;
  });
}

// Times below, as many as have room.
function times(windows, windowS, slot, width) {
  const everyS = 60 * (STEPS_MIN.find((minutes) => (minutes * 60 * slot) / windowS >= 70) ?? 720);
  return windows.map((window, at) => {
    const x = LEFT + at * slot;
    if (window.start_s % everyS !== 0 || x > width - 20) return null;
    return html`<text key=${window.start_s} class="tick" x=${x} y=${HEIGHT + 15} text-anchor="middle">${moment(window.start_s * 1000).slice(11, 16)}</text>`;
  });
}

function Tip({ window, windowS, series, values, at, shows, isRight }) {
  const rows = series.map((one, row) => [one, values[row][at]]).filter(([, value]) => value);
  return html`<div class="chart-tip" data-side=${isRight ? "left" : "right"}>
    <div>${moment(window.start_s * 1000).slice(11, 16)} – ${moment((window.start_s + windowS) * 1000).slice(11, 16)}</div>
    ${rows.length ? rows.map(([one, value]) => html`<div key=${one.name} data-series=${one.kind}><i class="key"></i>${one.name} <b>${shows(value)}</b></div>`) : html`<div class="dim">nothing</div>`}
  </div>`;
}
