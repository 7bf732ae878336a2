// SPDX-License-Identifier: Apache-2.0
// The operator page: puts the messages of the server on the screen and the presses of the buttons on the wire.

import { Link, command } from "./link.js";
import { Plots } from "./plots.js";
import { Cameras, Episodes, byId, clock, showAlerts, showEvents, showFacts, showMonitors, showNodes, showStreams, size, span } from "./views.js";

const KEYS = { r: "start", e: "save", s: "success", f: "failure", d: "discard", u: "undo", Escape: "stop" };
let cameras = null, plots = null, slow = {}, answerTimer = 0, taskShown = null;
const episodes = new Episodes();

function hello(data) {
  byId("robot").textContent = data.robot;
  document.title = `${data.robot} – operator page`;
  cameras = new Cameras(data.cameras);
  plots = new Plots(data.joints, data.history);
}

function fast(data) {
  cameras.update(data.streams);
  showStreams(data.streams);
  plots.update(data.row, data.chunk);
}

function showPhase(recorder) {
  const badge = byId("phase");
  badge.textContent = !recorder ? "no recorder" : recorder.paused ? "PAUSED" : recorder.phase;
  badge.className = `badge ${recorder?.writing ? "recording" : recorder?.recording ? "armed" : ""}`;
  byId("elapsed").textContent = recorder?.recording ? clock(recorder.elapsed) : "";
}

function showRecorder(recorder) {
  showPhase(recorder);
  byId("recorder-state").textContent = recorder ? (recorder.writing ? "recording" : recorder.recording ? "armed: waiting for motion" : "ready") : "no recorder is running";
  showTask(recorder?.task ?? slow.policy?.task ?? "");
  if (!recorder) {
    showFacts("recorder", []);
    return;
  }
  const left = recorder.disk_left ? `${span(recorder.disk_left)} left` : "free";
  showFacts("recorder", [
    ["recorded", recorder.recorded.toFixed(1), "s"],
    ["messages", recorder.messages.toLocaleString("en")],
    ["rate", recorder.rate.toFixed(0), "/s"],
    ["dropped", String(recorder.dropped), "", recorder.dropped ? "error" : ""],
    ["size", size(recorder.bytes)],
    ["disk", size(recorder.disk_free), left, recorder.disk_free < 5e9 ? "error" : ""],
    ["saved", String(recorder.saved), "episodes"],
    ["last", recorder.last_label || "–"],
    ["operator", recorder.operator || "–"],
  ]);
}

function showPolicy(policy) {
  byId("policy-panel").hidden = !policy;
  if (!policy) return;
  byId("policy-panel").dataset.state = policy.state;
  byId("policy-state").textContent = policy.state + (policy.dry_run ? " (dry run)" : "");
  byId("policy-line").textContent = [policy.policy, policy.detail].filter(Boolean).join(" · ");
  const ms = (value) => value === null ? "–" : value.toFixed(0);
  showFacts("policy", [
    ["inference", ms(policy.inference_ms), "ms"],
    ["p95", ms(policy.inference_ms_p95), "ms"],
    ["observation age", ms(policy.observation_age_ms), "ms"],
    ["queue", policy.queue === null ? "–" : String(policy.queue), "steps"],
    ["replans", policy.replan_rate_hz === null ? "–" : policy.replan_rate_hz.toFixed(1), "/s"],
    ["waited", policy.held_percent === null ? "–" : policy.held_percent.toFixed(1), "%", policy.held_percent > 5 ? "warning" : ""],
    ["steps", String(policy.steps)],
    ["refused", String(policy.refused_chunks), "chunks", policy.refused_chunks ? "warning" : ""],
    ["takeovers", String(policy.interventions)],
  ]);
}

function showTask(task) {
  const input = byId("task");
  if (document.activeElement === input || (taskShown !== null && input.value !== taskShown)) return;
  input.value = taskShown = task;
  byId("task-set").hidden = true;
}

function showButtons(allowed) {
  for (const button of document.querySelectorAll("button[data-command]")) {
    button.disabled = !button.classList.contains("stop") && !allowed.includes(button.dataset.command);
  }
  byId("policy-buttons").hidden = !slow.policy;
}

function update(data) {
  slow = data;
  showRecorder(data.recorder);
  showPolicy(data.policy);
  showNodes(data.nodes);
  showMonitors(data.monitors);
  showEvents(data.events);
  showAlerts(data.alerts);
  showButtons(data.allowed);
  episodes.update(data.episodes, data.folder);
  byId("link").textContent = data.clock;
}

function answer(ok, text) {
  const line = byId("answer");
  line.textContent = text;
  line.className = `answer ${ok ? "good" : "bad"}`;
  clearTimeout(answerTimer);
  if (ok) answerTimer = setTimeout(() => { line.textContent = ""; line.className = "answer"; }, 8000);
}

async function press(button) {
  if (button.disabled || button.classList.contains("busy")) return;
  const name = button.dataset.command;
  if (button.dataset.ask && !window.confirm(button.dataset.ask)) return;
  button.classList.add("busy");
  const said = await command(name, name === "start" || name === "run_policy" ? { task: byId("task").value } : {});
  button.classList.remove("busy");
  answer(said.ok, said.text);
}

function state(now) {
  const lost = now === "lost" || now === "stuck";
  document.body.classList.toggle("lost", lost);
  byId("lost").hidden = !lost;
  const at = new Date().toLocaleTimeString([], { hour12: false });
  byId("lost-title").textContent = now === "stuck" ? "THE PAGE'S NODE STANDS STILL" : "CONNECTION LOST";
  byId("lost-text").textContent = `What you see is old, from ${at} or before, and STOP here reaches nothing: use the red button at the robot. Trying again…`;
  if (now === "connecting") byId("link").textContent = "connecting";
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-command]");
  if (button) press(button);
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || (typing && event.key !== "Escape")) return;
  const name = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!name) return;
  event.preventDefault();
  press(document.querySelector(`button[data-command="${name}"]`));
});
byId("task").addEventListener("input", () => { byId("task-set").hidden = byId("task").value === taskShown; });
byId("task-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = await command("set_task", { task: byId("task").value });
  answer(said.ok, said.text);
  if (said.ok) {
    taskShown = byId("task").value;
    byId("task").blur();
    byId("task-set").hidden = true;
  }
});

new Link({
  onMessage: (message) => {
    if (message.hello) hello(message.hello);
    else if (message.fast && cameras) fast(message.fast);
    else if (message.slow) update(message.slow);
  },
  onPicture: (index, bytes) => cameras?.picture(index, bytes),
  onState: state,
});
