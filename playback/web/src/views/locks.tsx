import { useEffect, useState } from "preact/hooks";
import { api, type Lock, ms } from "../api";
import { by, say, zone } from "../state";
import { duration, full } from "../time";
import { Dialog, Link } from "../ui/parts";

/** All evidence locks. */
export function Locks() {
  const [list, setList] = useState<Lock[]>();
  const [silent, setSilent] = useState<string[]>([]);
  const [error, setError] = useState("");
  const [released, setReleased] = useState(false);
  const [asked, setAsked] = useState<Lock>();
  const load = async (): Promise<void> => {
    try {
      const a = await api.locks(released);
      setList(a.locks.sort((x, y) => ms(y.created) - ms(x.created)));
      setSilent(a.silent);
      setError("");
    } catch (err) {
      setError((err as Error).message);
    }
  };
  useEffect(() => {
    document.title = "Locks · duet";
  }, []);
  useEffect(() => {
    void load();
    const timer = window.setInterval(load, 5000);
    return () => window.clearInterval(timer);
  }, [released]);
  return (
    <main class="page" id="main">
      <div class="bar">
        <h1>Locks</h1>
        {list && <span class="dim">{list.filter((l) => !l.released).length} in force</span>}
        <div class="grow" />
        <label class="check">
          <input type="checkbox" checked={released} onChange={(e) => setReleased(e.currentTarget.checked)} />
          Released ones, too
        </label>
      </div>
      {error && (
        <p class="note bad" role="alert">
          {error}
        </p>
      )}
      {silent.length > 0 && <p class="note warn">{silent.join(", ")} did not answer, and may know of more.</p>}
      {list?.length === 0 && (
        <p class="empty">No footage is locked. Select a range of a camera’s timeline, and press K.</p>
      )}
      {list && list.length > 0 && (
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th>Camera</th>
                <th>Footage</th>
                <th>Reason</th>
                <th>By</th>
                <th>Placed</th>
                <th>In force on</th>
                <th>
                  <span class="hidden">Action</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {list.map((l) => (
                <tr key={l.id} class={l.released ? "off" : ""}>
                  <td>
                    <b>{l.camera}</b>
                  </td>
                  <td class="num">
                    <Link
                      to={{
                        name: "watch",
                        cameras: [l.camera],
                        at: ms(l.start),
                        from: ms(l.start),
                        to: ms(l.end),
                        width: Math.max(60_000, (ms(l.end) - ms(l.start)) * 2),
                      }}
                    >
                      {full(zone.value, ms(l.start))}
                    </Link>{" "}
                    <span class="dim">{duration(ms(l.end) - ms(l.start))}</span>
                  </td>
                  <td>{l.reason}</td>
                  <td>{l.by ?? ""}</td>
                  <td class="num dim">{full(zone.value, ms(l.created))}</td>
                  <td>
                    {l.released ? (
                      <span class="dim">
                        released {full(zone.value, ms(l.released))}
                        {l.releasedBy ? ` by ${l.releasedBy}` : ""}
                      </span>
                    ) : (
                      l.inForce.join(", ")
                    )}
                    {l.pending.length > 0 && <em class="warn"> {l.pending.join(", ")} has not heard</em>}
                  </td>
                  <td>
                    {!l.released && (
                      <button
                        type="button"
                        onClick={() => setAsked(l)}
                        aria-label={`Release the lock of ${l.camera}: ${l.reason}`}
                      >
                        Release…
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {asked && (
        <Dialog title="Release the lock?" onClose={() => setAsked(undefined)}>
          <p>
            <b>{asked.camera}</b>: {asked.reason}. Retention treats its footage like any other again, and may delete it
            at once.
          </p>
          <label>
            Your name <span class="dim">(optional)</span>
            <input value={by.value} maxLength={60} onInput={(e) => (by.value = e.currentTarget.value)} />
          </label>
          <footer>
            <button type="button" onClick={() => setAsked(undefined)}>
              Keep
            </button>
            <button
              type="button"
              class="danger"
              onClick={async () => {
                try {
                  await api.release(asked.id, by.value.trim());
                  say("Released.");
                } catch (err) {
                  say((err as Error).message, true);
                }
                setAsked(undefined);
                void load();
              }}
            >
              Release
            </button>
          </footer>
        </Dialog>
      )}
    </main>
  );
}
