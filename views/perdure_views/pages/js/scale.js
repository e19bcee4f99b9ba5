// Time to place: to scale, with a zoom window, and with long silences drawn short.

// A silence is drawn short when it is most of what is shown, or nearly, and seconds long: what is
// short enough to be compared stays to scale. One that is not over is never drawn short.
const GAP_SHARE = 0.15;
const GAP_MS = 4000;
const GAP_DRAWN = 0.06;
const GAPS_DRAWN_MAX = 0.4;
const EDGES_MAX = 20_000;

// The silences of a history: stretches longer than a share of it in which nothing begins or ends.
export function gapsOf(edges, fromMs, toMs, isOpen = false) {
  const whole = toMs - fromMs;
  if (whole <= 0) return [];
  const sorted = Float64Array.from(edges.length > EDGES_MAX ? edges.filter((_, at) => at % Math.ceil(edges.length / EDGES_MAX) === 0) : edges).sort();
  const gaps = [];
  let last = fromMs;
  for (const edge of isOpen ? sorted : [...sorted, toMs]) {
    if (edge < fromMs || edge > toMs) continue;
    if (edge - last > Math.max(whole * GAP_SHARE, GAP_MS)) gaps.push({ fromMs: last, toMs: edge });
    last = Math.max(last, edge);
  }
  return gaps;
}

// A scale from a time window to pixels. Gaps inside take a small fixed share of the width each.
export function makeScale(fromMs, toMs, width, gaps = []) {
  const within = gaps
    .map((gap) => ({ fromMs: Math.max(gap.fromMs, fromMs), toMs: Math.min(gap.toMs, toMs) }))
    .filter((gap) => gap.toMs - gap.fromMs > Math.max((toMs - fromMs) * GAP_SHARE, GAP_MS));
  const silent = within.reduce((sum, gap) => sum + gap.toMs - gap.fromMs, 0);
  // Where one looks into a silence there is nothing to make room for.
  const inside = toMs - fromMs - silent < 1 ? [] : within;
  const loud = inside.length ? toMs - fromMs - silent : Math.max(toMs - fromMs, 1);
  const gapWidth = inside.length ? Math.min(GAP_DRAWN, GAPS_DRAWN_MAX / inside.length) * width : 0;
  const loudWidth = width - gapWidth * inside.length;
  // Knots between which place grows evenly with time.
  const knots = [[fromMs, 0]];
  let at = 0;
  let ms = fromMs;
  for (const gap of inside) {
    at += ((gap.fromMs - ms) / loud) * loudWidth;
    knots.push([gap.fromMs, at]);
    at += gapWidth;
    knots.push([gap.toMs, at]);
    ms = gap.toMs;
  }
  knots.push([toMs, width]);
  const between = (value, from, to) => {
    let low = 0;
    let high = knots.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (knots[middle][from] <= value) low = middle;
      else high = middle - 1;
    }
    const [a, b] = [knots[low], knots[low + 1]];
    const share = b[from] === a[from] ? 0 : (value - a[from]) / (b[from] - a[from]);
    return a[to] + share * (b[to] - a[to]);
  };
  return { fromMs, toMs, width, x: (value) => between(value, 0, 1), ms: (x) => between(x, 1, 0), gaps: inside, loud, loudWidth };
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND,
  MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 30 * DAY,
];
const LETTER = 7;
const APART = 70;

// A time since the start, to the last digit that its step tells apart.
export function tickText(sinceMs, stepMs) {
  if (sinceMs < SECOND && stepMs < SECOND) return `${sinceMs} ms`;
  const parts = [];
  let rest = sinceMs;
  for (const [unit, name] of [[DAY, "d"], [HOUR, "h"], [MINUTE, "min"]]) {
    if (rest >= unit) parts.push(`${Math.floor(rest / unit)} ${name}`);
    rest %= unit;
  }
  const digits = stepMs >= SECOND ? 0 : stepMs >= 100 ? 1 : stepMs >= 10 ? 2 : 3;
  if (rest || !parts.length) parts.push(`${(rest / SECOND).toFixed(digits)} s`);
  return parts.join(" ");
}

// Round times since the start that stand far enough apart to be read.
export function ticksOf(scale, originMs) {
  const longest = Math.max(scale.toMs - originMs, 1);
  const apart = (one) => Math.max(APART, tickText(Math.floor(longest / one) * one, one).length * LETTER + 18);
  const step = STEPS.find((one) => (one / scale.loud) * scale.loudWidth >= apart(one)) ?? STEPS.at(-1);
  const room = apart(step);
  const ticks = [];
  let lastX = -room;
  const take = (ms) => {
    const x = scale.x(ms);
    if (x - lastX < room * 0.8 || scale.gaps.some((gap) => ms > gap.fromMs && ms < gap.toMs)) return;
    ticks.push({ ms, x, text: tickText(ms - originMs, step) });
    lastX = x;
  };
  // Between silences only: what they hold may be years of ticks that nobody sees.
  let from = scale.fromMs;
  for (const until of [...scale.gaps.map((gap) => gap.fromMs), scale.toMs]) {
    const first = Math.ceil((from - originMs) / step);
    const last = Math.floor((until - originMs) / step);
    for (let n = first; n <= last && n - first < 5000; n += 1) take(originMs + n * step);
    from = scale.gaps.find((gap) => gap.fromMs === until)?.toMs ?? until;
  }
  return ticks;
}
