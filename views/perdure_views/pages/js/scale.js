// Time to place: to scale, with a zoom window, and with long silences drawn short.

// A silence is drawn short when it is most of what is shown, or nearly, and seconds long: what is
// short enough to be compared stays to scale.
const GAP_SHARE = 0.15;
const GAP_MS = 4000;
const GAP_DRAWN = 0.06;
const EDGES_MAX = 20_000;

// The silences of a history: stretches longer than a share of it in which nothing begins or ends.
export function gapsOf(edges, fromMs, toMs) {
  const whole = toMs - fromMs;
  if (whole <= 0) return [];
  const sorted = Float64Array.from(edges.length > EDGES_MAX ? edges.filter((_, at) => at % Math.ceil(edges.length / EDGES_MAX) === 0) : edges).sort();
  const gaps = [];
  let last = fromMs;
  for (const edge of [...sorted, toMs]) {
    if (edge < fromMs || edge > toMs) continue;
    if (edge - last > Math.max(whole * GAP_SHARE, GAP_MS)) gaps.push({ fromMs: last, toMs: edge });
    last = Math.max(last, edge);
  }
  return gaps;
}

// A scale from a time window to pixels. Gaps inside take a small fixed share of the width each.
export function makeScale(fromMs, toMs, width, gaps = []) {
  const inside = gaps
    .map((gap) => ({ fromMs: Math.max(gap.fromMs, fromMs), toMs: Math.min(gap.toMs, toMs) }))
    .filter((gap) => gap.toMs - gap.fromMs > Math.max((toMs - fromMs) * GAP_SHARE, GAP_MS));
  const silent = inside.reduce((sum, gap) => sum + gap.toMs - gap.fromMs, 0);
  const loud = Math.max(toMs - fromMs - silent, 1);
  const drawn = inside.length ? loud * GAP_DRAWN : 0;
  const total = loud + drawn * inside.length;
  // Knots between which place grows evenly with time.
  const knots = [[fromMs, 0]];
  let at = 0;
  let ms = fromMs;
  for (const gap of inside) {
    at += gap.fromMs - ms;
    knots.push([gap.fromMs, at]);
    at += drawn;
    knots.push([gap.toMs, at]);
    ms = gap.toMs;
  }
  knots.push([toMs, total]);
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
  return {
    fromMs, toMs, width,
    x: (value) => (between(value, 0, 1) / total) * width,
    ms: (x) => between((x / width) * total, 1, 0),
    gaps: inside,
    loud,
  };
}

const STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
  900_000, 1_800_000, 3_600_000, 7_200_000, 21_600_000, 43_200_000, 86_400_000, 172_800_000, 604_800_000, 2_592_000_000,
];

// Round times since the start that stand far enough apart to be read.
export function ticksOf(scale, originMs, apart = 90) {
  const step = STEPS.find((one) => (one / scale.loud) * scale.width >= apart) ?? STEPS.at(-1);
  const ticks = [];
  let lastX = -apart;
  const first = Math.ceil((scale.fromMs - originMs) / step);
  const last = Math.floor((scale.toMs - originMs) / step);
  for (let n = first; n <= last && n - first < 5000; n += 1) {
    const ms = originMs + n * step;
    const x = scale.x(ms);
    if (x - lastX < apart * 0.8) continue;
    if (scale.gaps.some((gap) => ms > gap.fromMs && ms < gap.toMs)) continue;
    ticks.push({ ms, x, since: n * step });
    lastX = x;
  }
  return ticks;
}
