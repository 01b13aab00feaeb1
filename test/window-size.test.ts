import { expect, test } from "bun:test";
import { join } from "node:path";
import * as v from "valibot";
import { limit_bytes, shapes } from "./support/window-peer.ts";

/** What the window counts is what it takes. */

const Filled = v.object({ counted_bytes: v.number(), taken_bytes: v.number() });

for (const shape of Object.keys(shapes)) {
  test(`a window full of ${shape} takes what it counts`, async () => {
    const peer = join(import.meta.dir, "support/window-peer.ts");
    const child = Bun.spawn([process.execPath, peer, shape], { stdout: "pipe", stderr: "inherit" });
    const { counted_bytes, taken_bytes } = v.parse(Filled, JSON.parse(await child.stdout.text()));
    expect(counted_bytes).toBeGreaterThan(limit_bytes * 0.9);
    // A table of users that has just doubled is half empty.
    expect(taken_bytes).toBeLessThan(counted_bytes * 1.25);
    // The rest is what the allocator adds, which is more for small ones.
    expect(taken_bytes).toBeGreaterThan(counted_bytes * 0.3);
  });
}
