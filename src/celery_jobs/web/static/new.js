// Says what is wrong with a job while it is typed: the form is sent to be checked, and nothing is made.
"use strict";

(function () {
  const PAUSE = 400;
  const form = document.getElementById("new");
  const said = document.getElementById("checked");
  const touched = new Set();
  let timer = 0;
  let number = 0;

  function show(errors) {
    for (const place of form.querySelectorAll("[data-error]")) {
      const name = place.dataset.error;
      const field = form.elements.namedItem(name);
      const isWrong = name in errors && touched.has(name);
      field.classList.toggle("is-invalid", isWrong);
      field.toggleAttribute("aria-invalid", isWrong);
      place.textContent = isWrong ? errors[name] : "";
    }
    const names = Object.keys(errors);
    said.textContent = names.length === 0 ? "This job can be made." : `Not yet: ${names.join(", ")}.`;
  }

  async function check() {
    const mine = ++number;
    try {
      const answer = await fetch(form.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (answer.ok && mine === number) {
        show((await answer.json()).errors);
      }
    } catch (error) {
      said.textContent = "";
    }
  }

  form.addEventListener("input", (event) => {
    touched.add(event.target.name);
    window.clearTimeout(timer);
    timer = window.setTimeout(check, PAUSE);
  });
})();
