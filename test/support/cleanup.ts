/**
 * Loaded before all tests (bunfig.toml), so that its hooks belong to every file, and `afterAll` comes after the last test of the
 * last one. Hooks run in the order in which they stand here.
 */
import { afterAll, afterEach } from "bun:test";
import { killChildren } from "./children.ts";
import { closeBrowsers } from "./chromium.ts";
import { closePages } from "./client.ts";
import { closeDialogues } from "./dialogue.ts";
import { unmount } from "./disk.ts";
import { removeFolders } from "./folder.ts";
import { closeFrames } from "./frames.ts";
import { stopFronts } from "./front.ts";
import { stopKeycloak } from "./keycloak.ts";
import { closeServers } from "./loopback.ts";
import { closeRaws } from "./raw.ts";
import { stopServices } from "./service.ts";
import { closeUnfinished } from "./unfinished.ts";

// First: a service that stops waits for the raw sessions that are still open.
afterEach(closeRaws);
afterEach(closeDialogues);
afterEach(closeFrames);
afterEach(closeUnfinished);
afterEach(killChildren);
afterEach(closePages);
afterEach(closeBrowsers);
afterEach(unmount);
afterEach(closeServers);
afterEach(stopFronts);
afterEach(stopServices);

afterAll(stopKeycloak);
afterAll(removeFolders);
