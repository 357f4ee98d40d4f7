// The timelines of cameras, fetched for what is visible. Two are held of each camera: a
// coarse one of the last month or so, and one around the window that is shown.

import { signal } from "@preact/signals";
import { api, type Camera, now, type Problem, type Timeline } from "../api";
import { DAY, MINUTE, SECOND } from "../time";
import { type Lanes, lanes } from "./model";
import { type View, WIDEST } from "./view";

interface Held {
  raw: Timeline;
  lanes: Lanes;
  at: number;
}

export class TimelineData {
  /** Counts answers: whoever draws from here draws again. */
  readonly version = signal(0);
  /** Why the last question was not answered, in words. */
  readonly error = signal("");
  private detail: Held | undefined;
  private overview: Held | undefined;
  private camera: Camera | undefined;
  private asking: AbortController | undefined;
  private timer = 0;
  private view: View | undefined;
  private closed = false;

  constructor(readonly name: string) {}

  /** best is what is known of a view, finest first: detail, then what is around it. */
  best(): { detail: Lanes | undefined; overview: Lanes | undefined } {
    return { detail: this.detail?.lanes, overview: this.overview?.lanes };
  }

  /** know tells how the copies do, which a timeline does not say. */
  know(c: Camera | undefined): void {
    const told = JSON.stringify(c?.recorders.map((r) => [r.recorder, r.role, r.state]));
    const before = JSON.stringify(this.camera?.recorders.map((r) => [r.recorder, r.role, r.state]));
    this.camera = c;
    if (told === before) return;
    for (const h of [this.detail, this.overview]) if (h) h.lanes = lanes(h.raw, c);
    this.version.value++;
    if (this.detail) this.soon(0, true);
  }

  /** show asks for a window, unless it is known well enough. */
  show(v: View): void {
    this.view = v;
    const d = this.detail;
    const covered =
      d &&
      d.lanes.start <= v.start &&
      d.lanes.end >= Math.min(v.end, d.at) &&
      d.lanes.end - d.lanes.start < 12 * (v.end - v.start);
    this.soon(covered ? this.pause() : d ? 120 : 0);
  }

  // How often a window is asked for again: the newest footage comes every second or two,
  // and what is older changes by repair, retention and locks.
  private pause(): number {
    const v = this.view!;
    const width = v.end - v.start;
    if (v.end < now() - MINUTE) return 15 * SECOND;
    return Math.min(15 * SECOND, Math.max(1.5 * SECOND, width / 400));
  }

  private due = 0;

  private soon(wait: number, force = false): void {
    if (this.closed || !this.view) return;
    const at = performance.now() + wait;
    if (this.timer && this.due <= at && !force) return;
    window.clearTimeout(this.timer);
    this.due = at;
    this.timer = window.setTimeout(() => void this.ask(), wait);
  }

  private async ask(): Promise<void> {
    this.timer = 0;
    if (document.hidden) {
      this.soon(1000);
      return;
    }
    const v = this.view!;
    const width = Math.max(v.end - v.start, 20 * SECOND);
    const present = now();
    const end = Math.min(v.end + width, present);
    const start = Math.min(v.start - width, end - width);
    this.asking?.abort();
    const mine = new AbortController();
    this.asking = mine;
    try {
      if (!this.overview || present - this.overview.at > 5 * MINUTE) {
        const wide = width * 2 > 31 * DAY ? WIDEST : 32 * DAY;
        void this.hold(present - wide, present, mine.signal).then((h) => {
          this.overview = h;
          this.version.value++;
        }, ignore);
      }
      this.detail = await this.hold(start, end, mine.signal);
      this.error.value = "";
      this.version.value++;
    } catch (err) {
      if (mine.signal.aborted) return;
      this.error.value = (err as Problem).message;
    } finally {
      if (this.asking === mine) {
        this.asking = undefined;
        this.soon(this.pause());
      }
    }
  }

  private async hold(start: number, end: number, signal: AbortSignal): Promise<Held> {
    const raw = await api.timeline(this.name, start, end, signal);
    return { raw, lanes: lanes(raw, this.camera), at: end };
  }

  /** again asks at once: something was changed. */
  again(): void {
    this.soon(0, true);
  }

  close(): void {
    this.closed = true;
    window.clearTimeout(this.timer);
    this.asking?.abort();
  }
}

const ignore = (): void => undefined;
