// The HTTP API of playback, as far as the page uses it (docs/API.md). Times are text in
// RFC 3339 there, and milliseconds since 1970 (UTC) everywhere in the page.

export type NodeState = "up" | "down" | "unknown";

export interface Copy {
  recorder: string;
  role: "primary" | "redundant" | "";
  state: NodeState;
  healthy: boolean;
  standby: boolean;
  protectedUntil?: string;
  oldest?: string;
  behindSeconds: number;
  bytes: number;
  completeUntil?: string;
  repair?: {
    lackingFragments: number;
    lackingBytes: number;
    bytesPerSecond: number;
    remainingSeconds: number;
    stopped?: string;
  };
}

export interface Camera {
  name: string;
  copies: string;
  state: "connecting" | "live" | "stalled" | "failed" | "unknown";
  error?: string;
  proxy?: string;
  lastPacket?: string;
  tracks: string[];
  readers: number;
  sessions: number;
  protectedUntil?: string;
  completeUntil?: string;
  healthyCopies: number;
  wantedCopies: number;
  recorders: Copy[];
}

export interface Alarm {
  code: string;
  message: string;
  camera?: string;
  since?: string;
}

export interface Disk {
  path: string;
  state: string;
  capacityBytes: number;
  freeBytes: number;
  usedBytes: number;
  quotaBytes: number;
  lockedBytes: number;
  scrub?: { started?: string; finished?: string; doneBytes: number; totalBytes: number; damaged: number; off: boolean };
}

interface Node {
  name: string;
  address: string;
  state: NodeState;
  since: string;
  error?: string;
  version?: string;
  started?: string;
  heard?: string;
  alarms: Alarm[];
}

export interface Recorder extends Node {
  role: string;
  zone?: string;
  cameras: number;
  lagSeconds: number;
  offsetsLost: number;
  bytes: number;
  disks: Disk[];
  damagedFragments: number;
}

export interface ProxyNode extends Node {
  cameras: number;
  live: number;
  logBytes: number;
}

export interface Stretch {
  start: string;
  end: string;
}

export interface Timeline {
  camera: string;
  start: string;
  end: string;
  spans: (Stretch & { epoch: string; recorders: string[] })[];
  gaps: (Stretch & { cause: string })[];
  unknown: (Stretch & { recorders: string[] })[];
  locked: (Stretch & { lock: string; reason: string })[];
  repaired: (Stretch & { recorder: string })[];
  future?: string;
}

export interface Lock {
  id: string;
  camera: string;
  start: string;
  end: string;
  reason: string;
  by?: string;
  created: string;
  released?: string;
  releasedBy?: string;
  inForce: string[];
  pending: string[];
}

/** An answer that is no success, in words for people. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly type: string,
    title: string,
    detail: string,
    readonly nearest?: { before?: string; after?: string },
  ) {
    super(detail || title);
  }
}

/** problem reads the problem+json of an answer that is no success (RFC 9457). */
export async function problem(r: Response): Promise<Problem> {
  try {
    const p = await r.json();
    return new Problem(r.status, p.type ?? "", p.title ?? "", p.detail ?? "", p.nearest);
  } catch {
    return new Problem(r.status, "", "", `${`Playback answers ${r.status} ${r.statusText}`.trim()}.`);
  }
}

let skew = 0;

/** now is the time at the playback node, whatever the clock of this machine says. */
export const now = (): number => Date.now() + skew;

// The Date of an answer is whole seconds, so that a small difference cannot be seen, and
// does not matter.
function learnSkew(date: string | null, asked: number, answered: number): void {
  const theirs = date ? Date.parse(date) + 500 : Number.NaN;
  if (Number.isNaN(theirs) || answered - asked > 1000) return;
  const d = theirs - (asked + answered) / 2;
  skew = Math.abs(d) < 1500 ? 0 : Math.abs(d - skew) < 1500 ? skew : d;
}

async function call<T>(path: string, init?: RequestInit): Promise<T> {
  const asked = Date.now();
  let r: Response;
  try {
    r = await fetch(path, init);
  } catch (err) {
    if (init?.signal?.aborted) throw err;
    throw new Problem(0, "", "", "Playback does not answer.");
  }
  learnSkew(r.headers.get("Date"), asked, Date.now());
  if (!r.ok) throw await problem(r);
  return r.json();
}

export const iso = (ms: number): string => new Date(Math.round(ms)).toISOString();
export const ms = (text: string): number => Date.parse(text);

const camera = (name: string): string => `/v1/cameras/${encodeURIComponent(name)}`;
const range = (start: number, end: number): string => `start=${iso(start)}&end=${iso(end)}`;

export const api = {
  cameras: () => call<{ cameras: Camera[] }>("/v1/cameras"),
  recorders: () => call<{ recorders: Recorder[] }>("/v1/recorders"),
  proxies: () => call<{ proxies: ProxyNode[] }>("/v1/proxies"),
  timeline: (name: string, start: number, end: number, signal?: AbortSignal) =>
    call<Timeline>(`${camera(name)}/timeline?${range(start, end)}`, signal ? { signal } : {}),
  locks: (released: boolean) =>
    call<{ locks: Lock[]; silent: string[] }>(`/v1/locks${released ? "?released=true" : ""}`),
  lock: (name: string, start: number, end: number, reason: string, by: string) =>
    call<Lock>("/v1/locks", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ camera: name, start: iso(start), end: iso(end), reason, ...(by ? { by } : {}) }),
    }),
  release: (id: string, by: string) =>
    call<Lock>(`/v1/locks/${encodeURIComponent(id)}${by ? `?by=${encodeURIComponent(by)}` : ""}`, { method: "DELETE" }),
};

export const url = {
  recording: (name: string, start: number, end: number) => `${camera(name)}/recording.mp4?${range(start, end)}`,
  live: (name: string) => `${camera(name)}/live/index.m3u8?gaps=skip`,
  /** hls of a closed range, or, with no end, of one that grows up to now. Gaps are jumped over. */
  hls: (name: string, start: number, end?: number) =>
    `${camera(name)}/index.m3u8?gaps=skip&start=${iso(start)}${end === undefined ? "" : `&end=${iso(end)}`}`,
  archive: (names: string[], start: number, end: number) =>
    `/v1/export.zip?${names.map((n) => `camera=${encodeURIComponent(n)}&`).join("")}${range(start, end)}`,
  snapshot: (name: string, at: number, width: number) => `${camera(name)}/snapshot.jpg?at=${iso(at)}&width=${width}`,
};
