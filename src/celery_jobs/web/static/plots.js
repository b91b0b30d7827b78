// Draws the last hour with uPlot, in Flower's colours, and again when it has moved, the theme or the size has changed.
"use strict";

(function () {
  const place = document.getElementById("plots");
  const drawn = new Map();
  const HEIGHT = 220;
  const PLOTS = {
    ended: [
      ["done", "--flower-success", (minute) => minute.success],
      ["failed", "--flower-warning", (minute) => minute.failed_no_retries],
      ["dead", "--flower-danger", (minute) => minute.dead_lettered],
      ["cancelled", "--flower-text-muted", (minute) => minute.cancelled],
      ["at a retry", "--flower-active", (minute) => minute.retried],
    ],
    times: [
      ["wait p50", "--flower-active", (minute) => minute.times.wait_p50],
      ["wait p95", "--flower-warning", (minute) => minute.times.wait_p95],
      ["run p50", "--flower-success", (minute) => minute.times.run_p50],
      ["run p95", "--flower-danger", (minute) => minute.times.run_p95],
    ],
  };
  let minutes = [];

  function colour(name) {
    return window.getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function options(series, width, isSparse) {
    const axis = { stroke: colour("--flower-text-muted"), grid: { stroke: colour("--bs-border-color"), width: 1 } };
    return {
      width,
      height: HEIGHT,
      scales: { y: { range: (plot, least, most) => [0, Math.max(most || 0, 0.001) * 1.1] } },
      axes: [axis, { ...axis, size: 56 }],
      series: [{ label: "at" }, ...series.map(([label, stroke]) => ({ label, stroke: colour(stroke), width: 1.5, spanGaps: true, points: { show: isSparse, size: 4 } }))],
    };
  }

  function data(series) {
    const now = Math.floor(Date.now() / 60000) * 60;
    const times = minutes.map((_, index) => now - 60 * (minutes.length - 1 - index));
    return [times, ...series.map(([, , read]) => minutes.map((minute) => read(minute) ?? null))];
  }

  function draw(anew) {
    for (const [name, series] of Object.entries(PLOTS)) {
      const element = place.querySelector(`[data-plot="${name}"]`);
      if (anew && drawn.has(name)) {
        drawn.get(name).destroy();
        drawn.delete(name);
      }
      if (drawn.has(name)) {
        drawn.get(name).setData(data(series));
      } else {
        drawn.set(name, new uPlot(options(series, element.clientWidth, name === "times"), data(series), element));
      }
    }
  }

  async function turn() {
    try {
      if (!document.hidden) {
        const answer = await fetch(place.dataset.from, { credentials: "same-origin" });
        if (answer.ok) {
          minutes = (await answer.json()).minutes;
          draw(false);
        }
      }
    } finally {
      window.setTimeout(turn, Number(place.dataset.every) * 1000);
    }
  }

  new MutationObserver(() => draw(true)).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  window.addEventListener("resize", () => draw(true));
  turn();
})();
