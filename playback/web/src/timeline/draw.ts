// Draws lanes on a canvas. The cost is that of what is visible: pieces outside of the
// view are not touched, and what is narrower than a pixel is drawn once.

import { causeText, firstEndingAfter, type Kind, type Lane, type Lanes } from "./model";
import { ticks } from "./ticks";
import type { View } from "./view";

export interface Palette {
  text: string;
  dim: string;
  line: string;
  lane: string;
  footage: string;
  copy: string;
  repaired: string;
  gap: string;
  gapLine: string;
  unknown: string;
  missing: string;
  future: string;
  lock: string;
  select: string;
  accent: string;
  back: string;
}

/** palette reads the colours from the style sheet. */
export function palette(el: Element): Palette {
  const s = getComputedStyle(el);
  const v = (name: string): string => s.getPropertyValue(`--${name}`).trim();
  return {
    text: v("text"),
    dim: v("dim"),
    line: v("line"),
    lane: v("t-lane"),
    footage: v("t-footage"),
    copy: v("t-copy"),
    repaired: v("t-repaired"),
    gap: v("t-gap"),
    gapLine: v("t-gap-line"),
    unknown: v("t-unknown"),
    missing: v("t-missing"),
    future: v("t-future"),
    lock: v("t-lock"),
    select: v("t-select"),
    accent: v("accent"),
    back: v("t-back"),
  };
}

/** A row of the timeline: where a lane is drawn. */
export interface Row {
  camera: string;
  /** Empty: merged. */
  recorder: string;
  top: number;
  height: number;
  lane: (l: Lanes) => Lane | undefined;
}

export interface Scene {
  view: View;
  width: number;
  height: number;
  ruler: number;
  zone: string;
  now: number;
  rows: Row[];
  lanes: Map<string, { detail: Lanes | undefined; overview: Lanes | undefined }>;
  selection: View | undefined;
}

// Narrow things must not vanish: what is wrong is drawn last, and a pixel and a half wide.
const ORDER: Kind[] = ["future", "absent", "footage", "repaired", "silent", "missing", "unknown", "gap"];

export function draw(g: CanvasRenderingContext2D, s: Scene, p: Palette): void {
  g.clearRect(0, 0, s.width, s.height);
  const x = (t: number): number => ((t - s.view.start) / (s.view.end - s.view.start)) * s.width;
  drawRuler(g, s, p, x);
  for (const row of s.rows) {
    g.fillStyle = p.lane;
    g.fillRect(0, row.top, s.width, row.height);
    const l = s.lanes.get(row.camera);
    if (!l) continue;
    const parts: { lanes: Lanes; from: number; to: number }[] = [];
    if (l.overview) {
      if (l.detail) {
        parts.push({ lanes: l.overview, from: s.view.start, to: Math.min(s.view.end, l.detail.start) });
        parts.push({
          lanes: l.overview,
          from: Math.max(s.view.start, l.detail.end),
          to: Math.min(s.view.end, l.overview.end),
        });
      } else parts.push({ lanes: l.overview, from: s.view.start, to: s.view.end });
    }
    if (l.detail)
      parts.push({
        lanes: l.detail,
        from: Math.max(s.view.start, l.detail.start),
        to: Math.min(s.view.end, l.detail.end),
      });
    for (const part of parts) {
      if (part.to <= part.from) continue;
      const lane = row.lane(part.lanes);
      if (lane) drawLane(g, s, p, x, row, lane, part.from, part.to);
      if (!row.recorder) drawLocks(g, p, x, row, part.lanes, part.from, part.to);
    }
  }
  // What is not yet.
  const present = x(s.now);
  if (present < s.width) {
    g.fillStyle = p.future;
    g.fillRect(Math.max(0, present), s.ruler, s.width, s.height - s.ruler);
    g.fillStyle = p.dim;
    g.fillRect(present, s.ruler - 6, 1, s.height - s.ruler + 6);
  }
  if (s.selection) {
    const a = x(s.selection.start);
    const b = x(s.selection.end);
    g.fillStyle = p.select;
    g.fillRect(a, 0, b - a, s.height);
    g.fillStyle = p.accent;
    g.fillRect(a - 1, 0, 2, s.height);
    g.fillRect(b - 1, 0, 2, s.height);
  }
}

function drawRuler(g: CanvasRenderingContext2D, s: Scene, p: Palette, x: (t: number) => number): void {
  g.font = "11px system-ui, sans-serif";
  g.textBaseline = "alphabetic";
  g.textAlign = "left";
  let free = -1;
  for (const t of ticks(s.zone, s.view.start, s.view.end, s.width)) {
    const at = Math.round(x(t.at));
    g.fillStyle = p.line;
    if (t.label) {
      g.fillRect(at, s.ruler - 8, 1, s.height - s.ruler + 8);
      if (at < free) continue;
      g.fillStyle = t.day ? p.text : p.dim;
      g.fillText(t.label, at + 4, s.ruler - 7);
      free = at + 8 + g.measureText(t.label).width;
    } else g.fillRect(at, s.ruler - 4, 1, 4);
  }
}

