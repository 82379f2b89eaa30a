// The chart of a file: prices above, volume below, with one time axis.
// Belongs here: drawing the klines in the page. Does not belong here: which klines those are (preview.py).
"use strict";

(() => {
  const place = document.getElementById("chart");
  const embedded = document.getElementById("klines");
  if (!place || !embedded) return;
  const klines = JSON.parse(embedded.textContent);
  // Plotly shows a time without an offset unchanged; it would convert a Date to the time zone of the browser.
  const times = klines.open_time.map((ms) => new Date(ms).toISOString().slice(0, 19).replace("T", " "));
  // All digits and no exponent: prices may be as small as 0.00001234.
  const exact = (value) => value.toLocaleString("en-US", { maximumFractionDigits: 20, useGrouping: false });
  const names = ["open", "high", "low", "close", "volume", "trades"];
  const labels = times.map((time, at) => {
    const local = klines.zone === "UTC" ? [] : [`${klines.local[at]} ${klines.zone}`];
    return [`${time.slice(0, 16)} UTC`, ...local, ...names.map((name) => `${name} ${exact(klines[name][at])}`)].join("<br>");
  });
  const rose = klines.close.map((close, at) => close >= klines.open[at]);
  const narrow = window.matchMedia("(max-width: 760px)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  function draw() {
    const [text, dim, grid, ground, up, down] = ["text", "dim", "grid", "surface", "up", "down"].map(color);
    const small = { color: dim, size: 11 };
    const axis = { automargin: true, gridcolor: grid, linecolor: grid, zeroline: false, tickfont: { color: dim } };
    const traces = [
      {
        type: "candlestick", x: times, text: labels, hoverinfo: "text",
        open: klines.open, high: klines.high, low: klines.low, close: klines.close,
        increasing: { line: { color: up, width: 1 }, fillcolor: ground },
        decreasing: { line: { color: down, width: 1 }, fillcolor: down },
      },
      {
        type: "bar", x: times, y: klines.volume, yaxis: "y2", hoverinfo: "skip",
        marker: { color: rose.map((isUp) => (isUp ? up : down)), opacity: 0.55, line: { width: 0 } },
      },
    ];
    const layout = {
      paper_bgcolor: ground, plot_bgcolor: ground, showlegend: false, dragmode: "zoom", hovermode: "x", bargap: 0.15,
      font: { family: "system-ui, sans-serif", size: 12, color: text },
      margin: { l: narrow.matches ? 52 : 72, r: 16, t: 16, b: 52 },
      hoverlabel: { bgcolor: ground, bordercolor: dim, align: "left", font: { color: text } },
      xaxis: { ...axis, type: "date", rangeslider: { visible: false }, anchor: "y2", fixedrange: false, title: { text: "UTC", font: small } },
      yaxis: { ...axis, domain: [0.28, 1], exponentformat: "none" },
      yaxis2: { ...axis, domain: [0, 0.22], rangemode: "tozero", nticks: 3, title: { text: "volume", font: small } },
      transition: { duration: calm.matches ? 0 : undefined },
    };
    const config = {
      responsive: true, displaylogo: false, showTips: false, scrollZoom: !narrow.matches,
      modeBarButtonsToRemove: ["toImage", "select2d", "lasso2d", "autoScale2d", "toggleSpikelines"],
    };
    window.Plotly.react(place, traces, layout, config);
  }

  place.replaceChildren();
  draw();
  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
})();
