// SPDX-License-Identifier: Apache-2.0
// The connection to the server: reconnects by itself, and says when what is shown is old.

const RETRY_MS = 1000;
const SILENT_MS = 2000;   // the server sends ten times a second
const NODE_S = 2.0;       // the node looks ten times a second

export class Link {
  constructor({ onMessage, onPicture, onState }) {
    Object.assign(this, { onMessage, onPicture, onState });
    this.heard = 0;
    this.nodeAge = 0;
    this.ever = false;
    this.state = "";
    this.open();
    setInterval(() => this.check(), 250);
    document.addEventListener("visibilitychange", () => this.tell());
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/live`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.tell();
    socket.onmessage = (event) => {
      this.heard = performance.now();
      this.ever = true;
      if (typeof event.data !== "string") {
        const bytes = new Uint8Array(event.data);
        this.onPicture(bytes[0], bytes.subarray(1));
        return;
      }
      const message = JSON.parse(event.data);
      if (message.fast) this.nodeAge = message.fast.node_age;
      this.onMessage(message);
    };
    socket.onclose = () => setTimeout(() => this.open(), RETRY_MS);
    this.socket = socket;
  }

  tell() {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.socket.send(document.hidden ? "away" : "look");
    this.heard = performance.now();
  }

  check() {
    if (document.hidden) return;
    const silent = performance.now() - this.heard > SILENT_MS;
    const state = silent || this.socket.readyState !== WebSocket.OPEN ? (this.ever ? "lost" : "connecting")
      : this.nodeAge > NODE_S ? "stuck" : "live";
    if (silent && this.socket.readyState === WebSocket.OPEN && this.ever) this.socket.close();
    if (state !== this.state) {
      this.state = state;
      this.onState(state);
    }
  }
}

export async function command(name, body = {}) {
  try {
    const answer = await fetch(`/command/${name}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
      signal: AbortSignal.timeout(20000),
    });
    if (!answer.ok) return { ok: false, text: await answer.text() };
    return await answer.json();
  } catch (error) {
    return { ok: false, text: `the page's server does not answer (${error.message}); nothing was done` };
  }
}
