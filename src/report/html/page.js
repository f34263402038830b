// What a report does when it is touched. Without it the page still shows everything but the films'
// later frames.
"use strict";
(() => {
  const root = document.documentElement;
  const all = (where, what) => [...where.querySelectorAll(what)];
  // storage is refused where the page is a file or cookies are off
  const stored = (theme) => {
    try {
      if (theme === undefined) return localStorage.getItem("theme");
      localStorage.setItem("theme", theme);
    } catch { }
    return theme;
  };
  if (stored()) root.dataset.theme = stored();

  const themes = (button) => {
    const dark = () => root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    const say = () => { button.textContent = dark() ? "Light" : "Dark"; };
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      stored(root.dataset.theme);
      say();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", say);
    say();
  };

  const value = (cell) => {
    const text = cell.textContent.trim();
    const number = Number(cell.dataset.sort ?? text);
    return text === "" ? null : Number.isNaN(number) ? text : number;
  };
  // Rows by one column; those without a value stay at the end, equals keep their order.
  const sort = (table, column, up) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === "number" && typeof b === "number"
        ? a - b
        : String(a).localeCompare(String(b), undefined, { numeric: true });
      return up ? order : -order;
    });
    body.append(...rows.map(([, row]) => row));
  };
  const sortable = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      // words begin at A, numbers at the largest
      const sorted = head.getAttribute("aria-sort");
      const up = sorted ? sorted === "descending" : head.classList.contains("text");
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      sort(table, column, up);
    }));
  };

  const copies = (button) => button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = words; }, 1500);
  });

  // The points of a line in the chart's units: the script has no other copy of the values.
  const points = (path) => [...path.getAttribute("d").matchAll(/[ML]([-\d.]+) ([-\d.]+)/g)]
    .map(([, x, y]) => [Number(x), Number(y)]);
  const scale = ([from, to, low, high]) => ({
    into: (value) => low + (value - from) / (to - from) * (high - low),
    back: (place) => from + (place - low) / (high - low) * (to - from),
  });
  const numbers = (text) => text.split(" ").map(Number);
  const chart = (svg) => {
    const x = scale(numbers(svg.dataset.x));
    const panels = all(svg, ".panel").map((panel) => ({
      name: panel.dataset.name,
      y: scale(numbers(panel.dataset.y)),
      shown: (value) => panel.dataset.times
        ? (Number(panel.dataset.times) * value).toFixed(1)
        : String(Number(value.toPrecision(3))),
      lines: all(panel, ".line").map((path) => ({ name: path.dataset.name, points: points(path) })),
    }));
    const places = [...new Set(panels.flatMap((p) => p.lines.flatMap((l) => l.points.map(([at]) => at))))];
    const readout = document.createElement("p");
    readout.className = "readout";
    svg.after(readout);
    const move = (line, at) => { line.setAttribute("x1", at); line.setAttribute("x2", at); };
    const nearest = (event) => {
      const box = svg.getBoundingClientRect();
      const at = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      return places.reduce((best, place) => Math.abs(place - at) < Math.abs(best - at) ? place : best, Infinity);
    };
    const tell = (at) => {
      const of = (panel) => panel.lines.flatMap((line) => {
        const point = line.points.find(([place]) => place === at);
        return point ? [`${line.name} ${panel.shown(panel.y.back(point[1]))}`] : [];
      });
      const parts = panels.map((panel) => [panel.name, of(panel)]).filter(([, told]) => told.length);
      const told = parts.map(([name, told]) => (panels.length > 1 ? `${name}: ` : "") + told.join(", "));
      return `${svg.dataset.name} ${Math.round(x.back(at))} · ${told.join(" · ")}`;
    };
    svg.addEventListener("pointermove", (event) => {
      const at = nearest(event);
      if (!Number.isFinite(at)) return;
      move(svg.querySelector(".cursor"), at);
      readout.textContent = tell(at);
    });
    svg.addEventListener("pointerleave", () => {
      move(svg.querySelector(".cursor"), -9);
      readout.textContent = "";
    });
    return {
      show: (value) => move(svg.querySelector(".head"), x.into(value)),
      onPick: (pick) => svg.addEventListener("click", (event) => {
        const at = nearest(event);
        if (Number.isFinite(at)) pick(x.back(at));
      }),
    };
  };

  // Frames that play: a button, a bar to drag, Space and the arrow keys.
  const film = (box) => {
    const frames = all(box, "img");
    const at = frames.map((frame) => Number(frame.dataset.frame));
    const [button, bar, output] = ["button", "input", "output"].map((what) => box.querySelector(what));
    const linked = all(box.closest(".clip") ?? box, "svg.chart").map((svg) => charts.get(svg));
    let shown = 0;
    let timer = null;
    const show = (index) => {
      shown = (index + frames.length) % frames.length;
      frames.forEach((frame, other) => { frame.hidden = other !== shown; });
      bar.value = shown;
      output.textContent = `frame ${at[shown]} of ${box.dataset.last}`;
      bar.setAttribute("aria-valuetext", output.textContent);
      linked.forEach((chart) => chart.show(at[shown]));
    };
    const pause = () => {
      clearInterval(timer);
      timer = null;
      button.textContent = "Play";
    };
    const play = () => {
      timer = setInterval(() => show(shown + 1), Number(box.dataset.every));
      button.textContent = "Pause";
    };
    const toggle = () => (timer ? pause() : play());
    const step = (by) => { pause(); show(shown + by); };
    button.addEventListener("click", toggle);
    box.querySelector(".stage").addEventListener("click", toggle);
    bar.addEventListener("input", () => { pause(); show(Number(bar.value)); });
    box.addEventListener("keydown", (event) => {
      const does = { " ": toggle, ArrowLeft: () => step(-1), ArrowRight: () => step(1) }[event.key];
      if (!does || (event.key === " " && event.target === button)) return;
      event.preventDefault();
      does();
    });
    linked.forEach((chart) => chart.onPick((frame) => {
      const away = at.map((place) => Math.abs(place - frame));
      step(away.indexOf(Math.min(...away)) - shown);
    }));
    new IntersectionObserver(([seen]) => { if (timer && !seen.isIntersecting) pause(); }).observe(box);
    // the frame that the page shows without a script
    show(frames.findIndex((frame) => !frame.hidden));
  };

  const charts = new Map();
  document.addEventListener("DOMContentLoaded", () => {
    all(document, ".theme").forEach(themes);
    all(document, "table.sortable").forEach(sortable);
    all(document, "[data-copy]").forEach(copies);
    all(document, "svg.chart").forEach((svg) => charts.set(svg, chart(svg)));
    all(document, ".film").forEach(film);
  });
})();
