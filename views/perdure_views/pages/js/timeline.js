// The timeline: lanes drawn to scale, only those that are looked at; zoomed by keys, wheel and dragging.
import { openSpans } from "./lanes.js";
import { classes, html, useEffect, useMemo, useRef, useState } from "./lib.js";
import { useWidth } from "./parts.js";
import { gapsOf, makeScale, ticksOf } from "./scale.js";
import { useKept } from "./store.js";
import { moment, span, useNow } from "./time.js";

const LANE = 30;
const AXIS = 28;
const NAMES = 220;
const NAMES_NARROW = 128;
const SPANS_DRAWN_MAX = 400;
// Right of the last moment, in pixels: room for the line of now, and no time.
const EDGE = 26;
const SLIM = new Set(["wait", "paused"]);

export function Timeline({ lanes, version, isOpen, pending, chosen, onChoose }) {
  const now = useNow(isOpen ? 250 : 60_000, isOpen);
  const [isShort, setShort] = useKept("gaps", true);
  const [kinds, setKinds] = useState("");
  const [window_, setWindow] = useState(null);
  const frame = useRef(null);
  const width = useWidth(frame);
  const names = width < 640 ? NAMES_NARROW : NAMES;
  const startMs = lanes.run.startMs || lanes.all[0]?.startMs || now;
  const endMs = Math.max(lanes.run.endMs || (isOpen ? Math.max(now, lanes.lastMs) : lanes.lastMs), startMs + 1);
  const shown = useMemo(
    () => lanes.all.filter((lane) => lane.kind === "run" || !kinds || lane.kind === kinds || (kinds === "bad" && (lane.failures > 0 || lane.state === "bad"))),
    [lanes, version, kinds],
  );
  const edges = useMemo(() => {
    const found = [];
    for (const lane of lanes.all) {
      for (const one of lane.spans) found.push(one.fromMs, one.toMs);
      for (const mark of lane.marks) found.push(mark.ms);
      found.push(lane.startMs);
      if (lane.endMs) found.push(lane.endMs);
    }
    return found;
  }, [lanes, version]);
  const gaps = useMemo(() => (isShort ? gapsOf(edges, startMs, endMs, isOpen) : []), [edges, isShort, startMs, isOpen ? Math.floor(endMs / 2000) : endMs]);
  const [fromMs, toMs] = window_ ?? [startMs, endMs];
  const plot = Math.max(width - names - EDGE, 50);
  const scale = makeScale(fromMs, toMs, plot, gaps);
  const zoom = (factor, x = plot / 2) => {
    const left = scale.ms(Math.max(0, x - (x * 1) / factor));
    const right = scale.ms(Math.min(plot, x + (plot - x) / factor));
    const grown = factor < 1 ? [fromMs - ((toMs - fromMs) * (1 / factor - 1)) * (x / plot), toMs + ((toMs - fromMs) * (1 / factor - 1)) * (1 - x / plot)] : [left, right];
    const clamped = [Math.max(grown[0], startMs), Math.min(grown[1], endMs)];
    if (clamped[1] - clamped[0] < 2) return;
    const isAll = clamped[0] <= startMs && clamped[1] >= endMs;
    setWindow(isAll ? null : clamped);
  };
  const zoomed = useRef(zoom);
  zoomed.current = zoom;
  return html`<div class="timeline" ref=${frame}>
    <div class="timeline-tools">
      <select aria-label="lanes" value=${kinds} onChange=${(event) => setKinds(event.target.value)}>
        <option value="">all lanes</option><option value="activity">activities</option><option value="timer">timers</option>
        <option value="child">children</option><option value="call">calls</option><option value="signal">signals</option><option value="update">updates</option><option value="bad">with failures</option>
      </select>
      <label class="check"><input type="checkbox" checked=${isShort} onChange=${(event) => setShort(event.target.checked)} /> shorten silences</label>
      <span class="spring"></span>
      <span class="dim">${span(toMs - fromMs)} shown${window_ ? ` of ${span(endMs - startMs)}` : ""}</span>
      <span class="button-row">
        <button type="button" data-key="-" aria-label="zoom out" onClick=${() => zoom(1 / 1.6)}>−</button>
        <button type="button" data-key="0" aria-label="show all" disabled=${!window_} onClick=${() => setWindow(null)}>all</button>
        <button type="button" data-key="+" aria-label="zoom in" onClick=${() => zoom(1.6)}>+</button>
      </span>
    </div>
    <${Plot} lanes=${lanes} shown=${shown} scale=${scale} originMs=${startMs} names=${names} plot=${plot} now=${Math.min(now, endMs)}
      isOpen=${isOpen} pending=${pending} chosen=${chosen} onChoose=${onChoose} zoomed=${zoomed} onWindow=${setWindow} />
    <${Legend} />
  </div>`;
}

