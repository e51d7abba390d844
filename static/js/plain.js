// Pages that stand still: only the frame is live.
import { actions } from "./actions.js";
import { start } from "./page.js";

const act = actions(() => null);
start({ event: act.event });
