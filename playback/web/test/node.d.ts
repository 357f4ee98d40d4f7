// As much of Node's modules as the tests use.
declare module "node:test" {
  export default function test(name: string, f: () => void | Promise<void>): void;
}
declare module "node:assert/strict" {
  interface Assert {
    equal(a: unknown, b: unknown, message?: string): void;
    deepEqual(a: unknown, b: unknown, message?: string): void;
    ok(v: unknown, message?: string): asserts v;
    rejects(p: Promise<unknown>, e?: RegExp): Promise<void>;
  }
  const assert: Assert;
  export default assert;
}
