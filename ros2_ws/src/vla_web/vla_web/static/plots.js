// SPDX-License-Identifier: Apache-2.0
// Small plots of each joint: what was measured, what was in force, and what the policy predicts.

import { byId, make } from "./views.js";

const PAST_S = 12;
const AHEAD_S = 2;
const LEAST_SPAN = 0.1;
const MARGIN = 34;   // for the numbers of the axis

export class Plots {
  constructor(names, history) {
    this.rows = history;
    this.chunk = null;
    this.views = names.map((name) => {
      const canvas = make("canvas", { "aria-label": `joint ${name}` });
      const value = make("span", { class: "value" });
      return { canvas, value, box: make("div", { class: "plot" }, make("header", {}, make("span", { title: name }, name), value), canvas) };
    });
    byId("plots").replaceChildren(...this.views.map((view) => view.box));
  }

  update(row, chunk) {
    if (row) {
      const last = this.rows.at(-1);
      if (last && row[0] < last[0]) this.rows = [];
      if (!last || row[0] > last[0]) this.rows.push(row);
      while (this.rows.length && this.rows[0][0] < row[0] - PAST_S) this.rows.shift();
    }
    this.chunk = chunk;
    this.draw();
  }

  draw() {
    const last = this.rows.at(-1);
    if (!last) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const colours = { state: colour("state"), target: colour("target"), chunk: colour("chunk"), line: colour("line"), soft: colour("soft") };
    this.views.forEach((view, index) => this.one(view, index, last, colours));
  }

  one(view, index, last, colours) {
    const ratio = window.devicePixelRatio || 1;
    const width = view.canvas.clientWidth, height = view.canvas.clientHeight;
    if (view.canvas.width !== Math.round(width * ratio)) {
      view.canvas.width = Math.round(width * ratio);
      view.canvas.height = Math.round(height * ratio);
    }
    const value = last[1][index];
    view.value.textContent = value === null || value === undefined ? "–" : value.toFixed(3);
    const draw = view.canvas.getContext("2d");
    draw.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw.clearRect(0, 0, width, height);
    const [low, high] = this.range(index);
    const x = (t) => MARGIN + (t - last[0] + PAST_S) / (PAST_S + AHEAD_S) * (width - MARGIN);
    const y = (v) => height - 4 - (v - low) / (high - low) * (height - 8);
    draw.strokeStyle = colours.line;
    draw.lineWidth = 1;
    draw.beginPath();
    for (const v of [low, high]) { draw.moveTo(MARGIN, y(v)); draw.lineTo(width, y(v)); }
    draw.moveTo(x(last[0]), 0); draw.lineTo(x(last[0]), height);
    draw.stroke();
    draw.fillStyle = colours.soft;
    draw.font = "10px system-ui, sans-serif";
    draw.textAlign = "right";
    draw.fillText(high.toFixed(2), MARGIN - 4, 11);
    draw.fillText(low.toFixed(2), MARGIN - 4, height - 3);
    this.curve(draw, this.rows.map((row) => [x(row[0]), row[2][index]]), y, colours.target, [5, 4], 2);
    this.curve(draw, this.rows.map((row) => [x(row[0]), row[1][index]]), y, colours.state, [], 2);
    if (this.chunk) this.curve(draw, this.chunk[0].map((t, i) => [x(t), this.chunk[1][i][index]]), y, colours.chunk, [2, 3], 2.5);
  }

  range(index) {
    let low = Infinity, high = -Infinity;
    const take = (v) => { if (v !== null && v !== undefined) { low = Math.min(low, v); high = Math.max(high, v); } };
    for (const row of this.rows) { take(row[1][index]); take(row[2][index]); }
    if (this.chunk) this.chunk[1].forEach((row) => take(row[index]));
    if (low > high) return [-1, 1];
    const middle = (low + high) / 2, half = Math.max(high - low, LEAST_SPAN) / 2 * 1.08;
    return [middle - half, middle + half];
  }

  curve(draw, points, y, colour, dash, lineWidth) {
    draw.strokeStyle = colour;
    draw.lineWidth = lineWidth;
    draw.setLineDash(dash);
    draw.beginPath();
    let pen = false;
    for (const [x, v] of points) {
      if (v === null || v === undefined) { pen = false; continue; }
      if (pen) draw.lineTo(x, y(v)); else draw.moveTo(x, y(v));
      pen = true;
    }
    draw.stroke();
    draw.setLineDash([]);
  }
}
