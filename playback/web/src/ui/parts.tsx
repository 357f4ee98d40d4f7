import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Place } from "../place";
import { placeURL } from "../place";
import { dismiss, go, toasts } from "../state";
import { Icon, type IconName } from "./icons";

/** Button with an icon alone; its name is told to screen readers and on hover, with the key. */
export function IconButton(p: {
  icon: IconName;
  label: string;
  keys?: string;
  onClick: () => void;
  pressed?: boolean;
  disabled?: boolean;
  class?: string;
  children?: ComponentChildren;
}) {
  return (
    <button
      type="button"
      class={`ib ${p.class ?? ""}`}
      aria-label={p.label}
      title={p.keys ? `${p.label} (${p.keys})` : p.label}
      aria-pressed={p.pressed}
      aria-keyshortcuts={p.keys}
      disabled={p.disabled}
      onClick={p.onClick}
    >
      <Icon name={p.icon} />
      {p.children}
    </button>
  );
}

/** Link to a place in the page: a click stays in it, and a middle click opens another one. */
export function Link(p: {
  to: Place;
  class?: string;
  current?: boolean;
  label?: string;
  title?: string;
  children: ComponentChildren;
}) {
  return (
    <a
      href={placeURL(p.to)}
      class={p.class}
      aria-current={p.current ? "page" : undefined}
      aria-label={p.label}
      title={p.title}
      onClick={(e) => {
        if (e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
        e.preventDefault();
        go(p.to);
      }}
    >
      {p.children}
    </a>
  );
}

/** Dialog is modal: the browser keeps the focus in it, and Escape closes it. */
export function Dialog(p: { title: string; onClose: () => void; children: ComponentChildren; class?: string }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const d = ref.current!;
    if (!d.open) d.showModal();
    return () => d.close();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape is the dialog's own key; this is its backdrop
    <dialog
      ref={ref}
      class={`dialog ${p.class ?? ""}`}
      aria-label={p.title}
      onCancel={p.onClose}
      onClick={(e) => {
        if (e.target === ref.current) p.onClose();
      }}
    >
      <div class="dialog-in">
        <header>
          <h2>{p.title}</h2>
          <IconButton icon="close" label="Close" keys="Escape" onClick={p.onClose} />
        </header>
        {p.children}
      </div>
    </dialog>
  );
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((t) => (
        <div key={t.id} class={`toast ${t.bad ? "bad" : ""}`}>
          <span>{t.text}</span>
          <IconButton icon="close" label="Dismiss" onClick={() => dismiss(t.id)} />
        </div>
      ))}
    </div>
  );
}

export function Meter(p: {
  value: number;
  max: number;
  label: string;
  tone?: "good" | "warn" | "bad" | "accent";
  text?: string;
}) {
  const share = p.max > 0 ? Math.min(1, p.value / p.max) : 0;
  const ref = useRef<HTMLDivElement>(null);
  // Set on the element: a style attribute in HTML would need a weaker content policy.
  useEffect(() => {
    ref.current!.style.width = `${share * 100}%`;
  }, [share]);
  return (
    <div
      class={`meter ${p.tone ?? "accent"}`}
      role="meter"
      aria-label={p.label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(share * 100)}
      aria-valuetext={p.text ?? `${Math.round(share * 100)} %`}
    >
      <div ref={ref} />
    </div>
  );
}

export const Key = ({ children }: { children: ComponentChildren }) => <kbd>{children}</kbd>;
