import { useState } from "preact/hooks";
import { api, type Lock } from "../api";
import { by, say, zone } from "../state";
import { duration, full } from "../time";
import { Dialog } from "../ui/parts";
import type { Session } from "./watch";

export function LockDialog({ session, onClose }: { session: Session; onClose: () => void }) {
  const { from, to } = session.selection.value;
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [errors, setErrors] = useState<string[]>([]);
  if (from === undefined || to === undefined) return null;
  const place = async (): Promise<void> => {
    setBusy(true);
    const bad: string[] = [];
    const good: Lock[] = [];
    for (const c of session.cameras) {
      try {
        good.push(await api.lock(c, from, to, reason.trim(), by.value.trim()));
      } catch (err) {
        bad.push(session.cameras.length > 1 ? `${c}: ${(err as Error).message}` : (err as Error).message);
      }
    }
    for (const d of session.data.values()) d.again();
    setBusy(false);
    setErrors(bad);
    if (good.length > 0) {
      const pending = [...new Set(good.flatMap((l) => l.pending))];
      say(
        `Locked ${good.map((l) => l.camera).join(", ")}.${pending.length ? ` ${pending.join(", ")} will hear of it on return.` : ""}`,
      );
    }
    if (bad.length === 0) onClose();
  };
  return (
    <Dialog title="Lock as evidence" onClose={onClose}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          void place();
        }}
      >
        <p>
          <b>{session.cameras.join(", ")}</b>, {full(zone.value, from)} to {full(zone.value, to)} ({duration(to - from)}
          ). No rule of retention deletes it, on any recorder, until the lock is released.
        </p>
        <label>
          Reason
          <input
            value={reason}
            required
            maxLength={500}
            placeholder="case 4711"
            onInput={(e) => setReason(e.currentTarget.value)}
          />
        </label>
        <label>
          Your name <span class="dim">(optional)</span>
          <input value={by.value} maxLength={60} onInput={(e) => (by.value = e.currentTarget.value)} />
        </label>
        {errors.map((e) => (
          <p key={e} class="bad" role="alert">
            {e}
          </p>
        ))}
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={busy || !reason.trim()}>
            {busy ? "Locking…" : "Lock"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
