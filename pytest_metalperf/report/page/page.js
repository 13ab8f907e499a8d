// Draws a picture when its place can be seen, opens and sorts rows, hands out the JSON. Names come from outside: text alone.
"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const once = (make) => { const kept = {}; return (key) => (key in kept ? kept[key] : (kept[key] = make(key))); };
  const file = once((number) => read(`file-${number}`));
  const specifications = once(() => read("specifications"));
  const drawn = once(() => read("drawn"));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // `/0/results/3/runs`; `*` is each of a list
  const at = (place) => {
    const [number, ...steps] = place.split("/").slice(1);
    let found = [file(number)];
    let many = false;
    for (const step of steps) {
      if (step === "*") { found = found.flat(); many = true; } else { found = found.map((one) => one[step]); }
    }
    return many ? found : found[0];
  };

  const ground = (place) => {
    const [text, soft, line] = ["--text", "--soft", "--line"].map((name) =>
      getComputedStyle(document.documentElement).getPropertyValue(name).trim());
    return {
      background: null,
      view: { stroke: line },
      axisQuantitative: { tickCount: place && place.clientWidth < 500 ? 4 : 8 },
      axis: { labelColor: text, titleColor: soft, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: "normal" },
      legend: { labelColor: text, titleColor: soft, titleFontWeight: "normal" },
      mark: { color: dark.matches ? "#58a6ff" : "#0969da" },
    };
  };

  // A specification has one width for all of its parts; `room` takes its place, less what names and axes need.
  const wide = (part, room) => {
    if (Array.isArray(part)) return part.map((one) => wide(one, room));
    if (part === null || typeof part !== "object") return part;
    return Object.fromEntries(Object.entries(part).map(([key, value]) =>
      [key, key === "width" && typeof value === "number" && value > 99 ? room : wide(value, room)]));
  };

  const draw = async (place) => {
    const { kind, at: places, data } = drawn(0)[place.dataset.chart];
    const datasets = Object.fromEntries([
      ...Object.entries(places).map(([name, where]) => [name, at(where).map((one, i) => ({ ...one, run: i + 1 }))]),
      ...Object.entries(data),
    ]);
    const named = ["forest", "bars", "runs", "runs+reference"].includes(kind);
    const narrow = place.clientWidth < 500;
    const names = named ? (narrow ? 130 : 250) : 70;
    const specification = wide(specifications(0)[kind], Math.max(80, place.clientWidth - names - 20));
    const config = ground(place);
    if (named && narrow) config.axisY = { labelLimit: 115 };
    const { view } = await vegaEmbed(place, { ...specification, datasets }, { actions: false, renderer: "svg", config });
    view.addEventListener("click", (_, item) => { if (item && item.datum && item.datum.key) open(item.datum.key); });
    place.dataset.width = place.clientWidth;
  };

  const waiting = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting || entry.target.dataset.width) continue;
      entry.target.dataset.width = "0";
      draw(entry.target).catch((error) => { entry.target.textContent = `This picture cannot be drawn: ${error.message}`; });
    }
  }, { rootMargin: "200px" });
  for (const place of document.querySelectorAll(".chart")) waiting.observe(place);

  const again = () => {
    for (const place of document.querySelectorAll(".chart[data-width]")) {
      delete place.dataset.width;
      waiting.unobserve(place);
      waiting.observe(place);
    }
  };
  dark.addEventListener("change", again);
  let width = window.innerWidth;
  let soon = 0;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(soon);
    soon = setTimeout(again, 200);
  });

  const opened = (button, is) => {
    button.setAttribute("aria-expanded", is);
    document.getElementById(button.getAttribute("aria-controls")).hidden = !is;
  };
  const open = (key) => {
    const row = document.getElementById(key);
    const button = row && row.querySelector(".opens");
    if (!button) return;
    row.hidden = false;
    opened(button, true);
    if (location.hash !== `#${key}`) history.replaceState(null, "", `#${key}`);
    button.focus({ preventScroll: true });
    row.scrollIntoView({ block: "start" });
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.classList.contains("opens")) opened(button, button.getAttribute("aria-expanded") !== "true");
    else if (button && button.dataset.sort) sort(button);
    else if (button && button.dataset.download) download(button.dataset.download);
    else if (!event.target.closest("a, button") && event.target.closest("tr.one")) {
      const own = event.target.closest("tr.one").querySelector(".opens");
      if (!String(window.getSelection())) opened(own, own.getAttribute("aria-expanded") !== "true");
    }
  });
  const follow = () => open(decodeURIComponent(location.hash.slice(1)));
  window.addEventListener("hashchange", follow);
  if (location.hash.startsWith("#row-")) follow();

  const sort = (button) => {
    const head = button.closest("th");
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = button.dataset.sort;
    const value = (row) => (key === "name" ? row.dataset.name : row.dataset[key] === "" ? null : Number(row.dataset[key]));
    const rows = [...document.querySelectorAll("tbody")];
    rows.sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === null || b === null) return (a === null) - (b === null);  // what is not known stands last, both ways
      const found = typeof a === "string" ? a.localeCompare(b) : a - b;
      return down ? -found : found;
    });
    rows[0].parentNode.append(...rows);
  };

  const filter = document.getElementById("filter");
  if (filter) filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase();
    let count = 0;
    for (const row of document.querySelectorAll("tbody")) {
      row.hidden = !row.querySelector("tr.one").textContent.toLowerCase().includes(wanted);
      count += !row.hidden;
    }
    document.getElementById("shown").textContent = wanted ? `${count} shown` : "";
  });

  const download = (number) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([document.getElementById(`file-${number}`).textContent], { type: "application/json" }));
    link.download = `metalperf-${Number(number) + 1}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
})();