function Plot({ lanes, shown, scale, originMs, names, plot, now, isOpen, pending, chosen, onChoose, zoomed, onWindow }) {
  const box = useRef(null);
  const [top, setTop] = useState(0);
  const [drag, setDrag] = useState(null);
  const [tip, setTip] = useState(null);
  const height = shown.length * LANE;
  const visible = Math.min(shown.length, 18) * LANE;
  const first = Math.max(0, Math.floor(top / LANE) - 4);
  const drawn = shown.slice(first, first + Math.ceil(visible / LANE) + 8);
  useEffect(() => {
    const node = box.current;
    const wheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const x = event.clientX - node.getBoundingClientRect().left - names;
      zoomed.current(event.deltaY < 0 ? 1.25 : 0.8, Math.min(Math.max(x, 0), plot));
    };
    node.addEventListener("wheel", wheel, { passive: false });
    return () => node.removeEventListener("wheel", wheel);
  }, [names, plot]);
  const at = (event) => Math.min(Math.max(event.clientX - box.current.getBoundingClientRect().left - names, 0), plot);
  const press = (event) => {
    if (event.button !== 0 || event.clientX - box.current.getBoundingClientRect().left < names) return;
    setDrag({ from: at(event), to: at(event) });
  };
  const move = (event) => drag && setDrag({ ...drag, to: at(event) });
  const release = () => {
    if (!drag) return;
    const [left, right] = [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)];
    setDrag(null);
    if (right - left > 6) onWindow([scale.ms(left), scale.ms(right)]);
  };
  const ticks = ticksOf(scale, originMs);
  return html`<div class="plot" ref=${box} onMouseDown=${press} onMouseMove=${move} onMouseUp=${release} onMouseLeave=${() => (release(), setTip(null))}>
    <svg class="axis" height=${AXIS} width="100%" aria-hidden="true">
      ${ticks.map((tick) => html`<g key=${tick.ms}><line x1=${names + tick.x} x2=${names + tick.x} y1=${AXIS - 6} y2=${AXIS} /><text x=${names + tick.x} y="15">${tick.text}</text></g>`)}
    </svg>
    <div class="lanes" style=${{ maxHeight: `${visible + 2}px` }} onScroll=${(event) => setTop(event.target.scrollTop)} tabindex="0" role="list" aria-label="timeline">
      <svg height=${height} width="100%">
        <defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><line x1="0" y1="0" x2="0" y2="6" class="hatch" /></pattern>
        <clipPath id="plot-clip"><rect x=${names - 1} y="0" width=${plot + EDGE} height=${height} /></clipPath></defs>
        ${ticks.map((tick) => html`<line key=${tick.ms} class="grid" x1=${names + tick.x} x2=${names + tick.x} y1="0" y2=${height} />`)}
        ${scale.gaps.map((gap) => html`<g key=${gap.fromMs} class="gap"><rect x=${names + scale.x(gap.fromMs)} width=${Math.max(scale.x(gap.toMs) - scale.x(gap.fromMs), 1)} y="0" height=${height} fill="url(#hatch)" /><title>nothing for ${span(gap.toMs - gap.fromMs)}</title></g>`)}
        ${drawn.map((lane, index) => html`<${Lane} key=${lane.key} lane=${lane} lanes=${lanes} y=${(first + index) * LANE} scale=${scale} names=${names} plot=${plot} now=${now}
          isOpen=${isOpen} pending=${pending?.get(lane.key)} isChosen=${chosen === lane.key} onChoose=${onChoose} onTip=${setTip} />`)}
        ${isOpen && scale.toMs >= now && html`<line class="now" x1=${names + scale.x(now)} x2=${names + scale.x(now)} y1="0" y2=${height} />`}
        ${drag && Math.abs(drag.to - drag.from) > 2 && html`<rect class="drag" x=${names + Math.min(drag.from, drag.to)} width=${Math.abs(drag.to - drag.from)} y="0" height=${height} />`}
      </svg>
    </div>
    ${tip && html`<div class="tip" style=${{ left: `${Math.min(tip.x, names + plot - 180)}px`, top: `${tip.y - top + AXIS + LANE}px` }}>${tip.lines.map((line, index) => html`<div key=${index}>${line}</div>`)}</div>`}
  </div>`;
}

