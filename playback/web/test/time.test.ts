import assert from "node:assert/strict";
import test from "node:test";
import { bytes, clock, DAY, duration, full, HOUR, instant, MINUTE, offset, parse, zoneOffsetName } from "../src/time";
import { ticks } from "../src/timeline/ticks";

const utc = (text: string): number => Date.parse(text);

test("a zone's clock is right on both sides of its changes", () => {
  const before = utc("2026-03-29T00:59:59Z");
  assert.equal(full("Europe/Berlin", before), "2026-03-29 01:59:59");
  assert.equal(full("Europe/Berlin", before + 1000), "2026-03-29 03:00:00");
  assert.equal(offset("Asia/Kathmandu", before), 5.75 * HOUR);
  assert.equal(zoneOffsetName("Asia/Kathmandu", before), "UTC+5:45");
  assert.equal(zoneOffsetName("America/New_York", before), "UTC−4");
  assert.equal(clock("UTC", utc("2026-03-29T10:00:00.456Z"), 1), "10:00:00.4");
});

test("an instant and its clock are each other's inverse", () => {
  for (const zone of ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]) {
    for (let t = utc("2026-03-27T00:00:00Z"); t < utc("2026-04-07T00:00:00Z"); t += 37 * MINUTE) {
      const again = instant(zone, t + offset(zone, t));
      // In the hour that a clock repeats, the same reading is two instants.
      assert.ok(again === t || Math.abs(again - t) <= HOUR, `${zone} ${t}`);
      assert.equal(full(zone, again), full(zone, t));
    }
  }
});

test("what people type for a moment is read as they mean it", () => {
  const near = utc("2026-03-01T12:30:00Z");
  const read = (text: string): string | undefined => {
    const t = parse("Europe/Berlin", text, near, utc("2026-03-05T00:00:00Z"));
    return t === undefined ? undefined : new Date(t).toISOString();
  };
  assert.equal(read("13:05"), "2026-03-01T12:05:00.000Z");
  assert.equal(read("13:05:09.25"), "2026-03-01T12:05:09.250Z");
  assert.equal(read("2026-02-28 23:00"), "2026-02-28T22:00:00.000Z");
  assert.equal(read("2026-2-8"), "2026-02-07T23:00:00.000Z");
  assert.equal(read("2026-03-01T10:00:00+02:00"), "2026-03-01T08:00:00.000Z");
  assert.equal(read("-10m"), "2026-03-01T12:20:00.000Z");
  assert.equal(read("+ 1.5 h"), "2026-03-01T14:00:00.000Z");
  assert.equal(read("now"), "2026-03-05T00:00:00.000Z");
  for (const wrong of ["", "25:00", "12:60", "2026-02-30 10:00", "yesterday", "13", "2026-03-01T10:00:00"]) {
    if (wrong === "2026-03-01T10:00:00")
      assert.ok(read(wrong), "a time without a zone is one of the zone that is chosen");
    else assert.equal(read(wrong), undefined, wrong);
  }
});

test("lengths and sizes are short", () => {
  assert.deepEqual([250, 9999, 61_000, HOUR + 5 * MINUTE, 2 * DAY + 3 * HOUR].map(duration), [
    "0.25 s",
    "10 s",
    "1:01 min",
    "1 h 5 min",
    "2 d 3 h",
  ]);
  assert.deepEqual([0, 999, 1500, 412e6, 99.96e9, 4e12].map(bytes), [
    "0 B",
    "999 B",
    "1.5 kB",
    "412 MB",
    "100 GB",
    "4 TB",
  ]);
});

test("ticks are on round times of the zone, in order, and not too many", () => {
  const at = utc("2026-03-29T00:00:00Z");
  for (const zone of ["UTC", "Europe/Berlin", "Asia/Kathmandu"]) {
    for (const width of [5000, MINUTE, HOUR, DAY, 7 * DAY, 31 * DAY, 62 * DAY]) {
      const list = ticks(zone, at - width / 2, at + width / 2, 1200);
      assert.ok(list.length >= 3 && list.length < 150, `${zone} ${width}: ${list.length}`);
      assert.ok(
        list.some((t) => t.label),
        "some have a label",
      );
      list.forEach((t, i) => {
        if (i > 0) assert.ok(t.at > list[i - 1]!.at);
        if (t.day) assert.equal(clock(zone, t.at), "00:00:00");
      });
    }
  }
});
