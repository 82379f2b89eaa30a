// What needs a script: starting and watching runs, the live switch, arrow keys in the calendar, double-clicks on files.
// Belongs here: talking to the API, and showing what it says. Does not belong here: the chart (chart.js), what is shown
// without a script (templates).
"use strict";

(() => {
  const TOKEN = "market-data-token";
  const STARTED = "market-data-run";

  // --- small things

  function element(tag, attributes = {}, ...content) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...content);
    return made;
  }

  const number = (value) => Number(value).toLocaleString("en-US");
  const panel = () => document.querySelector(".runs-here");

  /** Resolves to the answer's JSON; rejects with problem details (RFC 9457). */
  async function call(method, url, body) {
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const token = sessionStorage.getItem(TOKEN);
    if (token) headers.Authorization = `Bearer ${token}`;
    let answer;
    try {
      answer = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch {
      throw { title: "No answer", detail: "The API does not answer; see whether it is running.", status: 0 };
    }
    const said = await answer.json().catch(() => ({ title: "No answer", detail: `HTTP ${answer.status}` }));
    if (answer.ok) return said;
    throw { ...said, status: answer.status };
  }

  // --- problems

  function clearProblems(place) {
    place.querySelectorAll(".problem, .note.asked").forEach((one) => one.remove());
    place.querySelectorAll("[aria-invalid]").forEach((one) => {
      one.removeAttribute("aria-invalid");
      one.removeAttribute("aria-describedby");
    });
  }

  /** Says what is wrong at the fields it is about, and else at the top of `place`; asks for a token where one is missing. */
  function showProblem(problem, place, again) {
    clearProblems(place);
    if (problem.status === 401) {
      askForToken(place, again);
      return;
    }
    const left = [];
    for (const { field, problem: text } of problem.errors || []) {
      const input = place.querySelector(`[name="${CSS.escape(field)}"]:not([type="hidden"])`);
      if (!input) {
        left.push(`${field}: ${text}`);
        continue;
      }
      const id = `problem-${field}`;
      input.after(element("span", { class: "problem", id }, text));
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", id);
    }
    if (!(problem.errors || []).length || left.length) {
      const text = left.length ? left.join("; ") : problem.detail || "";
      const note = element("p", { class: "note bad asked", role: "alert" }, element("strong", {}, problem.title || "Error"), ` ${text}`);
      place.matches("form") ? place.append(note) : place.prepend(note);
      if (place.matches("form")) note.style.gridColumn = "1 / -1";
    }
    place.querySelector("[aria-invalid]")?.focus();
  }

  function askForToken(place, again) {
    const given = sessionStorage.getItem(TOKEN);
    sessionStorage.removeItem(TOKEN);
    const field = element("input", { type: "password", autocomplete: "off", "aria-label": "API token", placeholder: "API token" });
    const send = element("button", { type: "button", class: "primary" }, "Continue");
    const words = given ? "The API did not accept that token." : "The API asks for its token (MARKET_DATA_API_TOKEN).";
    const note = element("div", { class: "note asked token", role: "alert" }, element("span", {}, words), field, send);
    note.style.gridColumn = "1 / -1";
    const go = () => {
      if (!field.value) return;
      sessionStorage.setItem(TOKEN, field.value);
      note.remove();
      again();
    };
    send.addEventListener("click", go);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        go();
      }
    });
    place.append(note);
    field.focus();
  }

  // --- runs

  /** Shows the run until it ends, then lets the page show what it changed. */
  function watch(started) {
    const words = element("span", { class: "grow", role: "status" }, "Started, waiting for Dagster");
    const bar = element("progress", { "aria-label": "Progress" });
    const cancel = element("button", { type: "button" }, "Cancel");
    const link = element("a", { href: started.url, target: "_blank", rel: "noopener" }, "Open in Dagster");
    const box = element("div", { class: "run" }, element("div", { class: "line" }, words, link, cancel), bar);
    for (const warning of started.warnings || []) box.prepend(element("p", { class: "note warn" }, warning));
    panel().prepend(box);
    box.scrollIntoView({ block: "nearest" });
    sessionStorage.setItem(STARTED, JSON.stringify({ ...started, on: location.pathname + location.search }));

    const source = new EventSource(`/runs/${encodeURIComponent(started.run_id)}/events`);
    let heard = false;
    const show = (now) => {
      heard = true;
      words.textContent = told(now);
      if (now.days_asked) {
        bar.max = now.days_asked;
        bar.value = now.days_done;
      }
    };
    const end = (now) => {
      source.close();
      sessionStorage.removeItem(STARTED);
      show(now);
      words.append(found(now));
      cancel.remove();
      bar.remove();
      box.classList.add(now.status);
      // Whoever canceled a run knows why it ended.
      if (now.error && now.status !== "canceled") box.append(element("p", { class: "note bad", role: "alert" }, now.error));
      for (const check of now.checks.filter((one) => !one.passed)) {
        box.append(element("p", { class: "note warn" }, `${check.name}: ${check.description || "did not pass"}`));
      }
      const dataset = started.dataset;
      const page = dataset ? `/browse?market=${dataset.market}&pair=${encodeURIComponent(dataset.pair)}` : location.href;
      box.append(element("p", {}, element("a", { href: page }, "Show the dataset as it is now")));
      showParts();
    };
    source.addEventListener("progress", (event) => show(JSON.parse(event.data)));
    source.addEventListener("waiting", (event) => (words.textContent = JSON.parse(event.data).detail));
    source.addEventListener("end", (event) => end(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      words.textContent = "The API does not answer; asking again";
      if (source.readyState === EventSource.CLOSED) {
        // A page that is left closes its source, too: its run is still there when it comes back.
        if (!heard) sessionStorage.removeItem(STARTED);
        words.textContent = "The API does not know this run any more";
        bar.remove();
        cancel.remove();
      }
    });
    const stop = () => {
      cancel.disabled = true;
      call("POST", `/runs/${encodeURIComponent(started.run_id)}/cancel`).catch((problem) => {
        cancel.disabled = false;
        showProblem(problem, box, stop);
      });
    };
    cancel.addEventListener("click", stop);
  }

  function told(run) {
    const days = run.days_asked ? `, ${number(run.days_done)} of ${number(run.days_asked)} days` : "";
    const rows = run.rows ? `, ${number(run.rows)} klines` : "";
    return `${run.what || "run"} ${run.status}${days}${rows}`;
  }

  /** What a run found: one that finds damage is a success, too. */
  function found({ what, status, checks, results }) {
    if (what === "repair" && status === "success") return results.run?.mended ? `, ${number(results.run.mended)} mended` : ", nothing to mend";
    const failed = checks.filter((one) => !one.passed).length;
    if (failed) return `, ${failed} of ${checks.length} checks did not pass`;
    return checks.length ? ", all checks passed" : "";
  }

  /** Sends what a form or button asks for, and watches the run that it starts. */
  async function start(url, body, place, button) {
    clearProblems(place);
    button.disabled = true;
    try {
      watch(await call("POST", url, body));
    } catch (problem) {
      if (!("status" in problem)) throw problem;
      showProblem(problem, place, () => start(url, body, place, button));
    } finally {
      button.disabled = false;
    }
  }

  document.querySelectorAll("form[data-post]").forEach((form) => {
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const given = [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);
      const body = Object.fromEntries(given);
      if (form.elements.refetch) body.refetch = form.elements.refetch.checked;
      start(form.dataset.post, body, form, form.querySelector("[type=submit]"));
    });
  });

  document.querySelectorAll("button[data-run]").forEach((button) => {
    button.addEventListener("click", () => {
      if (button.dataset.confirm && !confirm(button.dataset.confirm)) return;
      start(button.dataset.run, button.dataset.body && JSON.parse(button.dataset.body), panel(), button);
    });
  });

  document.querySelectorAll("button[data-live]").forEach((button) => {
    const toggle = async () => {
      const on = button.getAttribute("aria-checked") === "true";
      const url = on ? button.dataset.live.replace(/&tz=[^&]*/, "") : button.dataset.live;
      clearProblems(panel());
      button.disabled = true;
      try {
        const now = await call(on ? "DELETE" : "POST", url);
        button.setAttribute("aria-checked", String(now.live));
        showParts();
      } catch (problem) {
        if (!("status" in problem)) throw problem;
        showProblem(problem, panel(), toggle);
      } finally {
        button.disabled = false;
      }
    };
    button.addEventListener("click", toggle);
  });

  document.querySelectorAll(".actions").forEach((actions) => (actions.hidden = false));

  // --- parts of the page that come later, as Dagster may be slow

  function showParts() {
    document.querySelectorAll("[data-from]").forEach(async (place) => {
      try {
        const answer = await fetch(place.dataset.from, { headers: { Accept: "text/html" } });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const part = page.getElementById(place.dataset.part);
        if (part) place.replaceChildren(...part.childNodes);
      } catch {
        // The link that is there leads to the same.
      }
    });
  }
  showParts();

  // A run goes on while its page is reloaded.
  const left = JSON.parse(sessionStorage.getItem(STARTED) || "null");
  if (left && panel() && left.on === location.pathname + location.search) watch(left);

  // --- calendar: one stop for Tab, arrows within

  document.querySelectorAll(".years").forEach((years) => {
    const cells = [...years.querySelectorAll("a.cell")];
    const places = new Map();
    [...years.querySelectorAll("tr")].forEach((row, y) => {
      [...row.cells].forEach((cell, x) => {
        const link = cell.querySelector("a.cell");
        if (link) places.set(link, [x, y]);
      });
    });
    const at = new Map([...places].map(([link, [x, y]]) => [`${x},${y}`, link]));
    const rows = years.querySelectorAll("tr").length;
    cells.forEach((cell) => (cell.tabIndex = -1));
    if (cells.length) cells[0].tabIndex = 0;
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    years.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      const from = event.target.closest("a.cell");
      if (!move || !from) return;
      event.preventDefault();
      let [x, y] = places.get(from);
      let to;
      do {
        x += move[0];
        y += move[1];
        to = at.get(`${x},${y}`);
      } while (!to && x > 0 && x < 32 && y >= 0 && y < rows);
      if (!to) return;
      from.tabIndex = -1;
      to.tabIndex = 0;
      to.focus();
    });
  });

  // --- files: a double-click opens what the row's link opens

  document.addEventListener("dblclick", (event) => {
    const link = event.target.closest("tr[data-open]")?.querySelector("a");
    if (link && !event.target.closest("a")) window.open(link.href, "_blank", "noopener");
  });
})();
