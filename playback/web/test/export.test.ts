import assert from "node:assert/strict";
import test from "node:test";
import { download } from "../src/export";

const file = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);

/** serve answers as playback does; each answer breaks off after so many bytes. */
function serve(breaks: number[], o: { etag?: string[]; fail?: number[] } = {}) {
  const asked: string[] = [];
  let n = 0;
  globalThis.fetch = (async (_url: string, init: RequestInit) => {
    const h = new Headers(init.headers);
    const range = h.get("Range");
    asked.push(range ?? "all");
    const i = n++;
    const status = o.fail?.[i];
    if (status) return new Response(JSON.stringify({ detail: `no (${status})` }), { status });
    const etag = o.etag?.[i] ?? '"1"';
    const from = range && h.get("If-Range") === etag ? Number(/\d+/.exec(range)![0]) : 0;
    const to = Math.min(file.length, from + (breaks[i] ?? file.length));
    let at = from;
    const body = new ReadableStream(
      {
        pull(c) {
          if (at < to) {
            c.enqueue(file.slice(at, Math.min(at + 64, to)));
            at = Math.min(at + 64, to);
          } else if (to < file.length) c.error(new TypeError("network error"));
          else c.close();
        },
      },
      { highWaterMark: 0 },
    );
    return new Response(body, {
      status: from ? 206 : 200,
      headers: { ETag: etag, "Content-Length": String(file.length - from), "Duet-Gaps": "2" },
    });
  }) as typeof fetch;
  return asked;
}

async function run(signal = new AbortController().signal) {
  const parts: Uint8Array[] = [];
  let last = { got: 0, total: 0, gaps: 0 };
  let closed = false;
  await download(
    "/x",
    { write: (c) => void parts.push(c), close: () => (closed = true) as unknown as undefined },
    (p) => (last = p),
    signal,
    4,
    async () => undefined,
  );
  const whole = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    whole.set(p, at);
    at += p.length;
  }
  return { whole, last, closed };
}

test("a download goes on where it was interrupted, with every byte once", async () => {
  const asked = serve([300, 200]);
  const r = await run();
  assert.ok(r.closed);
  assert.deepEqual([...r.whole], [...file]);
  assert.deepEqual([r.last.got, r.last.total, r.last.gaps], [1000, 1000, 2]);
  assert.equal(asked[0], "all");
  assert.ok(asked.length === 3 && asked.slice(1).every((a) => a.startsWith("bytes=")));
});

test("a failure of the server is tried again, and a mistake is not", async () => {
  serve([], { fail: [503, 503] });
  assert.equal((await run()).whole.length, 1000);
  const asked = serve([], { fail: [404] });
  await assert.rejects(run(), /no \(404\)/);
  assert.equal(asked.length, 1);
});

test("footage that changes meanwhile is never mixed", async () => {
  serve([300], { etag: ['"1"', '"2"'] });
  await assert.rejects(run(), /changed/);
});

test("it gives up after several failures without a byte, and at once when it is cancelled", async () => {
  const asked = serve([], { fail: [500, 500, 500, 500, 500] });
  await assert.rejects(run(), /500/);
  assert.equal(asked.length, 4);
  const stop = new AbortController();
  stop.abort();
  serve([10]);
  await assert.rejects(run(stop.signal));
});