function drawLane(
  g: CanvasRenderingContext2D,
  s: Scene,
  p: Palette,
  x: (t: number) => number,
  row: Row,
  lane: Lane,
  from: number,
  to: number,
): void {
  const merged = row.recorder === "";
  const first = firstEndingAfter(lane.pieces, from);
  const byKind = new Map<Kind, number[]>(); // pairs of pixels
  const labels: { x: number; w: number; text: string }[] = [];
  for (let i = first; i < lane.pieces.length && lane.pieces[i]!.start < to; i++) {
    const piece = lane.pieces[i]!;
    const wrong =
      piece.kind !== "footage" && piece.kind !== "repaired" && piece.kind !== "future" && piece.kind !== "absent";
    let a = x(Math.max(piece.start, from));
    let b = x(Math.min(piece.end, to));
    if (wrong && b - a < 1.5) {
      a = (a + b) / 2 - 0.75;
      b = a + 1.5;
    }
    let list = byKind.get(piece.kind);
    if (!list) byKind.set(piece.kind, (list = []));
    const n = list.length;
    // Joined with the last one where there is less than half a pixel between them.
    if (n > 0 && a - list[n - 1]! < 0.5) list[n - 1] = Math.max(list[n - 1]!, b);
    else list.push(a, b);
    if (merged && (wrong || piece.kind === "absent") && b - a > 60) {
      labels.push({
        x: Math.max(a, 0),
        w: Math.min(b, s.width) - Math.max(a, 0),
        text:
          piece.kind === "gap" || piece.kind === "absent"
            ? causeText(piece.cause ?? "")
            : `${piece.recorders?.join(", ")} did not answer`,
      });
    }
  }
  for (const kind of ORDER) {
    const list = byKind.get(kind);
    if (!list) continue;
    const [fill, hatch] = look(kind, p, merged);
    for (let i = 0; i < list.length; i += 2) {
      const a = Math.max(-4, list[i]!);
      const w = Math.min(s.width + 4, list[i + 1]!) - a;
      if (fill) {
        g.fillStyle = fill;
        g.fillRect(a, row.top, w, row.height);
      }
      if (hatch && w > 2) hatched(g, a, row.top, w, row.height, hatch);
      else if (hatch && !fill) {
        g.fillStyle = hatch;
        g.fillRect(a, row.top, w, row.height);
      }
    }
  }
  if (labels.length === 0 || row.height < 14) return;
  g.font = "11px system-ui, sans-serif";
  g.textBaseline = "middle";
  for (const l of labels) {
    const wide = g.measureText(l.text).width;
    if (wide + 16 > l.w) continue;
    const cx = l.x + (l.w - wide) / 2;
    g.fillStyle = p.back;
    g.fillRect(cx - 5, row.top + row.height / 2 - 8, wide + 10, 16);
    g.fillStyle = p.text;
    g.fillText(l.text, cx, row.top + row.height / 2 + 0.5);
  }
}

function look(kind: Kind, p: Palette, merged: boolean): [fill: string, hatch: string] {
  switch (kind) {
    case "footage":
      return [merged ? p.footage : p.copy, ""];
    case "repaired":
      return [p.repaired, ""];
    case "gap":
      return [p.gap, p.gapLine];
    case "unknown":
    case "silent":
      return ["", p.unknown];
    case "missing":
      return ["", p.missing];
    case "absent":
      return ["", p.line];
    case "future":
      return ["", ""];
  }
}

function hatched(g: CanvasRenderingContext2D, x: number, y: number, w: number, h: number, colour: string): void {
  g.save();
  g.beginPath();
  g.rect(x, y, w, h);
  g.clip();
  g.strokeStyle = colour;
  g.lineWidth = 1.5;
  g.beginPath();
  const step = 6;
  // Anchored to the canvas, so that neighbours match.
  for (let i = Math.floor((x - h) / step) * step; i < x + w; i += step) {
    g.moveTo(i, y + h);
    g.lineTo(i + h, y);
  }
  g.stroke();
  g.restore();
}

function drawLocks(
  g: CanvasRenderingContext2D,
  p: Palette,
  x: (t: number) => number,
  row: Row,
  l: Lanes,
  from: number,
  to: number,
): void {
  for (const k of l.locked) {
    if (k.end <= from || k.start >= to) continue;
    const a = x(Math.max(k.start, from));
    const b = Math.max(a + 2, x(Math.min(k.end, to)));
    g.fillStyle = p.lock;
    g.fillRect(a, row.top - 4, b - a, 3);
    if (k.start >= from) g.fillRect(a, row.top - 4, 2, 8);
    if (k.end <= to) g.fillRect(b - 2, row.top - 4, 2, 8);
  }
}
