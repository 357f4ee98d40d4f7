// A Player shows one camera in one <video>: live, or from any moment of its recording.

import { signal } from "@preact/signals";
import Hls, { type ErrorData, type LevelDetails } from "hls.js/light";
import { now, Problem, problem, url } from "../api";
import { MINUTE, SECOND } from "../time";
import { type Frag, mediaAt, wallAt } from "./map";

export type Status = "empty" | "loading" | "playing" | "paused" | "stalled" | "nothing" | "failed";

/** How much of a recording is in a playlist: from so long before the moment, to so long after. */
const BEFORE = 20 * SECOND;
const AFTER = 20 * MINUTE;
/** Footage this young is still growing, so that its playlist has no end. */
const GROWING = AFTER;
const RETRY = [500, 1000, 2000, 4000, 8000];

export class Player {
  readonly status = signal<Status>("empty");
  /** Why nothing is shown, in words. */
  readonly message = signal("");
  /** Whether what is shown is the live picture. */
  readonly live = signal(false);
  readonly muted = signal(true);
  /** The picture to show where a browser plays no video of the camera (JPEG): its URL. */
  readonly still = signal("");
  /** Pictures per second, as far as was seen. */
  fps = 25;
  /** Footage nearest to a moment that has none. */
  nearest: { before?: string; after?: string } | undefined;

  private hls: Hls | undefined;
  private frags: Frag[] = [];
  private details: LevelDetails | undefined;
  private closed = false;
  private end = 0; // of the playlist's range; 0: it grows
  private wanted: number | undefined; // what is sought while nothing is loaded
  private playing = false;
  private speed = 1;
  private retries = 0;
  private timer = 0;
  private generation = 0;
  private lastMedia = -1;
  // Stills: the moment of one, when that was shown, and what asks for the next.
  private stillWall: number | undefined;
  private stillAt = 0;
  private stillTimer = 0;
  private readonly stop = new AbortController();

  constructor(
    readonly camera: string,
    readonly video: HTMLVideoElement,
  ) {
    video.muted = true;
    video.playsInline = true;
    video.preload = "auto";
    const on = (name: string, f: () => void): void => video.addEventListener(name, f, { signal: this.stop.signal });
    on("playing", () => this.shows());
    on("timeupdate", () => {
      if (!video.paused && video.readyState >= 3) this.shows();
    });
    on("seeked", () => this.shows());
    on("waiting", () => {
      if (this.playing && this.status.value !== "failed") this.status.value = "stalled";
    });
    on("ended", () => this.ended());
    on("volumechange", () => {
      this.muted.value = video.muted;
    });
    this.watchPictures();
  }

  private shows(): void {
    if (this.status.value === "failed" || !this.hls) return;
    this.retries = 0;
    this.message.value = "";
    this.status.value = this.video.paused ? "paused" : "playing";
  }

  /** wall is the capture time of the picture that is shown. */
  wall(): number | undefined {
    if (this.stillWall !== undefined) {
      return this.playing ? this.stillWall + (performance.now() - this.stillAt) * this.speed : this.stillWall;
    }
    if (this.wanted !== undefined) return this.wanted;
    return wallAt(this.frags, this.video.currentTime);
  }

  /** sought is the moment that is being loaded. */
  get pending(): boolean {
    return this.wanted !== undefined;
  }

  goLive(): void {
    this.live.value = true;
    this.playing = true;
    if (this.stillWall !== undefined) {
      this.stills(undefined);
      return;
    }
    this.wanted = undefined;
    this.end = 0;
    this.open(url.live(this.camera), undefined);
  }

  /** seek shows the picture at a moment, of the recording. */
  seek(wall: number): void {
    if (this.stillWall !== undefined) {
      this.live.value = false;
      this.stills(wall);
      return;
    }
    if (!this.live.value && this.hls && this.frags.length > 0) {
      const media = mediaAt(this.frags, wall);
      if (media !== undefined) {
        this.wanted = undefined;
        this.video.currentTime = media;
        return;
      }
    }
    this.load(wall);
  }

  private load(wall: number): void {
    this.live.value = false;
    const present = now();
    const at = Math.min(wall, present - SECOND);
    const growing = at > present - GROWING;
    this.end = growing ? 0 : Math.min(at + AFTER, present);
    this.wanted = at;
    this.open(url.hls(this.camera, at - BEFORE, growing ? undefined : this.end), at);
  }