const KIND_SIGNS = { run: "◆", activity: "▸", timer: "○", child: "↳", call: "→", signal: "»", update: "±" };

function Lane({ lane, lanes, y, scale, names, plot, now, pending, isChosen, onChoose, onTip }) {
  const spans = [...lane.spans, ...openSpans(lane, lanes, now, pending)].filter((one) => one.toMs >= scale.fromMs && one.fromMs <= scale.toMs);
  const endMs = lane.endMs || now;
  const took = span(endMs - lane.startMs);
  const choose = () => onChoose(isChosen ? "" : lane.key);
  const enter = (event) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), choose());
  const hint = (lines) => ({ onMouseEnter: (event) => onTip({ x: event.clientX - event.target.ownerSVGElement.getBoundingClientRect().left, y, lines }), onMouseLeave: () => onTip(null) });
  const box = (fromMs, toMs) => {
    const x = names + Math.max(scale.x(Math.max(fromMs, scale.fromMs)), 0);
    return { x, width: Math.max(names + Math.min(scale.x(Math.min(toMs, scale.toMs)), plot) - x, 2) };
  };
  // What the parent's history does not tell, because it ended first, is no "running".
  const isUntold = Boolean(lane.kind !== "run" && !lane.endMs && lanes.run.endMs);
  const state = isUntold ? "not known here" : lane.state;
  const due = !isUntold && dueText(lane, now, scale.toMs);
  const long = names < 150 ? 12 : 27;
  const title = lane.title.length > long ? `${lane.title.slice(0, long - 1)}…` : lane.title;
  return html`<g class=${classes("lane", isChosen && "chosen")} data-kind=${lane.kind} data-state=${isUntold ? "untold" : lane.state} role="listitem" tabindex="0" aria-label=${`${lane.title}, ${state}, ${took}${due ? `, ${due}` : ""}`} onClick=${choose} onKeyDown=${enter}>
    <rect class="lane-back" x="0" y=${y} width=${names + plot + EDGE} height=${LANE} />
    <text class="lane-sign" x="12" y=${y + 20}>${KIND_SIGNS[lane.kind] ?? "•"}</text>
    <text class="lane-name" x="30" y=${y + 20}>${title}</text><title>${lane.title}</title>
    ${lane.failures > 0 && names > 150 && html`<text class="lane-count" x=${names - 10} y=${y + 20}>×${lane.failures}</text>`}
    <g clip-path="url(#plot-clip)">
    ${lane.kind === "run" && html`<rect class="bar run" data-how=${lane.state} ...${box(lane.startMs, endMs)} y=${y + 11} height="8" rx="4" ...${hint([lane.title, `${took}, from ${moment(lane.startMs, { millis: true })}`])} />`}
    ${spans.slice(0, SPANS_DRAWN_MAX).map((one, index) => {
      const place = box(one.fromMs, one.toMs);
      const says = hint(spanLines(one, lane));
      if (one.kind === "backoff") {
        return html`<g key=${index} ...${says}><rect class="hit" ...${place} y=${y + 4} height=${LANE - 8} /><line class="backoff" x1=${place.x} x2=${place.x + place.width} y1=${y + 15} y2=${y + 15} /></g>`;
      }
      if (one.kind === "timer") {
        return html`<g key=${index} ...${says}><rect class="hit" ...${place} y=${y + 4} height=${LANE - 8} /><line class="timer" data-how=${one.how} x1=${place.x} x2=${place.x + place.width} y1=${y + 15} y2=${y + 15} />
          ${one.how !== "open" && html`<circle class="timer-end" data-how=${one.how} cx=${place.x + place.width} cy=${y + 15} r="4" />`}</g>`;
      }
      return html`<rect key=${index} class=${classes("bar", one.kind, one.isOpen && !isUntold && "open")} data-how=${isUntold ? "untold" : one.how} ...${place} y=${y + (SLIM.has(one.kind) ? 12 : 7)} height=${SLIM.has(one.kind) ? 6 : 16} rx="3" ...${says} />`;
    })}
    ${lane.marks.slice(0, SPANS_DRAWN_MAX).map((mark, index) => mark.ms >= scale.fromMs && mark.ms <= scale.toMs && html`<path key=${index} class="mark" data-kind=${mark.kind} d=${`M${names + scale.x(mark.ms)} ${y + 7} l6 8 l-6 8 l-6 -8 z`} ...${hint([mark.event.type, moment(mark.ms, { millis: true })])} />`)}
    ${due && html`<text class="lane-due" x=${names + plot - 4} y=${y + 11}>${due}</text>`}
    </g>
  </g>`;
}

