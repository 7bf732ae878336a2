// SPDX-License-Identifier: Apache-2.0
// Cameras, streams, facts, nodes, events, episodes.

export const byId = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name === "title") element.title = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const clock = (seconds) => {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

export const span = (seconds) => seconds < 60 ? `${seconds.toFixed(1)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min`
  : seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;

export const size = (bytes) => bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB`
  : `${(bytes / 1e9).toFixed(bytes < 1e10 ? 1 : 0)} GB`;

const count = (number) => number < 10000 ? String(number) : `${(number / 1000).toFixed(0)}k`;

export class Cameras {
  constructor(names) {
    this.views = names.map((name) => {
      const canvas = make("canvas", { width: 4, height: 3, "aria-label": `camera ${name}` });
      const rate = make("span", { class: "number" });
      const notice = make("div", { class: "notice" });
      const figure = make("figure", { class: "camera waiting", "data-camera": name }, canvas, notice,
        make("figcaption", {}, make("span", {}, name), rate));
      return { name, canvas, rate, notice, figure, busy: false };
    });
    byId("cameras").replaceChildren(...this.views.map((view) => view.figure));
  }

  async picture(index, bytes) {
    const view = this.views[index];
    if (!view || view.busy) return;
    view.busy = true;
    try {
      const image = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
      if (view.canvas.width !== image.width || view.canvas.height !== image.height) {
        view.canvas.width = image.width;
        view.canvas.height = image.height;
        view.figure.style.aspectRatio = `${image.width} / ${image.height}`;
      }
      view.canvas.getContext("2d").drawImage(image, 0, 0);
      image.close();
    } finally {
      view.busy = false;
    }
  }

  update(streams) {
    for (const view of this.views) {
      const row = streams.find((stream) => stream.label === `camera ${view.name}`);
      if (!row) continue;
      view.figure.className = `camera ${row.level}`;
      view.rate.textContent = row.rate === null ? "" : `${row.rate.toFixed(0)} Hz`;
      const title = row.level === "stale" ? (row.age === null ? "NO PICTURE" : `FROZEN ${span(row.age)}`) : "waiting";
      const text = row.level === "stale" ? `${row.topic} is silent` : row.topic;
      view.notice.replaceChildren(make("b", {}, title), make("span", {}, text));
    }
  }
}

const SIGNS = { ok: "●", slow: "▲", stale: "✕", waiting: "…", idle: "○" };

export function showStreams(streams) {
  const body = byId("streams").tBodies[0];
  while (body.rows.length > streams.length) body.deleteRow(-1);
  streams.forEach((row, index) => {
    const tr = body.rows[index] || body.insertRow();
    const rate = row.role === "command" && row.level === "idle" ? "idle"
      : row.rate === null ? "–" : `${row.rate.toFixed(row.rate < 20 ? 1 : 0)} / ${row.expected.toFixed(0)} Hz`;
    const cells = [SIGNS[row.level], row.label, rate, row.age === null ? "–" : row.age > 99 ? span(row.age) : `${row.age.toFixed(2)} s`,
      row.lost === null ? "–" : count(row.lost)];
    tr.className = row.level;
    tr.title = row.topic;
    cells.forEach((text, at) => {
      const td = tr.cells[at] || tr.insertCell();
      if (at === 1) td.replaceChildren(text, ...(row.problem ? [make("small", {}, row.problem)] : []));
      else td.textContent = text;
    });
  });
}

export function showFacts(id, facts) {
  byId(id).replaceChildren(...facts.map(([name, value, unit = "", level = ""]) =>
    make("div", {}, make("dt", {}, name), make("dd", { class: level, title: `${value} ${unit}` }, value, make("small", {}, unit ? ` ${unit}` : "")))));
}

export function showNodes(nodes) {
  byId("nodes").replaceChildren(...nodes.map((node) =>
    make("span", { class: `node ${node.level}`, title: node.text, "data-node": node.name }, node.level === "error" ? `${node.name} ${node.text}` : node.name)));
}

export function showMonitors(monitors) {
  byId("monitors").replaceChildren(...monitors.map((monitor) =>
    make("li", { class: monitor.ok ? "ok" : "error" }, make("span", {}, monitor.name), make("b", {}, monitor.text),
      ...(monitor.ok ? [] : [make("small", {}, monitor.hint)]))));
}

export function showEvents(events) {
  const list = byId("events");
  if (!events.length) {
    list.replaceChildren(make("li", { class: "empty" }, "nothing happened yet"));
    return;
  }
  list.replaceChildren(...[...events].reverse().map((event) =>
    make("li", { class: event.level }, make("time", {}, new Date(event.at * 1000).toLocaleTimeString([], { hour12: false })), make("span", {}, event.text))));
}

export function showAlerts(alerts) {
  const texts = alerts.map((alert) => `${alert.level}|${alert.text}`).join("\n");
  const box = byId("alerts");
  if (box.dataset.texts === texts) return;
  box.dataset.texts = texts;
  box.replaceChildren(...alerts.map((alert) => make("div", { class: `alert ${alert.level}` }, alert.text)));
}

export class Episodes {
  constructor() {
    this.shown = "";
  }

  update(episodes, folder) {
    const key = JSON.stringify(episodes);
    if (key === this.shown) return;
    this.shown = key;
    byId("episodes-count").textContent = folder ? `${episodes.length} newest in ${folder}` : "";
    byId("episodes").replaceChildren(...(episodes.length ? episodes.map((episode) => this.card(episode))
      : [make("p", { class: "empty" }, "no episode yet")]));
  }

  card(episode) {
    const image = make("img", { src: `/thumbnail/${episode.uuid}`, alt: "" });
    image.onerror = () => image.replaceWith("no picture");
    const when = new Date(episode.recorded * 1000);
    return make("article", { class: "episode", title: `${episode.name}\n${episode.task}`, "data-uuid": episode.uuid },
      make("div", { class: "thumb" }, image),
      make("div", { class: "text" },
        make("div", { class: "row" }, make("span", { class: `outcome ${episode.outcome}` }, episode.outcome), make("span", {}, span(episode.duration))),
        make("span", { class: "task-text" }, episode.task || "no task"),
        make("div", { class: "row" }, make("span", {}, when.toLocaleTimeString([], { hour12: false })), make("span", {}, episode.note))));
  }
}
