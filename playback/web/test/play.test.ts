import assert from "node:assert/strict";
import test from "node:test";
import { parsePlace, placeURL } from "../src/place";
import { advise } from "../src/player/advise";
import { mediaAt, wallAt } from "../src/player/map";

const T = Date.parse("2026-03-01T12:00:00Z");
// Two fragments, a gap of 10 s that is jumped over, two more.
const frags = [
  { start: 0, duration: 2, wall: T, gap: false },
  { start: 2, duration: 2, wall: T + 2000, gap: false },
  { start: 4, duration: 2, wall: T + 14_000, gap: false },
  { start: 6, duration: 2, wall: T + 16_000, gap: false },
];

test("a place in a playlist and its moment are each other's inverse", () => {
  for (const media of [0, 0.5, 3.5, 4, 5.25, 7.75]) assert.equal(mediaAt(frags, wallAt(frags, media)!), media);
  assert.equal(wallAt([], 1), undefined);
});

test("a moment in a gap is where footage goes on", () => {
  assert.equal(mediaAt(frags, T + 9000), 4);
  assert.equal(mediaAt(frags, T - 1), undefined, "before the playlist");
  assert.equal(mediaAt(frags, T + 18_001), undefined, "after it");
  const marked = [
    frags[0]!,
    { start: 2, duration: 10, wall: T + 2000, gap: true },
    { start: 12, duration: 2, wall: T + 12_000, gap: false },
  ];
  assert.equal(mediaAt(marked, T + 5000), 12, "a gap that is in the playlist, too");
});

test("of several players, the one that is furthest back leads", () => {
  const a = advise([T + 5000, T, undefined, T + 100], [false, false, false, false]);
  assert.equal(a.wall, T);
  assert.deepEqual(
    a.advice.map((x) => x?.kind),
    ["hold", "run", undefined, "run"],
  );
  const [, leads, , near] = a.advice;
  assert.ok(leads?.kind === "run" && leads.factor === 1);
  assert.ok(near?.kind === "run" && near.factor < 1 && near.factor > 0.8);
});

test("who was held goes on when the others have come", () => {
  assert.equal(advise([T + 400, T], [true, false]).advice[0]?.kind, "hold");
  assert.equal(advise([T + 20, T], [true, false]).advice[0]?.kind, "run");
  assert.equal(advise([undefined, undefined], [false, false]).wall, undefined);
});

test("a URL is a moment of cameras, and back", () => {
  for (const p of [
    { name: "cameras" },
    { name: "recorders" },
    { name: "locks" },
    { name: "watch", cameras: ["gate"] },
    { name: "watch", cameras: ["gate", "yard.2", "a-b_c"], at: T + 123, width: 60_000, from: T, to: T + 5000 },
  ] as const) {
    const u = new URL(placeURL({ ...p } as never), "http://duet");
    assert.deepEqual(parsePlace(u), p);
  }
});

test("a URL that makes no sense is nowhere, or the part that does", () => {
  const read = (path: string) => parsePlace(new URL(path, "http://duet"));
  assert.deepEqual(read("/watch/"), { name: "nowhere" });
  assert.deepEqual(read("/x"), { name: "nowhere" });
  assert.deepEqual(read("/watch/gate?t=yesterday&width=-3&from=2026-03-01T12:00:00Z&to=2026-03-01T11:00:00Z"), {
    name: "watch",
    cameras: ["gate"],
    from: T,
  });
  assert.deepEqual(read("/watch/gate+gate++%E0%A4%A"), { name: "watch", cameras: ["gate", "%E0%A4%A"] });
});