  private open(source: string, at: number | undefined): void {
    window.clearTimeout(this.timer);
    this.closeSource();
    const generation = ++this.generation;
    this.status.value = "loading";
    this.message.value = "";
    this.nearest = undefined;
    const hls = new Hls({
      enableWorker: false,
      autoStartLoad: false,
      lowLatencyMode: false,
      maxBufferLength: 12,
      maxMaxBufferLength: 30,
      backBufferLength: 20,
      maxBufferHole: 0.3,
      startFragPrefetch: true,
      liveDurationInfinity: true,
      // Only what is live is drawn to the live edge; a recording that grows is not.
      ...(at === undefined ? { liveSyncDuration: 5, liveMaxLatencyDuration: 20, maxLiveSyncPlaybackRate: 1.06 } : {}),
      // A playlist that does not answer at once is what a failure looks like, and the next
      // answer comes from another recorder.
      manifestLoadPolicy: policy(2),
      playlistLoadPolicy: policy(6),
      fragLoadPolicy: policy(6),
    });
    this.hls = hls;
    let started = false;
    hls.on(Hls.Events.LEVEL_LOADED, (_e, d) => {
      if (generation !== this.generation) return;
      this.learn(d.details);
      if (started) return;
      started = true;
      const media = at === undefined ? -1 : (mediaAt(this.frags, at) ?? 0);
      hls.startLoad(media);
    });
    hls.on(Hls.Events.LEVEL_UPDATED, (_e, d) => {
      if (generation === this.generation) this.learn(d.details);
    });
    hls.on(Hls.Events.LEVEL_PTS_UPDATED, (_e, d) => {
      if (generation === this.generation) this.learn(d.details);
    });
    hls.on(Hls.Events.MANIFEST_PARSED, (_e, d) => {
      // With variants, their playlist is loaded only then.
      if (generation === this.generation && !d.levels[0]?.details && d.levels.length > 1) hls.startLoad(-1);
      if (this.playing) this.play();
    });
    hls.on(Hls.Events.FRAG_BUFFERED, () => {
      if (generation === this.generation && this.wanted !== undefined && this.video.readyState >= 2) this.arrived();
    });
    hls.on(Hls.Events.ERROR, (_e, d) => {
      if (generation === this.generation && d.fatal) void this.failed(source, at, d, generation);
    });
    this.video.addEventListener("loadeddata", () => generation === this.generation && this.arrived(), {
      once: true,
      signal: this.stop.signal,
    });
    hls.attachMedia(this.video);
    hls.loadSource(source);
    this.video.playbackRate = this.speed;
    this.video.defaultPlaybackRate = this.speed;
  }

  private arrived(): void {
    this.wanted = undefined;
    if (this.playing) this.play();
    else this.shows();
  }

  private learn(d: LevelDetails): void {
    this.details = d;
    const frags: Frag[] = [];
    for (const f of d.fragments) {
      if (f.programDateTime === null) continue;
      frags.push({ start: f.start, duration: f.duration, wall: f.programDateTime, gap: f.gap === true });
    }
    this.frags = frags;
  }

  private async failed(source: string, at: number | undefined, d: ErrorData, generation: number): Promise<void> {
    const hls = this.hls;
    if (
      d.details === Hls.ErrorDetails.BUFFER_ADD_CODEC_ERROR ||
      d.details === Hls.ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR
    ) {
      this.closeSource();
      this.stills(at);
      return;
    }
    if (d.type === Hls.ErrorTypes.MEDIA_ERROR && this.retries < 2) {
      this.retries++;
      hls?.recoverMediaError();
      return;
    }
    const why = await explain(source, d);
    if (generation !== this.generation || this.closed) return;
    this.nearest = why instanceof Problem ? why.nearest : undefined;
    if (why.type === "urn:duet:problem:no-footage") {
      const after = this.nearest?.after;
      if (this.playing && after && at !== undefined) {
        this.load(Date.parse(after)); // over the gap
        return;
      }
      this.status.value = "nothing";
      this.message.value = why.message;
      this.closeSource();
      return;
    }
    if (why.type === "urn:duet:problem:codec-not-playable") {
      this.closeSource();
      this.stills(at);
      return;
    }
    const wait = RETRY[Math.min(this.retries++, RETRY.length - 1)]!;
    this.status.value = "failed";
    this.message.value = why.message;
    const resume = at === undefined ? undefined : (this.wall() ?? at);
    this.timer = window.setTimeout(() => (resume === undefined ? this.goLive() : this.load(resume)), wait);
  }

  private closeSource(): void {
    this.hls?.destroy();
    this.hls = undefined;
    this.frags = [];
    this.details = undefined;
  }

  // stills shows single pictures, one a second, from a moment on; undefined: live.
  private stills(from: number | undefined): void {
    window.clearTimeout(this.stillTimer);
    const late = 2000; // until a picture is durable
    this.stillWall = Math.min(from ?? Number.POSITIVE_INFINITY, now() - late);
    this.stillAt = performance.now();
    this.wanted = undefined;
    this.status.value = this.playing ? "playing" : "paused";
    const next = (): void => {
      const wall = this.live.value ? now() - late : Math.min(this.wall() ?? now(), now() - late);
      this.stillWall = wall;
      this.stillAt = performance.now();
      const picture = new Image();
      const more = (): void => {
        window.clearTimeout(this.stillTimer);
        if (!this.closed && this.playing && this.stillWall !== undefined)
          this.stillTimer = window.setTimeout(next, 900);
      };
      picture.onload = () => {
        if (this.closed || this.stillWall === undefined) return;
        this.still.value = picture.src;
        this.message.value = "";
        this.status.value = this.playing ? "playing" : "paused";
        more();
      };
      picture.onerror = () => {
        if (!this.still.value && !this.closed) {
          this.status.value = "failed";
          this.message.value = "This browser does not play the camera’s format. An export has it unchanged.";
        }
        more();
      };
      picture.src = url.snapshot(this.camera, wall, 1280);
    };
    next();
  }

