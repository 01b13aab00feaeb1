/**
 * Loaded before all tests (bunfig.toml), so that what these modules do after each test is done in every file. Loaded by a
 * test file first, their hooks would belong to that file alone.
 */
// First, for hooks run in this order: a service that stops waits for the raw sessions that are still open.
import "./raw.ts";
import "./frames.ts";
import "./binary.ts";
import "./client.ts";
import "./disk.ts";
import "./folder.ts";
import "./keycloak.ts";
import "./proxy.ts";
import "./service.ts";
