// A Group plays several cameras as one: the same moment everywhere.

import { effect, signal } from "@preact/signals";
import { now } from "../api";
import { advise } from "./advise";
import type { Player } from "./player";

export class Group {
  readonly wall = signal<number | undefined>(undefined);
  readonly playing = signal(true);
  readonly live = signal(true);
  readonly speed = signal(1);
  /** A player stands until the others have come to where its footage goes on. */
  readonly waiting = signal<ReadonlySet<string>>(new Set());
  private players: Player[] = [];
  private readonly timer: number;
  private target: number | undefined;

  constructor() {
    this.timer = window.setInterval(() => this.tick(), 100);
  }

  get size(): number {
    return this.players.length;
  }

  player(camera: string): Player | undefined {
    return this.players.find((p) => p.camera === camera);
  }

  add(p: Player): () => void {
    this.players = [...this.players, p];
    p.setSpeed(this.live.value ? 1 : this.speed.value);
    if (this.live.value) p.goLive();
    else {
      const at = this.target ?? this.wall.value;
      if (this.playing.value) p.play();
      if (at !== undefined) p.seek(at);
    }
    const stop = effect(() => {
      p.status.value;
      queueMicrotask(() => this.tick());
    });
    return () => {
      stop();
      this.players = this.players.filter((x) => x !== p);
    };
  }

  private tick(): void {
    if (this.players.length === 0) return;
    const walls = this.players.map((p) =>
      ["failed", "nothing", "empty"].includes(p.status.value) ? undefined : p.wall(),
    );
    const held = this.players.map((p) => this.waiting.value.has(p.camera));
    const a = advise(walls, held);
    if (a.wall !== undefined) {
      if (this.players.every((p) => !p.pending)) this.target = undefined;
      if (this.target === undefined) this.wall.value = a.wall;
    }
    if (this.players.length < 2 || this.live.value || !this.playing.value) {
      if (this.waiting.value.size > 0) this.letGo();
      return;
    }
    const waiting = new Set<string>();
    this.players.forEach((p, i) => {
      const x = a.advice[i];
      if (x?.kind === "hold") {
        waiting.add(p.camera);
        p.hold();
      } else if (x?.kind === "run") {
        p.trim(x.factor);
        if (held[i]) p.play();
      }
    });
    if (waiting.size !== this.waiting.value.size || [...waiting].some((w) => !this.waiting.value.has(w)))
      this.waiting.value = waiting;
  }

  private letGo(): void {
    for (const p of this.players) {
      if (this.waiting.value.has(p.camera) && this.playing.value) p.play();
    }
    this.waiting.value = new Set();
  }

  seek(wall: number): void {
    const at = Math.min(wall, now());
    if (this.live.value) {
      this.live.value = false;
      this.applySpeed();
    }
    this.target = at;
    this.wall.value = at;
    this.letGo();
    for (const p of this.players) {
      if (this.playing.value) p.play();
      p.seek(at);
    }
  }

  goLive(): void {
    this.live.value = true;
    this.playing.value = true;
    this.target = undefined;
    this.letGo();
    this.applySpeed();
    for (const p of this.players) p.goLive();
  }

  play(): void {
    this.playing.value = true;
    if (this.live.value && this.wall.value !== undefined && now() - this.wall.value > 30_000) {
      this.seek(this.wall.value); // it was paused for longer than the live playlist reaches back
      return;
    }
    for (const p of this.players) p.play();
  }

  pause(): void {
    this.playing.value = false;
    for (const p of this.players) p.pause();
    this.letGo();
  }

  toggle(): void {
    if (this.playing.value) this.pause();
    else this.play();
  }

  setSpeed(speed: number): void {
    this.speed.value = speed;
    if (this.live.value && speed !== 1 && this.wall.value !== undefined) this.seek(this.wall.value);
    this.applySpeed();
  }

  private applySpeed(): void {
    for (const p of this.players) p.setSpeed(this.live.value ? 1 : this.speed.value);
  }

  /** step shows the next or last picture; with several cameras, that of the first one. */
  step(pictures: number): void {
    const first = this.players[0];
    if (!first) return;
    this.playing.value = false;
    this.live.value = false;
    this.target = undefined;
    this.letGo();
    for (const p of this.players) p.pause();
    const by = (pictures * 1000) / first.fps;
    const from = first.wall();
    first.step(pictures);
    if (from !== undefined) for (const p of this.players.slice(1)) p.seek(from + by);
  }

  destroy(): void {
    window.clearInterval(this.timer);
  }
}
