/** The platform that tabs and workers in a browser have. */
import type { Platform } from "./platform.ts";
/** The browser's own; nothing of it is touched before it is used. */
export declare const browser: Platform;
