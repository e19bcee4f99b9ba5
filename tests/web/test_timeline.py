"""The timeline is to scale, whatever stands on it: over many scales, and as runs show it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from perdure.client import WorkflowFailureError
from tests.web.conftest import Window
from tests.web.shop import HOUR_S
from tests.web.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.embedded, pytest.mark.timeout(90)]
# Seeded scales, with the edges, windows and widths that runs have: what is wrong with each.
WRONGS = """async (worlds) => {
  const { gapsOf, makeScale, ticksOf } = await import("/js/scale.js");
  let seed = 7;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
  const wrongs = [];
  for (let world = 0; world < worlds; world += 1) {
    const width = 60 + Math.floor(random() * 1400);
    const whole = Math.floor(10 ** (random() * 9)) + 1;
    const edges = [0];
    const many = Math.floor(random() * 30);
    for (let n = 0; n < many; n += 1) edges.push(Math.floor(random() ** 3 * whole));
    const isOpen = random() < 0.5;
    const gaps = gapsOf(edges, 0, whole, isOpen);
    const isZoomed = random() < 0.3;
    const from = isZoomed ? Math.floor(random() * whole * 0.7) : 0;
    const to = isZoomed ? from + 1 + Math.floor(random() * (whole - from)) : whole;
    const scale = makeScale(from, to, width, gaps);
    const say = (what) => wrongs.push(`world ${world}: ${what}`);
    const ends = [scale.x(from), scale.x(to)];
    if (Math.abs(ends[0]) > 1e-6 || Math.abs(ends[1] - width) > 1e-6) say(`its ends: ${ends}`);
    let last = -1;
    for (let n = 0; n <= 50; n += 1) {
      const ms = from + ((to - from) * n) / 50;
      if (scale.x(ms) < last) say(`goes back at ${ms}`);
      last = scale.x(ms);
      const found = scale.ms(last);
      if (Math.abs(found - ms) > (to - from) * 1e-6 + 1e-6) say(`${ms} is found as ${found}`);
    }
    const short = scale.gaps.reduce((sum, gap) => sum + scale.x(gap.toMs) - scale.x(gap.fromMs), 0);
    if (short > width * 0.401) say(`silences take ${short} of ${width}`);
    const since = Math.max(...edges);
    const [drawn, is] = [(width - scale.x(since)) / width, (whole - since) / whole];
    // Silences before it may be given room that is not theirs, and no more.
    if (isOpen && !isZoomed && drawn < is * 0.59) say(`not over, and short: ${drawn} for ${is}`);
    const ticks = ticksOf(scale, 0);
    const texts = ticks.map((tick) => tick.text);
    if (new Set(texts).size < texts.length) say(`twice: ${texts}`);
    for (let n = 1; n < ticks.length; n += 1) {
      const room = ticks[n].x - ticks[n - 1].x;
      if (room < texts[n].length * 5) say(`${texts[n - 1]} runs into ${texts[n]}`);
    }
    for (const tick of ticks) {
      if (Math.abs(scale.x(tick.ms) - tick.x) > 1e-6) say(`${tick.text} stands elsewhere`);
    }
  }
  return wrongs.slice(0, 10);
}"""


def test_every_scale_is_true_and_its_ticks_are_told_apart(window: Window) -> None:
    window.page.goto("/workflows")

    assert window.page.evaluate(WRONGS, 3000) == []


def _bar(window: Window, kind: str) -> dict[str, Any]:
    box = window.page.locator(f'.lane[data-kind="{kind}"] .hit, .lane[data-kind="{kind}"] .bar')
    found = box.first.bounding_box()
    assert found is not None
    return dict(found)


def test_a_timer_that_is_far_away_says_when_and_its_wait_fills_the_width(
    site: Site, window: Window
) -> None:
    page = window.page
    site.start("Sleeping", 30 * 24 * HOUR_S, id="line-sleeps")

    page.goto("/run?id=line-sleeps&tab=timeline")

    lane = page.locator('.lane[data-kind="timer"]')
    expect(lane).to_have_attribute("aria-label", re.compile("fires in 29 d 23 h"))
    expect(lane.get_by_text("fires in 29 d 23 h")).to_be_visible()
    expect(page.locator("g.gap")).to_have_count(0)
    assert _bar(window, "timer")["width"] > 600


def test_children_of_a_parent_that_closed_first_say_how_they_stand_themselves(
    site: Site, window: Window
) -> None:
    page = window.page
    with pytest.raises(WorkflowFailureError):
        site.execute("Leaving", ["left-quick", "left-slow"], id="line-leaves")
    left = site.client.get_workflow_handle("left-quick")
    site.run(left.signal("stop"))
    site.run(left.result())

    page.goto("/run?id=line-leaves&tab=relations")

    quick = page.locator(".relation.child", has_text="left-quick")
    slow = page.locator(".relation.child", has_text="left-slow")
    expect(quick.locator(".status")).to_have_text("completed")
    expect(slow.locator(".status")).to_have_text("running")
    page.get_by_role("tab", name="Timeline").click()
    lane = page.get_by_role("listitem", name=re.compile("^left-quick, not known here"))
    expect(lane).to_be_visible()
    expect(lane.locator(".bar.open")).to_have_count(0)