  private ended(): void {
    const at = this.wall();
    if (at === undefined || !this.playing || this.live.value) return;
    this.load(Math.max(at, this.end) + 1);
  }

  play(): void {
    if (this.stillWall !== undefined) {
      if (!this.playing) {
        this.playing = true;
        this.stills(this.live.value ? undefined : this.stillWall);
      }
      return;
    }
    this.playing = true;
    this.video.play().catch((err: unknown) => {
      // A browser that lets nothing play of its own accord waits for a click.
      if (err instanceof DOMException && err.name === "NotAllowedError") this.status.value = "paused";
    });
  }

  pause(): void {
    this.stillWall = this.stillWall === undefined ? undefined : this.wall();
    this.playing = false;
    if (this.stillWall !== undefined) this.status.value = "paused";
    this.video.pause();
    if (this.status.value === "playing" || this.status.value === "stalled") this.status.value = "paused";
  }

  /** hold stops the picture for a moment, until play, without saying that it is paused. */
  hold(): void {
    if (this.stillWall !== undefined) {
      this.stillWall = this.wall();
      this.playing = false;
    }
    this.video.pause();
  }

  setSpeed(speed: number): void {
    this.speed = speed;
    this.video.defaultPlaybackRate = speed;
    this.video.playbackRate = speed;
  }

  /** trim changes the speed by a little, to stay beside other players. */
  trim(factor: number): void {
    const rate = Math.min(16, Math.max(0.0625, this.speed * factor));
    if (Math.abs(this.video.playbackRate - rate) > 0.005) this.video.playbackRate = rate;
  }

  step(pictures: number): void {
    this.pause();
    if (this.stillWall !== undefined) {
      this.live.value = false;
      this.stills(this.stillWall + pictures * 1000);
      return;
    }
    if (this.live.value) this.live.value = false;
    const wall = this.wall();
    const to = this.video.currentTime + pictures / this.fps;
    const first = this.frags[0]?.start ?? 0;
    if (to < first && wall !== undefined) this.load(wall + (pictures * 1000) / this.fps);
    else this.video.currentTime = to;
  }

  // Pictures are counted by their media times, so that a speed or a dropped one changes nothing.
  private watchPictures(): void {
    const v = this.video;
    if (!("requestVideoFrameCallback" in v)) return;
    const seen: number[] = [];
    const next = (_n: number, meta: { mediaTime: number }): void => {
      if (this.closed) return;
      const d = meta.mediaTime - this.lastMedia;
      this.lastMedia = meta.mediaTime;
      if (d > 0.004 && d < 1.5) {
        seen.push(d);
        if (seen.length > 24) seen.shift();
        // Some may be dropped, none can come early: the shortest usual distance is a picture's.
        if (seen.length >= 4) this.fps = 1 / [...seen].sort((a, b) => a - b)[seen.length >> 2]!;
      }
      v.requestVideoFrameCallback(next);
    };
    v.requestVideoFrameCallback(next);
  }

  /** behindLive is how old the live picture is, in ms. */
  behindLive(): number | undefined {
    const wall = this.wall();
    return this.live.value && wall !== undefined && this.details ? now() - wall : undefined;
  }

  destroy(): void {
    this.closed = true;
    this.generation++;
    window.clearTimeout(this.timer);
    window.clearTimeout(this.stillTimer);
    this.stillWall = undefined;
    this.stop.abort();
    this.closeSource();
    this.video.removeAttribute("src");
    this.video.load();
  }
}

function policy(retries: number) {
  const retry = { maxNumRetry: retries, retryDelayMs: 300, maxRetryDelayMs: 2000 };
  return {
    default: { maxTimeToFirstByteMs: 10_000, maxLoadTimeMs: 60_000, timeoutRetry: retry, errorRetry: retry },
  };
}

// hls.js keeps the status of an answer and not its words, so they are asked for again.
async function explain(source: string, d: ErrorData): Promise<{ message: string; type: string }> {
  if (d.type === Hls.ErrorTypes.MEDIA_ERROR)
    return { type: "", message: `The video cannot be played: ${d.error.message}.` };
  try {
    const r = await fetch(d.frag && d.response?.code !== 404 ? d.frag.url : source, {
      headers: { Accept: "application/problem+json" },
    });
    if (!r.ok) return await problem(r);
    await r.body?.cancel();
    return { type: "", message: "The video stopped, and is loaded anew." };
  } catch {
    return { type: "", message: "Playback does not answer." };
  }
}
