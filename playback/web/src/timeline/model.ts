// What a timeline says, as lanes of stretches that can be drawn. Nothing here knows of
// pixels or of the page.

import type { Camera, Timeline } from "../api";
import { ms } from "../api";

export type Kind = "footage" | "gap" | "absent" | "unknown" | "future" | "repaired" | "missing" | "silent";

export interface Piece {
  start: number;
  end: number;
  kind: Kind;
  /** Of a gap; the recorders that have or may have it. */
  cause?: string;
  recorders?: string[];
}

export interface Lane {
  /** The recorder; empty for the merged lane. */
  recorder: string;
  role: string;
  /** It does not answer now, so that what its lane lacks is not known to be missing. */
  silent: boolean;
  /** In order, without overlap. */
  pieces: Piece[];
}

export interface Locked {
  start: number;
  end: number;
  lock: string;
  reason: string;
}

export interface Lanes {
  start: number;
  end: number;
  merged: Lane;
  copies: Lane[];
  locked: Locked[];
  /** Where footage is still to come. */
  future?: number;
}

const byStart = (a: Piece, b: Piece): number => a.start - b.start;

/**
 * lanes turns a timeline into the merged lane and one for each copy. A copy's lane says
 * "missing" where footage is on another recorder and not on this one.
 */
export function lanes(t: Timeline, camera: Camera | undefined): Lanes {
  const start = ms(t.start);
  const end = ms(t.end);
  const future = t.future ? ms(t.future) : undefined;
  const spans = t.spans.map((s) => ({ start: ms(s.start), end: ms(s.end), epoch: s.epoch, recorders: s.recorders }));
  const merged: Piece[] = [];
  for (const s of spans) {
    const last = merged.at(-1);
    // Fragments of one session that are held by others from somewhere on are one stretch to see.
    if (last?.kind === "footage" && last.end === s.start && same(last.recorders!, s.recorders)) last.end = s.end;
    else merged.push({ start: s.start, end: s.end, kind: "footage", recorders: s.recorders });
  }
  for (const g of t.gaps) {
    // What was not recorded yet, or is not kept any more, is no fault.
    const kind = g.cause === "not_started" || g.cause === "retention" ? "absent" : "gap";
    merged.push({ start: ms(g.start), end: ms(g.end), kind, cause: g.cause });
  }
  for (const u of t.unknown)
    merged.push({ start: ms(u.start), end: ms(u.end), kind: "unknown", recorders: u.recorders });
  if (future !== undefined && future < end) merged.push({ start: future, end, kind: "future" });
  merged.sort(byStart);

  const out: Lanes = {
    start,
    end,
    merged: { recorder: "", role: "", silent: false, pieces: merged },
    copies: names(t, camera).map((c) => copyLane(t, c, spans)),
    locked: t.locked.map((l) => ({ start: ms(l.start), end: ms(l.end), lock: l.lock, reason: l.reason })),
  };
  if (future !== undefined) out.future = future;
  return out;
}

const same = (a: string[], b: string[]): boolean => a.length === b.length && a.every((x, i) => x === b[i]);

interface Named {
  recorder: string;
  role: string;
  silent: boolean;
}

function names(t: Timeline, camera: Camera | undefined): Named[] {
  const unheard = new Set(t.unknown.flatMap((u) => u.recorders));
  const out: Named[] = (camera?.recorders ?? []).map((c) => ({
    recorder: c.recorder,
    role: c.role,
    silent: c.state !== "up" || unheard.has(c.recorder),
  }));
  for (const s of t.spans) {
    for (const r of s.recorders) {
      if (!out.some((c) => c.recorder === r)) out.push({ recorder: r, role: "", silent: false });
    }
  }
  return out;
}

/** What a copy lacks for less than this, at the end of the timeline, is on its way. */
const SETTLED = 12_000;

