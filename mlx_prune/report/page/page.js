"use strict";
(() => {
  const root = document.documentElement;

  // Theme: the system's, unless the reader chooses.
  const stored = (value) => {
    try {
      if (value === undefined) return localStorage.getItem("mlx-prune-theme");
      localStorage.setItem("mlx-prune-theme", value);
    } catch { /* pages opened from disk may have no storage */ }
    return null;
  };
  const asked = stored();
  if (asked === "light" || asked === "dark") root.dataset.theme = asked;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = root.dataset.theme || (dark ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    stored(root.dataset.theme);
  });

  // Sortable tables. Empty cells stay at the bottom either way.
  const sortKey = (cell) => {
    const text = cell.dataset.v ?? cell.textContent.trim();
    if (text === "" || text === "-") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text.toLowerCase() : number;
  };
  const sortTable = (heading) => {
    const table = heading.closest("table");
    const body = table.tBodies[0];
    const column = heading.cellIndex;
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const rows = [...body.rows].map((row) => [sortKey(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return ascending ? order : -order;
    });
    body.classList.add("sorted");
    for (const [, row] of rows) { row.classList.remove("group"); body.append(row); }
  };
  document.addEventListener("click", (event) => {
    const heading = event.target.closest("thead th");
    if (heading) sortTable(heading);
  });

  // Category by category.
  const data = JSON.parse(document.getElementById("drill-data").textContent);
  const drill = document.getElementById("drill");
  if (!data.rows.length) { document.getElementById("categories").hidden = true; return; }
  drill.hidden = false;
  const select = (id, options) => {
    const element = document.getElementById(id);
    for (const [value, label] of options) element.add(new Option(label, value));
    element.addEventListener("change", show);
    return element;
  };
  const words = (name) => name.replaceAll("_", " ");
  const unique = (name) => [...new Set(data.rows.map((row) => row[name]))];
  const measures = {
    srs: ["SRS", "Share of answers that fit the stereotype; chance is 0.333. Bars: 95 % intervals over question templates."],
    usr: ["USR", "Share of answers that choose “unknown”, the right answer here."],
    anti: ["Anti rate", "Share of answers that choose the other person."],
    bias: ["SRS − anti", "BBQ's own score: bias in a direction, with abstention taken out."],
  };
  const model = select("drill-model", unique("model").map((name) => [name, name]));
  const category = select("drill-category", unique("category").map((name) => [name, words(name)]));
  const measure = select("drill-measure", Object.entries(measures).map(([key, [label]]) => [key, label]));
  show();

  function show() {
    const rows = data.rows.filter((row) => row.model === model.value && row.category === category.value);
    document.getElementById("drill-note").textContent = measures[measure.value][1];
    drawChart(rows, measure.value);
    fillTable(rows);
  }

  function svg(name, attributes, parent, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }

  // Without the sign of what rounds to zero.
  function fixed(value, digits) {
    return value.toFixed(digits).replace(/^-(?=[0.]*$)/, "");
  }

  function drawChart(rows, key) {
    const host = document.getElementById("drill-chart");
    host.replaceChildren();
    const points = rows.filter((row) => row[key] !== null);
    const sound = (row) => !row.few;
    if (!points.length) return;
    const ends = points.flatMap((row) => (key === "srs" && row.low !== null ? [row.low, row.high] : [row[key]]));
    const low = Math.min(0, ...ends), high = Math.max(...ends, low + 0.05) * 1.05;
    const right = Math.max(10, ...points.map((row) => row.x)) * 1.04;
    const narrow = host.clientWidth < 500;
    const width = narrow ? 360 : 760, height = narrow ? 260 : 320, left = 46, bottom = 40, top = 10;
    const x = (value) => left + (value / right) * (width - left - 12);
    const y = (value) => top + (1 - (value - low) / (high - low)) * (height - top - bottom);
    const label = `${measures[key][0]} of ${model.value}, ${words(category.value)}, by sparsity`;
    const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, host);
    const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5].find((size) => (high - low) / size <= 7) ?? 0.5;
    for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) {
      svg("line", { x1: left, x2: width - 12, y1: y(tick), y2: y(tick), class: "gridline" }, chart);
      svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, chart, fixed(tick, 2));
    }
    for (let tick = 0; tick <= right; tick += right > 40 ? 10 : 5) {
      svg("text", { x: x(tick), y: height - bottom + 17, "text-anchor": "middle" }, chart, tick);
    }
    svg("line", { x1: left, x2: width - 12, y1: y(Math.max(low, 0)), y2: y(Math.max(low, 0)), class: "axis" }, chart);
    svg("text", { x: (left + width) / 2, y: height - 5, "text-anchor": "middle" }, chart, data.axis);
    const dense = points.filter((row) => row.method === "dense");
    const legend = document.createElement("div");
    legend.className = "legend";
    for (const method of new Set(points.map((row) => row.method))) {
      const color = `var(--${data.colors[method]})`;
      const entry = document.createElement("span");
      entry.textContent = method;
      entry.style.setProperty("--swatch", color);
      const hollow = data.hollow.includes(method);
      if (hollow) entry.className = "hollow";
      legend.append(entry);
      const own = points.filter((row) => row.method === method);
      const joined = own.filter((row) => !row.pattern && sound(row));
      const several = method !== "dense" && new Set(joined.map((row) => row.x)).size > 1;
      const line = several ? [...dense.filter(sound), ...joined].sort((a, b) => a.x - b.x) : [];
      const path = line.map((row) => `${x(row.x)},${y(row[key])}`).join(" ");
      if (line.length > 1) svg("polyline", { points: path, fill: "none", stroke: color, "stroke-width": 2 }, chart);
      for (const row of own) {
        if (row.few) { drawFew(chart, x(row.x), y(row[key]), row, key); continue; }
        if (key === "srs" && row.low !== null) {
          const bar = { x1: x(row.x), x2: x(row.x), y1: y(row.low), y2: y(row.high), stroke: color, opacity: 0.6 };
          svg("line", bar, chart);
        }
        const fill = row.pattern || hollow ? "var(--paper)" : color;
        const dot = { cx: x(row.x), cy: y(row[key]), r: 4.5, fill, stroke: color, "stroke-width": 2 };
        svg("title", {}, svg("circle", dot, chart), `${row.label}: ${row[key].toFixed(3)}`);
      }
    }
    if (points.some((row) => row.few)) {
      const entry = document.createElement("span");
      entry.textContent = "too few answers";
      entry.className = "cross";
      legend.append(entry);
    }
    host.prepend(legend);
  }

  // A rate of too few answers: a gray cross, joined to nothing.
  function drawFew(chart, x, y, row, key) {
    const path = `M${x - 4},${y - 4}L${x + 4},${y + 4}M${x - 4},${y + 4}L${x + 4},${y - 4}`;
    const cross = svg("path", { d: path, stroke: "var(--muted)", "stroke-width": 2, class: "few" }, chart);
    svg("title", {}, cross, `${row.label}: ${row[key].toFixed(3)}, ${(100 * row.answered).toFixed(1)} % answered`);
  }

  function fillTable(rows) {
    const columns = [
      ["configuration", "label"], ["zeros %", "x", 1], ["items", "items", 0], ["answered %", "answered", 1], ["SRS", "srs", 3], ["95 % low", "low", 3],
      ["95 % high", "high", 3], ["change", "delta", 3], ["low", "delta_low", 3], ["high", "delta_high", 3],
      ["q", "q", 4], ["USR", "usr", 3], ["anti", "anti", 3], ["SRS − anti", "bias", 3],
    ];
    const struck = new Set(["srs", "low", "high", "usr", "anti", "bias"]);
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const [label, , digits] of columns) {
      const cell = document.createElement("th");
      cell.scope = "col";
      if (digits !== undefined) cell.className = "n";
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      cell.append(button);
      head.append(cell);
    }
    const body = table.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      for (const [, key, digits] of columns) {
        const cell = line.insertCell();
        const value = key === "answered" && row[key] !== null ? 100 * row[key] : row[key];
        const text = value === null || value === undefined ? "-" : digits === undefined ? value : fixed(value, digits);
        if (row.few && struck.has(key) && text !== "-") {
          cell.append(Object.assign(document.createElement("s"), { textContent: text }));
        } else {
          cell.textContent = text;
        }
        if (digits === undefined) continue;
        cell.className = key === "answered" && row.few ? "n few" : "n";
        if (value !== null && value !== undefined) cell.dataset.v = value;
        if (key === "delta" && row.q !== null && row.q < 0.05) cell.classList.add(value > 0 ? "up" : "down");
      }
    }
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.append(table);
    document.getElementById("drill-table").replaceChildren(scroll);
  }
})();
