// Pages that the server writes, and writes anew as things happen.
import { live } from "./live.js";
import { start } from "./page.js";

const regions = live();
start({ snapshot: regions.soon, event: regions.soon, tick: regions.tick });
