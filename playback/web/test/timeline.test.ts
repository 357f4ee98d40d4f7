import assert from "node:assert/strict";
import test from "node:test";
import type { Camera, Timeline } from "../src/api";
import { at, events, lanes, nextFootage } from "../src/timeline/model";
import { around, clamp, follow, NARROWEST, pinch, WIDEST, zoom } from "../src/timeline/view";

const T = Date.parse("2026-03-01T12:00:00Z");
const s = (seconds: number): string => new Date(T + seconds * 1000).toISOString();

const timeline: Timeline = {
  camera: "gate",
  start: s(0),
  end: s(100),
  spans: [
    { start: s(10), end: s(20), epoch: "a", recorders: ["r1", "r2"] },
    { start: s(20), end: s(30), epoch: "a", recorders: ["r2"] },
    { start: s(30), end: s(40), epoch: "a", recorders: ["r1", "r2"] },
    { start: s(50), end: s(60), epoch: "b", recorders: ["r1", "r2"] },
  ],
  gaps: [
    { start: s(0), end: s(10), cause: "not_started" },
    { start: s(40), end: s(50), cause: "connection_lost" },
  ],
  unknown: [{ start: s(60), end: s(70), recorders: ["r1"] }],
  locked: [{ start: s(15), end: s(35), lock: "1", reason: "case 4711" }],
  repaired: [{ start: s(30), end: s(35), recorder: "r1" }],
  future: s(90),
};

const camera = (r1: "up" | "down"): Camera =>
  ({
    name: "gate",
    recorders: [
      { recorder: "r1", role: "primary", state: r1 },
      { recorder: "r2", role: "redundant", state: "up" },
    ],
  }) as unknown as Camera;

const seen = (pieces: { start: number; end: number; kind: string }[]): string =>
  pieces.map((p) => `${(p.start - T) / 1000}-${(p.end - T) / 1000} ${p.kind}`).join(", ");

test("the merged lane has footage, gaps with their cause, what is unknown and what is to come", () => {
  const l = lanes(timeline, camera("up"));
  assert.equal(
    seen(l.merged.pieces),
    "0-10 absent, 10-20 footage, 20-30 footage, 30-40 footage, 40-50 gap, 50-60 footage, 60-70 unknown, 90-100 future",
  );
  assert.deepEqual(
    events(l).map((e) => e.kind),
    ["gap", "unknown"],
  );
  assert.equal(at(l.merged.pieces, T + 45_000)?.cause, "connection_lost");
  assert.equal(at(l.merged.pieces, T + 80_000), undefined);
});

test("a copy's lane says what it lacks, and what was repaired", () => {
  const l = lanes({ ...timeline, unknown: [] }, camera("up"));
  assert.equal(seen(l.copies[0]!.pieces), "10-20 footage, 20-30 missing, 30-35 repaired, 35-40 footage, 50-60 footage");
  assert.equal(seen(l.copies[1]!.pieces), "10-40 footage, 50-60 footage");
});

test("what a recorder that does not answer lacks is not called missing", () => {
  const l = lanes(timeline, camera("down"));
  assert.ok(l.copies[0]!.silent);
  assert.equal(l.copies[0]!.pieces.find((p) => p.start === T + 20_000)?.kind, "silent");
});

test("over a gap, footage goes on where it begins again", () => {
  const { pieces } = lanes(timeline, undefined).merged;
  assert.equal(nextFootage(pieces, T + 42_000), T + 50_000);
  assert.equal(nextFootage(pieces, T + 12_000), T + 12_000);
  assert.equal(nextFootage(pieces, T + 61_000), undefined);
});

test("thousands of spans become lanes in milliseconds, and pieces are found by halving", () => {
  const n = 20_000;
  const many: Timeline = {
    ...timeline,
    start: s(0),
    end: s(2 * n),
    spans: [],
    gaps: [],
    unknown: [],
    locked: [],
    repaired: [],
  };
  delete many.future;
  for (let i = 0; i < n; i++) {
    many.spans.push({
      start: s(2 * i),
      end: s(2 * i + 1.5),
      epoch: String(i),
      recorders: i % 3 ? ["r1", "r2"] : ["r2"],
    });
    many.gaps.push({ start: s(2 * i + 1.5), end: s(2 * i + 2), cause: "connection_lost" });
  }
  const l = lanes(many, camera("up"));
  assert.equal(l.merged.pieces.length, 2 * n);
  for (let i = 0; i < n; i += 97) assert.equal(at(l.merged.pieces, T + (2 * i + 1.7) * 1000)?.kind, "gap");
});

test("zooming keeps the instant under the pointer, and has limits", () => {
  const v = zoom({ start: T, end: T + 100_000 }, 0.5, T + 25_000);
  assert.deepEqual(v, { start: T + 12_500, end: T + 62_500 });
  assert.equal(zoom(v, 1e-9, T).end - zoom(v, 1e-9, T).start, NARROWEST);
  assert.equal(Math.round(zoom(v, 1e12, T).end - zoom(v, 1e12, T).start), WIDEST);
});

test("two fingers keep the instants under them", () => {
  const v = pinch(T + 10_000, 200, T + 20_000, 600, 1000)!;
  const x = (t: number): number => ((t - v.start) / (v.end - v.start)) * 1000;
  assert.ok(Math.abs(x(T + 10_000) - 200) < 1e-6 && Math.abs(x(T + 20_000) - 600) < 1e-6);
  assert.equal(pinch(T, 300, T + 1000, 301, 1000), undefined, "fingers on one spot");
  assert.equal(pinch(T, 600, T + 1000, 200, 1000), undefined, "fingers that crossed");
});

test("a view follows what plays, and does not run into the future", () => {
  const v = around(T, 100_000);
  assert.equal(follow(v, T + 10_000), v);
  assert.equal(follow(v, T + 40_000).start, v.start + 10_000);
  assert.equal(clamp(v, T - 50_000).end, T - 50_000 + 40_000);
  assert.equal(clamp(v, T + 50_000), v);
});
