// Starts and stops the computation of masks, and shows its progress.

import * as api from "./api.js";
import { attempt, notice } from "./notices.js";

const byId = (id) => document.getElementById(id);

export class Run {
  #direction = "both"; // direction of the last job

  /** @param {Model} model, @param {Masks} masks */
  constructor(model, masks) {
    Object.assign(this, { model, masks });
    byId("follow").addEventListener("change", (event) => model.set({ follow: event.target.checked }));
    model.on(["follow"], () => (byId("follow").checked = model.follow));
    model.on(["job"], () => this.#draw());
  }

  /** Computes masks in a direction: "forward" to the out point, "backward" to the in point, or "both" for the whole range. */
  async start(direction) {
    const { model } = this;
    if (model.running) {
      notice("Masks are being computed. Stop the computation first.");
      return;
    }
    this.#direction = direction;
    let [start, stop] = model.project.range;
    if (direction === "forward" && model.current < stop) start = Math.max(start, model.current);
    if (direction === "backward" && model.current >= start) stop = Math.min(stop, model.current + 1);
    await this.masks.flush(); // save all strokes, because the computation uses the saved masks
    model.set({ follow: true }); // must be set before the first mask arrives
    await attempt(() => api.startJob({ start, stop, direction }));
  }

  /** Stops the computation after the current frame. */
  async stop() {
    if (this.model.running) await attempt(api.stopJob);
  }

  /** Stops the running computation, or starts a new computation in the last direction. */
  pause() {
    return this.model.running ? this.stop() : this.start(this.#direction);
  }

  /** Stores the state of the job that the server reports. If the job has ended, shows a message. */
  announced(job) {
    const before = this.model.job;
    this.model.set({ job: job ?? { state: "idle" } });
    if (before.id !== job?.id || before.state === job?.state) return;
    if (job.state === "failed") notice(`The computation failed: ${job.message}`, { error: true });
    if (job.state === "done") notice(job.total === 0 ? "All masks are up to date." : "All requested masks are computed.");
    if (job.state === "stopped") notice("The computation was stopped. Computed masks are kept.");
  }

  #draw() {
    const { job, running } = this.model;
    for (const id of ["backward", "both", "forward"]) byId(id).hidden = running;
    byId("stop").hidden = !running;
    byId("progress").hidden = !running;
    if (!running) return;
    const bar = document.querySelector("#progress .bar");
    const known = job.state === "running" && job.total > 0;
    bar.classList.toggle("unknown", !known);
    bar.firstElementChild.style.width = known ? `${(100 * job.done) / job.total}%` : "";
    bar.setAttribute("aria-valuemax", job.total);
    if (known) bar.setAttribute("aria-valuenow", job.done);
    else bar.removeAttribute("aria-valuenow");
    byId("progress-text").textContent = describe(job);
  }
}

function describe(job) {
  if (job.state === "compiling") return "The model is being compiled. You can continue to paint.";
  const parts = [`${job.done} of ${job.total} frames`];
  if (job.frames_per_second) parts.push(`${job.frames_per_second.toPrecision(2)} frames per second`);
  if (job.seconds_left !== null && job.seconds_left !== undefined) parts.push(`${clock(job.seconds_left)} left`);
  return parts.join(" · ");
}

function clock(seconds) {
  const whole = Math.ceil(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}
