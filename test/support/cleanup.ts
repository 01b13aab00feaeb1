/**
 * Loaded before all tests (bunfig.toml), so that what these modules do after each test is done in every file. Loaded by a
 * test file first, their hooks would belong to that file alone.
 */
import "./binary.ts";
import "./client.ts";
import "./folder.ts";
import "./proxy.ts";
import "./raw.ts";
// The last: a service that stops waits for those who are still connected.
import "./service.ts";
