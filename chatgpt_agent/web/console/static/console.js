// Copies, local times, charts. Every page works without this.
(() => {
  "use strict";
  const language = document.documentElement.lang;

  for (const button of document.querySelectorAll("button[data-copy]")) {
    if (!navigator.clipboard) break;
    const label = button.textContent;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "✓";
      setTimeout(() => (button.textContent = label), 1500);
    });
  }

  const toSecond = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
  const toMinute = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    time.title = time.textContent;
    time.textContent = (at % 60_000 ? toSecond : toMinute).format(at);
  }

  // A form that was sent once is not sent again by a second click.
  for (const form of document.querySelectorAll('form[method="post"]')) {
    form.addEventListener("submit", () => setTimeout(() => {
      for (const button of form.querySelectorAll("button")) button.disabled = true;
    }));
  }
  addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("form button")) button.disabled = false;
  });

  const colors = ["#0b7a75", "#d1495b", "#edae49", "#3d5a9b", "#7b4b94", "#66a182", "#8d6b4f", "#7a8793"];

  const day = new Intl.DateTimeFormat(language, { month: "short", day: "numeric", timeZone: "UTC" });
  const units = { usd: { style: "currency", currency: "USD" } };

  // The rows of a table: the label of each, and a number for each name.
  function read(table, { label, values, group }) {
    const names = [...table.tHead.rows[0].cells].map((cell) => cell.dataset.name);
    const titles = Object.fromEntries([...table.tHead.rows[0].cells].map((cell) => [cell.dataset.name, cell.textContent]));
    const labels = [], series = new Map();
    for (const row of table.tBodies[0].rows) {
      const at = (name) => row.cells[names.indexOf(name)];
      const { value } = at(label).dataset;
      const text = /^\d{4}-\d\d-\d\d$/.test(value) ? day.format(new Date(value)) : at(label).textContent.trim();
      if (!labels.includes(text)) labels.push(text);
      for (const name of values) {
        const key = group ? at(group).textContent.trim() : titles[name];
        if (!series.has(key)) series.set(key, new Map());
        const number = at(name).dataset.value;
        series.get(key).set(text, number === "" ? null : Number(number));
      }
    }
    return { labels, series };
  }

  function draw(box) {
    const kind = box.dataset.kind;
    const { labels, series } = read(document.getElementById(box.dataset.table), {
      label: box.dataset.label, values: box.dataset.values.split("\n"), group: box.dataset.group,
    });
    const style = getComputedStyle(document.body);
    const text = style.getPropertyValue("--pico-color"), lines = style.getPropertyValue("--pico-muted-border-color");
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", box.dataset.title);
    box.append(canvas);
    box.hidden = false;
    const stacked = kind === "stacked";
    const axis = { stacked, ticks: { color: text }, grid: { color: lines } };
    const unit = box.dataset.unit;
    const number = new Intl.NumberFormat(language, { maximumFractionDigits: 3, ...units[unit] });
    const small = new Intl.NumberFormat(language, { maximumSignificantDigits: 2, ...units[unit] });
    const plain = (value) => (value && Math.abs(value) < 0.01 ? small : number).format(value);
    const show = (value) => (unit === "milliseconds" ? `${plain(value / 1000)} s` : plain(value));
    new Chart(canvas, {
      type: kind === "lines" ? "line" : "bar",
      data: {
        labels,
        datasets: [...series].map(([name, values], at) => ({
          label: name,
          data: labels.map((each) => values.get(each) ?? (stacked ? 0 : null)),
          backgroundColor: colors[at % colors.length],
          borderColor: colors[at % colors.length],
          borderWidth: kind === "lines" ? 2 : 0,
          pointRadius: 2,
        })),
      },
      options: {
        animation: false, maintainAspectRatio: false, locale: language,
        interaction: { mode: "index", intersect: false },
        plugins: {
          legend: { display: series.size > 1, labels: { color: text, boxWidth: 14 } },
          tooltip: { callbacks: { label: (at) => `${at.dataset.label}: ${show(at.parsed.y)}` } },
        },
        scales: { x: axis, y: { ...axis, beginAtZero: true, ticks: { color: text, callback: show } } },
      },
    });
    const figures = box.nextElementSibling;
    if (figures?.matches("details")) figures.open = false;
  }

  if (window.Chart) for (const box of document.querySelectorAll(".chart")) draw(box);
})();
