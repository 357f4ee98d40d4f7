// Exports: downloads that show how far they are, and that go on where they were
// interrupted.

import { signal } from "@preact/signals";
import { iso, now, Problem, problem, url } from "./api";
import { bytes } from "./time";

export type JobState = "waiting" | "running" | "done" | "failed" | "cancelled" | "handed";

export interface Job {
  id: number;
  camera: string;
  start: number;
  end: number;
  file: string;
  state: JobState;
  got: number;
  total: number;
  /** Bytes per second. */
  rate: number;
  /** Stretches that nobody has, and recorders that did not answer. */
  gaps: number;
  unknown: string;
  message: string;
}

export const jobs = signal<Job[]>([]);
const cancels = new Map<number, AbortController>();
let last = 0;

/** Larger ones do not go through the memory of the page. */
const IN_MEMORY = 768e6;

const fileName = (camera: string, start: number, end: number): string => {
  const t = (ms: number): string => iso(ms).slice(0, 19).replaceAll(":", "-");
  return `${camera}_${t(start)}Z_${t(end).slice(11)}Z.mp4`;
};

export interface Size {
  bytes: number;
  gaps: number;
  unknown: string;
}

/** sizeOf asks how large an export is, and what it lacks. */
export async function sizeOf(camera: string, start: number, end: number, signal?: AbortSignal): Promise<Size> {
  const r = await fetch(url.recording(camera, start, end), { method: "HEAD", ...(signal ? { signal } : {}) });
  if (!r.ok) {
    // The answer to HEAD has no words.
    const again = await fetch(url.recording(camera, start, end), {
      headers: { Range: "bytes=0-0" },
      ...(signal ? { signal } : {}),
    });
    if (!again.ok) throw await problem(again);
    await again.body?.cancel();
    throw new Problem(r.status, "", "", `Playback answers ${r.status}.`);
  }
  return {
    bytes: Number(r.headers.get("Content-Length")),
    gaps: Number(r.headers.get("Duet-Gaps") ?? 0),
    unknown: r.headers.get("Duet-Unknown") ?? "",
  };
}

/** Sink takes the bytes of a file, in order. */
export interface Sink {
  write(chunk: Uint8Array<ArrayBuffer>): Promise<void> | void;
  close(): Promise<void> | void;
}

export interface Progress {
  got: number;
  total: number;
  gaps: number;
  unknown: string;
}

/**
 * download writes what is at the address to the sink. After a failure it goes on where it
 * was, of the same file (If-Range), up to `attempts` times without a byte.
 */
export async function download(
  address: string,
  sink: Sink,
  progress: (p: Progress) => void,
  signal: AbortSignal,
  attempts = 6,
  wait: (ms: number) => Promise<void> = (ms) => new Promise((r) => setTimeout(r, ms)),
): Promise<void> {
  let got = 0;
  let total = 0;
  let etag = "";
  let gaps = 0;
  let unknown = "";
  for (let failures = 0; ; ) {
    try {
      const headers: Record<string, string> = got > 0 ? { Range: `bytes=${got}-`, "If-Range": etag } : {};
      const r = await fetch(address, { signal, headers });
      if (!r.ok) {
        const p = await problem(r);
        if (r.status < 500) throw new Final(p.message);
        throw p;
      }
      if (got > 0 && r.status !== 206)
        throw new Final("The footage has changed since the export began. Export it again.");
      if (got === 0) {
        total = Number(r.headers.get("Content-Length") ?? 0);
        etag = r.headers.get("ETag") ?? "";
        gaps = Number(r.headers.get("Duet-Gaps") ?? 0);
        unknown = r.headers.get("Duet-Unknown") ?? "";
      }
      const reader = r.body!.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        await sink.write(value);
        got += value.length;
        failures = 0;
        progress({ got, total, gaps, unknown });
      }
      if (total === 0 || got >= total) break;
      throw new Error("The connection ended before the file did.");
    } catch (err) {
      if (signal.aborted || err instanceof Final) throw err;
      if (++failures >= attempts || (got > 0 && !etag)) throw err;
      await wait(Math.min(5000, 300 * 2 ** failures));
    }
  }
  await sink.close();
}

class Final extends Error {}

function change(id: number, by: Partial<Job>): void {
  jobs.value = jobs.value.map((j) => (j.id === id ? { ...j, ...by } : j));
}

/** beginArchive exports the range of several cameras as one ZIP, which the browser downloads. */
export function beginArchive(cameras: string[], start: number, end: number): void {
  const file = fileName(cameras.join("+").slice(0, 80), start, end).replace(/mp4$/, "zip");
  save(url.archive(cameras, start, end), file);
  const j = job(cameras.join(", "), start, end, file);
  jobs.value = [
    ...jobs.value,
    { ...j, state: "handed", message: "One ZIP: the browser downloads it and shows how far it is." },
  ];
}

/** begin exports the range of each camera, one after the other. */
export function begin(cameras: string[], start: number, end: number): void {
  const made = cameras.map((camera) => job(camera, start, end, fileName(camera, start, end)));
  jobs.value = [...jobs.value, ...made];
  for (const j of made) cancels.set(j.id, new AbortController());
  void (async () => {
    for (const j of made) await run(j);
  })();
}

const job = (camera: string, start: number, end: number, file: string): Job => ({
  id: ++last,
  camera,
  start,
  end,
  file,
  state: "waiting",
  got: 0,
  total: 0,
  rate: 0,
  gaps: 0,
  unknown: "",
  message: "",
});

async function run(j: Job): Promise<void> {
  const stop = cancels.get(j.id)!;
  if (stop.signal.aborted) return;
  change(j.id, { state: "running" });
  const address = url.recording(j.camera, j.start, j.end);
  try {
    const size = await sizeOf(j.camera, j.start, j.end, stop.signal);
    change(j.id, { total: size.bytes, gaps: size.gaps, unknown: size.unknown });
    if (size.bytes > IN_MEMORY) {
      save(address, j.file);
      change(j.id, {
        state: "handed",
        message: `${bytes(size.bytes)}: the browser downloads it and shows how far it is.`,
      });
      return;
    }
    const parts: Uint8Array<ArrayBuffer>[] = [];
    const began = now();
    let shown = 0;
    await download(
      address,
      { write: (c) => void parts.push(c), close: () => undefined },
      (p) => {
        const t = performance.now();
        if (t - shown < 80 && p.got < p.total) return;
        shown = t;
        change(j.id, { ...p, rate: (p.got / Math.max(1, now() - began)) * 1000 });
      },
      stop.signal,
    );
    const blob = URL.createObjectURL(new Blob(parts, { type: "video/mp4" }));
    save(blob, j.file);
    setTimeout(() => URL.revokeObjectURL(blob), 60_000);
    change(j.id, { state: "done" });
  } catch (err) {
    if (stop.signal.aborted) change(j.id, { state: "cancelled", message: "cancelled" });
    else change(j.id, { state: "failed", message: (err as Error).message || "The download failed." });
  }
}

function save(address: string, name: string): void {
  const a = document.createElement("a");
  a.href = address;
  a.download = name;
  document.body.append(a);
  a.click();
  a.remove();
}

export function cancel(id: number): void {
  const j = jobs.value.find((x) => x.id === id);
  if (j?.state === "waiting" || j?.state === "running") {
    cancels.get(id)?.abort();
    change(id, { state: "cancelled", message: "cancelled" });
  } else jobs.value = jobs.value.filter((x) => x.id !== id);
}
