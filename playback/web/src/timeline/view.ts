// The window of time that a timeline shows: pure arithmetic.

import { DAY, HOUR, MINUTE, SECOND } from "../time";

export interface View {
  start: number;
  end: number;
}

export const NARROWEST = 5 * SECOND;
export const WIDEST = 62 * DAY;

/** ZOOMS are the widths that buttons offer. */
export const ZOOMS: [string, number][] = [
  ["1m", MINUTE],
  ["10m", 10 * MINUTE],
  ["1h", HOUR],
  ["6h", 6 * HOUR],
  ["1d", DAY],
  ["1w", 7 * DAY],
  ["1mo", 31 * DAY],
];

/** zoom changes the width by a factor; the instant `about` stays where it is. */
export function zoom(v: View, factor: number, about: number): View {
  const width = v.end - v.start;
  const to = Math.min(WIDEST, Math.max(NARROWEST, width * factor));
  const f = to / width;
  return { start: about - (about - v.start) * f, end: about + (v.end - about) * f };
}

export const pan = (v: View, by: number): View => ({ start: v.start + by, end: v.end + by });

/** around is a view of that width with t at a share of it. */
export const around = (t: number, width: number, share = 0.5): View => ({
  start: t - width * share,
  end: t + width * (1 - share),
});

/**
 * clamp keeps a view from running away into the future: now may stand at 60 % of it at the
 * least.
 */
export function clamp(v: View, now: number): View {
  const width = v.end - v.start;
  const latest = now + 0.4 * width;
  return v.end > latest ? { start: latest - width, end: latest } : v;
}

/** follow moves the view when t leaves its middle part, by as little as it takes. */
export function follow(v: View, t: number): View {
  const width = v.end - v.start;
  if (t < v.start || t > v.end) return around(t, width);
  const limit = v.start + 0.8 * width;
  return t > limit ? pan(v, t - limit) : v;
}

/** pinch makes the view in which two instants are at two places again (pixels of `width`). */
export function pinch(t1: number, x1: number, t2: number, x2: number, width: number): View | undefined {
  if (Math.abs(x2 - x1) < 8) return undefined;
  const perPixel = (t2 - t1) / (x2 - x1);
  const span = perPixel * width;
  if (!(span > 0)) return undefined;
  const clamped = Math.min(WIDEST, Math.max(NARROWEST, span));
  const middle = (t1 + t2) / 2;
  const share = (x1 + x2) / 2 / width;
  return around(middle, clamped, share);
}