function copyLane(t: Timeline, c: Named, spans: { start: number; end: number; recorders: string[] }[]): Lane {
  const pieces: Piece[] = [];
  const live = ms(t.future ?? t.end) - SETTLED;
  const add = (p: Piece): void => {
    const last = pieces.at(-1);
    if (last && last.kind === p.kind && last.end >= p.start) last.end = Math.max(last.end, p.end);
    else pieces.push(p);
  };
  for (const s of spans) {
    const has = s.recorders.includes(c.recorder);
    // At the live end, one copy is always a little later than the other.
    if (!has && !c.silent && s.end > live && s.end - s.start < SETTLED) continue;
    add({ start: s.start, end: s.end, kind: has ? "footage" : c.silent ? "silent" : "missing" });
  }
  const repaired = t.repaired
    .filter((r) => r.recorder === c.recorder)
    .map((r) => ({ start: ms(r.start), end: ms(r.end) }));
  return { ...c, pieces: repaired.length ? mark(pieces, repaired) : pieces };
}

/** mark splits footage where it was repaired. */
function mark(pieces: Piece[], repaired: { start: number; end: number }[]): Piece[] {
  const out: Piece[] = [];
  repaired.sort((a, b) => a.start - b.start);
  let first = 0;
  for (const p of pieces) {
    if (p.kind !== "footage") {
      out.push(p);
      continue;
    }
    let from = p.start;
    while (first < repaired.length && repaired[first]!.end <= p.start) first++;
    for (let i = first; i < repaired.length && repaired[i]!.start < p.end; i++) {
      const a = Math.max(from, repaired[i]!.start);
      const b = Math.min(p.end, repaired[i]!.end);
      if (b <= a) continue;
      if (a > from) out.push({ ...p, start: from, end: a });
      out.push({ ...p, start: a, end: b, kind: "repaired" });
      from = b;
    }
    if (from < p.end) out.push({ ...p, start: from });
  }
  return out;
}

/** at finds the piece at an instant; pieces are in order. */
export function at(pieces: Piece[], t: number): Piece | undefined {
  const i = firstEndingAfter(pieces, t);
  const p = pieces[i];
  return p && p.start <= t ? p : undefined;
}

/** firstEndingAfter is the index of the first piece that ends after t. */
export function firstEndingAfter(pieces: readonly { end: number }[], t: number): number {
  let lo = 0;
  let hi = pieces.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (pieces[mid]!.end > t) hi = mid;
    else lo = mid + 1;
  }
  return lo;
}

/** nextFootage is the instant, at or after t, at which there is footage. */
export function nextFootage(pieces: Piece[], t: number): number | undefined {
  for (let i = firstEndingAfter(pieces, t); i < pieces.length; i++) {
    if (pieces[i]!.kind === "footage") return Math.max(t, pieces[i]!.start);
  }
  return undefined;
}

/** events are what is worth a jump: the gaps and unknown stretches, in order. */
export const events = (l: Lanes): Piece[] => l.merged.pieces.filter((p) => p.kind === "gap" || p.kind === "unknown");

const CAUSES: Record<string, string> = {
  not_started: "not recorded yet",
  connection_lost: "connection to the camera lost",
  camera_stalled: "the camera sent nothing",
  format_changed: "the camera changed its format",
  proxy_stopped: "the proxy was not running",
  recorders_behind: "both recorders were behind",
  retention: "deleted by retention",
  damaged: "damaged on every recorder",
};

/** causeText is a gap's cause in words. */
export const causeText = (cause: string): string => CAUSES[cause] ?? (cause.replaceAll("_", " ") || "no cause known");

/** pieceText says what a piece is, in words. */
export function pieceText(p: Piece, recorder: string): string {
  switch (p.kind) {
    case "footage":
      return recorder ? `on ${recorder}` : `recorded on ${p.recorders?.join(" and ") ?? ""}`;
    case "repaired":
      return `on ${recorder}, copied from another recorder`;
    case "missing":
      return `not on ${recorder}; another recorder has it`;
    case "silent":
      return `${recorder} does not answer`;
    case "absent":
      return causeText(p.cause ?? "");
    case "gap":
      return `gap: ${causeText(p.cause ?? "")}`;
    case "unknown":
      return `unknown: ${p.recorders?.join(", ")} did not answer`;
    case "future":
      return "still to come";
  }
}