// What is still to come is said in words: to scale, it may lie months to the right.
function dueText(lane, now, toMs) {
  if (lane.endMs || !(toMs >= now)) return "";
  if (lane.kind === "timer" && lane.dueMs > now) return `fires in ${span(lane.dueMs - now)}`;
  return lane.state === "backoff" && lane.waitFromMs > now ? `next attempt in ${span(lane.waitFromMs - now)}` : "";
}

function spanLines(one, lane) {
  const took = span(one.toMs - one.fromMs);
  const attempt = one.attempt ? `attempt ${one.attempt}` : "";
  const says = {
    wait: ["waits for a worker", attempt], work: [`${attempt} ${one.how === "bad" ? "failed" : one.how === "open" ? "is running" : one.how === "off" ? "was cancelled" : "succeeded"}`],
    backoff: ["waits to be tried again", `after ${attempt}`], timer: [one.how === "open" ? `fires ${moment(one.dueMs)}` : one.how === "off" ? "was cancelled" : "fired"],
    child: [{ open: "is running", good: "done", bad: "failed", off: "cancelled" }[one.how] ?? ""], blocked: ["blocked"], paused: ["paused: no attempt starts"],
  }[one.kind] ?? [one.kind];
  return [lane.title, ...says.filter(Boolean), took];
}

function Legend() {
  return html`<div class="legend" aria-hidden="true">
    <span><i class="key wait"></i>waits for a worker</span><span><i class="key work good"></i>succeeded</span><span><i class="key work bad"></i>failed attempt</span>
    <span><i class="key work open"></i>running</span><span><i class="key backoff"></i>back-off</span><span><i class="key gap"></i>silence, drawn short</span>
    <span class="spring"></span><span class="dim wide">drag to zoom, ctrl + wheel, + − 0</span>
  </div>`;
}
