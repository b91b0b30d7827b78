// Keeps what moves on a page up to date, without reloading it: each element with data-live="seconds" and an id is
// replaced by the element of that id in a fresh copy of the page. It waits while somebody is busy inside of it.
"use strict";

(function () {
  const LONGEST_PAUSE = 60;

  function isBusy(element) {
    return document.hidden || element.contains(document.activeElement) && document.activeElement !== document.body
      || element.querySelector("input:checked, details[open][data-kept]") !== null
      || !window.getSelection().isCollapsed;
  }

  async function refresh(element) {
    const answer = await fetch(window.location.href, { credentials: "same-origin", cache: "no-store" });
    if (!answer.ok) {
      throw new Error(String(answer.status));
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(element.id);
    if (fresh === null || isBusy(element)) {
      return;
    }
    if (fresh.innerHTML !== element.innerHTML) {
      element.replaceChildren(...document.adoptNode(fresh).childNodes);
      element.dispatchEvent(new CustomEvent("jobs:refreshed", { bubbles: true }));
    }
    if (!fresh.dataset.live) {
      delete element.dataset.live;
    }
  }

  function keepAlive(element) {
    let failures = 0;
    async function turn() {
      if (!element.dataset.live) {
        return;
      }
      try {
        if (!isBusy(element)) {
          await refresh(element);
        }
        failures = 0;
      } catch (error) {
        failures += 1;
      }
      const pause = Number(element.dataset.live || 0) * 2 ** failures;
      element.classList.toggle("jobs-stale", failures > 0);
      window.setTimeout(turn, Math.min(pause, LONGEST_PAUSE) * 1000);
    }
    window.setTimeout(turn, Number(element.dataset.live) * 1000);
  }

  document.querySelectorAll("[data-live]").forEach(keepAlive);
})();

// A box in the head of a table ticks all of its kind.
document.addEventListener("change", (event) => {
  const name = event.target.dataset ? event.target.dataset.all : undefined;
  if (name) {
    document.querySelectorAll(`input[name="${name}"]`).forEach((box) => { box.checked = event.target.checked; });
  }
});
