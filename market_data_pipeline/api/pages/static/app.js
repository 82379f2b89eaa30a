// Starts runs and shows their progress, switches live mode, completes lists, moves in the calendar by arrow keys, opens
// files by double-click.
// Belongs here: requests to the API, and showing the responses. Does not belong here: the chart (chart.js), content that
// needs no script (templates).
"use strict";

(() => {
  const TOKEN = "market-data-token";
  const STARTED = "market-data-run";
  const LISTENS_AGAIN_MS = 3000;

  // --- helpers

  function element(tag, attributes = {}, ...content) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...content);
    return node;
  }

  const number = (value) => Number(value).toLocaleString("en-US");
  const counted = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
  const panel = () => document.querySelector(".runs-here");

  /** Sends a request. Resolves to the JSON of the response; rejects with problem details (RFC 9457). */
  async function call(method, url, body) {
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const token = sessionStorage.getItem(TOKEN);
    if (token) headers.Authorization = `Bearer ${token}`;
    let response;
    try {
      response = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch {
      throw { title: "No answer", detail: "The API does not answer. Check that market-data up is running.", status: 0 };
    }
    const content = await response.json().catch(() => ({ title: "No answer", detail: `HTTP ${response.status}` }));
    if (response.ok) return content;
    throw { ...content, status: response.status };
  }

  // --- problems

  function clearProblems(place) {
    place.querySelectorAll(".problem, .note.of-request").forEach((note) => note.remove());
    place.querySelectorAll("[aria-invalid]").forEach((input) => {
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-describedby");
    });
  }

  /** Shows a problem beside the fields that it names, the rest of it in `place`. A missing token is requested instead. */
  function showProblem(problem, place, again) {
    clearProblems(place);
    if (problem.status === 401) {
      askForToken(place, again);
      return;
    }
    const others = [];
    for (const { field, problem: text } of problem.errors || []) {
      const input = place.querySelector(`[name="${CSS.escape(field)}"]:not([type="hidden"])`);
      if (!input) {
        others.push(`${field}: ${text}`);
        continue;
      }
      const id = `problem-${field}`;
      input.after(element("span", { class: "problem", id }, text));
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", id);
    }
    if (!(problem.errors || []).length || others.length) {
      const text = others.length ? others.join("; ") : problem.detail || "";
      const note = element("p", { class: "note bad of-request", role: "alert" }, element("strong", {}, problem.title || "Error"), ` ${text}`);
      place.matches("form") ? place.append(note) : place.prepend(note);
      if (place.matches("form")) note.style.gridColumn = "1 / -1";
    }
    place.querySelector("[aria-invalid]")?.focus();
  }

  function askForToken(place, again) {
    const refused = sessionStorage.getItem(TOKEN);
    sessionStorage.removeItem(TOKEN);
    const field = element("input", { type: "password", autocomplete: "off", "aria-label": "API token", placeholder: "API token" });
    const send = element("button", { type: "button", class: "primary" }, "Continue");
    const text = refused ? "The API did not accept that token." : "The API asks for its token (MARKET_DATA_API_TOKEN).";
    const note = element("div", { class: "note of-request token", role: "alert" }, element("span", {}, text), field, send);
    note.style.gridColumn = "1 / -1";
    const submit = () => {
      if (!field.value) return;
      sessionStorage.setItem(TOKEN, field.value);
      note.remove();
      again();
    };
    send.addEventListener("click", submit);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        submit();
      }
    });
    place.append(note);
    field.focus();
  }

  // --- runs

  /** Shows the progress of the run until it ends, then reloads the parts of the page that the run may have changed. */
  function watch(started) {
    const line = element("span", { class: "grow", role: "status" }, "Started, waiting for Dagster");
    const bar = element("progress", { "aria-label": "Progress" });
    const cancel = element("button", { type: "button" }, "Cancel");
    const link = element("a", { href: started.url, target: "_blank", rel: "noopener" }, "Open in Dagster");
    const box = element("div", { class: "run" }, element("div", { class: "line" }, line, link, cancel), bar);
    for (const warning of started.warnings || []) box.prepend(element("p", { class: "note warn" }, warning));
    panel().prepend(box);
    box.scrollIntoView({ block: "nearest" });
    sessionStorage.setItem(STARTED, JSON.stringify({ ...started, on: location.pathname + location.search }));

    const url = `/runs/${encodeURIComponent(started.run_id)}`;
    let source;
    const show = (now) => {
      line.textContent = progressText(now);
      if (now.days_asked) {
        bar.max = now.days_asked;
        bar.value = now.days_done;
      }
    };
    const end = (now) => {
      source.close();
      sessionStorage.removeItem(STARTED);
      show(now);
      line.append(resultText(now));
      cancel.remove();
      bar.remove();
      box.classList.add(now.status);
      // A canceled run needs no explanation.
      if (now.error && now.status !== "canceled") box.append(element("p", { class: "note bad", role: "alert" }, now.error));
      for (const check of now.checks.filter((check) => !check.passed)) {
        box.append(element("p", { class: "note warn" }, `${check.name}: ${check.description || "did not pass"}`));
      }
      const dataset = started.dataset;
      const page = dataset ? `/browse?market=${dataset.market}&pair=${encodeURIComponent(dataset.pair)}` : location.href;
      box.append(element("p", {}, element("a", { href: page }, "Show the dataset as it is now")));
      showParts();
    };
    const listen = () => {
      source = new EventSource(`${url}/events`);
      source.addEventListener("progress", (event) => show(JSON.parse(event.data)));
      source.addEventListener("waiting", (event) => (line.textContent = JSON.parse(event.data).detail));
      source.addEventListener("end", (event) => end(JSON.parse(event.data)));
      source.addEventListener("error", () => {
        line.textContent = "The API does not answer; trying again";
        // The browser tries again by itself, but not after a response that is no stream, as while Dagster starts.
        if (source.readyState === EventSource.CLOSED) askAgain();
      });
    };
    const askAgain = async () => {
      try {
        await call("GET", url);
      } catch (problem) {
        if (problem.status === 404) {
          sessionStorage.removeItem(STARTED);
          line.textContent = "The API has no such run any more";
          bar.remove();
          cancel.remove();
          return;
        }
        if (problem.detail) line.textContent = problem.detail;
      }
      setTimeout(listen, LISTENS_AGAIN_MS);
    };
    listen();
    const stop = () => {
      cancel.disabled = true;
      call("POST", `${url}/cancel`).catch((problem) => {
        cancel.disabled = false;
        showProblem(problem, box, stop);
      });
    };
    cancel.addEventListener("click", stop);
  }

  function progressText(run) {
    const days = run.days_asked ? `, ${number(run.days_done)} of ${counted(run.days_asked, "day")}` : "";
    const rows = run.rows ? `, ${counted(run.rows, "kline")}` : "";
    return `${run.what || "run"} ${run.status}${days}${rows}`;
  }

  /** The result of a run. The status alone is not enough: a run that detects damage is a success, too. */
  function resultText({ what, status, checks, results }) {
    if (what === "repair" && status === "success") return results.run?.mended ? `, ${number(results.run.mended)} repaired` : ", nothing to repair";
    const failed = checks.filter((check) => !check.passed).length;
    if (failed) return `, ${failed} of ${counted(checks.length, "check")} did not pass`;
    return checks.length ? ", all checks passed" : "";
  }

  /** Sends the request of a form or button, and shows the run that it starts. */
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
      const fields = [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);
      const body = Object.fromEntries(fields);
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

  // --- parts of the page that are loaded after it, because Dagster may be slow

  function showParts() {
    document.querySelectorAll("[data-from]").forEach(async (place) => {
      try {
        const response = await fetch(place.dataset.from, { headers: { Accept: "text/html" } });
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        const part = page.getElementById(place.dataset.part);
        if (part) place.replaceChildren(...part.childNodes);
      } catch {
        // The part keeps its link to the same page.
      }
    });
  }
  showParts();

  // After a reload, show the run that the page showed before.
  const noted = JSON.parse(sessionStorage.getItem(STARTED) || "null");
  if (noted && panel() && noted.on === location.pathname + location.search) watch(noted);

  // --- lists that are not complete yet: the page is asked for again until the server has read everything

  const AGAIN_MS = [500, 1000, 2000, 4000];

  async function showMore(times) {
    const place = document.querySelector("[data-again]");
    if (!place) return;
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS[Math.min(times, AGAIN_MS.length - 1)]));
    try {
      const response = await fetch(location.href, { headers: { Accept: "text/html" } });
      const part = new DOMParser().parseFromString(await response.text(), "text/html").getElementById(place.id);
      // What a person points at with the keyboard must not go away.
      if (part && !place.contains(document.activeElement)) {
        place.replaceWith(part);
        showNewest();
      }
    } catch {
      // The page stays as it is, and says that it is not complete.
    }
    showMore(times + 1);
  }
  showMore(0);

  // The newest months are at the end of the heat map.
  function showNewest() {
    document.querySelectorAll("[data-end]").forEach((map) => (map.scrollLeft = map.scrollWidth));
  }
  showNewest();

  // --- calendar: Tab enters it, arrow keys move in it

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

  // --- files: a double-click on a row opens its link

  document.addEventListener("dblclick", (event) => {
    const link = event.target.closest("tr[data-open]")?.querySelector("a");
    if (link && !event.target.closest("a")) window.open(link.href, "_blank", "noopener");
  });
})();
